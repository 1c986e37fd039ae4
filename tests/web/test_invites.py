"""Invites: how the first device gets in, and the way back. What quarantine then forbids is in test_devices."""

import asyncio
import json
import secrets

import pytest

from tests.support.client import Api, device_headers
from tests.support.embedded import Embedded, invite_in
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal


@pytest.mark.mitigation("6.1.3")
async def test_the_command_line_prints_an_invite_that_works_once(api: Api, server: Server) -> None:
    done = server.cli("invite", "iris", "--json")
    made = json.loads(done.stdout)
    assert made.keys() == {"username", "code", "url", "expiresAt", "newAccount"}
    assert made["url"] == f"{server.public_url}/join/invite#{made['code']}"
    answer = await api.http.post("/invites/accept", json={"code": made["code"]}, headers=device_headers())
    assert answer.status_code == 200
    assert answer.json()["user"]["username"] == "iris"
    assert answer.json()["device"]["pairedBy"] is None
    again = await api.http.post("/invites/accept", json={"code": made["code"]}, headers=device_headers())
    assert refusal(again) == (409, "invite_used")


async def test_an_unknown_invite_is_not_found(api: Api) -> None:
    for code in (secrets.token_urlsafe(24), "", "x"):
        answer = await api.http.post("/invites/accept", json={"code": code}, headers=device_headers())
        assert refusal(answer) == (404, "not_found")


@pytest.mark.mitigation("6.1.2")
async def test_an_invite_lives_15_minutes(clocked: Embedded, clocked_api: Api) -> None:
    code = await invite_in(clocked.folder, "late", clocked.clock)
    clocked.clock.advance(15 * 60 + 1)
    answer = await clocked_api.http.post("/invites/accept", json={"code": code}, headers=device_headers())
    assert refusal(answer) == (410, "invite_expired")


async def test_sixty_devices_with_one_invite_are_one_login(api: Api, server: Server) -> None:
    code = await invite_in(server.folder, "popular")
    answers = await asyncio.gather(
        *(api.http.post("/invites/accept", json={"code": code}, headers=device_headers()) for _ in range(60))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 59
    assert {refusal(answer) for answer in answers if answer.status_code != 200} == {(409, "invite_used")}


async def test_who_brought_a_secret_may_repeat_it_until_a_key_was_used(api: Api, server: Server) -> None:
    body = {"code": await invite_in(server.folder, "lost-answer")}
    own = device_headers() | {"Pairing-Secret": secrets.token_urlsafe(24)}
    first, again = [await api.http.post("/invites/accept", json=body, headers=own) for _ in range(2)]
    assert first.json()["refreshKey"] == again.json()["refreshKey"]
    thief = own | {"Pairing-Secret": secrets.token_urlsafe(24)}
    assert refusal(await api.http.post("/invites/accept", json=body, headers=thief)) == (409, "invite_used")
    assert (await api.http.get("/me", headers={"Auth-Key": first.json()["authKey"]})).status_code == 200
    assert refusal(await api.http.post("/invites/accept", json=body, headers=own)) == (409, "invite_used")


async def test_a_logged_in_device_accepts_no_invite(api: Api, server: Server, new_phone: NewPhone) -> None:
    phone = await new_phone()
    code = await invite_in(server.folder, "other")
    answer = await api.http.post("/invites/accept", json={"code": code}, headers=device_headers() | phone.headers)
    assert refusal(answer) == (400, "bad_request")
