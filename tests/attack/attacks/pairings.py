"""The attacks on pairings: guessed codes, races, false consent."""

import asyncio
import random
import secrets
import time

import httpx2

from tests.attack.attack import against, close_code, problem
from tests.attack.target import Target, demand
from tests.support.client import Api, NewDevice, Phone, code_of, until

ENDS = {"denied": "deny", "cancelled": "cancel", "approved": "approve"}


@against(1)
async def guess(target: Target) -> None:
    """Guess ids, codes and secrets: too short, or one twice"""
    seen: set[str] = set()
    for _ in range(12):
        device = await target.new_device()
        for value in (device.id, code_of(device.pairing), device.pairing["secret"]):
            demand(len(value) >= 22, f"{len(value)} characters can't hold 128 bits")
            demand(value not in seen, "a value came twice")
            seen.add(value)


@against(1)
async def use_the_qr_code(target: Target) -> None:
    """Log in with what the QR code says, before and after the approval"""
    phone = target.phones[0]
    device = await target.claimed(phone)
    for approved in (False, True):
        if approved:
            await phone.approve(device.id)
        for value in (device.id, code_of(device.pairing), device.pairing["userCode"], device.pairing["qr"]["text"]):
            for headers in ({"Pairing-Secret": value}, {"Auth-Key": value}, {"Authorization": f"Bearer {value}"}):
                for answer in (
                    await device.api.http.get(f"/pairings/{device.id}", headers=headers),
                    await device.api.http.post(f"/pairings/{device.id}/login", json={}, headers=headers),
                ):
                    demand(answer.status_code in (401, 404), f"{answer.status_code} for what everybody can see")
            async with target.watch(device, secret=value) as connection:
                demand(await close_code(connection) in (4401, 4404), "a socket for what everybody can see")


@against(2)
async def skip_the_consent(target: Target) -> None:
    """Log in after a scan that nobody has approved"""
    device = await target.claimed(target.phones[0])
    for _ in range(3):
        answer = await device.log_in()
        demand(problem(answer) == (409, "not_approved"), f"login answered {problem(answer)}")
        await asyncio.sleep(0.2)
    seen = (await device.poll()).json()["status"]
    demand(seen == "scanned", f"nobody decided, and it is {seen}")


@against(3)
async def claim_together(target: Target) -> None:
    """Race: accounts claim one code, the losers approve"""
    target.others(1)
    device = await target.new_device()
    path, body = f"/pairings/{device.id}/claim", {"code": code_of(device.pairing)}

    async def claim(api: Api, index: int) -> tuple[int, httpx2.Response]:
        who = index % len(target.phones)
        return who, await api.http.post(path, json=body, headers=target.phones[who].headers)

    answers = await target.race(claim)
    winners = {who for who, answer in answers if answer.is_success}
    demand(len(winners) == 1, f"{len(winners)} accounts claimed one code")
    for who, answer in answers:
        if who not in winners:
            demand(problem(answer) == (409, "already_claimed"), f"a loser is told {problem(answer)}")
            demand("newDevice" not in answer.text, "a loser learns of the device")
    for who, phone in enumerate(target.phones):
        if who not in winners:
            demand(problem(await phone.approve(device.id)) == (404, "not_found"), "a loser may decide")


async def decide(api: Api, call: str, phone: Phone, device: NewDevice) -> httpx2.Response:
    if call == "cancel":
        return await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
    return await api.http.post(f"/pairings/{device.id}/{call}", headers=phone.headers)


@against(4)
async def decide_together(target: Target) -> None:
    """Race: approve, deny and cancel one pairing, then approve what has ended"""
    phone, calls = target.phones[0], ("approve", "deny", "cancel")
    for _ in range(3):
        device = await target.claimed(phone)

        async def call(api: Api, index: int, device: NewDevice = device) -> tuple[str, httpx2.Response]:
            return calls[index % 3], await decide(api, calls[index % 3], phone, device)

        answers = await target.race(call)
        seen = {(await each.poll()).json()["status"] for each in target.at_each(device)}
        demand(len(seen) == 1 and seen <= {"denied", "cancelled"}, f"the end is {seen}")
        end = seen.pop()
        won = {name for name, answer in answers if answer.is_success}
        demand(won <= {ENDS[end], "approve"}, f"{won} were confirmed, and it is {end}")
        for each in target.at_each(phone):
            demand(not (await each.approve(device.id)).is_success, f"approved after it was {end}")
        for other in target.at_each(device):
            demand(not (await other.log_in()).is_success, f"logged in after it was {end}")


