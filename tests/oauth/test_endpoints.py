"""The endpoints that applications call, over the wire: forms, client authentication, OAuth's errors, CORS."""

import base64
import json

import httpx2
import pytest

from pairing_ws.core import codes
from tests.oauth.conftest import NewApplication
from tests.support.app_server import AppServer
from tests.support.client import Phone
from tests.support.embedded import Embedded
from tests.support.keys import DeviceKey, payload

PAGE = "https://spa.example"
ENDPOINTS = ("/oauth/device_authorization", "/oauth/token", "/oauth/userinfo", "/oauth/revoke", "/oauth/introspect")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def error(answer: httpx2.Response) -> tuple[int, str]:
    """Status and word of an error, after a look at its form."""
    assert answer.headers["content-type"] == "application/json", answer.text
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert set(document) == {"error", "error_description"}
    # RFC 6749, section 5.2: one character at least.
    assert document["error_description"]
    assert document["error_description"].isascii()
    return answer.status_code, document["error"]


async def test_a_code_becomes_tokens_that_tell_who_it_is_and_end_when_they_are_revoked(
    app: AppServer, phone: Phone
) -> None:
    answer = await app.redeem(await app.code(phone, nonce="n"))
    assert answer.status_code == 200
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    given = answer.json()
    assert given.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope", "id_token"}
    assert (given["token_type"], given["scope"]) == ("Bearer", "openid groups")
    assert 298 <= given["expires_in"] <= 300
    sub = payload(given["id_token"])["sub"]
    assert (await app.user_info(given["access_token"])).json() == {"sub": sub, "groups": []}
    assert (await app.introspect(given["access_token"])).json()["active"] is True
    renewed = (await app.refresh(given["refresh_token"])).json()
    assert payload(renewed["id_token"])["sub"] == sub
    revoked = await app.revoke(renewed["refresh_token"])
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert (await app.introspect(renewed["access_token"])).json() == {"active": False}
    assert error(await app.refresh(renewed["refresh_token"])) == (400, "invalid_grant")


# Client authentication


@pytest.mark.parametrize("secret", ["basic", "post"])
async def test_a_confidential_client_authenticates_in_either_place(app: AppServer, phone: Phone, secret: str) -> None:
    assert app.secret
    form = {"token": "x"}
    if secret == "basic":
        answer = await app.post("/oauth/introspect", form | {"client_id": app.id})
    else:
        form |= {"client_id": app.id, "client_secret": app.secret}
        answer = await app.http.post("/oauth/introspect", data=form)
    assert answer.json() == {"active": False}


async def test_a_secret_of_any_characters_is_form_encoded_in_basic(new_application: NewApplication) -> None:
    odd = "p%20 :+&=ä"
    app = await new_application(id="an app+%2B:x", secret_hash=codes.digest(odd))
    app.secret = odd
    assert (await app.introspect("x")).json() == {"active": False}


