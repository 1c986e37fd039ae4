"""Keys after the login: exactly one login, refresh and its races, keys in cookies, logout."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from starlette.responses import Response

from pairing_ws.config.settings import Settings
from pairing_ws.web.request.cookies import drop_planted_cookies
from tests.support.client import Api, NewDevice, Phone, device_headers, with_api
from tests.support.embedded import Embedded, embedded, fresh_phone, invite_in
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal

COOKIE = "pairing_refresh"


async def approved(api: Api, phone: Phone) -> NewDevice:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    assert (await phone.approve(device.id)).status_code == 200
    return device


async def refresh(api: Api, key: str, body: dict[str, Any] | None = None) -> httpx2.Response:
    return await api.http.post("/sessions/refresh", json={"refreshKey": key} | (body or {}))


# Log in


async def test_a_hundred_logins_at_once_give_one_session_one_device_and_one_pair_of_keys(
    api: Api, phone: Phone
) -> None:
    device = await approved(api, phone)
    answers = await asyncio.gather(*(device.log_in() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == 1
    assert len({answer.json()["authKey"] for answer in answers}) == 1
    assert len({answer.json()["device"]["id"] for answer in answers}) == 1
    assert len((await phone.get("/devices")).json()["devices"]) == 2
    added = [line for line in (await phone.get("/activity")).json()["activity"] if line["event"] == "device.added"]
    assert len(added) == 2  # the phone's own, and one


async def test_the_answer_to_a_login_is_complete(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone("leo")
    keys = (await (await approved(api, phone)).log_in()).json()
    assert keys.keys() == {"authKey", "refreshKey", "expiresIn", "expiresAt", "user", "device"}
    assert keys["user"] == {"id": phone.keys["user"]["id"], "username": "leo", "displayName": "leo"}
    assert keys["device"]["current"] is True
    assert keys["device"]["pairedBy"] == phone.keys["device"]["id"]
    assert keys["expiresIn"] in (599, 600)
    assert (await Phone(api, keys).get("/me")).json()["session"]["amr"] == ["qr"]


async def test_a_login_can_be_repeated_until_its_refresh_key_was_used(api: Api, phone: Phone) -> None:
    device = await approved(api, phone)
    keys = (await device.log_in()).json()
    assert (await device.log_in()).json()["refreshKey"] == keys["refreshKey"]
    assert (await refresh(api, keys["refreshKey"])).status_code == 200
    assert refusal(await device.log_in()) == (409, "pairing_consumed")


@pytest.mark.security(7)
async def test_a_login_is_refused_once_its_approver_was_logged_out(api: Api, new_phone: NewPhone) -> None:
    first = await new_phone()
    phone = Phone(api, (await (await approved(api, first)).log_in()).json())
    device = await approved(api, phone)
    assert (await api.http.delete("/sessions/current", headers=phone.headers)).status_code == 204
    assert refusal(await device.log_in()) == (403, "pairing_denied")
    assert len((await first.get("/devices")).json()["devices"]) == 1


@pytest.mark.security(7)
async def test_a_locked_account_lets_nobody_in(api: Api, server: Server, new_phone: NewPhone) -> None:
    phone = await new_phone("lucky")
    device = await approved(api, phone)
    assert server.cli("user", "lock", "lucky").returncode == 0
    assert refusal(await device.log_in()) == (403, "account_locked")
    assert refusal(await refresh(api, phone.keys["refreshKey"])) == (403, "account_locked")
    # Another process locked it: this one's memory of the session lasts a moment.
    await _until_refused(phone, (403, "account_locked"))
    invite = await invite_in(server.folder, "lucky")
    refused = await api.http.post("/invites/accept", json={"code": invite}, headers=device_headers())
    assert refusal(refused) == (403, "account_locked")
    assert server.cli("user", "unlock", "lucky").returncode == 0
    await _until_allowed(phone)
    assert len((await phone.get("/devices")).json()["devices"]) == 1


async def test_a_deleted_account_is_gone(api: Api, server: Server, new_phone: NewPhone) -> None:
    phone = await new_phone("gone")
    assert server.cli("user", "delete", "gone", "--yes").returncode == 0
    await _until_refused(phone, (401, "unauthenticated"))
    assert refusal(await refresh(api, phone.keys["refreshKey"])) == (401, "unauthenticated")


async def _until_refused(phone: Phone, want: tuple[int, str]) -> None:
    answer = await phone.get("/me")
    for _ in range(100):
        if answer.status_code != 200:
            break
        await asyncio.sleep(0.05)
        answer = await phone.get("/me")
    assert refusal(answer) == want


async def _until_allowed(phone: Phone) -> None:
    for _ in range(100):
        if (await phone.get("/me")).status_code == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("still refused")


# Refresh


@pytest.mark.security(14)
async def test_a_refresh_gives_a_new_pair_and_the_old_key_dies(api: Api, phone: Phone) -> None:
    new = (await refresh(api, phone.keys["refreshKey"])).json()
    assert new["refreshKey"] != phone.keys["refreshKey"]
    assert new["authKey"] != phone.keys["authKey"]
    assert new["device"]["id"] == phone.keys["device"]["id"]
    assert (await Phone(api, new).get("/me")).status_code == 200
    assert refusal(await refresh(api, phone.keys["refreshKey"])) == (409, "already_refreshed")


@pytest.mark.parametrize("use", ["authKey", "refreshKey"])
async def test_a_refresh_can_be_repeated_until_one_of_its_keys_was_used(api: Api, phone: Phone, use: str) -> None:
    old = phone.keys["refreshKey"]
    first, again = (await refresh(api, old)).json(), (await refresh(api, old)).json()
    assert (first["refreshKey"], first["authKey"]) == (again["refreshKey"], again["authKey"])
    if use == "authKey":
        assert (await Phone(api, first).get("/me")).status_code == 200
    else:
        assert (await refresh(api, first["refreshKey"])).status_code == 200
    assert refusal(await refresh(api, old)) == (409, "already_refreshed")


async def test_fifty_refreshes_at_once_leave_one_live_branch(api: Api, phone: Phone) -> None:
    old = phone.keys["refreshKey"]
    answers = await asyncio.gather(*(refresh(api, old) for _ in range(50)))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert won
    assert len({each["refreshKey"] for each in won}) == 1
    assert {refusal(answer) for answer in answers if answer.status_code != 200} <= {(409, "already_refreshed")}
    assert (await Phone(api, won[0]).get("/me")).status_code == 200
    assert (await refresh(api, won[0]["refreshKey"])).status_code == 200


@pytest.mark.security(14)
async def test_fifty_refreshes_whose_winners_go_on_at_once_still_leave_one_live_branch(api: Api, phone: Phone) -> None:
    async def refresh_and_use() -> str | None:
        answer = await refresh(api, phone.keys["refreshKey"])
        if answer.status_code == 200:
            assert (await Phone(api, answer.json()).get("/me")).status_code == 200
            return str(answer.json()["refreshKey"])
        assert refusal(answer) == (409, "already_refreshed")
        return None

    keys = {key for key in await asyncio.gather(*(refresh_and_use() for _ in range(50))) if key}
    assert len(keys) == 1
    assert (await refresh(api, keys.pop())).status_code == 200


@pytest.mark.security(14)
@pytest.mark.mitigation("6.1.6")
async def test_an_old_key_after_the_grace_ends_the_session_with_all_its_keys(
    clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    phone = await clocked_phone()
    new = (await refresh(clocked_api, phone.keys["refreshKey"])).json()
    assert (await Phone(clocked_api, new).get("/me")).status_code == 200
    clocked.clock.advance(31)
    assert refusal(await refresh(clocked_api, phone.keys["refreshKey"])) == (401, "unauthenticated")
    assert refusal(await Phone(clocked_api, new).get("/me")) == (401, "unauthenticated")
    assert refusal(await refresh(clocked_api, new["refreshKey"])) == (401, "unauthenticated")


@pytest.mark.security(14)
async def test_a_refresh_whose_answer_got_lost_before_a_sleep_can_be_repeated(
    clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    phone = await clocked_phone()
    lost = (await refresh(clocked_api, phone.keys["refreshKey"])).json()
    clocked.clock.advance(32)
    again = (await refresh(clocked_api, phone.keys["refreshKey"])).json()
    assert (again["refreshKey"], again["authKey"]) == (lost["refreshKey"], lost["authKey"])
    clocked.clock.advance(8 * 3600)
    answers = await asyncio.gather(*(refresh(clocked_api, phone.keys["refreshKey"]) for _ in range(50)))
    assert {answer.json()["refreshKey"] for answer in answers} == {lost["refreshKey"]}
    woken = Phone(clocked_api, answers[0].json())
    assert woken.keys["expiresIn"] in (599, 600)
    assert (await woken.get("/me")).status_code == 200
    assert refusal(await refresh(clocked_api, phone.keys["refreshKey"])) == (409, "already_refreshed")
    assert (await refresh(clocked_api, woken.keys["refreshKey"])).status_code == 200


async def test_an_invented_key_ends_nobodys_session(api: Api, phone: Phone) -> None:
    family, _, value = phone.keys["refreshKey"].partition(".")
    for key in ("x", "x.y", f"{'A' * len(family)}.{value}", "", ".", f"{value}.{family}", phone.keys["authKey"][:250]):
        assert refusal(await refresh(api, key)) == (401, "unauthenticated")
    assert (await phone.get("/me")).status_code == 200


@pytest.mark.security(14)
@pytest.mark.mitigation("6.1.10")
async def test_a_session_ends_when_it_was_idle_too_long_and_at_its_absolute_end(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, refresh_key_seconds=1000, session_seconds=2500)) as (server, api):
        idle, busy = [await fresh_phone(api, tmp_path, None, server.clock) for _ in range(2)]
        for _ in range(2):
            server.clock.advance(900)
            busy = Phone(api, (await refresh(api, busy.keys["refreshKey"])).json())
        assert refusal(await refresh(api, idle.keys["refreshKey"])) == (401, "unauthenticated")
        server.clock.advance(650)
        last = (await refresh(api, busy.keys["refreshKey"])).json()
        # No authKey outlives its session.
        assert last["expiresIn"] <= 50
        server.clock.advance(60)
        assert refusal(await refresh(api, last["refreshKey"])) == (401, "unauthenticated")
        assert refusal(await Phone(api, last).get("/me")) == (401, "unauthenticated")


async def test_a_session_whose_socket_is_open_does_not_run_out(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, refresh_key_seconds=1000, **NO_LIMITS_INSIDE)) as (server, api):
        phone = await fresh_phone(api, tmp_path, "watcher", server.clock)
        uri = f"{server.ws_url}/api/v1/socket"
        async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("pairing.v1")]) as account:
            await account.send(json.dumps({"type": "auth", "authKey": phone.keys["authKey"]}))
            # It is listening once it tells of a newcomer.
            newcomer = asyncio.create_task(account.recv())
            while not newcomer.done():
                await fresh_phone(api, tmp_path, "watcher", server.clock)
                await asyncio.sleep(0.05)
            server.clock.advance(2000)
            # The server looks every 2 s.
            async with asyncio.timeout(30):
                while not (await refresh(api, phone.keys["refreshKey"])).is_success:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


@pytest.mark.mitigation("6.1.11")
async def test_refreshes_are_limited_per_device(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, limit_refresh="3/minute")) as (_, api):
        one, other = [await fresh_phone(api, tmp_path) for _ in range(2)]
        for _ in range(3):
            one = Phone(api, (await refresh(api, one.keys["refreshKey"])).json())
        limited = await refresh(api, one.keys["refreshKey"])
        assert refusal(limited) == (429, "rate_limited")
        assert int(limited.headers["retry-after"]) > 0
        assert (await refresh(api, other.keys["refreshKey"])).status_code == 200


# Keys in browsers


def _set_cookie(answer: httpx2.Response) -> tuple[str, dict[str, str]]:
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == COOKIE
    value, *attributes = (part.strip() for part in rest.split(";"))
    return value, {key.lower(): given for key, _, given in (part.partition("=") for part in attributes)}


async def _log_in_by(way: str, api: Api, server: Server, phone: Phone) -> httpx2.Response:
    if way == "login":
        return await (await approved(api, phone)).log_in({"keys": "cookie"})
    body = {"code": await invite_in(server.folder, phone.keys["user"]["username"]), "keys": "cookie"}
    return await api.http.post("/invites/accept", json=body, headers=device_headers())


@pytest.mark.parametrize("way", ["login", "invite"])
async def test_in_cookie_mode_scripts_never_see_the_refresh_key(
    api: Api, server: Server, phone: Phone, way: str
) -> None:
    answer = await _log_in_by(way, api, server, phone)
    assert answer.status_code == 200
    assert "refreshKey" not in answer.json()
    value, attributes = _set_cookie(answer)
    assert value not in answer.text
    assert attributes.keys() >= {"httponly", "secure"}
    assert attributes["samesite"].lower() == "strict"
    assert attributes["path"] == "/api/v1/sessions"
    assert int(attributes["max-age"]) == 2_592_000
    assert "domain" not in attributes


FOREIGN = [
    None,
    "null",
    "http://evil.example",
    "{own}.evil.example",
    "{own}0",
    "https{tail}",
    "{own}/",
    "http://LOCALHOST{port}",
    "",
]


@pytest.mark.security(20)
@pytest.mark.parametrize("origin", FOREIGN)
async def test_refresh_and_logout_by_cookie_demand_exactly_our_origin(
    api: Api, server: Server, phone: Phone, origin: str | None
) -> None:
    answer = await _log_in_by("login", api, server, phone)
    value, _ = _set_cookie(answer)
    own = server.public_url
    cookie = {"Cookie": f"{COOKIE}={value}"}
    spelt = origin and origin.format(own=own, tail=own.removeprefix("http"), port=f":{server.port}")
    foreign = {} if spelt is None else {"Origin": spelt}
    body = {"keys": "cookie"}
    refused = await api.http.post("/sessions/refresh", json=body, headers=cookie | foreign)
    assert refusal(refused) == (403, "foreign_origin")
    assert "set-cookie" not in refused.headers
    key = {"Auth-Key": answer.json()["authKey"]}
    refused = await api.http.delete("/sessions/current", headers=cookie | foreign | key)
    assert refusal(refused) == (403, "foreign_origin")
    renewed = await api.http.post("/sessions/refresh", json=body, headers=cookie | {"Origin": own})
    assert renewed.status_code == 200
    assert "refreshKey" not in renewed.json()
    successor, _ = _set_cookie(renewed)
    assert successor != value
    key = {"Auth-Key": renewed.json()["authKey"]}
    gone = await api.http.delete("/sessions/current", headers={"Cookie": f"{COOKIE}={successor}", "Origin": own} | key)
    assert gone.status_code == 204
    assert _set_cookie(gone)[0].strip('"') == ""


async def test_the_cookie_counts_only_where_it_is_asked_for(api: Api, server: Server, phone: Phone) -> None:
    value, _ = _set_cookie(await _log_in_by("login", api, server, phone))
    with_cookie = {"Cookie": f"{COOKIE}={value}", "Origin": server.public_url}
    assert refusal(await api.http.post("/sessions/refresh", json={}, headers=with_cookie)) == (401, "unauthenticated")
    assert refusal(await api.http.get("/me", headers=with_cookie)) == (401, "unauthenticated")
    both = {"keys": "cookie", "refreshKey": value}
    assert refusal(await api.http.post("/sessions/refresh", json=both, headers=with_cookie)) == (400, "bad_request")
    without = await api.http.post("/sessions/refresh", json={"keys": "cookie"}, headers={"Origin": server.public_url})
    assert refusal(without) == (401, "unauthenticated")


@pytest.mark.security(19, 20)
@pytest.mark.parametrize("lines", [1, 2])
async def test_a_second_refresh_cookie_never_chooses_the_session_and_both_are_taken_away(
    api: Api, server: Server, phone: Phone, new_phone: NewPhone, lines: int
) -> None:
    own = await _log_in_by("login", api, server, phone)
    planted, _ = _set_cookie(await _log_in_by("login", api, server, await new_phone()))
    both = [f"{COOKIE}={_set_cookie(own)[0]}", f"{COOKIE}={planted}"]
    for order in (both, both[::-1]):
        cookies = [("Cookie", each) for each in (order if lines == 2 else ["; ".join(order)])]
        headers = [*cookies, ("Origin", server.public_url)]
        refused = await api.http.post("/sessions/refresh", json={"keys": "cookie"}, headers=headers)
        assert refusal(refused) == (400, "doubled_cookie")
        gone = set(refused.headers.get_list("set-cookie"))
        for path in ("/", "/api", "/api/v1/", "/api/v1/sessions", "/api/v1/sessions/refresh"):
            assert f"{COOKIE}=; Max-Age=0; Path={path}" in gone
    # Neither was used up, and the same one twice is one.
    headers = [("Cookie", f"{both[0]}; {both[0]}"), ("Origin", server.public_url)]
    renewed = await api.http.post("/sessions/refresh", json={"keys": "cookie"}, headers=headers)
    me = await api.http.get("/me", headers={"Auth-Key": renewed.json()["authKey"]})
    assert me.json()["user"] == phone.keys["user"]


def test_planted_cookies_are_looked_for_in_each_domain_above_ours() -> None:
    response = Response()
    drop_planted_cookies(response, "refresh", Settings(public_url="https://login.a.example/base"))
    dropped = response.headers.getlist("set-cookie")
    assert len(dropped) == len(set(dropped)) == 11 * 3
    for domain in ("", "; Domain=login.a.example", "; Domain=a.example"):
        for path in ("/", "/base", "/base/", "/base/api/v1/sessions", "/base/api/v1/sessions/refresh/"):
            assert f"{COOKIE}=; Max-Age=0; Path={path}{domain}" in dropped


# Log out


async def test_a_logout_ends_the_session_and_no_other(api: Api, phone: Phone) -> None:
    other = Phone(api, (await (await approved(api, phone)).log_in()).json())
    assert (await api.http.delete("/sessions/current", headers=other.headers)).status_code == 204
    assert refusal(await other.get("/me")) == (401, "unauthenticated")
    assert refusal(await refresh(api, other.keys["refreshKey"])) == (401, "unauthenticated")
    assert (await phone.get("/me")).status_code == 200
    assert len((await phone.get("/devices")).json()["devices"]) == 1


@pytest.mark.security(20)
@pytest.mark.parametrize("origin", ["null", "http://evil.example", "{own}.evil.example", "{own}0"])
async def test_cors_lets_in_our_own_origin_alone(api: Api, server: Server, origin: str) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "auth-key"}
    foreign = {"Origin": origin.format(own=server.public_url)}
    refused = await api.http.options("/pairings", headers=ask | foreign)
    assert "access-control-allow-origin" not in refused.headers
    answered = await api.http.get("/me", headers=foreign)
    assert "access-control-allow-origin" not in answered.headers
    allowed = await api.http.options("/pairings", headers=ask | {"Origin": server.public_url})
    assert allowed.headers["access-control-allow-origin"] == server.public_url
    assert "access-control-allow-credentials" not in allowed.headers
