"""Token exchange (RFC 8693): whose token becomes whose session, for which device, how often; and what is refused."""

import asyncio
import base64
import re
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from pairing_ws.accounts.operator import UserId
from pairing_ws.components import build
from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import Embedded, MovedClock, embedded, fresh_phone, settings_in
from tests.support.issuer import CLIENT, RSA, Issuer, hmac_token
from tests.support.keys import DeviceKey, spelt

from .conftest import BY_FILE, BY_OID, EXCHANGE, Link, exchange

pytestmark = pytest.mark.security(54)

KIND = "urn:ietf:params:oauth:token-type:"
# Of P-256 (FIPS 186-4).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def word(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", "")


def as_phone(api: Api, answer: httpx2.Response) -> Phone:
    assert answer.status_code == 200, answer.text
    given = answer.json()
    return Phone(api, {"authKey": given["access_token"], "refreshKey": given["refresh_token"]})


@pytest.fixture
async def person(issuer: Issuer, link: Link) -> str:
    """The id of the account of whom the issuer's tokens tell."""
    issuer.subject = secrets.token_hex(8)
    return await link(issuer.subject)


@pytest.mark.parametrize("kind", ["jwt", "id_token"])
async def test_a_token_of_a_trusted_issuer_becomes_a_session_of_the_named_device(
    app: AppServer, issuer: Issuer, person: str, api: Api, kind: str
) -> None:
    answer = await exchange(app, issuer.token(), device_headers(name="The van"), subject_token_type=KIND + kind)
    phone, given = as_phone(api, answer), answer.json()
    assert given["issued_token_type"] == f"{KIND}access_token"
    assert given["token_type"] == "Bearer"
    assert 0 < given["expires_in"] <= 600
    assert given.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "issued_token_type"}
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    me = (await phone.get("/me")).json()
    assert (me["user"]["id"], me["session"]["amr"], me["device"]["name"]) == (person, ["exchange"], "The van")
    renewed = await api.http.post("/sessions/refresh", json={"refreshKey": given["refresh_token"]})
    assert renewed.status_code == 200


async def test_such_a_device_is_one_among_the_accounts_devices(
    app: AppServer, issuer: Issuer, site: Embedded, api: Api
) -> None:
    issuer.subject, name = secrets.token_hex(8), f"user-{secrets.token_hex(4)}"
    owner = await fresh_phone(api, site.folder, name, site.clock)
    built = build(settings_in(site.folder))
    await built.services.people.link(name, issuer.url, issuer.subject)
    await built.database.close()
    phone = as_phone(api, await exchange(app, issuer.token()))
    assert "quarantineUntil" in (await phone.get("/me")).json()
    devices = (await owner.get("/devices")).json()["devices"]
    assert len(devices) == 2
    assert (await phone.post("/devices/revoke-others")).status_code == 403
    assert (await api.http.delete(f"/devices/{devices[1]['id']}", headers=owner.headers)).status_code == 204
    assert (await phone.get("/me")).status_code == 401


async def test_the_keys_may_be_in_a_file_and_the_subject_in_another_claim(
    app: AppServer, issuer: Issuer, link: Link, api: Api
) -> None:
    oid = secrets.token_hex(8)
    user_id = await link(oid, BY_OID)
    for alg in ("RS256", "PS256", "ES256", "EdDSA"):
        issuer.alg = alg
        phone = as_phone(api, await exchange(app, issuer.token(iss=BY_OID, oid=oid, sub="somebody else")))
        assert (await phone.get("/me")).json()["user"]["id"] == user_id


async def test_an_account_is_opened_only_where_the_setting_says_so(app: AppServer, issuer: Issuer, api: Api) -> None:
    stranger = secrets.token_hex(8)
    refused = await exchange(app, issuer.token(sub=stranger, email="ada@example.com", email_verified=True))
    assert word(refused) == (400, "invalid_grant")
    taken = f"ada-{stranger}"
    tokens = [issuer.token(iss=BY_FILE, sub=f"{stranger}-{n}", preferred_username=taken) for n in range(2)]
    opened = [(await as_phone(api, await exchange(app, each)).get("/me")).json()["user"] for each in tokens]
    assert all(re.fullmatch(f"{taken}~[0-9a-z]{{8}}", each["username"]) for each in opened)
    assert len({each["username"] for each in opened}) == len({each["id"] for each in opened}) == 2
    again = as_phone(api, await exchange(app, issuer.token(iss=BY_FILE, sub=f"{stranger}-0")))
    assert (await again.get("/me")).json()["user"]["id"] == opened[0]["id"]
    for name in ("", " ", "\u202e\0", "x" * 500):
        token = issuer.token(iss=BY_FILE, sub=secrets.token_hex(8), preferred_username=name, name=None)
        assert (await exchange(app, token)).status_code == 200


