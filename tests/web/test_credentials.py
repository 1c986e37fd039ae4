"""Credentials on HTTP calls: which count, that a bad one is never taken for none, and what forged tokens get."""

import asyncio
import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from pairing_ws.web.call import Call
from pairing_ws.web.calls import CALLS
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import Embedded
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal

# By these a device logs in: they refuse any key.
LOGINS = ("/api/v1/invites", "/api/v1/upstream")
FILLED = {f"{call.method} {call.path}": call for call in CALLS if call.proofs and not call.path.startswith(LOGINS)}
CREDENTIAL = {"id": "x", "rawId": "x", "type": "public-key", "response": {}}


def _b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _path(call: Call) -> str:
    return call.path.removeprefix("/api/v1").replace("{id}", "AAAAAAAAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize(
    "bad",
    [{"Auth-Key": "x"}, {"Auth-Key": ""}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"},
     {"Authorization": "Bearer"}, {"Auth-Key": "a.b.c"}],
    ids=str,
)  # fmt: skip
async def test_an_invalid_key_is_never_treated_as_none(api: Api, name: str, bad: dict[str, str]) -> None:
    call = FILLED[name]
    # Whatever some call can't do without.
    body = {"code": "x", "userCode": "x", "name": "x", "credential": CREDENTIAL, "here": True, "query": "x", "id": "x"}
    content = json.dumps(body) if call.method in ("POST", "PATCH") and call.body else None
    kind = {"Content-Type": "application/json"} if content else {}
    answer = await api.http.request(call.method, _path(call), content=content, headers=device_headers() | kind | bad)
    assert refusal(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"]


async def test_a_token_that_is_none_is_named_in_the_challenge_and_a_missing_one_is_not(api: Api) -> None:
    """RFC 6750, section 3.1; RFC 9449, section 7.1."""
    for authorization, challenge in (
        (None, 'Bearer, DPoP algs="ES256"'),
        ("Bearer", 'Bearer, DPoP algs="ES256"'),
        ("Basic eDp5", 'Bearer, DPoP algs="ES256"'),
        ("bearer x", 'Bearer error="invalid_token", DPoP algs="ES256"'),
        ("DPoP x", 'Bearer, DPoP error="invalid_token", algs="ES256"'),
    ):
        answer = await api.http.get("/me", headers={"Authorization": authorization} if authorization else {})
        assert refusal(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == challenge


async def test_bearer_is_accepted_in_place_of_auth_key(api: Api, phone: Phone) -> None:
    key = phone.keys["authKey"]
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer {key}"},
        {"Authorization": f"Bearer {key}", "Auth-Key": key},
    ):
        assert (await api.http.get("/me", headers=headers)).status_code == 200


async def test_two_different_credentials_at_once_are_refused(api: Api, new_phone: NewPhone) -> None:
    one, two = await new_phone(), await new_phone()
    device = await api.new_pairing()
    pairs: list[list[tuple[str, str]]] = [
        [("Auth-Key", one.keys["authKey"]), ("Auth-Key", two.keys["authKey"])],
        [("Auth-Key", one.keys["authKey"]), ("Authorization", f"Bearer {two.keys['authKey']}")],
        [("Auth-Key", one.keys["authKey"]), ("Pairing-Secret", device.pairing["secret"])],
        [("Pairing-Secret", device.pairing["secret"]), ("Pairing-Secret", "x" * 22)],
    ]
    for headers in pairs:
        assert refusal(await api.http.get(f"/pairings/{device.id}", headers=headers)) == (400, "bad_request")
        made = await api.http.post("/pairings", headers=[*device_headers().items(), *headers])
        assert refusal(made) == (400, "bad_request")


@pytest.mark.security(21)
async def test_no_credential_is_taken_from_a_query_string(api: Api, phone: Phone) -> None:
    device = await api.new_pairing()
    key, secret = phone.keys["authKey"], device.pairing["secret"]
    for query in (f"authKey={key}", f"access_token={key}", f"secret={secret}", f"Pairing-Secret={secret}"):
        assert (await api.http.get(f"/pairings/{device.id}?{query}")).status_code == 401


async def test_me_says_who_which_device_and_which_session(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone("mia", **{"X-Device-Code": "mias-phone"})
    me = (await phone.get("/me")).json()
    assert me.keys() == {"user", "device", "session"}
    assert me["user"] == phone.keys["user"]
    assert me["user"]["username"] == "mia"
    assert me["device"]["id"] == phone.keys["device"]["id"]
    assert me["device"]["current"] is True
    assert me["session"]["amr"] == ["invite"]


async def test_an_auth_key_says_what_the_contract_says(api: Api, server: Server, phone: Phone) -> None:
    head, claims, _ = phone.keys["authKey"].split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    assert header.keys() == {"typ", "alg", "kid"}
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    content = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert content.keys() == {"iss", "aud", "sub", "sid", "did", "amr", "iat", "exp", "jti", "ms", "rt_hash"}
    assert content["iss"] == content["aud"] == server.public_url
    assert content["sub"] == phone.keys["user"]["id"]
    assert content["did"] == phone.keys["device"]["id"]
    assert content["exp"] - content["iat"] == 600
    public = (await api.http.get(f"{server.url}/.well-known/jwks.json")).json()["keys"]
    assert header["kid"] in [key["kid"] for key in public]
    assert not any("d" in key for key in public)
    # An RSA key is shown beside it, for applications.
    assert {(key["kty"], key["alg"], key["use"]) for key in public} == {("EC", "ES256", "sig"), ("RSA", "RS256", "sig")}


@pytest.mark.security(15)
async def test_forged_tokens_get_401(api: Api, server: Server, phone: Phone) -> None:
    key = phone.keys["authKey"]
    head, claims, signature = key.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    content = json.loads(base64.urlsafe_b64decode(claims + "=="))
    stored = json.loads((server.folder / "pairing-keys.json").read_text())["keys"][0]
    ours = ECKey.import_key({name: value for name, value in stored.items() if name != "made"})
    public = json.dumps(ours.as_dict(private=False)).encode()
    pem = ours.as_pem(private=False)
    der = ours.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    stranger = ECKey.generate_key("P-256", private=True)

    def signed(with_key: Any = ours, change: dict[str, Any] | None = None, **members: Any) -> str:
        registry = JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        return jwt.encode(header | members, content | (change or {}), with_key, registry=registry)

    def by_hand(**members: Any) -> str:
        """What our own library would not sign."""
        text = f"{_b64(header | members)}.{claims}".encode()
        assert ours.private_key
        r, s = decode_dss_signature(ours.private_key.sign(text, ECDSA(SHA256())))
        return f"{text.decode()}.{_b64(r.to_bytes(32) + s.to_bytes(32))}"

    def by_hmac(secret: bytes) -> str:
        text = f"{_b64(header | {'alg': 'HS256'})}.{claims}"
        return f"{text}.{_b64(hmac.digest(secret, text.encode(), 'sha256'))}"

    for good in (signed(), by_hand()):
        assert (await api.http.get("/me", headers={"Auth-Key": good})).status_code == 200
    forged = {
        "none": f"{_b64(header | {'alg': 'none'})}.{claims}.",
        "None": f"{_b64(header | {'alg': 'None'})}.{claims}.{signature}",
        "stripped signature": f"{head}.{claims}.",
        "HMAC with the PEM": by_hmac(pem),
        "HMAC with the DER": by_hmac(der),
        "HMAC with the JWK": by_hmac(public),
        "another key": signed(stranger),
        "a key of its own": signed(stranger, jwk=stranger.as_dict(private=False)),
        "jku": signed(jku="https://evil.example/jwks"),
        "x5u": signed(x5u="https://evil.example/cert"),
        "jwk": by_hand(jwk=ours.as_dict(private=False)),
        "unknown crit": by_hand(crit=["x"], x=1),
        "no crit at all": by_hand(crit=[]),
        "unencoded payload": by_hand(crit=["b64"], b64=False),
        "another algorithm's name": by_hand(alg="ES384"),
        "wrong typ": signed(typ="JWT"),
        "no typ": f"{_b64({'alg': 'ES256', 'kid': header['kid']})}.{claims}.{signature}",
        "unknown kid": signed(kid="x"),
        "wrong iss": signed(change={"iss": "https://evil.example"}),
        "wrong aud": signed(change={"aud": "https://evil.example"}),
        "expired": signed(change={"exp": content["iat"] - 61}),
        "exp as text": signed(change={"exp": "never"}),
        "no exp": signed(change={"exp": None}),
        "another device": signed(change={"did": "0" * 32}),
        "another user": signed(change={"sub": "x"}),
        "another session": signed(change={"sid": "x"}),
        "a refreshKey": phone.keys["refreshKey"],
        "no base64": "é.é.é",
        "deep header": f"{_b64(b'[' * 2000)}.{claims}.{signature}",
        "too many parts": f"{key}.x",
        "long": "a" * 5000 + key,
        "a header of 28 kilobytes": f"{_b64(header | {'x': 'a' * 21_000})}.{claims}.{signature}",
    }
    for name, token in forged.items():
        async with asyncio.timeout(5):
            answer = await api.http.get("/me", headers={b"Auth-Key": token.encode()})
        assert refusal(answer) == (401, "unauthenticated"), name
    # Not even looked at.
    token = f"{_b64(header | {'x': 'a' * 750_000})}.{claims}.{signature}"
    assert refusal(await api.http.get("/me", headers={"Auth-Key": token})) == (431, "headers_too_large")


@pytest.mark.security(15)
@pytest.mark.mitigation("6.1.10")
async def test_an_auth_key_dies_with_its_time_and_the_refresh_key_lives_on(
    clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    phone = await clocked_phone()
    assert phone.keys["expiresIn"] in (599, 600)
    clocked.clock.advance(590)
    assert (await phone.get("/me")).status_code == 200
    clocked.clock.advance(72)
    assert refusal(await phone.get("/me")) == (401, "unauthenticated")
    renewed = await clocked_api.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]})
    assert (await Phone(clocked_api, renewed.json()).get("/me")).status_code == 200


@pytest.mark.security(15)
async def test_signing_keys_rotate_under_a_running_server_and_old_keys_stay_valid(
    api: Api, server: Server, new_phone: NewPhone
) -> None:
    old = await new_phone()
    assert server.cli("keys", "rotate").returncode == 0
    for _ in range(100):
        shown = (await api.http.get(f"{server.url}/.well-known/jwks.json")).json()["keys"]
        if sorted(key["alg"] for key in shown) == ["ES256", "ES256", "RS256", "RS256"]:
            break
        await asyncio.sleep(0.05)
    answer = await api.http.post("/sessions/refresh", json={"refreshKey": old.keys["refreshKey"]})
    new = Phone(api, answer.json())
    heads = {phone.keys["authKey"].split(".")[0] for phone in (old, new)}
    assert len(heads) == 2
    assert (await old.get("/me")).status_code == 200
    assert (await new.get("/me")).status_code == 200