@pytest.mark.security(45)
@pytest.mark.parametrize("endpoint", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
async def test_a_confidential_client_without_its_secret_is_refused(app: AppServer, phone: Phone, endpoint: str) -> None:
    code = await app.code(phone)
    form = app.code_form(code)
    answer = await app.http.post(endpoint, data=form | {"client_id": app.id, "token": "x"})
    assert error(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith('Basic realm="OAuth", error="invalid_client"')
    assert (await app.redeem(code)).status_code == 200


@pytest.mark.security(47)
@pytest.mark.parametrize(
    ("authorization", "form", "expected"),
    [
        ("", {}, (401, "invalid_client")),
        ("Basic", {}, (401, "invalid_client")),
        ("Basic !", {}, (401, "invalid_client")),
        ("Basic " + base64.b64encode(b"no colon").decode(), {}, (401, "invalid_client")),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), {}, (401, "invalid_client")),
        ("Basic " + base64.b64encode(b"a:%ff").decode(), {}, (401, "invalid_client")),
        ("Basic " + base64.b64encode(b"{id}:wrong").decode(), {}, (401, "invalid_client")),
        ("Basic " + base64.b64encode(b"a:" + b"x" * 2000).decode(), {}, (401, "invalid_client")),
        ("Bearer x", {}, (401, "invalid_client")),
        ("own", {"client_secret": "x"}, (400, "invalid_request")),
        ("own", {"client_id": "another"}, (400, "invalid_request")),
        ("own", {"client_assertion": "x", "client_assertion_type": "y"}, (401, "invalid_client")),
        (
            "own",
            {
                "client_assertion": "x",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            },
            (400, "invalid_request"),
        ),
        ("", {"client_assertion": "x"}, (401, "invalid_client")),
        (
            "",
            {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
            (401, "invalid_client"),
        ),
    ],
    ids=str,
)
async def test_anything_but_one_good_way_to_authenticate_is_refused(
    app: AppServer, authorization: str, form: dict[str, str], expected: tuple[int, str]
) -> None:
    headers = app.basic() if authorization == "own" else {"Authorization": authorization} if authorization else {}
    answer = await app.http.post("/oauth/token", data={"grant_type": "refresh_token"} | form, headers=headers)
    assert error(answer) == expected


@pytest.mark.security(45)
async def test_an_empty_secret_in_basic_names_a_public_client_and_no_confidential_one(
    app: AppServer, new_application: NewApplication
) -> None:
    spa = await new_application(public=True)
    for each, expected in ((spa, (200, "")), (app, (401, "invalid_client"))):
        pair = base64.b64encode(f"{each.id}:".encode()).decode()
        answer = await each.http.post("/oauth/revoke", data={"token": "x"}, headers={"Authorization": f"Basic {pair}"})
        assert (answer.status_code, answer.json()["error"] if answer.content else "") == expected


# Forms


@pytest.mark.security(47)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b'{"grant_type": "refresh_token"}', {"Content-Type": "application/json"}),
        (b"grant_type=refresh_token", {"Content-Type": "text/plain"}),
        (b"grant_type=refresh_token", {"Content-Type": ""}),
        (b"grant_type=a&grant_type=b", FORM),
        (b"other=a&other=", FORM),
        (b"scope=%ff", FORM),
        (b"scope=\xff", FORM),
        ("scope=ä".encode(), FORM),
        (b"code=a%00b", FORM),
        (b"scope=a%0ab", FORM),
        (b"&".join(b"n%d=1" % number for number in range(65)), FORM),
    ],
    ids=str,
)
async def test_what_is_no_plain_form_is_refused(
    app: AppServer, endpoint: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = await app.http.post(endpoint, content=content, headers=headers)
    assert error(answer) == (400, "invalid_request")


@pytest.mark.security(47)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "name",
    [
        "access_token",
        "client_secret",
        "client_assertion",
        "code",
        "code_verifier",
        "device_code",
        "refresh_token",
        "token",
    ],
)
async def test_secrets_in_the_query_are_refused(app: AppServer, endpoint: str, name: str) -> None:
    answer = await app.post(f"{endpoint}?{name}=x", {"token": "x"})
    assert error(answer) == (400, "invalid_request")
    assert error(await app.http.get(f"/oauth/userinfo?{name}=x")) == (400, "invalid_request")


async def test_other_parameters_are_passed_over_and_those_without_a_value_too(app: AppServer, phone: Phone) -> None:
    code = await app.code(phone)
    answer = await app.redeem(code, resource="https://api.example", other="x", scope="", client_secret="")
    assert answer.status_code == 200, answer.text
    assert (await app.http.post("/oauth/token?lang=de", data={})).status_code == 401


@pytest.mark.security(47)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_body_has_a_bound(app: AppServer, endpoint: str) -> None:
    answer = await app.http.post(endpoint, content=b"a=" + b"x" * 17_000, headers=FORM)
    assert error(answer) == (413, "invalid_request")


# Paths and methods


