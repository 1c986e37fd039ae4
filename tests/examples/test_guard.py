"""Protected routes of applications that mount the server (Starlette, FastAPI) or run beside it (Django, Flask): who
gets in, and what the others are told."""

import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.core.clock import system_clock
from pairing_ws.oauth.ports import Algorithm
from tests.examples.conftest import BESIDE, MOUNTING, Site
from tests.support.client import Api
from tests.support.keys import DeviceKey
from tests.support.tokens import parts

ROOT = Path(__file__).parents[2]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def now() -> int:
    return int(time.time())


async def test_a_person_who_has_logged_in_gets_in(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    phone = await site.phone(api)
    expected = {"user": phone.keys["user"]["id"], "device": phone.keys["device"]["id"], "client": None}
    for headers in (phone.headers, bearer(phone.keys["authKey"])):
        answer = await browser.get("/me", headers=headers)
        assert (answer.status_code, answer.json()) == (200, expected)
    # It is the person's own: scopes are for applications.
    assert (await browser.get("/orders", headers=phone.headers)).status_code == 200


async def test_who_brings_no_token_is_told_how(site: Site, browser: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        answer = await browser.get("/me", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="OAuth", DPoP algs="ES256"'


@pytest.mark.security(50)
async def test_an_application_may_do_what_its_scopes_say(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    phone = await site.phone(api)
    async with await site.client() as app:
        can = (await app.tokens(phone, "openid orders"))["access_token"]
        cannot = (await app.tokens(phone, "openid"))["access_token"]
    told = (await browser.get("/me", headers=bearer(can))).json()
    assert told == {"user": phone.keys["user"]["id"], "device": None, "client": app.id}
    assert (await browser.get("/orders", headers=bearer(can))).status_code == 200
    refused = await browser.get("/orders", headers=bearer(cannot))
    assert refused.status_code == 403
    challenge = refused.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="OAuth", error="insufficient_scope"')
    assert 'scope="orders"' in challenge


@pytest.mark.security(50)
async def test_a_token_for_another_application_is_refused(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    async with await site.client(audience="https://other.example.com") as app:
        token = (await app.tokens(await site.phone(api), "openid orders"))["access_token"]
    await assert_refused(browser, bearer(token))


@pytest.mark.security(50)
@pytest.mark.parametrize("kind", ["authKey", "client"])
async def test_a_token_that_is_over_or_of_another_issuer_or_kind_is_refused(
    site: Site, api: Api, browser: httpx2.AsyncClient, kind: str
) -> None:
    phone = await site.phone(api)
    good = phone.keys["authKey"]
    if kind == "client":
        async with await site.client() as app:
            good = (await app.tokens(phone, "openid"))["access_token"]
    header, claims = parts(good)[:2]

    def signed(typ: str = "at+jwt", alg: Algorithm = Algorithm.ES256, **changed: Any) -> str:
        ring = KeyRing(site.folder / "pairing-keys.json", system_clock)
        return JwtClientTokens(ring, site.issuer).sign({**claims, **changed}, typ=typ, alg=alg)

    assert (await browser.get("/me", headers=bearer(signed()))).status_code == 200
    foreign = jwt.encode(dict(header), dict(claims), ECKey.generate_key("P-256"), algorithms=["ES256"])
    none = ".".join([DeviceKey().signed({**header, "alg": "none"}, claims).rpartition(".")[0], ""])
    other_kinds = (signed(typ="JWT"), signed(typ="logout+jwt"), none, good[:-4] + "AAAA", "word", good + ".x")
    for token in (signed(exp=now() - 1), signed(iss="https://other.example.com"), foreign, *other_kinds):
        await assert_refused(browser, bearer(token))
    await assert_refused(browser, bearer(signed(aud="https://other.example.com")))


async def test_two_tokens_at_once_are_refused(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    phone = await site.phone(api)
    answer = await browser.get("/me", headers={**phone.headers, **bearer(phone.keys["authKey"])})
    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]


@pytest.mark.security(50)
async def test_a_bound_authkey_needs_a_fresh_proof_for_this_address_and_key(
    site: Site, api: Api, browser: httpx2.AsyncClient
) -> None:
    device = await site.bound_device(api)
    auth_key = device.auth_key
    here = f"{site.url}/me"

    def proof(method: str = "GET", url: str = here, **changed: Any) -> str:
        return device.key.proof(method, url, None, **{"auth_key": auth_key, "iat": now(), **changed})

    async def shown(proof: str, scheme: str = "DPoP") -> httpx2.Response:
        return await browser.get("/me", headers={"Authorization": f"{scheme} {auth_key}", "DPoP": proof})

    once = proof()
    assert (await shown(once)).json()["device"] == device.keys["device"]["id"]
    by_auth_key = {"Auth-Key": auth_key, "DPoP": proof()}
    assert (await browser.get("/me", headers=by_auth_key)).status_code == 200
    stranger = DeviceKey().proof("GET", here, None, auth_key, iat=now())
    not_for_this = (proof("POST"), proof(url=f"{site.url}/orders"), proof(url="https://other.example.com/me"))
    for wrong in (once, stranger, *not_for_this, proof(auth_key="another"), proof(auth_key=None), "word"):
        answer = await shown(wrong)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('DPoP realm="OAuth", error="invalid_dpop_proof"')
    for headers in ({"Authorization": f"DPoP {auth_key}"}, {"Auth-Key": auth_key}):
        assert (await browser.get("/me", headers=headers)).status_code == 401
    assert (await shown(proof(), scheme="Bearer")).status_code == 401


async def test_a_clock_that_is_wrong_gets_a_nonce_to_go_on_with(
    site: Site, api: Api, browser: httpx2.AsyncClient
) -> None:
    device = await site.bound_device(api)
    headers = {"Authorization": f"DPoP {device.auth_key}"}
    wrong = now() - 3600
    late = device.key.proof("GET", f"{site.url}/me", None, device.auth_key, iat=wrong)
    answer = await browser.get("/me", headers={**headers, "DPoP": late})
    assert answer.status_code == 401
    assert 'error="use_dpop_nonce"' in answer.headers["WWW-Authenticate"]
    again = device.key.proof("GET", f"{site.url}/me", answer.headers["DPoP-Nonce"], device.auth_key, iat=wrong)
    assert (await browser.get("/me", headers={**headers, "DPoP": again})).status_code == 200


@pytest.mark.security(50)
async def test_an_applications_bound_token_needs_its_key_too(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    key, here, token_url = DeviceKey(), f"{site.url}/orders", f"{site.issuer}/oauth/token"
    async with await site.client() as app:
        code = await app.code(await site.phone(api), "openid orders")
        nonce = (await app.redeem(code, {"DPoP": key.proof("POST", token_url, None)})).headers["DPoP-Nonce"]
        given = await app.redeem(code, {"DPoP": key.proof("POST", token_url, nonce)})
    assert given.json()["token_type"] == "DPoP", given.text
    token = given.json()["access_token"]

    async def shown(proof: str | None, scheme: str = "DPoP") -> httpx2.Response:
        headers = {"Authorization": f"{scheme} {token}"} | ({"DPoP": proof} if proof else {})
        return await browser.get("/orders", headers=headers)

    once = key.proof("GET", here, None, token, iat=now())
    assert (await shown(once)).status_code == 200
    elsewhere = key.proof("GET", f"{site.url}/me", None, token, iat=now())
    for wrong in (None, once, elsewhere, DeviceKey().proof("GET", here, None, token, iat=now())):
        answer = await shown(wrong)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('DPoP realm="OAuth", error="invalid_dpop_proof"')
    assert (await shown(None, "Bearer")).status_code == 401
    # A clock that is wrong is told how to go on.
    late = await shown(key.proof("GET", here, None, token, iat=now() - 3600))
    assert 'error="use_dpop_nonce"' in late.headers["WWW-Authenticate"]
    again = key.proof("GET", here, late.headers["DPoP-Nonce"], token, iat=now() - 3600)
    assert (await shown(again)).status_code == 200


async def test_an_unbound_token_does_not_come_by_dpop(site: Site, api: Api, browser: httpx2.AsyncClient) -> None:
    phone = await site.phone(api)
    await assert_refused(browser, {"Authorization": f"DPoP {phone.keys['authKey']}"})


@pytest.mark.security(50)
async def test_a_revocation_counts_at_once_where_the_server_is_mounted(
    site: Site, api: Api, browser: httpx2.AsyncClient
) -> None:
    """Beside it, when the token ends."""
    phone = await site.phone(api)
    async with await site.client() as app:
        tokens = await app.tokens(phone, "openid")
        revoked = bearer(tokens["access_token"])
        assert (await browser.get("/me", headers=revoked)).status_code == 200
        assert (await app.revoke(tokens["refresh_token"])).status_code == 200
    assert (await browser.get("/me", headers=phone.headers)).status_code == 200
    await api.http.delete("/sessions/current", headers=phone.headers)
    expected = 401 if site.name in MOUNTING else 200
    assert (await browser.get("/me", headers=phone.headers)).status_code == expected
    assert (await browser.get("/me", headers=revoked)).status_code == expected


async def assert_refused(browser: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await browser.get("/me", headers=headers)
    assert answer.status_code == 401, answer.text
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_what_the_manual_shows_is_what_runs_here() -> None:
    manual = (ROOT / "pairing_ws/guard/README.md").read_text()
    shown = re.findall(r"(?ms)^<!-- (\S+) -->\n```python\n(.*?)^```", manual)
    assert len(shown) == len(MOUNTING) + len(BESIDE)
    for file, text in shown:
        assert text in (ROOT / file).read_text(), file
