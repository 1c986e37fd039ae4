"""Step-up and passkeys as time goes by, and who may add one: on a server whose clock the test moves."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.app_server import app_server
from tests.support.authenticator import Authenticator
from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.client_tokens import claims
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.web.conftest import refusal

STEP_UP = "/sessions/current/step-up"
NEEDED = (403, "step_up_required")
REFUSED = (403, "step_up_refused")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A proof may be a minute old; quarantine takes an hour."""
    folder = tmp_path_factory.mktemp("strict")
    with embedded(folder, step_up_seconds=60, verify="never", **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Approvals need no proof; there is no quarantine. Mounted, for people, below another application's address."""
    url = "http://localhost:8000/login"
    with embedded(tmp_path_factory.mktemp("lax"), demo=True, public_url=url, **NO_LIMITS_INSIDE) as started:
        yield started


@asynccontextmanager
async def first_device(at: Embedded) -> AsyncIterator[Phone]:
    async with Api(at.url) as api:
        yield await fresh_phone(api, at.folder, None, at.clock)


async def another_by_invite(at: Embedded, phone: Phone) -> Phone:
    return await fresh_phone(phone.api, at.folder, phone.keys["user"]["username"], at.clock)


async def asking(phone: Phone) -> NewDevice:
    device = await phone.api.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    return device


async def let_in(phone: Phone) -> Phone:
    device = await phone.api.new_pairing(device_headers(name="Newcomer"))
    await phone.claim(device.pairing)
    assert (await phone.approve(device.id)).status_code == 200
    return Phone(phone.api, (await device.log_in()).json())


@asynccontextmanager
async def account_socket(at: Embedded, phone: Phone, other: Phone) -> AsyncIterator[websockets.ClientConnection]:
    """It says nothing when it begins: devices come until it tells of one."""
    uri = f"{at.ws_url}/api/v1/socket"
    async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("pairing.v1")]) as told:
        await told.send(json.dumps({"type": "auth", "authKey": phone.keys["authKey"]}))
        heard = asyncio.create_task(told.recv())
        while not heard.done():
            await another_by_invite(at, other)
            await asyncio.sleep(0.05)
        yield told


async def renewed(phone: Phone) -> Phone:
    """The same session with a key of now."""
    answer = await phone.api.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]})
    assert answer.status_code == 200, answer.text
    return Phone(phone.api, answer.json())


def authenticator(at: Embedded) -> Authenticator:
    return Authenticator(at.settings.public_origin)


async def add(phone: Phone, key: Authenticator) -> httpx2.Response:
    asked = await phone.post("/passkeys/options")
    if asked.status_code != 200:
        return asked
    return await phone.post("/passkeys", {"name": "Ada's key", "credential": key.create(asked.json()["publicKey"])})


async def prove(phone: Phone, key: Authenticator) -> httpx2.Response:
    asked = await phone.post(f"{STEP_UP}/options")
    return await phone.post(STEP_UP, {"credential": key.get(asked.json()["publicKey"])})


async def test_an_invite_is_a_recent_proof_for_so_long_and_then_a_passkey_is_needed(strict: Embedded) -> None:
    async with first_device(strict) as phone:
        key = authenticator(strict)
        assert (await add(phone, key)).status_code == 201
        assert (await phone.approve((await asking(phone)).id)).status_code == 200
        strict.clock.advance(61)
        device = await asking(phone)
        answer = await phone.approve(device.id)
        assert (refusal(answer), answer.json()["methods"], answer.json()["maxAge"]) == (NEEDED, ["webauthn"], 60)
        assert (await prove(phone, key)).status_code == 200
        assert (await phone.approve(device.id)).status_code == 200
        strict.clock.advance(61)
        assert refusal(await phone.approve((await asking(phone)).id)) == NEEDED


async def test_a_stolen_session_cannot_bring_the_first_passkey_and_step_up_by_it(strict: Embedded) -> None:
    async with first_device(strict) as phone:
        strict.clock.advance(61)
        for answer in (await add(phone, authenticator(strict)), await phone.approve((await asking(phone)).id)):
            assert refusal(answer) == NEEDED
            assert answer.json()["methods"] == []
        assert refusal(await phone.post(f"{STEP_UP}/options")) == (404, "not_found")
        # Renewing the keys is no proof.
        assert refusal(await add(await renewed(phone), authenticator(strict))) == NEEDED


