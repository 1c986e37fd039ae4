"""Clients' tokens against forgers, and against being taken for one another or for an authKey."""

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import KeySet as PublicKeys

from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.client_tokens import MAX_ID_TOKEN, JwtClientTokens
from pairing_ws.adapters.jwt.key_file import change_key_file, make_key_file
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.jwt.key_set import KeySet
from pairing_ws.oauth.ports import Algorithm
from tests.support.clock import FakeClock

ISSUER = "http://localhost:8000"
BOTH = [Algorithm.RS256, Algorithm.ES256]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    make_key_file(path, FakeClock())
    return path


@pytest.fixture
def ring(file: Path, clock: FakeClock) -> KeyRing:
    return KeyRing(file, clock)


@pytest.fixture
def tokens(ring: KeyRing) -> JwtClientTokens:
    return JwtClientTokens(ring, ISSUER)


def access_claims(clock: FakeClock) -> dict[str, Any]:
    seconds = clock() // 1000
    return {
        "iss": ISSUER, "aud": "app", "sub": "user", "client_id": "app", "sid": "grant", "jti": "j", "scope": "openid",
        "iat": seconds, "exp": seconds + 300,
    }  # fmt: skip


def id_claims(clock: FakeClock) -> dict[str, Any]:
    seconds = clock() // 1000
    return {"iss": ISSUER, "aud": "app", "sub": "user", "sid": "grant", "iat": seconds, "exp": seconds + 300}


