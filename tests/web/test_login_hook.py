"""What a device and its application are told where a host application is asked about each login."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.embedded import Embedded, embedded, fresh_phone, invite_in
from tests.support.hook import SECRET, Hook, hook_server
from tests.support.keys import BoundDevice
from tests.support.tokens import parts

PLAN = "https://example.com/plan"


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with hook_server() as found:
        yield found


@pytest.fixture
async def site(tmp_path: Path, hook: Hook) -> AsyncIterator[Embedded]:
    asking = {"login_hook_url": hook.url, "login_hook_secret": SECRET, "allow_private_targets": True}
    settings: dict[str, Any] = {"quarantine_seconds": 0, **asking}
    with embedded(tmp_path, **settings) as server:
        yield server


@pytest.fixture
async def api(site: Embedded) -> AsyncIterator[Api]:
    async with Api(site.url) as api:
        yield api


async def approved(api: Api, phone: Phone) -> NewDevice:
    device = await api.new_pairing(device_headers(name="Telly%E2%80%AE%0A"))
    await phone.claim(device.pairing)
    assert (await phone.approve(device.id)).status_code == 200
    return device


async def status(device: NewDevice) -> str:
    return str((await device.poll()).json()["status"])


async def refresh(api: Api, keys: dict[str, str]) -> httpx2.Response:
    return await api.http.post("/sessions/refresh", json={"refreshKey": keys["refreshKey"]})


async def test_a_login_brings_what_the_application_adds_and_repeated_the_same_again(
    site: Embedded, api: Api, hook: Hook
) -> None:
    device = await approved(api, await fresh_phone(api, site.folder))
    hook.says(claims={PLAN: "gold"}, host={"token": "t", "price": 12345678901234567890})
    answer = await device.log_in()
    assert answer.json()["host"] == {"token": "t", "price": 12345678901234567890}
    hook.says(host="another")
    again = await device.log_in()
    # The expiry is reckoned again, in whole seconds.
    assert {**again.json(), "expiresIn": 0} == {**answer.json(), "expiresIn": 0}
    (_, (name, how)) = [(each["data"]["device"]["name"], each["data"]["how"]) for each in hook.asked]
    assert (name, how) == ("Telly", "qr")
    assert hook.asked[1]["data"]["network"]["ip"] == "127.0.0.1"


@pytest.mark.security(51)
async def test_its_claims_are_in_every_authkey_of_the_session_and_in_no_other(
    site: Embedded, api: Api, hook: Hook
) -> None:
    phone = await fresh_phone(api, site.folder)
    device = await approved(api, phone)
    hook.says(claims={PLAN: "gold"})
    keys = (await device.log_in()).json()
    assert "host" not in keys
    for _ in range(3):
        claims = parts(keys["authKey"])[1]
        assert (claims[PLAN], claims["sub"]) == ("gold", keys["user"]["id"])
        assert (await api.http.get("/me", headers={"Auth-Key": keys["authKey"]})).status_code == 200
        keys = (await refresh(api, keys)).json()
    assert PLAN not in parts(phone.keys["authKey"])[1]


@pytest.mark.security(51)
async def test_a_refusal_is_said_in_its_words_and_costs_neither_pairing_nor_invite(
    site: Embedded, api: Api, hook: Hook
) -> None:
    device = await approved(api, await fresh_phone(api, site.folder))
    code = await invite_in(site.folder, "bob")
    hook.says(403, refuse={"reason": "No seat\nis left"})
    invited = device_headers()

    async def accept() -> httpx2.Response:
        return await api.http.post("/invites/accept", json={"code": code}, headers=invited)

    for answer in (await device.log_in(), await accept()):
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert (answer.status_code, told["code"], told["detail"]) == (403, "login_refused", "No seat is left")
    assert await status(device) == "approved"
    hook.says()
    site.clock.advance(31)
    assert (await accept()).status_code == 200
    assert (await device.log_in()).status_code == 200
    assert await status(device) == "consumed"


@pytest.mark.security(51)
@pytest.mark.parametrize(
    "answer",
    [(500, b""), (200, b"garbage"), (302, b""), (200, b'{"claims": {"x": "\\ud800"}}'), (200, b'{"host": 1e999}')],
    ids=["500", "garbage", "redirect", "half a pair", "infinite"],
)
async def test_without_a_usable_answer_nobody_gets_in_and_the_login_may_be_tried_again(
    site: Embedded, api: Api, hook: Hook, answer: tuple[int, bytes]
) -> None:
    device = await approved(api, await fresh_phone(api, site.folder))
    hook.answer = answer
    refused = await device.log_in()
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert await status(device) == "approved"
    hook.says(host=1)
    assert (await device.log_in()).json()["host"] == 1
    assert hook.ids[-1] == hook.ids[-2] != hook.ids[0]


async def test_it_hears_of_the_key_that_a_device_is_bound_to(site: Embedded, api: Api, hook: Hook) -> None:
    device = await BoundDevice(api, site.settings.public_url).accept(await invite_in(site.folder, "bound"))
    assert hook.asked[0]["data"]["session"] == {"id": parts(device.auth_key)[1]["sid"], "jkt": device.key.jkt}