async def test_a_stranger_does_not_choose_the_name_that_their_account_gets(
    app: AppServer, issuer: Issuer, api: Api
) -> None:
    """Applications behind forward auth know a person by it."""
    for claims in ({"preferred_username": "admin"}, {"name": "admin"}, {"preferred_username": "a" * 500}):
        token = issuer.token(iss=BY_FILE, sub=secrets.token_hex(8), **claims)
        user = (await as_phone(api, await exchange(app, token)).get("/me")).json()["user"]
        assert re.fullmatch("(admin|a{55})~[0-9a-z]{8}", user["username"])
        assert user["displayName"] == user["username"]


async def test_of_fifty_first_logins_of_a_person_at_once_one_opens_the_account(
    app: AppServer, issuer: Issuer, api: Api
) -> None:
    subject = secrets.token_hex(8)
    tokens = [issuer.token(iss=BY_FILE, sub=subject, name=subject) for _ in range(50)]
    # Of one device: else the account's limit would be met.
    headers = device_headers()
    answers = await asyncio.gather(*(exchange(app, each, headers) for each in tokens))
    assert {each.status_code for each in answers} == {200}
    phone = as_phone(api, await exchange(app, issuer.token(iss=BY_FILE, sub=subject), headers))
    assert (await phone.get("/me")).json()["user"]["username"].startswith(f"{subject}~")


async def test_a_token_counts_once_and_the_same_request_gets_the_same_answer(
    app: AppServer, issuer: Issuer, person: str, api: Api, site: Embedded
) -> None:
    token, headers = issuer.token(), device_headers()
    answers = await asyncio.gather(*(exchange(app, token, headers) for _ in range(100)))
    assert Counter(each.status_code for each in answers) == {200: 100}
    assert len({each.json()["access_token"] for each in answers}) == 1
    # By another device, or another application.
    assert word(await exchange(app, token)) == (400, "invalid_grant")
    async with await app_server(site.url, site.folder, token_exchange=True) as other:
        assert word(await exchange(other, token, headers)) == (400, "invalid_grant")
    phone = as_phone(api, answers[0])
    assert len((await phone.get("/devices")).json()["devices"]) == 1
    # And not once something of the answer has been used.
    assert word(await exchange(app, token, headers)) == (400, "invalid_grant")