@pytest.mark.security(13)
async def test_a_device_in_quarantine_adds_and_removes_no_passkey_however_it_came_in(strict: Embedded) -> None:
    async with first_device(strict) as phone:
        key = authenticator(strict)
        (passkey,) = [(await add(phone, key)).json()["id"]]
        device = await asking(phone)
        await phone.approve(device.id)
        by_scan = Phone(phone.api, (await device.log_in()).json())
        assert (await prove(by_scan, key)).status_code == 200
        for newcomer in (by_scan, await another_by_invite(strict, phone)):
            refused = (403, "device_quarantined")
            assert refusal(await add(newcomer, authenticator(strict))) == refused
            body = {"name": "x", "credential": {"id": "", "rawId": "", "type": "public-key", "response": {}}}
            assert refusal(await newcomer.post("/passkeys", body)) == refused
            removal = await newcomer.api.http.delete(f"/passkeys/{passkey}", headers=newcomer.headers)
            assert refusal(removal) == refused
            assert refusal(await newcomer.approve(device.id)) == (404, "not_found")
        assert len((await phone.get("/passkeys")).json()["passkeys"]) == 1


async def test_a_challenge_lives_five_minutes(strict: Embedded) -> None:
    async with first_device(strict) as phone:
        key = authenticator(strict)
        await add(phone, key)
        asked = (await phone.post(f"{STEP_UP}/options")).json()
        assert asked["expiresIn"] == 300
        assert asked["publicKey"]["userVerification"] == "required"
        strict.clock.advance(301)
        assert refusal(await phone.post(STEP_UP, {"credential": key.get(asked["publicKey"])})) == REFUSED


async def test_a_session_that_ended_between_question_and_answer_adds_nothing(strict: Embedded) -> None:
    async with first_device(strict) as phone:
        asked = (await phone.post("/passkeys/options")).json()["publicKey"]
        assert (await phone.api.http.delete("/sessions/current", headers=phone.headers)).status_code == 204
        body = {"name": "x", "credential": authenticator(strict).create(asked)}
        assert refusal(await phone.post("/passkeys", body)) == (401, "unauthenticated")


async def test_while_approvals_need_no_proof_only_the_first_passkey_needs_none(lax: Embedded) -> None:
    async with first_device(lax) as phone:
        lax.clock.advance(301)
        key = authenticator(lax)
        assert (await add(phone, key)).status_code == 201
        assert refusal(await phone.post("/passkeys/options")) == NEEDED
        assert (await prove(phone, key)).status_code == 200
        assert (await add(phone, authenticator(lax))).status_code == 201
        assert (await phone.approve((await asking(phone)).id)).status_code == 200


async def test_an_application_is_told_of_the_proof_and_when_it_was_made(lax: Embedded) -> None:
    async with first_device(lax) as phone:
        app, key = await app_server(lax.url, lax.folder), authenticator(lax)

        async def told() -> dict[str, Any]:
            return claims((await app.redeem(await app.code(phone))).json()["id_token"])

        async with app.http:
            await add(phone, key)
            first = await told()
            lax.clock.advance(30)
            assert (await prove(phone, key)).status_code == 200
            second = await told()
        assert (first["acr"], first["amr"]) == ("1", ["invite"])
        assert (second["acr"], second["amr"]) == ("2", ["invite", "user"])
        assert second["auth_time"] == first["auth_time"] + 30


async def test_two_questions_asked_before_the_first_passkey_make_one(lax: Embedded) -> None:
    async with first_device(lax) as phone:
        other = await another_by_invite(lax, phone)
        lax.clock.advance(301)
        asked = [(each, (await each.post("/passkeys/options")).json()["publicKey"]) for each in (phone, other)]
        statuses = [
            (await each.post("/passkeys", {"name": "x", "credential": authenticator(lax).create(ask)})).status_code
            for each, ask in asked
        ]
        assert statuses == [201, 403]


