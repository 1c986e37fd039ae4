"""The attacks on keys and sessions: copies, forgeries, and what outlives a revocation."""

import asyncio
import base64
import hmac
import json
import time
from dataclasses import replace
from typing import Any

import httpx2
from joserfc.jwk import ECKey

from tests.attack.attack import against, close_code, problem
from tests.attack.target import Target, demand, patiently
from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.keys import BoundDevice, DeviceKey


@against(14)
async def refresh_together(target: Target) -> None:
    """Race: fifty refreshes with one key; then reuse it when its grace is over"""
    session = await target.let_in(target.phones[1 % len(target.phones)])
    old = {"refreshKey": session.keys["refreshKey"]}

    async def refresh(api: Api, _: int) -> httpx2.Response:
        return await api.http.post("/sessions/refresh", json=old)

    answers = await target.race(refresh, 50)
    branches = {answer.json()["refreshKey"] for answer in answers if answer.is_success}
    demand(len(branches) == 1, f"{len(branches)} live branches")
    new, api = {"refreshKey": branches.pop()}, target.api
    answer = await api.http.post("/sessions/refresh", json=new)
    demand(answer.is_success, f"the live branch is dead: {problem(answer)}")
    newest = Phone(api, answer.json())
    # Its grace is 30 s where the new key was used, and by the difference that clocks may have longer elsewhere, which
    # may be another process at the same address.
    await asyncio.sleep(31)
    for _ in range(9):
        answer = await api.http.post("/sessions/refresh", json=old)
        if problem(answer) != (409, "already_refreshed"):
            break
        await asyncio.sleep(10)
    demand(answer.status_code == 401, f"a key of long ago is told {problem(answer)}")
    for each in target.at_each(newest):
        async with asyncio.timeout(6):
            while (await each.get("/me")).is_success:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    answer = await target.api.http.post("/sessions/refresh", json={"refreshKey": newest.keys["refreshKey"]})
    demand(answer.status_code == 401, "the thief's session lives on")


@against(14)
async def steal_bound_keys(target: Target) -> None:
    """Use the keys of a key-bound device without its own key"""
    phone, api, key = target.phones[0], target.api, DeviceKey()
    wanted, own = {"qr": "none", "deviceKey": key.jwk}, device_headers()
    made = await patiently(lambda: api.http.post("/pairings", json=wanted, headers=own))
    device = NewDevice(api, made.json(), own)
    await patiently(lambda: phone.claim(device.pairing))
    number = (await phone.approve(device.id)).json().get("number")
    body, path = {"number": number} if number else {}, f"/pairings/{device.id}/login"
    owner = BoundDevice(api, device.pairing["qr"]["text"].partition("/pair/")[0], key)
    thief = replace(owner, key=DeviceKey())
    answer = await device.log_in(body)
    demand(answer.status_code == 401, f"the secret alone logs in: {problem(answer)}")
    answer = await thief.ask("POST", path, json=body, headers=device.headers)
    demand(answer.status_code == 401, f"the secret and another key log in: {problem(answer)}")
    owner.keys = (await owner.ask("POST", path, json=body, headers=device.headers)).json()
    thief.keys = owner.keys
    for each in target.at_each(Phone(api, owner.keys)):
        demand((await each.get("/me")).status_code == 401, "the authKey is taken without a proof")
    for answer in (
        await thief.get("/me"),
        await thief.refresh(),
        await api.http.post("/sessions/refresh", json={"refreshKey": owner.keys["refreshKey"]}),
    ):
        demand(answer.status_code == 401, f"a thief is told {problem(answer)}")
    demand((await owner.get("/me")).is_success, "its owner is refused")