async def test_a_token_is_the_same_however_it_is_encoded(app: AppServer, issuer: Issuer, link: Link) -> None:
    """By its jti; without one by what is signed: of an ECDSA signature there are two."""
    issuer.subject = secrets.token_hex(8)
    await link(issuer.subject)
    first, second = (issuer.token(jti="a-jti", iat=issuer.now() // 1000 - n) for n in range(2))
    assert first != second
    assert (await exchange(app, first)).status_code == 200
    assert word(await exchange(app, second)) == (400, "invalid_grant")
    issuer.alg = "ES256"
    token = issuer.token(jti=None)
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = ORDER - int.from_bytes(raw[32:])
    assert (await exchange(app, token)).status_code == 200
    assert word(await exchange(app, f"{signed}.{spelt(raw[:32] + s.to_bytes(32))}")) == (400, "invalid_grant")


@pytest.mark.security(48)
async def test_a_device_that_proves_a_key_is_bound_to_it(
    app: AppServer, issuer: Issuer, person: str, api: Api, site: Embedded
) -> None:
    key, token, headers = DeviceKey(), issuer.token(), device_headers()
    address = f"{site.settings.public_url}/oauth/token"
    refused = await exchange(app, token, headers | {"DPoP": key.proof("POST", address, None)})
    assert word(refused) == (400, "use_dpop_nonce")
    nonce = refused.headers["dpop-nonce"]
    answer = await exchange(app, token, headers | {"DPoP": key.proof("POST", address, nonce)})
    assert answer.json()["token_type"] == "DPoP"
    phone = as_phone(api, answer)
    assert (await phone.get("/me")).status_code == 401
    url = f"{site.settings.public_url}/api/v1/me"
    proof = key.proof("GET", url, nonce, auth_key=phone.keys["authKey"])
    me = await api.http.get("/me", headers=phone.headers | {"DPoP": proof})
    assert me.json()["session"]["jkt"] == key.jkt
    for stolen in (headers, headers | {"DPoP": DeviceKey().proof("POST", address, nonce)}):
        assert word(await exchange(app, token, stolen)) == (400, "invalid_grant")


@pytest.mark.security(45)
async def test_only_a_client_that_is_registered_for_it_exchanges_tokens(
    site: Embedded, issuer: Issuer, person: str
) -> None:
    token = issuer.token()
    async with await app_server(site.url, site.folder, trusted=True) as other:
        assert word(await exchange(other, token)) == (400, "unauthorized_client")
        other.secret = "guessed"
        assert word(await exchange(other, token)) == (401, "invalid_client")
    async with await app_server(site.url, site.folder, public=True, token_exchange=True) as public:
        assert (await exchange(public, token)).status_code == 200


BAD: dict[str, tuple[dict[str, str], str]] = {
    "no subject token": ({"subject_token": ""}, "invalid_request"),
    "no type": ({"subject_token_type": ""}, "invalid_request"),
    "an unknown type": ({"subject_token_type": "jwt"}, "invalid_request"),
    "an access token": ({"subject_token_type": f"{KIND}access_token"}, "invalid_request"),
    "a SAML assertion": ({"subject_token_type": f"{KIND}saml2"}, "invalid_request"),
    "another type is wanted": ({"requested_token_type": f"{KIND}refresh_token"}, "invalid_request"),
    "somebody acts": ({"actor_token": "x", "actor_token_type": f"{KIND}jwt"}, "invalid_request"),
    "another audience": ({"audience": "https://api.example.com"}, "invalid_target"),
    "another resource": ({"resource": "https://api.example.com"}, "invalid_target"),
    "a resource that is none": ({"resource": "x" * 4000}, "invalid_target"),
    "a scope": ({"scope": "openid"}, "invalid_scope"),
    "a token that is none": ({"subject_token": "x"}, "invalid_request"),
    "a token of dots": ({"subject_token": "." * 9000}, "invalid_request"),
    "a token in five parts": ({"subject_token": "a.b.c.d.e"}, "invalid_request"),
    "a token that is no text": ({"subject_token": "é.ü.\u202e"}, "invalid_request"),
    "a token with NUL": ({"subject_token": "a\0.b.c"}, "invalid_request"),
    "a deep token": ({"subject_token": f"{spelt(b'[' * 3000)}.{spelt(b'[' * 3000)}.x"}, "invalid_request"),
}  # fmt: skip


@pytest.mark.security(47)
@pytest.mark.parametrize(("form", "error"), BAD.values(), ids=BAD.keys())
async def test_a_request_that_is_none_is_refused_and_uses_up_nothing(
    app: AppServer, issuer: Issuer, person: str, form: dict[str, str], error: str
) -> None:
    token = issuer.token()
    assert word(await exchange(app, token, **form)) == (400, error)
    assert (await exchange(app, token)).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Device-Code": "x"}, {"X-Device-Code": "a b", "X-Device-Name": "x"}],
                         ids=["none", "no name", "a bad code"])  # fmt: skip
async def test_a_device_has_to_be_named(app: AppServer, issuer: Issuer, person: str, headers: dict[str, str]) -> None:
    token = issuer.token()
    assert word(await exchange(app, token, headers)) == (400, "invalid_request")
    assert (await exchange(app, token)).status_code == 200


async def test_our_own_address_is_a_target(app: AppServer, issuer: Issuer, person: str, site: Embedded) -> None:
    ours = site.settings.public_url
    assert (await exchange(app, issuer.token(), audience=ours, resource=ours)).status_code == 200


Forged = Callable[[Issuer], str]


def claiming(**claims: Any) -> Forged:
    return lambda issuer: issuer.token(**claims)


def forged(**changed: Any) -> Forged:
    def make(issuer: Issuer) -> str:
        for name, value in changed.items():
            setattr(issuer, name, value)
        return issuer.token()

    return make


def another_signature(issuer: Issuer) -> str:
    head, _, signature = issuer.token().rpartition(".")
    return f"{head}.{signature[::-1]}"


FORGED: dict[str, Forged] = {
    "of an unknown issuer": claiming(iss="https://evil.example"),
    "of no issuer": claiming(iss=None),
    "of an issuer that is a list": claiming(iss=[BY_FILE]),
    "of an issuer almost the same": lambda issuer: issuer.token(iss=f"{issuer.url}/"),
    "for another audience": claiming(aud="other"),
    "for no audience": claiming(aud=[]),
    "for an audience that is none": claiming(aud={"x": 1}),
    "made for another application": claiming(aud=[CLIENT, "other"], azp="other"),
    "expired": claiming(exp=1_700_000_000),
    "without an end": claiming(exp=None),
    "with a long life": lambda issuer: issuer.token(exp=issuer.now() // 1000 + 86_500),
    "of an endless life": claiming(exp=10**300),
    "not valid yet": claiming(nbf=9_999_999_999),
    "of nobody": claiming(sub=""),
    "of nobody, by a number": claiming(sub=7),
    "whose jti has half a pair": claiming(jti="\ud800"),
    "whose subject has half a pair": claiming(sub="\ud800"),
    "whose name has half a pair": claiming(iss=BY_FILE, sub="half", preferred_username="\ud800"),
    "of an issuer with half a pair": claiming(iss="\ud800"),
    "with a claim beyond all numbers": claiming(other=float("inf")),
    "with another signature": another_signature,
    "unsigned": forged(alg="none"),
    "unsigned, in capitals": forged(alg="NONE"),
    "with another type": forged(header={"typ": "logout+jwt"}),
    "of an unknown key": forged(header={"kid": "other"}),
    "by the public key as a secret": lambda issuer: hmac_token(
        {"iss": issuer.url, "sub": issuer.subject, "aud": CLIENT, "exp": 9_999_999_999}, RSA.as_pem(private=False)
    ),
}


@pytest.mark.security(15)
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_token_that_is_not_trusted_opens_nothing(
    app: AppServer, issuer: Issuer, person: str, forge: Forged
) -> None:
    assert word(await exchange(app, forge(issuer))) == (400, "invalid_request")


@pytest.mark.security(46)
async def test_none_of_our_own_tokens_can_be_exchanged(app: AppServer, issuer: Issuer, person: str, api: Api) -> None:
    phone = as_phone(api, await exchange(app, issuer.token()))
    client_tokens = await app.tokens(phone)
    for token in (phone.keys["authKey"], phone.keys["refreshKey"], *client_tokens.values()):
        if isinstance(token, str):
            assert word(await exchange(app, token)) == (400, "invalid_request")


@pytest.mark.security(46)
async def test_what_comes_of_it_is_no_applications_token(app: AppServer, issuer: Issuer, person: str) -> None:
    given = (await exchange(app, issuer.token())).json()
    assert word(await app.refresh(given["refresh_token"])) == (400, "invalid_grant")
    assert (await app.introspect(given["access_token"])).json() == {"active": False}
    assert (await app.user_info(given["access_token"])).status_code == 401


async def test_a_locked_account_is_refused(app: AppServer, issuer: Issuer, site: Embedded, api: Api) -> None:
    subject = secrets.token_hex(8)
    phone = as_phone(api, await exchange(app, issuer.token(iss=BY_FILE, sub=subject, name=subject)))
    user_id = (await phone.get("/me")).json()["user"]["id"]
    built = build(settings_in(site.folder))
    await built.services.accounts.operator.lock(UserId(user_id), locked=True)
    await built.database.close()
    assert word(await exchange(app, issuer.token(iss=BY_FILE, sub=subject))) == (400, "invalid_grant")


async def test_an_issuer_that_is_away_is_no_final_answer(
    app: AppServer, issuer: Issuer, person: str, clock: MovedClock
) -> None:
    token = issuer.token(exp=clock() // 1000 + 7200)
    keys, issuer.keys = issuer.keys, None
    clock.advance(3601)
    answer = await exchange(app, token)
    assert word(answer) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "30"
    issuer.keys = keys
    clock.advance(30)
    assert (await exchange(app, token)).status_code == 200


async def test_the_grant_exists_only_where_issuers_are_trusted(site: Embedded, issuer: Issuer, tmp_path: Any) -> None:
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
        async with httpx2.AsyncClient(base_url=site.url) as http:
            assert EXCHANGE in (await http.get(path)).json()["grant_types_supported"]
    with embedded(tmp_path, upstream_issuer=issuer.url, upstream_client_id=CLIENT) as without:
        async with await app_server(without.url, tmp_path, token_exchange=True) as app:
            named = (await app.http.get("/.well-known/openid-configuration")).json()["grant_types_supported"]
            assert EXCHANGE not in named
            assert word(await exchange(app, issuer.token())) == (400, "unsupported_grant_type")