@pytest.mark.security(19)
async def test_the_accounts_other_devices_hear_of_each_passkey_that_comes_and_goes(lax: Embedded) -> None:
    async with first_device(lax) as phone:
        other = await another_by_invite(lax, phone)
        async with account_socket(lax, other, phone) as told:
            made = (await add(phone, authenticator(lax))).json()
            assert await next_of(told, "passkey.added") == made
            removal = await phone.api.http.delete(f"/passkeys/{made['id']}", headers=phone.headers)
            assert removal.status_code == 204
            assert (await next_of(told, "passkey.removed"))["id"] == made["id"]
        lines = (await other.get("/activity")).json()["activity"][:2]
        assert [line["event"] for line in lines] == ["passkey.removed", "passkey.added"]
        assert {line["deviceName"] for line in lines} == {"Ada's key"}


@pytest.mark.security(19)
async def test_with_a_newcomer_its_passkey_is_undone_and_the_owner_can_bring_their_own(lax: Embedded) -> None:
    async with first_device(lax) as owner:
        newcomer = await let_in(owner)
        # The invite's own moment is over: nothing but that passkey would be a proof.
        lax.clock.advance(301)
        async with account_socket(lax, owner, newcomer) as told:
            made = (await add(newcomer, authenticator(lax))).json()
            assert await next_of(told, "passkey.added") == made
            assert refusal(await owner.post("/passkeys/options")) == NEEDED
            path = f"/devices/{newcomer.keys['device']['id']}?descendants=true"
            assert (await owner.api.http.delete(path, headers=owner.headers)).status_code == 204
            assert (await next_of(told, "passkey.removed"))["id"] == made["id"]
        lines = (await owner.get("/activity")).json()["activity"][:3]
        assert [(line["event"], line["deviceName"]) for line in lines] == [
            ("passkey.removed", "Ada's key"), ("device.revoked", "Newcomer"), ("passkey.added", "Ada's key"),
        ]  # fmt: skip
        assert [line["byName"] for line in lines] == ["Test device", "Test device", "Newcomer"]
        assert (await add(owner, authenticator(lax))).status_code == 201


async def next_of(told: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await told.recv())
            if message["type"] == kind:
                return dict(message["passkey"])
            assert message["type"] in ("device.added", "device.revoked")


async def test_the_hosts_keys_may_change_while_the_server_runs(tmp_path: Path) -> None:
    old, new = (ECKey.generate_key("P-256", {"kid": kid}) for kid in ("old", "new"))
    file = tmp_path / "host.json"

    def publish(*keys: ECKey) -> None:
        file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))

    publish(old)
    with embedded(tmp_path, demo=True, step_up_seconds=60, host_key_file=file, **NO_LIMITS_INSIDE) as at:
        async with first_device(at) as phone:
            session = (await phone.get("/me")).json()["session"]["id"]

            def word(key: ECKey, kid: str) -> str:
                now = at.clock() // 1000
                claims = {
                    "aud": at.settings.public_url, "sub": phone.keys["user"]["id"], "sid": session,
                    "auth_time": now, "exp": now + 60,
                }  # fmt: skip
                return jwt.encode({"alg": "ES256", "typ": "step-up+jwt", "kid": kid}, claims, key)

            at.clock.advance(10)
            assert refusal(await phone.post(STEP_UP, {"hostToken": word(new, "new")})) == REFUSED
            publish(old, new)
            at.clock.advance(10)
            assert (await phone.post(STEP_UP, {"hostToken": word(new, "new")})).status_code == 200
            assert refusal(await phone.post(STEP_UP, {"hostToken": word(new, "old")})) == REFUSED
            publish(new)
            at.clock.advance(10)
            assert refusal(await phone.post(STEP_UP, {"hostToken": word(old, "old")})) == REFUSED
            # A file that breaks takes nothing away.
            file.write_text("{")
            at.clock.advance(10)
            assert (await phone.post(STEP_UP, {"hostToken": word(new, "new")})).status_code == 200