async def test_other_methods_and_paths_are_refused_in_oauths_words(app: AppServer) -> None:
    answer = await app.http.get("/oauth/token")
    assert error(answer) == (405, "invalid_request")
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert error(await app.http.get("/oauth/nowhere")) == (404, "invalid_request")
    assert (await app.http.options("/oauth/userinfo")).headers["allow"] == "GET, POST, HEAD, OPTIONS"


# UserInfo


async def test_user_info_takes_the_token_from_header_or_body_by_get_or_post(app: AppServer, phone: Phone) -> None:
    token = (await app.tokens(phone))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    answers = [
        await app.http.get("/oauth/userinfo", headers=bearer),
        await app.http.get("/oauth/userinfo", headers={"authorization": f"bearer  {token}"}),
        await app.http.post("/oauth/userinfo", headers=bearer),
        await app.http.post("/oauth/userinfo", data={"access_token": token}),
    ]
    assert [each.status_code for each in answers] == [200] * 4
    assert len({each.text for each in answers}) == 1
    both = await app.http.post("/oauth/userinfo", data={"access_token": token}, headers=bearer)
    assert error(both) == (400, "invalid_request")


async def test_user_info_says_by_its_challenge_what_is_wrong(app: AppServer, phone: Phone) -> None:
    nothing = await app.http.get("/oauth/userinfo")
    assert error(nothing) == (401, "invalid_token")
    assert nothing.headers["www-authenticate"] == 'Bearer realm="OAuth", DPoP algs="ES256"'
    wrong = await app.user_info("x")
    assert error(wrong) == (401, "invalid_token")
    assert wrong.headers["www-authenticate"].startswith('Bearer realm="OAuth", error="invalid_token"')
    without_openid = (await app.tokens(phone, scope="email"))["access_token"]
    less = await app.user_info(without_openid)
    assert error(less) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in less.headers["www-authenticate"]


@pytest.mark.security(46)
async def test_an_id_token_and_a_refresh_token_are_no_access_tokens(app: AppServer, phone: Phone) -> None:
    given = await app.tokens(phone)
    for name in ("id_token", "refresh_token"):
        assert error(await app.user_info(given[name])) == (401, "invalid_token")


# CORS


