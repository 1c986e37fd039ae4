"""Logging in with another provider: who gets in, as what, and what of a provider's or a stranger's doing does not."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from structlog.testing import capture_logs

from pairing_ws.adapters import upstream as adapter
from pairing_ws.components import build
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import Embedded, MovedClock, embedded, fresh_phone, invite_in, settings_in
from tests.support.issuer import CLIENT, PUBLIC_KEYS, RSA, Issuer, hmac_token
from tests.support.keys import BoundDevice
from tests.web.conftest import refusal

from .conftest import Browser, Link, NewBrowser

pytestmark = pytest.mark.security(54)


@pytest.fixture
async def person(issuer: Issuer, link: Link) -> str:
    """The id of the account of whom the issuer logs in."""
    issuer.subject = secrets.token_hex(8)
    return await link(issuer.subject)


async def users(site: Embedded) -> int:
    built = build(settings_in(site.folder))
    try:
        return len(await built.services.accounts.operator.accounts())
    finally:
        await built.database.close()


async def test_the_first_device_of_an_account_gets_in_without_an_invite(
    browser: Browser, person: str, api: Api
) -> None:
    answer = await browser.log_in()
    assert answer.status_code == 200, answer.text
    me = (await Phone(api, answer.json()).get("/me")).json()
    assert (me["user"]["id"], me["session"]["amr"]) == (person, ["upstream"])
    # As with an invite: an account's only device is in no quarantine.
    assert "quarantineUntil" not in me


async def test_the_next_device_is_in_quarantine_and_all_others_hear_of_it(
    api: Api, new_browser: NewBrowser, person: str
) -> None:
    first = Phone(api, (await new_browser().log_in()).json())
    known = (await first.get("/devices")).json()["version"]
    hears = asyncio.create_task(first.get(f"/devices?known={known}&wait=20"))
    second = Phone(api, (await new_browser().log_in()).json())
    assert "quarantineUntil" in (await second.get("/me")).json()
    assert len((await hears).json()["devices"]) == 2
    lines = (await first.get("/activity")).json()["activity"]
    assert [each["event"] for each in lines] == ["device.added", "device.added"]


async def test_who_is_linked_to_no_account_gets_a_page_that_says_so_and_no_account(
    browser: Browser, issuer: Issuer, site: Embedded
) -> None:
    issuer.subject = "nobody <b>here</b>; $(reboot)"
    # Of somebody who has that name and address here.
    await invite_in(site.folder, "carol")
    issuer.claims = {"email": "carol@example.com", "email_verified": True, "preferred_username": "carol"}
    before = await users(site)
    answer = await browser.come_back()
    assert (answer.status_code, "You have no account here" in answer.text) == (403, True)
    assert "Example &amp; Co" in answer.text
    # Fit for a page, and for the shell that it is copied into.
    assert "&#x27;nobody &lt;b&gt;here&lt;/b&gt;; $(reboot)&#x27;" in answer.text
    assert "pairing-ws user link NAME" in answer.text
    assert refusal(await browser.fetch_keys()) == (404, "not_found")
    assert await users(site) == before


async def test_an_answer_counts_in_the_browser_alone_that_was_sent_for_it(new_browser: NewBrowser, person: str) -> None:
    mine, other = new_browser(), new_browser()
    answer = await mine.answer()
    await other.to_provider()
    for stranger in (new_browser(), other):
        told = await stranger.get(answer)
        assert (told.status_code, "not started here" in told.text) == (400, True)
    query = {name: value[0] for name, value in parse_qs(urlsplit(answer).query).items()}
    for wrong in ({"state": ""}, {"state": query["state"][::-1]}, {"state": "x" * 8000}, {"state": "\0"}):
        told = await mine.get(f"/login/upstream/callback?{urlencode(query | wrong)}")
        assert told.status_code == 400
    assert (await mine.get(f"{answer}&state={query['state']}")).status_code == 400
    # Nothing of this has spoiled it.
    assert (await mine.get(answer)).status_code == 303
    assert (await mine.fetch_keys()).status_code == 200


async def test_what_another_site_sends_here_ends_no_login_that_is_under_way(browser: Browser, person: str) -> None:
    answer = await browser.answer()
    cookie = browser.cookie
    assert (await browser.get("/login/upstream/callback?code=x&state=y")).status_code == 400
    assert browser.cookie == cookie
    assert (await browser.get(answer)).status_code == 303


async def test_of_a_hundred_answers_at_once_one_counts(browser: Browser, person: str, issuer: Issuer) -> None:
    answer = await browser.answer()
    cookie = browser.cookie
    told = await asyncio.gather(*(browser.get(answer, cookie) for _ in range(100)))
    assert Counter(each.status_code for each in told) == {303: 1, 409: 99}
    assert issuer.asked["/token"] == 1


async def test_of_a_hundred_calls_for_the_keys_one_begins_the_session(browser: Browser, person: str, api: Api) -> None:
    await browser.come_back()
    answers = await asyncio.gather(*(browser.fetch_keys() for _ in range(100)))
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["refreshKey"] for each in answers}) == 1
    phone = Phone(api, answers[0].json())
    lines = (await phone.get("/activity")).json()["activity"]
    assert [each["event"] for each in lines] == ["device.added"]
    # One of its keys has been used: the answer is not given again.
    assert refusal(await browser.fetch_keys()) == (410, "upstream_login_over")


@pytest.mark.parametrize("seconds", [(601, 0), (0, 121)], ids=["at the provider", "before the keys"])
async def test_a_login_that_takes_too_long_is_over(
    browser: Browser, person: str, clock: MovedClock, seconds: tuple[int, int]
) -> None:
    answer = await browser.answer()
    clock.advance(seconds[0])
    told = await browser.get(answer)
    if seconds[0]:
        assert told.status_code == 400
        return
    clock.advance(seconds[1])
    assert refusal(await browser.fetch_keys()) == (410, "upstream_login_over")


async def test_the_cookie_is_sealed_and_out_of_reach_of_scripts_and_neighbours(browser: Browser, person: str) -> None:
    begun = await browser.http.get("/login/upstream")
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("__Host-pairing_upstream=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{browser.origin}/login/upstream/callback"]
    for name in ("state", "nonce"):
        assert asked[name][0] not in cookie
    # One cookie is not taken for the other, and none for a login.
    name, _, value = cookie.partition(";")[0].partition("=")
    for forged in (value, value[:-4] + "AAAA", "A" * 64, "A" * 6000, "", "%%%", f"{value}; {name}=x"):
        browser.cookie = f"{name}={forged}"
        assert refusal(await browser.fetch_keys()) == (404, "not_found")


@pytest.mark.security(20)
async def test_the_keys_are_for_this_sites_own_pages(browser: Browser, person: str) -> None:
    await browser.come_back()
    for origin in ("https://evil.example", "null", ""):
        assert refusal(await browser.fetch_keys(Origin=origin)) == (403, "foreign_origin")
    for page in (await browser.http.get("/login/upstream"), await browser.http.get("/login/upstream/callback")):
        assert not [name for name in page.headers if name.startswith("access-control")]
    assert (await browser.fetch_keys()).status_code == 200


async def test_a_device_that_is_logged_in_is_not_logged_in_as_somebody_else(
    browser: Browser, person: str, api: Api, site: Embedded
) -> None:
    phone = await fresh_phone(api, site.folder, clock=site.clock)
    await browser.come_back()
    assert refusal(await browser.fetch_keys(**phone.headers)) == (400, "bad_request")
    assert (await phone.get("/me")).status_code == 200


async def test_a_locked_account_and_one_without_room_are_refused(
    browser: Browser, issuer: Issuer, site: Embedded
) -> None:
    issuer.subject = secrets.token_hex(8)
    built = build(settings_in(site.folder))
    name = f"locked-{issuer.subject}"
    await built.services.accounts.operator.invite(name)
    await built.services.people.link(name, issuer.url, issuer.subject)
    await built.services.accounts.operator.lock(name, locked=True)
    await browser.come_back()
    assert refusal(await browser.fetch_keys()) == (403, "account_locked")
    await built.services.accounts.operator.lock(name, locked=False)
    assert (await browser.fetch_keys()).status_code == 200
    await built.database.close()


@pytest.mark.security(48)
async def test_a_device_with_a_key_of_its_own_is_bound_to_it(
    browser: Browser, person: str, api: Api, site: Embedded
) -> None:
    await browser.come_back()
    device = BoundDevice(api, site.settings.public_url)
    headers = device_headers() | {"Cookie": browser.cookie, "Origin": browser.origin}
    body = {"deviceKey": device.key.jwk}
    bare = await api.http.post("/upstream/login", json=body, headers=headers)
    assert bare.status_code == 401
    answer = await device.ask("POST", "/upstream/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    device.keys = answer.json()
    assert (await Phone(api, answer.json()).get("/me")).status_code == 401
    assert (await device.get("/me")).json()["session"]["jkt"] == device.key.jkt
    # The cookie alone, without the key, gets no answer a second time.
    again = await api.http.post("/upstream/login", json={}, headers=headers)
    assert refusal(again) == (410, "upstream_login_over")


def silent(_: Request) -> Any:
    return asyncio.sleep(60, Response())


def huge(_: Request) -> Response:
    return Response(b" " * 1_000_000, media_type="application/json")


def replaced(path: str, answer: Callable[[Request], Any]) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.instead.update({path: answer})


def says(**claims: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.claims.update(claims)


def describes(**metadata: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.metadata.update(metadata)


def answers(**members: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.answer.update(members)


def writes(**header: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.header.update(header)


def signs(alg: str) -> Callable[[Issuer], None]:
    return lambda issuer: setattr(issuer, "alg", alg)


def by_public_key(_: Request) -> Response:
    claims = {"iss": "x", "sub": "ada", "aud": CLIENT, "exp": 9_999_999_999}
    return JSONResponse({"id_token": hmac_token(claims, RSA.as_pem(private=False))})


LIES: dict[str, Callable[[Issuer], None]] = {
    "another issuer in the token": says(iss="https://evil.example"),
    "another audience": says(aud="another-client"),
    "several audiences without azp": says(aud=[CLIENT, "other"]),
    "made for another application": says(azp="other"),
    "another nonce": says(nonce="another"),
    "no nonce": says(nonce=None),
    "nonce is a number": says(nonce=7),
    "expired": says(exp=1_700_000_000),
    "no end": says(exp=None),
    "an end that is none": says(exp="soon"),
    "an end in infinity": says(exp=float("-inf")),
    "not yet": says(nbf=9_999_999_999),
    "issued in the future": says(iat=9_999_999_999),
    "a login in the future": says(auth_time=9_999_999_999),
    "a login before time": says(auth_time=-(10**30)),
    "nobody": says(sub=None),
    "an empty subject": says(sub=""),
    "half a pair in the subject": says(sub="\ud800"),
    "half a pair in the nonce": says(nonce="\ud800"),
    "half a pair in the jti": says(jti="\ud800"),
    "a subject that is too long": says(sub="x" * 256),
    "a subject that is a list": says(sub=["ada"]),
    "a subject with NUL": says(sub="ada\0"),
    "a logout token": says(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "a logout token by its type": writes(typ="logout+jwt"),
    "a proof by its type": writes(typ="dpop+jwt"),
    "an unknown key": writes(kid="unknown"),
    "alg none": signs("none"),
    "an algorithm of another kind of key": lambda issuer: setattr(issuer, "keys", {"keys": PUBLIC_KEYS["keys"][1:]}),
    "a public key as a secret": replaced("/token", by_public_key),
    "no keys": lambda issuer: setattr(issuer, "keys", {"keys": []}),
    "keys that are none": lambda issuer: setattr(issuer, "keys", [1]),
    "no id_token": replaced("/token", lambda _: JSONResponse({"access_token": "x", "token_type": "Bearer"})),
    "an id_token that is none": replaced("/token", lambda _: JSONResponse({"id_token": "a.b.c"})),
    "an id_token that is a list": replaced("/token", lambda _: JSONResponse({"id_token": ["x"]})),
    "a list in place of tokens": replaced("/token", lambda _: JSONResponse([1])),
    "no JSON in place of tokens": replaced("/token", lambda _: Response("<html>")),
    "half a pair beside the id_token": replaced("/token", lambda _: Response('{"id_token": "x", "y": "\\ud800"}')),
    "two id_tokens": replaced("/token", lambda _: Response('{"id_token": "x", "id_token": "y"}')),
    "deep JSON in place of tokens": replaced("/token", lambda _: Response("[" * 100_000)),
    "an error in place of tokens": replaced("/token", lambda _: JSONResponse({"error": "invalid_grant\n<b>"}, 400)),
    "a failure in place of tokens": replaced("/token", lambda _: Response(status_code=500)),
    "a redirect in place of tokens": replaced("/token", lambda _: RedirectResponse("http://localhost:1/")),
    "a huge answer in place of tokens": replaced("/token", huge),
    "silence in place of tokens": replaced("/token", silent),
    "silence in place of keys": replaced("/jwks", silent),
    "a huge answer in place of keys": replaced("/jwks", huge),
    "keys at a private address": describes(jwks_uri="http://169.254.169.254/keys"),
    "keys nowhere": describes(jwks_uri=None),
    "another issuer's answer": answers(iss="https://evil.example"),
    "an answer that names nobody": answers(iss=None),
    "an answer without a code": answers(code=""),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_provider_that_lies_or_is_away_logs_nobody_in(
    browser: Browser, issuer: Issuer, site: Embedded, monkeypatch: pytest.MonkeyPatch, lie: Callable[[Issuer], None]
) -> None:
    monkeypatch.setattr(adapter, "TIMEOUT_SECONDS", 0.3)
    before = await users(site)
    # As it is honest, the browser is sent to it. Then its keys are asked for again.
    address = await browser.to_provider()
    lie(issuer)
    back = await browser.get(str((await browser.get(address)).headers["location"]))
    words = {
        403: "Example &amp; Co gave no answer that counts",
        502: "Example &amp; Co can&#x27;t be reached just now",
        503: "Just a moment",
    }
    assert words[back.status_code] in back.text
    # What may work later says so, also to those who look at statuses.
    assert ("Try again" in back.text) == (back.status_code == 502)
    assert "evil" not in back.headers.get("location", "")
    assert refusal(await browser.fetch_keys()) == (404, "not_found")
    assert await users(site) == before


UNDESCRIBED: dict[str, Callable[[Issuer], None]] = {
    "another issuer": describes(issuer="https://evil.example"),
    "no authorization endpoint": describes(authorization_endpoint=None),
    "a script": describes(authorization_endpoint="javascript:alert(1)"),
    "no host": describes(authorization_endpoint="http:///x"),
    "no address": describes(token_endpoint="http://[x"),
    "a number": describes(token_endpoint=7),
    "no JSON": replaced("/.well-known/openid-configuration", lambda _: Response("<html>")),
    "a huge one": replaced("/.well-known/openid-configuration", huge),
    "none": replaced("/.well-known/openid-configuration", lambda _: Response(status_code=404)),
    "a redirect": replaced("/.well-known/openid-configuration", lambda _: RedirectResponse("http://localhost:1/")),
}


@pytest.mark.parametrize("lie", UNDESCRIBED.values(), ids=UNDESCRIBED.keys())
async def test_nobody_is_sent_to_a_provider_that_does_not_describe_itself(
    browser: Browser, issuer: Issuer, lie: Callable[[Issuer], None]
) -> None:
    lie(issuer)
    answer = await browser.get("/login/upstream")
    assert (answer.status_code, "can&#x27;t be reached just now" in answer.text) == (502, True)


async def test_a_provider_that_is_back_is_asked_again(browser: Browser, issuer: Issuer, clock: MovedClock) -> None:
    issuer.instead["/.well-known/openid-configuration"] = lambda _: Response(status_code=503)
    assert [(await browser.get("/login/upstream")).status_code for _ in range(20)] == [502] * 20
    assert issuer.asked["/.well-known/openid-configuration"] == 1
    issuer.honest()
    clock.advance(5)
    assert (await browser.get("/login/upstream")).status_code == 303


async def test_a_person_who_breaks_it_off_is_told_so(browser: Browser, issuer: Issuer) -> None:
    state = parse_qs(urlsplit(await browser.to_provider()).query)["state"][0]
    answer = await browser.get(f"/login/upstream/callback?error=access_denied&state={state}&error_description=<b>")
    assert (answer.status_code, "refused or broken off" in answer.text) == (403, True)
    assert "<b>" not in answer.text
    assert browser.cookie.endswith('=""')


@pytest.mark.parametrize(
    "words",
    [
        "error_description=AADSTS65004%3a+User+declined.%0d%0aTrace+ID%3a+1",
        "error_description=Refus%E9",
        "error_description=\xe9",
        "error_description=",
        "error_description=a&error_description=b",
        "error_uri=%00&error_uri=%00&session_state=%0a",
    ],
    ids=["line breaks", "Latin-1", "raw", "empty", "twice", "others"],
)
async def test_whatever_words_a_provider_has_for_it(browser: Browser, issuer: Issuer, words: str) -> None:
    state = parse_qs(urlsplit(await browser.to_provider()).query)["state"][0]
    with capture_logs() as lines:
        answer = await browser.get(f"/login/upstream/callback?error=access_denied&state={state}&{words}")
    assert (answer.status_code, "refused or broken off" in answer.text) == (403, True)
    (line,) = [each for each in lines if each["event"] == "upstream.failed"]
    assert line["why"].startswith("it answered access_denied")
    assert line["why"].isprintable()


@pytest.mark.security(39)
async def test_no_answer_leads_anywhere_but_to_our_own_page(browser: Browser, person: str) -> None:
    answer = await browser.answer()
    for more in ("next", "redirect_uri", "return_to", "url", "RelayState"):
        answer += f"&{more}=https%3A%2F%2Fevil.example"
    told = await browser.get(answer)
    assert told.headers["location"] == f"{browser.origin}/join/upstream"


@pytest.mark.security(41)
async def test_a_provider_at_a_private_address_is_asked_only_if_the_setting_allows_it(
    issuer: Issuer, tmp_path: Any
) -> None:
    with embedded(tmp_path, upstream_issuer=issuer.url, upstream_client_id=CLIENT) as closed:
        browser = Browser(closed.settings.public_url)
        answer = await browser.get("/login/upstream")
        await browser.http.aclose()
    assert (answer.status_code, "this machine" in answer.text) == (502, True)
    assert not issuer.asked


async def test_pages_of_new_devices_name_the_provider_and_those_of_a_server_without_one_do_not(
    browser: Browser, tmp_path: Any
) -> None:
    for path in ("/", "/join/upstream", "/join/AAAAAAAAAAAAAAAAAAAAAA"):
        assert '<body data-provider="Example &amp; Co">' in (await browser.get(path)).text
    for path in ("/phone", "/devices", "/link"):
        assert "data-provider" not in (await browser.get(path)).text
    with embedded(tmp_path) as without:
        alone = Browser(without.settings.public_url)
        assert "data-provider" not in (await alone.get("/")).text
        assert (await alone.get("/login/upstream")).status_code == 404
        assert (await alone.get("/login/upstream/callback?state=x")).status_code == 404
        assert refusal(await alone.fetch_keys()) == (404, "not_found")
        await alone.http.aclose()


async def test_keys_that_are_asked_for_by_cookie_stay_out_of_the_body(browser: Browser, person: str) -> None:
    await browser.come_back()
    answer = await browser.fetch_keys("cookie")
    assert answer.status_code == 200, answer.text
    assert "refreshKey" not in answer.json()
    assert "pairing_refresh=" in answer.headers["set-cookie"]