@against(5)
async def log_in_together(target: Target) -> None:
    """Race: one approved pairing logs in a hundred times"""
    phone = target.phones[0]
    before = len((await phone.get("/devices")).json()["devices"])
    device, number = await target.approved(phone)

    async def log_in(api: Api, _: int) -> httpx2.Response:
        return await api.http.post(f"/pairings/{device.id}/login", json=number, headers=device.headers)

    answers = await target.race(log_in, 100)
    keys = {answer.json()["refreshKey"] for answer in answers if answer.is_success}
    demand(len(keys) == 1, f"{len(keys)} different refreshKeys")
    demand(all(answer.status_code in (200, 409) for answer in answers), "a login that lost was told something else")
    after = len((await phone.get("/devices")).json()["devices"])
    demand(after == before + 1, f"{after - before} devices more")


@against(6)
async def revive(target: Target) -> None:
    """Ask everything of a denied pairing, to revive or change it"""
    phone = target.phones[0]
    device = await target.claimed(phone)
    first = (await phone.deny(device.id)).json()
    for api in target.apis:
        for call in ("approve", "deny", "cancel"):
            await decide(api, call, phone, device)
        await api.http.post(
            f"/pairings/{device.id}/claim", json={"code": code_of(device.pairing)}, headers=phone.headers
        )
        await api.http.post(f"/pairings/{device.id}/login", json={}, headers=device.headers)
        await api.http.get(f"/pairings/{device.id}?since=0&wait=1", headers=device.headers)
        now = (await api.http.get(f"/pairings/{device.id}", headers=phone.headers)).json()
        demand((now["status"], now["version"]) == ("denied", first["version"]), f"it is {now['status']} now")


@against(7)
async def use_a_lost_approval(target: Target) -> None:
    """Log in with an approval whose approver has logged out since"""
    # An account that is not needed any more.
    phone = target.others(2)[-1]
    device, number = await target.approved(phone)
    demand((await phone.api.http.delete("/sessions/current", headers=phone.headers)).is_success, "can't log out")
    for each in target.at_each(device):
        answer = await each.log_in(number)
        demand(answer.status_code == 403, f"login answered {problem(answer)}")
    target.phones.remove(phone)


@against(8)
async def approve_oneself(target: Target) -> None:
    """Approve one's own pairing; use a secret elsewhere; tell foreign pairings from unknown ones"""
    phone = target.phones[0]
    (me,) = [each for each in (await phone.get("/devices")).json()["devices"] if each["current"]]
    demand(me["id"] == phone.keys["device"]["id"], "/devices names another device as the current one")
    mine, other = await target.claimed(phone), await target.claimed(phone)
    for call in ("approve", "deny"):
        answer = await mine.api.http.post(f"/pairings/{mine.id}/{call}", headers=mine.headers)
        demand(answer.status_code == 401, f"B decides for itself: {problem(answer)}")
    await phone.approve(other.id)
    answer = await other.api.http.post(f"/pairings/{other.id}/login", json={}, headers=mine.headers)
    demand(answer.status_code == 404, f"another pairing's secret is told {problem(answer)}")
    stranger = target.others(1)[0]
    texts = set()
    for pairing_id in (mine.id, secrets.token_urlsafe(16)):
        for answer in (
            await stranger.get(f"/pairings/{pairing_id}"),
            await stranger.approve(pairing_id),
            await stranger.post(f"/pairings/{pairing_id}/claim", {"code": secrets.token_urlsafe(16)}),
        ):
            demand(answer.status_code == 404, f"a stranger is told {problem(answer)}")
            texts.add(answer.text)
    demand(len(texts) == 1, "a foreign pairing looks different from an unknown one")


@against(9)
async def approve_unheard(target: Target) -> None:
    """Approve at the moment in which the new device connects, so that it is never told"""
    phone, rng = target.phones[0], random.Random(9)

    async def one() -> float:
        device = await target.claimed(phone)
        offset = rng.uniform(-0.05, 0.05)

        async def approve() -> float:
            await asyncio.sleep(max(0.0, offset))
            await phone.approve(device.id)
            return time.monotonic()

        async def wait() -> float:
            await asyncio.sleep(max(0.0, -offset))
            async with target.watch(device) as connection:
                await until(connection, "approved")
            return time.monotonic()

        async with asyncio.timeout(30):
            approved_at, told_at = await asyncio.gather(approve(), wait())
        return told_at - approved_at

    try:
        late = max([await one() for _ in range(20)])
    except TimeoutError:
        late = 30.0
    demand(late < 10, f"told after {late:.0f} s")
