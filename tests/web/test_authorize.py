"""The authorization endpoint over HTTP: who is sent where, what a page's call for the person gives, and what no browser
may be led to."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import Response

from pairing_ws.web.request.cookies import set_login_mark
from tests.support.applications import CALLBACK, Application, answer_in, register
from tests.support.client import Api, Phone
from tests.support.embedded import Embedded, embedded, settings_in
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.servers import Server

from .conftest import NewPhone, refusal

COOKIE = "__Host-pairing_login"


@dataclass
class Browser:
    """A browser at `/oauth/authorize`, with the cookie that it was given, if any."""

    server: Server | Embedded
    http: httpx2.AsyncClient

    async def go(self, query: str, **options: Any) -> httpx2.Response:
        return await self.http.get(f"/oauth/authorize?{query}", **options)

    async def answered(self, query: str) -> dict[str, str]:
        """What the application is told, without any page in between."""
        return told(await self.go(query))


def told(answer: httpx2.Response, redirect_uri: str = CALLBACK) -> dict[str, str]:
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{redirect_uri}?"), location
    return answer_in(location)


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx2.AsyncClient(base_url=server.public_url) as http:
        yield Browser(server, http)


@pytest.fixture
async def clocked_browser(clocked: Embedded) -> AsyncIterator[Browser]:
    async with httpx2.AsyncClient(base_url=clocked.settings.public_url) as http:
        yield Browser(clocked, http)


@pytest.fixture
async def shop(server: Server) -> Application:
    return await register(server.folder)


@pytest.fixture
async def own_shop(server: Server) -> Application:
    """First-party."""
    return await register(server.folder, trusted=True)


async def decide(phone: Phone, query: str, decision: str | None = None, **more: Any) -> dict[str, Any]:
    answer = await ask(phone, query, decision, **more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def ask(phone: Phone, query: str, decision: str | None = None, **more: Any) -> httpx2.Response:
    return await phone.post("/authorizations", {"query": query, "decision": decision, **more})


async def log_in(browser: Browser, phone: Phone, application: Application) -> dict[str, str]:
    """As the page does it after a login: the person says yes, and the browser keeps the cookie."""
    answer = await ask(phone, application.query(), "approve")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    browser.http.headers["Cookie"] = cookie
    return answer_in(answer.json()["redirectTo"])


def started_in(page: httpx2.Response) -> str:
    found = re.search('data-started="([^"]+)"', page.text)
    assert found
    return found[1]


# Who is sent where


async def test_a_browser_that_is_not_logged_in_gets_the_page_that_names_the_application(
    browser: Browser, server: Server
) -> None:
    shop = await register(server.folder, name="Bob's <b>Shop</b>", logo_uri="https://cdn.example.com/logo.png")
    page = await browser.go(shop.query())
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    # Or a popup would lose the window that waits for it.
    assert page.headers["cross-origin-opener-policy"] == "unsafe-none"
    assert "Bob&#x27;s &lt;b&gt;Shop&lt;/b&gt;" in page.text
    assert "<b>Shop" not in page.text
    assert "app.example.com</bdi>" in page.text
    assert '<img src="https://cdn.example.com/logo.png"' in page.text
    assert "img-src 'self' data: blob: https://cdn.example.com;" in page.headers["content-security-policy"]


async def test_after_the_persons_yes_the_application_gets_a_code_and_the_browser_is_known(
    browser: Browser, shop: Application, phone: Phone, server: Server
) -> None:
    question = (await decide(phone, shop.query()))["question"]
    assert (question["needs"], question["scopes"]) == ("consent", ["openid", "profile"])
    assert question["missing"] == ["openid", "profile"]
    assert question["client"] == {"id": shop.client.id, "name": "The Shop", "host": "app.example.com"}
    given = await log_in(browser, phone, shop)
    assert given["state"] == "a-state"
    assert given["iss"] == server.public_url
    # From now on neither page nor press is needed; a code is another one each time.
    again = await browser.answered(shop.query())
    assert len(again["code"]) >= 43
    assert again["code"] != given["code"]
    assert (await browser.answered(shop.query(prompt="none"))).keys() == {"code", "state", "iss"}


async def test_a_consent_is_remembered_for_its_scopes_and_not_for_more(
    browser: Browser, shop: Application, phone: Phone
) -> None:
    await log_in(browser, phone, shop)
    more = shop.query(scope="openid profile email")
    assert (await browser.answered(f"{more}&prompt=none"))["error"] == "consent_required"
    assert (await browser.go(more)).status_code == 200
    assert (await decide(phone, more))["question"]["missing"] == ["email"]
    assert "code" in answer_in((await decide(phone, shop.query()))["redirectTo"])


async def test_a_trusted_application_needs_no_consent(browser: Browser, own_shop: Application, phone: Phone) -> None:
    assert "code" in answer_in((await decide(phone, own_shop.query()))["redirectTo"])
    assert (await decide(phone, own_shop.query(prompt="consent")))["question"]["needs"] == "consent"


@pytest.mark.parametrize("prompt", ["consent", "select_account"])
async def test_a_person_is_asked_again_where_the_application_wants_it(
    browser: Browser, shop: Application, phone: Phone, prompt: str
) -> None:
    await log_in(browser, phone, shop)
    assert (await browser.go(shop.query(prompt=prompt))).status_code == 200
    question = (await decide(phone, shop.query(prompt=prompt)))["question"]
    assert (question["needs"], question["missing"]) == ("consent", [])
    assert "code" in answer_in((await decide(phone, shop.query(prompt=prompt), "approve"))["redirectTo"])


async def test_a_no_is_told_to_the_application_and_nothing_is_remembered(
    browser: Browser, shop: Application, phone: Phone
) -> None:
    refused = await ask(phone, shop.query(), "deny")
    assert answer_in(refused.json()["redirectTo"]).items() >= {"error": "access_denied", "state": "a-state"}.items()
    assert "set-cookie" not in refused.headers
    assert (await decide(phone, shop.query()))["question"]["needs"] == "consent"


async def test_a_request_as_a_form_goes_on_as_a_page_that_can_be_loaded_again(
    browser: Browser, shop: Application, server: Server
) -> None:
    answer = await browser.http.post(
        "/oauth/authorize",
        content=shop.query(),
        headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://app.example.com"},
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{server.public_url}/oauth/authorize?{shop.query()}"
    assert (await browser.http.get(answer.headers["location"])).status_code == 200


# How fresh a login is


async def test_prompt_login_wants_a_new_proof_after_the_request_came_in(
    clocked_browser: Browser, clocked: Embedded, clocked_phone: NewPhone
) -> None:
    shop, phone = await register(clocked.folder), await clocked_phone("ada")
    await log_in(clocked_browser, phone, shop)
    query = shop.query(prompt="login")
    page = await clocked_browser.go(query)
    assert page.status_code == 200
    started = started_in(page)
    for decision in (None, "approve"):
        assert (await decide(phone, query, decision, started=started))["question"]["needs"] == "fresh_login"
    clocked.clock.advance(1)
    anew = await clocked_phone("ada")
    assert "code" in answer_in((await decide(anew, query, started=started))["redirectTo"])
    # It is of this request alone, and of no use to who asks without it.
    assert (await decide(anew, query))["question"]["needs"] == "fresh_login"
    other = shop.query(prompt="login", state="another")
    assert refusal(await ask(anew, other, started=started)) == (409, "authorization_stale")


async def test_prompt_login_wants_it_too_of_a_browser_that_shows_no_cookie(
    clocked_browser: Browser, clocked: Embedded, clocked_phone: NewPhone
) -> None:
    """Whose login is a moment old, or dated by a server whose clock is behind: then the second one counts."""
    shop, phone = await register(clocked.folder), await clocked_phone("eve")
    query = shop.query(prompt="login")
    clocked.clock.advance(1)
    at_first = started_in(await clocked_browser.go(query))
    question = (await decide(phone, query, "approve", started=at_first))["question"]
    assert question["needs"] == "fresh_login"
    clocked.clock.advance(-0.5)
    behind = await clocked_phone("eve")
    question = (await decide(behind, query, started=at_first))["question"]
    assert question["needs"] == "fresh_login"
    clocked.clock.advance(0.25)
    again = await clocked_phone("eve")
    question = (await decide(again, query, started=question["started"]))["question"]
    assert question["needs"] == "consent"
    assert "code" in answer_in((await decide(again, query, "approve", started=question["started"]))["redirectTo"])


async def test_a_login_that_is_older_than_max_age_has_to_be_renewed(
    clocked_browser: Browser, clocked: Embedded, clocked_phone: NewPhone
) -> None:
    shop, phone = await register(clocked.folder), await clocked_phone("bob")
    await log_in(clocked_browser, phone, shop)
    assert "code" in await clocked_browser.answered(shop.query(max_age="60", prompt="none"))
    clocked.clock.advance(61)
    assert (await clocked_browser.answered(shop.query(max_age="60", prompt="none")))["error"] == "login_required"
    assert "code" in await clocked_browser.answered(shop.query(max_age="10000", prompt="none"))
    page = await clocked_browser.go(shop.query(max_age="1"))
    started = started_in(page)
    assert (await decide(phone, shop.query(max_age="1"), started=started))["question"]["needs"] == "fresh_login"
    anew = await clocked_phone("bob")
    clocked.clock.advance(30)
    # However long the person then takes to answer.
    assert "code" in answer_in((await decide(anew, shop.query(max_age="1"), started=started))["redirectTo"])


async def test_max_age_zero_is_a_wish_for_a_new_login(browser: Browser, shop: Application, phone: Phone) -> None:
    await log_in(browser, phone, shop)
    assert (await browser.answered(shop.query(max_age="0", prompt="none")))["error"] == "login_required"


async def test_a_request_that_has_grown_stale_is_refused_whatever_the_person_says(
    clocked_browser: Browser, clocked: Embedded, clocked_phone: NewPhone
) -> None:
    shop = await register(clocked.folder)
    started = started_in(await clocked_browser.go(shop.query()))
    clocked.clock.advance(1800)
    phone = await clocked_phone()
    for decision in (None, "approve", "deny"):
        assert refusal(await ask(phone, shop.query(), decision, started=started)) == (409, "authorization_stale")
    assert (await decide(phone, shop.query()))["question"]["needs"] == "consent"


# prompt=none


@pytest.mark.security(39)
async def test_prompt_none_never_shows_a_page(browser: Browser, shop: Application, phone: Phone) -> None:
    silent = shop.query(prompt="none")
    assert (await browser.answered(silent)).items() >= {"error": "login_required", "state": "a-state"}.items()
    assert (await browser.answered(shop.query(prompt="none login")))["error"] == "invalid_request"
    await log_in(browser, phone, shop)
    assert "code" in await browser.answered(silent)
    hint = shop.query(prompt="none", claims='{"id_token": {"sub": {"value": "somebody-else"}}}')
    assert (await browser.answered(hint))["error"] == "login_required"
    assert (await decide(phone, shop.query(claims='{"id_token": {"sub": {"value": "x"}}}')))["question"][
        "needs"
    ] == "other_account"
    await phone.api.http.delete("/sessions/current", headers=phone.headers)
    assert (await browser.answered(silent))["error"] == "login_required"


@pytest.mark.security(40)
@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("uri", ["com.example.app:/done", "http://127.0.0.1/done", "http://localhost:3000/done"])
async def test_an_app_on_the_persons_device_without_a_secret_is_never_let_in_silently(
    browser: Browser, server: Server, phone: Phone, uri: str, trusted: bool
) -> None:
    app = await register(server.folder, redirect_uris=(uri,), trusted=trusted)
    await log_in(browser, phone, app)
    redirect_uri = uri.replace("/done", ":4711/done") if "127.0.0.1" in uri else uri
    silent = await browser.go(app.query(prompt="none", redirect_uri=redirect_uri))
    assert told(silent, redirect_uri)["error"] == "consent_required"
    assert (await decide(phone, app.query(redirect_uri=redirect_uri)))["question"]["needs"] == "consent"


@pytest.mark.security(26)
async def test_too_many_requests_get_a_page_that_says_when_to_come_back_and_silent_ones_an_answer(
    tmp_path: Path,
) -> None:
    with embedded(tmp_path, **NO_LIMITS_INSIDE | {"limit_authorize": "2/minute"}) as limited:
        app, url = await register(tmp_path), limited.settings.public_url
        async with httpx2.AsyncClient(base_url=url) as http:
            browser = Browser(limited, http)
            for expected in (200, 200, 429):
                page = await browser.go(app.query())
                assert page.status_code == expected
            assert 0 < int(page.headers["retry-after"]) <= 60
            assert "Load this page again in" in page.text
            assert (await browser.answered(app.query(prompt="none")))["error"] == "temporarily_unavailable"


@pytest.mark.security(40)
def test_over_plain_http_the_cookie_is_for_the_endpoint_alone() -> None:
    """On a private network, where browsers take no secure one."""
    settings = settings_in(Path(), public_url="http://192.168.1.5:8000/login")
    response = Response()
    set_login_mark(response, "mark", settings)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("pairing_login=mark;")
    assert {"HttpOnly", "SameSite=lax", "Path=/login/oauth"} <= {each.strip() for each in cookie.split(";")}
    assert "Secure" not in cookie


# Attacks


LOOKALIKES = [
    "https://APP.example.com/callback", "https://app.example.com/Callback", "https://app.example.com/callback/",
    "https://user@app.example.com/callback", "https://app.example.com@evil.example/callback",
    "https://app.example.com/callback#x", "https://app.example.com:443/callback",
    "https://app.example.com:444/callback", "https://app.example.com/%2e/callback",
    "https://app.example.com/x/%2e%2e/callback", "https://app.example.com.evil.example/callback",
    "https://app.example.com/callback?x=y", "//evil.example", "javascript:alert(1)", "http://127.0.0.1/callback",
    "https://app.example.com/%63allback", "https://app.example.com//callback", "https://app.example.com/callback?",
    "https://app.example.com/callback ", " https://app.example.com/callback", "https://app.example.com/callback\n",
    "https://app.example.com\\@evil.example/callback", "https:/app.example.com/callback",
    "https://app.example.com\u3002evil.example/callback", "https://\uff41pp.example.com/callback",
    "https://app.example.com./callback", "https://app.example.com/callback;x", "https://app.example.com/callback\x00",
    "https:app.example.com/callback", "data:text/html,x", "\tjavascript:alert(1)",
]  # fmt: skip


@pytest.mark.security(39)
@pytest.mark.parametrize("uri", LOOKALIKES)
async def test_nobody_is_sent_to_a_lookalike_of_a_registered_address(
    browser: Browser, shop: Application, phone: Phone, uri: str
) -> None:
    await log_in(browser, phone, shop)
    for query in (shop.query(redirect_uri=uri), shop.query(redirect_uri=uri, prompt="none", response_type="x")):
        page = await browser.go(query)
        assert page.status_code == 400
        assert "location" not in page.headers
        assert page.headers["content-type"].startswith("text/html")
        assert 'href="https://' not in page.text
        assert "evil" not in page.text
    assert refusal(await ask(phone, shop.query(redirect_uri=uri), "approve")) == (404, "authorization_invalid")


@pytest.mark.security(39)
@pytest.mark.parametrize(
    "more",
    [
        {"client_id": None},
        {"client_id": "nobody"},
        {"client_id": ["a", "b"]},
        {"redirect_uri": None},
        {"a": ["b"] * 70},
    ],
)
async def test_a_request_that_names_nobody_to_answer_gets_a_page_that_says_what_to_do(
    browser: Browser, shop: Application, more: dict[str, Any]
) -> None:
    page = await browser.go(shop.query(**more))
    assert page.status_code == 400
    assert "Go back to the application" in page.text
    assert "<script" not in page.text


@pytest.mark.security(39)
@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"nonce": "x" * 4096}, "invalid_request"),
        ({"state": "x" * 4096}, "invalid_request"),
        ({"scope": "openid " + "x" * 4096}, "invalid_request"),
        ({"claims": '{"a":"' + "x" * 5000 + '"}'}, "invalid_request"),
        ({"claims": "[" * 1500}, "invalid_request"),
        ({"nonce": ["a", "b"]}, "invalid_request"),
        ({"state": ["a", "b"]}, "invalid_request"),
        ({"code_challenge": ["a" * 43, "b" * 43]}, "invalid_request"),
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "https://evil.example/request"}, "request_uri_not_supported"),
    ],
)
async def test_whatever_is_wrong_beside_the_address_is_told_to_the_application_and_never_a_code(
    browser: Browser, shop: Application, phone: Phone, more: dict[str, Any], error: str
) -> None:
    await log_in(browser, phone, shop)
    answer = await browser.answered(shop.query(**more))
    assert answer["error"] == error
    assert answer["iss"] == browser.http.base_url
    assert "code" not in answer
    assert answer_in((await decide(phone, shop.query(**more), "approve"))["redirectTo"])["error"] == error


@pytest.mark.security(39)
@pytest.mark.parametrize("name", ["state", "nonce", "scope", "claims"])
async def test_a_parameter_of_8_kib_is_refused_and_costs_nothing_else(
    browser: Browser, shop: Application, name: str
) -> None:
    long = shop.query(**{name: "x" * 8192})
    assert (await browser.go(long)).status_code == 431
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = await browser.http.post("/oauth/authorize", content=long, headers=form)
    assert page.status_code == 400
    assert "xxxxxxxx" not in page.text
    assert (await browser.go(shop.query())).status_code == 200


@pytest.mark.security(39)
async def test_every_answer_names_the_server_that_gives_it(
    browser: Browser, shop: Application, phone: Phone, server: Server
) -> None:
    """RFC 9207: a client of two servers that are mixed up sees it."""
    await log_in(browser, phone, shop)
    for query in (shop.query(), shop.query(prompt="none login"), shop.query(response_type="x")):
        assert (await browser.answered(query))["iss"] == server.public_url


@pytest.mark.security(40)
async def test_no_page_reads_or_frames_the_authorization_endpoint(
    browser: Browser, shop: Application, server: Server, phone: Phone
) -> None:
    async def answers() -> AsyncIterator[httpx2.Response]:
        for origin in ("https://evil.example", server.public_url):
            yield await browser.go(shop.query(), headers={"Origin": origin})
            yield await browser.go(shop.query(redirect_uri="https://evil.example"), headers={"Origin": origin})
            preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            yield await browser.http.options("/oauth/authorize", headers=preflight)

    async for answer in answers():
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "form-action 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.security(40)
async def test_a_persons_yes_needs_their_key_and_no_cookie_stands_for_it(
    browser: Browser, shop: Application, phone: Phone, api: Api
) -> None:
    await log_in(browser, phone, shop)
    forged = {"query": shop.query(scope="openid email"), "decision": "approve"}
    answer = await browser.http.post("/api/v1/authorizations", json=forged)
    assert refusal(answer) == (401, "unauthenticated")
    # As a form of another site would send it.
    answer = await browser.http.post(
        "/api/v1/authorizations", content=json.dumps(forged), headers={"Content-Type": "text/plain", **phone.headers}
    )
    assert refusal(answer) == (415, "unsupported_media_type")
    assert (await browser.answered(shop.query(scope="openid email", prompt="none")))["error"] == "consent_required"


@pytest.mark.security(40)
async def test_a_planted_or_forged_cookie_logs_nobody_in(
    browser: Browser, shop: Application, phone: Phone, new_phone: NewPhone
) -> None:
    await log_in(browser, phone, shop)
    mine = browser.http.headers.pop("Cookie")
    intruder = await new_phone()
    theirs = (await ask(intruder, shop.query(), "approve")).headers["set-cookie"].partition(";")[0]
    session_id, _, mac = mine.partition("=")[2].partition(".")
    forged = [
        f"{mine}; {theirs}", f"{theirs}; {mine}", f"{COOKIE}={session_id}", f"{COOKIE}={session_id}.",
        f"{COOKIE}={theirs.partition('=')[2].partition('.')[0]}.{mac}", f"{COOKIE}={session_id}.{mac}x",
        f"{COOKIE}=", f"{COOKIE}=.", f"{COOKIE}=\xe9.\xe9",
    ]  # fmt: skip
    for cookie in forged:
        answer = await browser.go(shop.query(prompt="none"), headers=[(b"Cookie", cookie.encode("latin-1"))])
        assert told(answer)["error"] == "login_required", cookie


@pytest.mark.security(40)
async def test_the_cookie_counts_at_the_endpoint_alone_and_no_script_reads_it(
    shop: Application, phone: Phone, server: Server
) -> None:
    cookie = (await ask(phone, shop.query(), "approve")).headers["set-cookie"].lower()
    assert cookie.startswith(f"{COOKIE.lower()}=")
    # The prefix keeps neighbours below the domain from planting one; it needs the other two.
    assert {"httponly", "samesite=lax", "secure", "path=/"} <= {each.strip() for each in cookie.split(";")}
    me = await phone.api.http.get("/me", headers={"Cookie": cookie.partition(";")[0]})
    assert refusal(me) == (401, "unauthenticated")


@pytest.mark.security(40)
async def test_a_request_that_another_person_has_started_gives_them_nothing_of_this_ones(
    browser: Browser, shop: Application, phone: Phone, new_phone: NewPhone
) -> None:
    """Login CSRF by a started authorization: nothing is kept of a request between page and press, so that whoever ends
    it ends it for themselves, with the state and the challenge that its link says."""
    started = started_in(await browser.go(shop.query(state="the intruder's")))
    mine = await decide(phone, shop.query(state="the intruder's"), "approve", started=started)
    assert answer_in(mine["redirectTo"])["state"] == "the intruder's"
    intruder = await new_phone()
    theirs = await decide(intruder, shop.query(state="the intruder's"), started=started)
    assert theirs["question"]["needs"] == "consent"
    assert (await browser.answered(shop.query(prompt="none")))["error"] == "login_required"


async def test_a_device_that_is_logged_out_meanwhile_gets_no_code(
    browser: Browser, shop: Application, new_phone: NewPhone
) -> None:
    owner = await new_phone("carol")
    other = await new_phone("carol")
    await log_in(browser, other, shop)
    assert (await owner.api.http.delete(f"/devices/{other.keys['device']['id']}", headers=owner.headers)).is_success
    assert refusal(await ask(other, shop.query(), "approve")) == (401, "unauthenticated")
    assert (await browser.answered(shop.query(prompt="none")))["error"] == "login_required"
