"""What an attacker mixes that does not belong together: other clients' values, other kinds of tokens, query and body.

Each is tried on a running server, and loses its owner nothing. What a single endpoint refuses is in its own file.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest

from pairing_ws.components import build
from tests.oauth.conftest import NewApplication
from tests.support.app_server import DEVICE_CODE, AppServer
from tests.support.applications import answer_in, id_token
from tests.support.client import Phone
from tests.support.embedded import Embedded, settings_in
from tests.support.keys import DeviceKey, payload

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
EVIL = "https://evil.example/callback"


def error(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.fixture
async def stranger(new_application: NewApplication) -> AppServer:
    """Another client, with a secret of its own."""
    return await new_application(device_grant="on")


@pytest.fixture
async def browser(site: Embedded) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=site.settings.public_url) as http:
        yield http


async def alive(app: AppServer, given: dict[str, Any]) -> None:
    assert (await app.user_info(given["access_token"])).status_code == 200
    assert (await app.refresh(given["refresh_token"])).status_code == 200


# Of another client


@pytest.mark.security(45)
async def test_nothing_of_one_client_is_worth_anything_to_another_and_its_tries_cost_nothing(
    app: AppServer, stranger: AppServer, phone: Phone
) -> None:
    given = await app.tokens(phone)
    for kind in ("access_token", "refresh_token"):
        assert (await stranger.introspect(given[kind])).json() == {"active": False}
        assert error(await stranger.revoke(given[kind])) == (400, "invalid_grant")
    assert error(await stranger.refresh(given["refresh_token"])) == (400, "invalid_grant")
    code = await app.code(phone)
    form = app.code_form(code)
    for wrong in (
        # With its own credentials, verifier or address; and with the other one's id beside its own secret.
        await stranger.post("/oauth/token", form),
        await stranger.post("/oauth/token", form | {"code_verifier": stranger.app.verifier}),
        await app.post("/oauth/token", form | {"code_verifier": stranger.app.verifier}),
        await app.post("/oauth/token", form | {"redirect_uri": EVIL}),
    ):
        assert error(wrong) == (400, "invalid_grant")
    assert stranger.secret
    mixed = form | {"client_id": app.id, "client_secret": stranger.secret}
    assert error(await app.http.post("/oauth/token", data=mixed)) == (401, "invalid_client")
    assert error(await stranger.post("/oauth/token", form | {"client_id": app.id})) == (400, "invalid_request")
    assert (await app.redeem(code)).status_code == 200
    await alive(app, given)


@pytest.mark.security(45)
async def test_a_device_code_polled_with_another_clients_secret_stays_its_own_clients(
    new_application: NewApplication, stranger: AppServer, phone: Phone
) -> None:
    tv = await new_application(device_grant="on")
    made = (await tv.ask_as_device(scope="openid")).json()
    claimed = (await phone.post("/pairings/claim", {"userCode": made["user_code"]})).json()
    assert error(await stranger.poll(made["device_code"])) == (400, "invalid_grant")
    assert (await phone.approve(claimed["id"])).status_code == 200
    assert error(await stranger.poll(made["device_code"])) == (400, "invalid_grant")
    assert (await tv.poll(made["device_code"], scope="openid email offline_access")).json()["scope"] == "openid"


# Of another kind


@pytest.mark.security(46)
async def test_no_code_or_token_is_taken_for_another_kind_of_it(new_application: NewApplication, phone: Phone) -> None:
    app = await new_application(device_grant="on")
    given = await app.tokens(phone)
    kinds = {
        "code": await app.code(phone),
        "device_code": (await app.ask_as_device()).json()["device_code"],
        **{name: given[name] for name in ("refresh_token", "access_token", "id_token")},
        "authKey": phone.keys["authKey"],
        "refreshKey": phone.keys["refreshKey"],
    }
    as_kind: dict[str, Callable[[str], Awaitable[httpx2.Response]]] = {
        "code": app.redeem,
        "device_code": app.poll,
        "refresh_token": app.refresh,
    }
    for kind, redeem in as_kind.items():
        for name, value in kinds.items():
            if name != kind:
                assert error(await redeem(value)) == (400, "invalid_grant"), (kind, name)
    for name, value in kinds.items():
        if name != "access_token":
            assert error(await app.user_info(value)) == (401, "invalid_token"), name
    # Of another grant type, with its own value.
    for kind, grant_type in (("code", DEVICE_CODE), ("code", "refresh_token"), ("refresh_token", "authorization_code")):
        answer = await app.post("/oauth/token", {"grant_type": grant_type, kind: kinds[kind]})
        assert error(answer) == (400, "invalid_request"), grant_type
    assert (await app.redeem(kinds["code"])).status_code == 200
    await alive(app, given)


@pytest.mark.security(42, 46)
async def test_only_an_id_token_is_a_hint_for_whom_to_log_out_or_in(
    app: AppServer, phone: Phone, browser: httpx2.AsyncClient, site: Embedded
) -> None:
    given = await app.tokens(phone)
    mine = payload(given["id_token"])
    header, claims, signature = given["id_token"].split(".")
    foreign = id_token(site.folder, "https://other.example", app.app, sub=mine["sub"], sid=mine["sid"])
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for hint in (
        given["access_token"], given["refresh_token"], phone.keys["authKey"], phone.keys["refreshKey"], foreign,
        f"{none}.{claims}.", f"{header}.{claims}.", f"{header}.{claims}.{signature[::-1]}",
    ):  # fmt: skip
        page = await browser.get("/oauth/logout", params={"id_token_hint": hint})
        assert page.status_code == 200
        assert 'data-ended="yes"' not in page.text
    await alive(app, given)
    query = app.app.query(id_token_hint=given["access_token"])
    answer = await phone.post("/authorizations", {"query": query})
    assert answer.json().get("question", {}).get("needs") != "other_account"


@pytest.mark.security(45)
async def test_no_token_request_gets_more_scopes_than_the_person_has_consented_to(app: AppServer, phone: Phone) -> None:
    more = "openid email profile offline_access"
    given = (await app.redeem(await app.code(phone, "openid"), scope=more)).json()
    assert given["scope"] == payload(given["access_token"])["scope"] == "openid"
    assert error(await app.refresh(given["refresh_token"], scope=more)) == (400, "invalid_scope")
    assert (await app.refresh(given["refresh_token"])).json()["scope"] == "openid"


# Query, body and header


@pytest.mark.security(47)
async def test_what_a_form_says_is_not_changed_by_the_query_beside_it(
    app: AppServer, stranger: AppServer, phone: Phone, browser: httpx2.AsyncClient
) -> None:
    beside = f"client_id={stranger.id}&redirect_uri={EVIL}&grant_type=refresh_token&scope=email&state=theirs"
    code = await app.code(phone)
    given = await app.post(f"/oauth/token?{beside}", app.code_form(code))
    assert payload(given.json()["access_token"])["client_id"] == app.id
    sent = await browser.post(f"/oauth/authorize?{beside}", content=app.app.query(), headers=FORM)
    assert answer_in(sent.headers["location"]) == answer_in(f"?{app.app.query()}")
    for content, kind in (
        (app.app.query(), "application/json"),
        (json.dumps({"client_id": app.id}), "application/json"),
        (app.app.query(), "multipart/form-data; boundary=x"),
        ("", "text/plain"),
    ):
        page = await browser.post(
            f"/oauth/authorize?{app.app.query()}", content=content, headers={"Content-Type": kind}
        )
        assert page.status_code == 400
    told = await app.http.request("GET", "/oauth/userinfo", data={"access_token": given.json()["access_token"]})
    assert error(told) == (401, "invalid_token")


@pytest.mark.security(47)
@pytest.mark.parametrize("name", ["client%5Fsecret", "%63ode", "token", "%74oken", "refresh_token&refresh_token"])
async def test_a_secret_in_the_query_is_found_however_it_is_spelt(app: AppServer, name: str) -> None:
    assert error(await app.post(f"/oauth/revoke?{name}=x", {"token": "x"})) == (400, "invalid_request")


@pytest.mark.security(39)
@pytest.mark.parametrize(
    "after", ["%23x", "#x", "%0d%0aSet-Cookie:x", "%00", "%E2%80%AE", "+", "%2e%2e", "@evil.example"]
)
async def test_a_form_that_is_sent_on_leads_nowhere_else(
    app: AppServer, browser: httpx2.AsyncClient, after: str
) -> None:
    content = app.app.query(redirect_uri=None) + f"&redirect_uri={app.app.redirect_uri}{after}"
    sent = await browser.post("/oauth/authorize", content=content, headers=FORM)
    location = sent.headers["location"]
    assert location.startswith(f"{browser.base_url}/oauth/authorize?".replace("//oauth", "/oauth"))
    assert "#" not in location
    assert "\r" not in location
    assert (await browser.get(location)).status_code == 400


# Keys


@pytest.mark.security(48)
@pytest.mark.parametrize("public", [True, False])
async def test_tokens_that_are_bound_to_a_key_open_nothing_without_it(
    new_application: NewApplication, phone: Phone, site: Embedded, public: bool
) -> None:
    app, key, url = await new_application(public=public), DeviceKey(), f"{site.settings.public_url}/oauth/token"

    async def proved(by: DeviceKey) -> dict[str, str]:
        asked = await app.refresh("a.b", {"DPoP": by.proof("POST", url, None)})
        nonce = asked.headers.get("dpop-nonce")
        if nonce is None:
            asked = await app.redeem(await app.code(phone), {"DPoP": by.proof("POST", url, None)})
            nonce = asked.headers["dpop-nonce"]
        return {"DPoP": by.proof("POST", url, nonce)}

    given = (await app.redeem(await app.code(phone), await proved(key))).json()
    token = given["access_token"]
    assert error(await app.user_info(token)) == (401, "invalid_token")
    assert error(await app.http.post("/oauth/userinfo", data={"access_token": token})) == (401, "invalid_token")
    assert error(await app.refresh(given["refresh_token"])) == (400, "invalid_dpop_proof")
    if public:
        answer = await app.refresh(given["refresh_token"], await proved(DeviceKey()))
        assert error(answer) == (400, "invalid_dpop_proof")
    else:
        assert (await app.introspect(token)).json()["cnf"] == {"jkt": key.jkt}
    renewed = await app.refresh(given["refresh_token"], await proved(key))
    assert payload(renewed.json()["access_token"])["cnf"] == {"jkt": key.jkt}


@pytest.mark.security(48)
async def test_a_code_that_was_asked_for_with_a_key_is_not_redeemed_without_it(app: AppServer, phone: Phone) -> None:
    code = await app.code(phone, dpop_jkt=DeviceKey().jkt)
    assert error(await app.redeem(code)) == (400, "invalid_grant")


# Accounts that end meanwhile


@pytest.mark.security(36)
@pytest.mark.parametrize("end", ["lock", "delete", "log out", "remove client"])
async def test_a_code_that_is_outstanding_when_its_account_login_or_client_ends_gives_nothing(
    app: AppServer, phone: Phone, site: Embedded, end: str
) -> None:
    code, given = await app.code(phone), await app.tokens(phone)
    username = phone.keys["user"]["username"]
    parts = build(settings_in(site.folder), clock=site.clock)
    try:
        if end == "lock":
            await parts.services.accounts.operator.lock(username, locked=True)
        elif end == "delete":
            await parts.services.accounts.operator.delete_user(username)
        elif end == "remove client":
            await parts.services.clients.remove(app.id)
        else:
            await phone.api.http.delete("/sessions/current", headers=phone.headers)
    finally:
        await parts.database.close()
    # What is known of clients may be two seconds old.
    site.clock.advance(3)
    expected = (401, "invalid_client") if end == "remove client" else (400, "invalid_grant")
    assert error(await app.redeem(code)) == expected
    assert error(await app.refresh(given["refresh_token"])) == expected
    assert error(await app.user_info(given["access_token"])) == (401, "invalid_token")