@against(15)
async def forge(target: Target) -> None:
    """Forge an authKey: none, key confusion, foreign keys and headers, a megabyte"""
    phone = target.phones[0]
    key = phone.keys["authKey"]
    head, claims, signature = key.split(".")
    header, content = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, claims))
    public = (await target.api.http.get(f"{target.api.url}/.well-known/jwks.json")).json()["keys"]
    ours = ECKey.import_key(next(each for each in public if each["kid"] == header["kid"]))
    thief = ECKey.generate_key("P-256", private=True)

    def b64(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def by_hmac(secret: bytes) -> str:
        text = f"{b64(header | {'alg': 'HS256'})}.{claims}"
        return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"

    forged = {
        "alg none": f"{b64(header | {'alg': 'none'})}.{claims}.",
        "no signature": f"{head}.{claims}.",
        "HMAC with the public PEM": by_hmac(ours.as_pem(private=False)),
        "HMAC with the public JWK": by_hmac(json.dumps(ours.as_dict(private=False)).encode()),
        "a key it brings along": f"{b64(header | {'jwk': thief.as_dict(private=False)})}.{claims}.{signature}",
        "a key from elsewhere": f"{b64(header | {'jku': 'http://127.0.0.1:9/jwks'})}.{claims}.{signature}",
        "an unknown crit": f"{b64(header | {'crit': ['x'], 'x': 1})}.{claims}.{signature}",
        "another account": f"{head}.{b64(content | {'sub': 'x'})}.{signature}",
        "more time": f"{head}.{b64(content | {'exp': content['exp'] + 9999})}.{signature}",
        "a refreshKey": phone.keys["refreshKey"],
        "a megabyte": f"{b64(header | {'x': 'a' * 700_000})}.{claims}.{signature}",
    }
    for name, token in forged.items():
        began = time.monotonic()
        try:
            answer = await target.api.http.get("/me", headers={"Auth-Key": token})
        except httpx2.HTTPError:
            # A proxy may hang up on a megabyte.
            demand(name == "a megabyte", f"{name}: no answer")
            continue
        demand(400 <= answer.status_code < 500, f"{name}: {answer.status_code}")
        demand(answer.status_code == 401 or name == "a megabyte", f"{name}: {problem(answer)}")
        demand(time.monotonic() - began < 5, f"{name}: took {time.monotonic() - began:.0f} s")


@against(16)
async def outlive_a_revocation(target: Target) -> None:
    """Use a revoked device's keys and socket at every address"""
    phone = target.phones[0]
    child = await target.let_in(phone)
    socket_url = target.connect("/socket", additional_headers=child.headers)
    async with socket_url as connection:
        answer = await phone.api.http.delete(f"/devices/{child.keys['device']['id']}", headers=phone.headers)
        demand(answer.status_code == 204, f"can't be revoked: {problem(answer)}")
        refreshed = await target.api.http.post("/sessions/refresh", json={"refreshKey": child.keys["refreshKey"]})
        demand(refreshed.status_code == 401, "its refreshKey lives on")
        demand(await close_code(connection, 6) == 4401, "its socket stays open")
    for each in target.at_each(child):
        began = time.monotonic()
        while (await each.get("/me")).is_success:
            demand(time.monotonic() - began < 5, "its authKey lives on for 5 s")
            await asyncio.sleep(0.2)


@against(18)
async def inherit(target: Target) -> None:
    """Bring the code of a device that exists, to inherit its age or to reach another account's"""
    phone, own = target.phones[0], device_headers()
    first = await target.let_in(phone, own)
    second = await target.let_in(phone, own)
    demand(first.keys["device"]["createdAt"] < second.keys["device"]["createdAt"], "the newcomer has its age")
    demand((await first.get("/me")).status_code == 401, "both sessions of one device live")
    stranger = target.others(1)[0]
    third = await target.let_in(stranger, own)
    demand(third.keys["device"]["id"] != second.keys["device"]["id"], "two accounts share a device")
    demand((await second.get("/me")).is_success, "another account's login ended a session")


@against(19)
async def come_in_unseen(target: Target) -> None:
    """Come in without the other devices hearing of it, and stay when they undo it"""
    phone = target.phones[0]
    async with target.connect("/socket", additional_headers=phone.headers) as connection:
        await asyncio.sleep(0.5)
        child = await target.let_in(phone)
        async with asyncio.timeout(10):
            message = json.loads(await connection.recv())
    demand(message["type"] == "device.added", f"they hear {message['type']}")
    demand(message["device"]["id"] == child.keys["device"]["id"], "they hear of another device")
    path = f"/devices/{child.keys['device']['id']}?descendants=true"
    demand((await phone.api.http.delete(path, headers=phone.headers)).status_code == 204, "it can't be undone")
    refreshed = await target.api.http.post("/sessions/refresh", json={"refreshKey": child.keys["refreshKey"]})
    demand(refreshed.status_code == 401, "it stays")