def packed(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(ring: KeyRing, header: dict[str, Any], claims: object, by: Algorithm) -> str:
    """What only we could sign, under any header: so that it is the header or a claim that is refused."""
    kid, key = next(iter(ring.of(by).items()))
    protected = f"{packed({'alg': by, 'typ': 'at+jwt', 'kid': kid} | header)}.{packed(claims)}"
    private: Any = key.private_key
    if by is Algorithm.RS256:
        return f"{protected}.{packed(private.sign(protected.encode(), PKCS1v15(), SHA256()))}"
    r, s = decode_dss_signature(private.sign(protected.encode(), ECDSA(SHA256())))
    return f"{protected}.{packed(r.to_bytes(32) + s.to_bytes(32))}"


@pytest.mark.parametrize("alg", BOTH)
def test_a_clients_access_token_is_read_back_and_verifies_with_the_public_keys(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, alg: Algorithm
) -> None:
    claims = access_claims(clock)
    token = tokens.sign(claims, typ="at+jwt", alg=alg)
    assert tokens.verify_access_token(token, clock()) == claims
    public: Any = ring.jwks()
    known = jwt.decode(token, PublicKeys.import_key_set(public), algorithms=[alg])
    assert known.claims == claims
    assert known.header == {"alg": alg, "typ": "at+jwt", "kid": next(iter(ring.of(alg)))}


def test_an_access_token_ends_with_its_time(tokens: JwtClientTokens, clock: FakeClock) -> None:
    token = tokens.sign(access_claims(clock), typ="at+jwt", alg=Algorithm.ES256)
    clock.forward(seconds=299)
    assert tokens.verify_access_token(token, clock())
    clock.forward(seconds=1)
    assert tokens.verify_access_token(token, clock()) is None


@pytest.mark.parametrize("alg", BOTH)
def test_an_id_token_is_a_hint_long_after_it_has_expired(
    tokens: JwtClientTokens, clock: FakeClock, alg: Algorithm
) -> None:
    claims = id_claims(clock)
    token = tokens.sign(claims, typ="JWT", alg=alg)
    clock.forward(seconds=400 * 86_400)
    assert tokens.verify_id_token_hint(token) == claims


def test_an_id_token_with_a_nonce_of_8_kib_is_a_hint_and_one_beyond_all_measure_is_not(
    tokens: JwtClientTokens, clock: FakeClock
) -> None:
    long = tokens.sign(id_claims(clock) | {"nonce": "n" * 8192}, typ="JWT", alg=Algorithm.RS256)
    assert tokens.verify_id_token_hint(long)
    longer = tokens.sign(id_claims(clock) | {"nonce": "n" * MAX_ID_TOKEN}, typ="JWT", alg=Algorithm.RS256)
    assert tokens.verify_id_token_hint(longer) is None


def test_without_an_rsa_key_rs256_is_neither_offered_nor_signed(clock: FakeClock) -> None:
    without = msgspec.structs.replace(KeySet.new(clock), rsa_keys=[])
    tokens = JwtClientTokens(KeyRing(without, clock), ISSUER)
    assert tokens.algorithms() == [Algorithm.ES256]
    with pytest.raises(ValueError, match="RS256"):
        tokens.sign(access_claims(clock), typ="at+jwt", alg=Algorithm.RS256)


def test_both_algorithms_are_offered_where_there_are_both_keys(tokens: JwtClientTokens) -> None:
    assert tokens.algorithms() == BOTH


# Forgeries


def other(alg: Algorithm) -> Algorithm:
    return Algorithm.ES256 if alg is Algorithm.RS256 else Algorithm.RS256


BAD_HEADERS: dict[str, Callable[[KeyRing, Algorithm], dict[str, Any]]] = {
    "none": lambda _, __: {"alg": "none"},
    "the other algorithm": lambda _, alg: {"alg": other(alg)},
    "the other key": lambda ring, alg: {"kid": next(iter(ring.of(other(alg))))},
    "the other algorithm and key": lambda ring, alg: {"alg": other(alg), "kid": next(iter(ring.of(other(alg))))},
    "RSA with another padding": lambda _, __: {"alg": "PS256"},
    "HS256": lambda _, __: {"alg": "HS256"},
    "an algorithm that is a list": lambda _, alg: {"alg": [alg]},
    "an unknown kid": lambda _, __: {"kid": "unknown"},
    "a kid that is no text": lambda _, __: {"kid": {"a": 1}},
    "no kid": lambda _, __: {"kid": None},
    "crit": lambda _, __: {"crit": ["b64"], "b64": False},
    "jku": lambda _, __: {"jku": "https://attacker.example/jwks.json"},
    "an embedded jwk": lambda ring, alg: {"jwk": next(iter(ring.of(alg).values())).as_dict(private=False)},
}


@pytest.mark.security(15, 46)
@pytest.mark.security(15)
@pytest.mark.parametrize("alg", BOTH)
@pytest.mark.parametrize("bad", list(BAD_HEADERS))
def test_a_header_other_than_ours_is_refused_even_with_our_signature(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, alg: Algorithm, bad: str
) -> None:
    assert tokens.verify_access_token(signed(ring, {}, access_claims(clock), alg), clock())
    assert tokens.verify_id_token_hint(signed(ring, {"typ": "JWT"}, id_claims(clock), alg))
    header = BAD_HEADERS[bad](ring, alg)
    assert tokens.verify_access_token(signed(ring, header, access_claims(clock), alg), clock()) is None
    assert tokens.verify_id_token_hint(signed(ring, {"typ": "JWT"} | header, id_claims(clock), alg)) is None


@pytest.mark.security(15, 46)
@pytest.mark.security(15)
@pytest.mark.parametrize("alg", BOTH)
def test_neither_public_key_is_an_hmac_secret(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, alg: Algorithm
) -> None:
    kid, key = next(iter(ring.of(alg).items()))
    public: Any = key.public_key
    forms = (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.as_dict(private=False)).encode(),
    )
    for says in ("HS256", alg):
        for form in forms:
            protected = f"{packed({'alg': says, 'typ': 'at+jwt', 'kid': kid})}.{packed(access_claims(clock))}"
            mac = hmac.digest(form, protected.encode(), "sha256")
            assert tokens.verify_access_token(f"{protected}.{packed(mac)}", clock()) is None