@pytest.mark.security(20)
@pytest.mark.parametrize(
    "endpoint", ["/oauth/device_authorization", "/oauth/token", "/oauth/userinfo", "/oauth/revoke"]
)
async def test_pages_of_public_clients_may_ask_and_no_others(
    new_application: NewApplication, site: Embedded, endpoint: str
) -> None:
    await new_application(origins=("https://confidential.example",))
    spa = await new_application(public=True, origins=(PAGE,))
    # What is known of clients may be so old.
    site.clock.advance(6)
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, dpop"}
    allowed = await spa.http.options(endpoint, headers={"Origin": PAGE} | ask)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in allowed.headers
    refusal = await spa.http.post(endpoint, data={"a": "b"}, headers={"Origin": PAGE})
    assert refusal.headers["access-control-allow-origin"] == PAGE
    assert "DPoP-Nonce" in refusal.headers["access-control-expose-headers"]
    for origin in ("https://confidential.example", PAGE + ".evil.example", "null", PAGE.upper()):
        assert (await spa.http.options(endpoint, headers={"Origin": origin} | ask)).status_code == 403
        answer = await spa.http.post(endpoint, data={"a": "b"}, headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


async def test_no_page_reads_a_description(new_application: NewApplication, site: Embedded) -> None:
    spa = await new_application(public=True, origins=(PAGE,))
    site.clock.advance(6)
    answer = await spa.http.post("/oauth/introspect", data={"token": "x"}, headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_ours_has_one_header_that_says_so(new_application: NewApplication, site: Embedded) -> None:
    origin = site.settings.public_origin
    spa = await new_application(public=True, origins=(origin,))
    site.clock.advance(6)
    answer = await spa.http.post("/oauth/revoke", data={}, headers={"Origin": origin})
    assert answer.headers.get_list("access-control-allow-origin") == [origin]


# DPoP (RFC 9449)


@pytest.mark.security(48)
async def test_a_proof_without_a_nonce_is_told_one_and_costs_nothing(
    app: AppServer, phone: Phone, site: Embedded
) -> None:
    key, code = DeviceKey(), await app.code(phone)
    url = f"{site.settings.public_url}/oauth/token"
    first = await app.redeem(code, {"DPoP": key.proof("POST", url, None)})
    assert error(first) == (400, "use_dpop_nonce")
    nonce = first.headers["dpop-nonce"]
    second = await app.redeem(code, {"DPoP": key.proof("POST", url, nonce)})
    assert second.status_code == 200, second.text
    assert second.headers["dpop-nonce"]
    given = second.json()
    assert given["token_type"] == "DPoP"
    assert payload(given["access_token"])["cnf"] == {"jkt": key.jkt}

    # At UserInfo, with the token's hash.
    info, token = f"{site.settings.public_url}/oauth/userinfo", given["access_token"]
    unproved = await app.http.get("/oauth/userinfo", headers={"Authorization": f"DPoP {token}"})
    assert error(unproved) == (401, "invalid_dpop_proof")
    early = await app.http.get(
        "/oauth/userinfo", headers={"Authorization": f"DPoP {token}", "DPoP": key.proof("GET", info, None, token)}
    )
    assert error(early) == (401, "use_dpop_nonce")
    assert 'DPoP realm="OAuth", error="use_dpop_nonce"' in early.headers["www-authenticate"]
    nonce = early.headers["dpop-nonce"]
    good = {"Authorization": f"DPoP {token}", "DPoP": key.proof("GET", info, nonce, token)}
    assert (await app.http.get("/oauth/userinfo", headers=good)).status_code == 200
    again = await app.http.get("/oauth/userinfo", headers=good)
    assert error(again) == (401, "invalid_dpop_proof")
    for proof in (key.proof("GET", info, nonce), DeviceKey().proof("GET", info, nonce, token)):
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        assert error(await app.http.get("/oauth/userinfo", headers=headers)) == (401, "invalid_dpop_proof")
    assert error(await app.user_info(token)) == (401, "invalid_token")


@pytest.mark.security(48)
@pytest.mark.parametrize("proof", ["", "x", "a.b.c", "doubled", "private", "rsa"])
async def test_a_proof_that_is_none_is_refused(app: AppServer, phone: Phone, site: Embedded, proof: str) -> None:
    key, url = DeviceKey(), f"{site.settings.public_url}/oauth/token"
    if proof == "private":
        proof = key.proof("POST", url, None, header={"jwk": key.pair.as_dict(private=True)})
    elif proof == "rsa":
        proof = key.proof("POST", url, None, header={"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}})
    headers = [*app.basic().items(), ("DPoP", proof)]
    if proof == "doubled":
        good = key.proof("POST", url, None)
        headers = [*app.basic().items(), ("DPoP", good), ("DPoP", good)]
    code = await app.code(phone)
    form = app.code_form(code)
    answer = await app.http.post("/oauth/token", data=form, headers=headers)
    assert error(answer) == (400, "invalid_dpop_proof")
    assert (await app.redeem(code)).status_code == 200


# One kind of token is never another


@pytest.mark.security(46)
async def test_a_first_party_key_is_no_access_token_and_no_refresh_token(app: AppServer, phone: Phone) -> None:
    assert error(await app.user_info(phone.keys["authKey"])) == (401, "invalid_token")
    assert error(await app.refresh(phone.keys["refreshKey"])) == (400, "invalid_grant")
    for name in ("authKey", "refreshKey"):
        assert (await app.introspect(phone.keys[name])).json() == {"active": False}
        assert (await app.revoke(phone.keys[name])).status_code == 200
    assert (await phone.get("/me")).status_code == 200


def test_bodies_are_json_without_what_a_header_could_not_hold(site: Embedded) -> None:
    with httpx2.Client(base_url=site.url) as http:
        answer = http.post("/oauth/token", content=b"na%22me=1&na%22me=2", headers=FORM)
    assert json.loads(answer.content)["error_description"] == "a parameter is given several times"