@pytest.mark.security(15, 46)
@pytest.mark.security(15)
@pytest.mark.parametrize("alg", BOTH)
@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "logout+jwt", "step-up+jwt", "AT+JWT", None])
def test_each_kind_of_token_is_taken_for_itself_alone(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, alg: Algorithm, typ: str | None
) -> None:
    claims = access_claims(clock)
    token = signed(ring, {"typ": typ}, claims, alg)
    assert (tokens.verify_access_token(token, clock()) is not None) == (typ == "at+jwt")
    assert (tokens.verify_id_token_hint(token) is not None) == (typ == "JWT")


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "http://localhost:8001"},
    "an issuer that begins alike": {"iss": ISSUER + ".attacker.example"},
    "an issuer with a slash": {"iss": ISSUER + "/"},
    "no issuer": {"iss": None},
    "no audience": {"aud": None},
    "no subject": {"sub": None},
    "no client": {"client_id": None},
    "no grant": {"sid": None},
    "no id": {"jti": None},
    "no expiry": {"exp": None},
    "expired": {"exp": 1},
    "an expiry that is a text": {"exp": "9999999999"},
    "not valid yet": {"nbf": 99_999_999_999},
    "from far ahead": {"iat": 99_999_999_999},
    "a scope that is a list": {"scope": ["openid"]},
    "bound to what is no key": {"cnf": {"jkt": 7}},
    "a device, as an authKey has": {"did": "device"},
}


@pytest.mark.security(15, 46)
@pytest.mark.security(15)
@pytest.mark.parametrize("bad", list(BAD_CLAIMS))
def test_claims_other_than_ours_are_refused_even_with_our_signature(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, bad: str
) -> None:
    changed = {name: value for name, value in (access_claims(clock) | BAD_CLAIMS[bad]).items() if value is not None}
    assert tokens.verify_access_token(signed(ring, {}, changed, Algorithm.RS256), clock()) is None


@pytest.mark.security(15)
@pytest.mark.parametrize("text", ["", "..", "a.b.c", "é.ü.ß", "." * 1_000_000, f"{packed([])}.e30.AA", "e30.e30."])
def test_what_is_no_token_is_refused_without_an_error(tokens: JwtClientTokens, clock: FakeClock, text: str) -> None:
    assert tokens.verify_access_token(text, clock()) is None
    assert tokens.verify_id_token_hint(text) is None


@pytest.mark.security(15)
@pytest.mark.parametrize("claims", [[], "text", 7, None])
def test_claims_that_are_no_object_are_refused_without_an_error(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock, claims: object
) -> None:
    assert tokens.verify_access_token(signed(ring, {}, claims, Algorithm.ES256), clock()) is None
    assert tokens.verify_id_token_hint(signed(ring, {"typ": "JWT"}, claims, Algorithm.ES256)) is None


@pytest.mark.security(15)
def test_an_auth_key_is_no_clients_token_and_a_clients_token_no_auth_key(
    tokens: JwtClientTokens, ring: KeyRing, clock: FakeClock
) -> None:
    auth_keys = AuthKeys(ring, ISSUER)
    auth_key = auth_keys.issue(
        user_id="user", session_id="grant", device_id="device", amr="qr", now=clock(), expires_at=clock() + 600_000
    )
    assert tokens.verify_access_token(auth_key, clock()) is None
    assert tokens.verify_id_token_hint(auth_key) is None
    # Though an operator has given the client our own address as its audience.
    token = tokens.sign(access_claims(clock) | {"aud": ISSUER}, typ="at+jwt", alg=Algorithm.ES256)
    assert tokens.verify_access_token(token, clock())
    assert auth_keys.verify(token, clock()) is None


@pytest.mark.security(15, 46)
@pytest.mark.security(35)
@pytest.mark.parametrize("alg", BOTH)
def test_what_a_removed_key_has_signed_is_dead_and_a_new_keys_tokens_are_known_at_once(
    tmp_path: Path, clock: FakeClock, alg: Algorithm
) -> None:
    path = tmp_path / "keys.json"
    make_key_file(path, clock)
    tokens, ring = JwtClientTokens(KeyRing(path, clock), ISSUER), KeyRing(path, clock)
    before = tokens.sign(access_claims(clock), typ="at+jwt", alg=alg)
    change_key_file(path, lambda keys: keys.rotated(clock))
    after = JwtClientTokens(KeyRing(path, clock), ISSUER).sign(access_claims(clock), typ="at+jwt", alg=alg)
    assert tokens.verify_access_token(after, clock())
    assert tokens.verify_access_token(before, clock())
    change_key_file(path, lambda keys: keys.without(next(iter(ring.of(alg))), clock))
    clock.forward(seconds=2)
    assert tokens.verify_access_token(before, clock()) is None
