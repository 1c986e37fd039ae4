"""authKeys against forgers (SECURITY.md, line 15), and how the keys that sign and verify them come and go."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.header import MAX_TOKEN
from pairing_ws.adapters.jwt.key_file import change_key_file, make_key_file, read_key_file
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.jwt.key_set import RETIRED_KEPT_MS, KeySet
from tests.support.clock import FakeClock
from tests.support.tokens import parts, unpacked

ISSUER = "http://localhost:8000"
DAY_MS = 86_400_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    path = tmp_path / "keys.json"
    make_key_file(path, clock)
    return path


@pytest.fixture
def ring(path: Path, clock: FakeClock) -> KeyRing:
    return KeyRing(path, clock)


@pytest.fixture
def auth_keys(ring: KeyRing) -> AuthKeys:
    return AuthKeys(ring, ISSUER)


def auth_keys_of(source: Path | KeySet, clock: FakeClock) -> AuthKeys:
    return AuthKeys(KeyRing(source, clock), ISSUER)


def issue(auth_keys: AuthKeys, clock: FakeClock, lives_ms: int = 600_000) -> str:
    return auth_keys.issue(
        user_id="user", session_id="session", device_id="device", amr="qr", now=clock(), expires_at=clock() + lives_ms
    )


def packed(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def es256(ring: KeyRing) -> list[str]:
    """The ids of the public keys of authKeys, the newest first."""
    return [key["kid"] for key in ring.jwks()["keys"] if key["alg"] == "ES256"]


def private_key(path: Path) -> ECKey:
    jwk = read_key_file(path).keys[0]
    return ECKey.import_key({name: value for name, value in jwk.items() if name != "made"})


def rotate_keys(path: Path, clock: FakeClock) -> str:
    return str(change_key_file(path, lambda keys: keys.rotated(clock)).keys[0]["kid"])


def remove_key(path: Path, kid: str, clock: FakeClock) -> None:
    change_key_file(path, lambda keys: keys.without(kid, clock))


def signed(path: Path, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """What only we could sign: so that it is the header or a claim that is refused, not the signature."""
    # By hand: joserfc signs no header that it does not know.
    protected = f"{packed(header)}.{packed(claims)}"
    key: Any = private_key(path).private_key
    r, s = decode_dss_signature(key.sign(protected.encode(), ECDSA(SHA256())))
    return f"{protected}.{packed(r.to_bytes(32) + s.to_bytes(32))}"


def test_an_auth_key_is_what_the_contract_says(ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock) -> None:
    header, claims = parts(issue(auth_keys, clock))
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": ring.jwks()["keys"][0]["kid"]}
    seconds = clock() // 1000
    assert len(claims.pop("jti")) >= 20
    assert claims == {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "user",
        "sid": "session",
        "did": "device",
        "amr": ["qr"],
        "iat": seconds,
        "ms": clock() % 1000,
        "exp": seconds + 600,
    }


def test_an_auth_key_verifies_with_nothing_but_the_public_keys(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock
) -> None:
    jwks = ring.jwks()
    assert [(key["kty"], key["use"]) for key in jwks["keys"]] == [("EC", "sig"), ("RSA", "sig")]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for key in jwks["keys"] for name in key}
    token = jwt.decode(issue(auth_keys, clock), ECKey.import_key(jwks["keys"][0]), algorithms=["ES256"])
    assert token.claims["sub"] == "user"


def test_an_auth_key_is_known_again_until_it_expires(auth_keys: AuthKeys, clock: FakeClock) -> None:
    token = issue(auth_keys, clock)
    claims = auth_keys.verify(token, clock())
    assert claims is not None
    assert (claims.sub, claims.sid, claims.did) == ("user", "session", "device")
    clock.forward(seconds=599)
    assert auth_keys.verify(token, clock())
    # At most a minute of leeway (SECURITY.md, line 15).
    clock.forward(seconds=61)
    assert auth_keys.verify(token, clock()) is None


def test_two_auth_keys_are_never_the_same(auth_keys: AuthKeys, clock: FakeClock) -> None:
    assert len({issue(auth_keys, clock) for _ in range(50)}) == 50


def test_what_we_sign_ourselves_in_this_test_would_be_believed(
    auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    # Without this, the tests below could pass because of a bad signature.
    header, claims = parts(issue(auth_keys, clock))
    assert auth_keys.verify(signed(path, header, claims), clock())


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "an unknown crit": {"crit": ["b64x"], "b64x": True},
    "crit b64": {"crit": ["b64"], "b64": False},
    "an empty crit": {"crit": []},
    "jku": {"jku": "https://attacker.example/jwks.json"},
    "x5u": {"x5u": "https://attacker.example/cert.pem"},
    "x5c": {"x5c": ["MIIB"]},
    "an embedded jwk": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}},
    "zip": {"zip": "DEF"},
    "typ JWT": {"typ": "JWT"},
    "typ in capitals": {"typ": "AT+JWT"},
    "typ null": {"typ": None},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg empty": {"alg": ""},
    "alg HS256": {"alg": "HS256"},
    "alg ES384": {"alg": "ES384"},
    "alg as a list": {"alg": ["ES256"]},
    "an unknown kid": {"kid": "unknown"},
    "a kid that is a path": {"kid": "../../../../dev/null"},
    "a kid that is SQL": {"kid": "' OR 1=1 --"},
    "a kid that is no text": {"kid": {"a": 1}},
    "an extra member": {"cty": "JWT"},
}


@pytest.mark.security(15)
@pytest.mark.parametrize("bad", list(BAD_HEADERS))
def test_a_header_other_than_ours_is_refused_even_with_our_signature(
    auth_keys: AuthKeys, clock: FakeClock, path: Path, bad: str
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    assert auth_keys.verify(signed(path, header | BAD_HEADERS[bad], claims), clock()) is None


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_a_header_without_one_of_our_three_members_is_refused(
    auth_keys: AuthKeys, clock: FakeClock, path: Path, missing: str
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    del header[missing]
    assert auth_keys.verify(signed(path, header, claims), clock()) is None


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "http://localhost:8001"},
    "an issuer that begins alike": {"iss": ISSUER + ".attacker.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "http://localhost:8001"},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "expired": {"exp": 1},
    "expiry as a text": {"exp": "9999999999"},
    "expiry not a number": {"exp": float("nan")},
    "no expiry": {"exp": None},
    "no session": {"sid": None},
    "no user": {"sub": None},
    "a user that is no text": {"sub": 7},
    "no device": {"did": None},
    "not valid yet": {"nbf": 99_999_999_999},
    "longer than ours ever are": {"padding": "x" * MAX_TOKEN},
}


@pytest.mark.security(15)
@pytest.mark.parametrize("bad", list(BAD_CLAIMS))
def test_claims_other_than_ours_are_refused_even_with_our_signature(
    auth_keys: AuthKeys, clock: FakeClock, path: Path, bad: str
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    changed = {name: value for name, value in (claims | BAD_CLAIMS[bad]).items() if value is not None}
    assert auth_keys.verify(signed(path, header, changed), clock()) is None


@pytest.mark.security(15)
@pytest.mark.parametrize("named", ["RSA", "EC"])
@pytest.mark.parametrize("alg", ["RS256", "ES256", "PS256"])
def test_what_our_rsa_key_has_signed_is_no_auth_key(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, alg: str, named: str
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    [(rsa_kid, rsa)] = ring.of("RS256").items()
    kid = rsa_kid if named == "RSA" else header["kid"]
    protected = f"{packed(header | {'alg': alg, 'kid': kid})}.{packed(claims)}"
    private: Any = rsa.private_key
    padding = PSS(MGF1(SHA256()), 32) if alg == "PS256" else PKCS1v15()
    signature = private.sign(protected.encode(), padding, SHA256())
    assert auth_keys.verify(f"{protected}.{packed(signature)}", clock()) is None


@pytest.mark.security(15)
def test_a_token_of_a_client_is_no_auth_key_whatever_its_audience(
    auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    assert auth_keys.verify(signed(path, header, claims | {"client_id": "app"}), clock()) is None


FORMS = ["PEM", "PEM without its last newline", "DER", "point", "JWK", "compact JWK", "x", "nothing"]


def public_forms(path: Path) -> dict[str, bytes]:
    key = private_key(path)
    public: Any = key.public_key
    spki = PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(Encoding.PEM, spki)
    jwk = key.as_dict(private=False)
    return {
        "PEM": pem,
        "PEM without its last newline": pem.rstrip(),
        "DER": public.public_bytes(Encoding.DER, spki),
        "point": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "JWK": json.dumps(jwk).encode(),
        "compact JWK": json.dumps(jwk, separators=(",", ":")).encode(),
        "x": jwk["x"].encode(),  # type: ignore[union-attr]
        "nothing": b"",
    }


@pytest.mark.security(15)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("says", ["HS256", "ES256"])
def test_the_public_key_is_no_hmac_secret(
    auth_keys: AuthKeys, clock: FakeClock, path: Path, form: str, says: str
) -> None:
    header, claims = parts(issue(auth_keys, clock))
    protected = f"{packed(header | {'alg': says})}.{packed(claims)}"
    mac = hmac.digest(public_forms(path)[form], protected.encode(), "sha256")
    assert auth_keys.verify(f"{protected}.{packed(mac)}", clock()) is None


def test_a_token_without_a_signature_is_refused(auth_keys: AuthKeys, clock: FakeClock) -> None:
    header, claims, _ = issue(auth_keys, clock).split(".")
    for forged in (
        f"{header}.{claims}.",
        f"{packed(unpacked(header) | {'alg': 'none'})}.{claims}.",
        f"{header}.{claims}",
    ):
        assert auth_keys.verify(forged, clock()) is None


def test_a_token_of_another_installation_is_refused(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, tmp_path: Path
) -> None:
    make_key_file(tmp_path / "other.json", clock)
    other = auth_keys_of(tmp_path / "other.json", clock)
    foreign = issue(other, clock)
    assert auth_keys.verify(foreign, clock()) is None
    # Nor with our key's name on it.
    header, claims = parts(foreign)
    header["kid"] = ring.jwks()["keys"][0]["kid"]
    assert auth_keys.verify(signed(tmp_path / "other.json", header, claims), clock()) is None


def test_a_token_changed_by_one_letter_is_refused(auth_keys: AuthKeys, clock: FakeClock) -> None:
    token = issue(auth_keys, clock)
    for at in range(0, len(token) - 2, 7):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert auth_keys.verify(changed, clock()) is None


MALFORMED: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "dots": lambda _: "..",
    "a refresh key": lambda _: "N2JkMTk4ZjU.8sZ3mVYx0yJb1Jj0a8GmZr",
    "text": lambda _: "not a token",
    "not ASCII": lambda _: "é.ü.ß",
    "NUL": lambda token: token + "\x00",
    "a space": lambda token: " " + token,
    "padding": lambda token: token + "==",
    "JSON": lambda token: json.dumps({"payload": token}),
    "five parts": lambda token: f"{token}.a.b",
    "a header that is a list": lambda token: f"{packed([])}.{token.split('.', 1)[1]}",
    "a header that is no JSON": lambda token: f"{packed(b'{')}.{token.split('.', 1)[1]}",
    "a header that is not UTF-8": lambda token: f"{packed(bytes([255, 254]))}.{token.split('.', 1)[1]}",
    "a deep header": lambda token: f"{packed(b'[' * 2500)}.{token.split('.', 1)[1]}",
    "a header of 1 MB": lambda token: f"{packed({'a': 'x' * 1_000_000})}.{token.split('.', 1)[1]}",
    "claims of 1 MB": lambda token: f"{token.split('.')[0]}.{packed({'a': 'x' * 1_000_000})}.AAAA",
    "a million dots": lambda _: "." * 1_000_000,
}


@pytest.mark.security(15)
@pytest.mark.parametrize("what", list(MALFORMED))
def test_what_is_no_token_is_refused_quickly_and_without_an_error(
    auth_keys: AuthKeys, clock: FakeClock, what: str
) -> None:
    text = MALFORMED[what](issue(auth_keys, clock))
    began = time.process_time()
    assert auth_keys.verify(text, clock()) is None
    assert time.process_time() - began < 0.1
    assert len(issue(auth_keys, clock)) < MAX_TOKEN / 4


# Clocks


@pytest.mark.security(37)
@pytest.mark.parametrize("ahead", [2, 30, 59, 60])
def test_a_token_of_a_server_whose_clock_is_ahead_is_taken(path: Path, clock: FakeClock, ahead: int) -> None:
    fast = FakeClock(clock() + ahead * 1000)
    assert auth_keys_of(path, clock).verify(issue(auth_keys_of(path, fast), fast), clock())


@pytest.mark.security(37)
def test_a_token_from_further_ahead_than_clocks_may_be_apart_is_refused(path: Path, clock: FakeClock) -> None:
    fast = FakeClock(clock() + 62_000)
    assert auth_keys_of(path, clock).verify(issue(auth_keys_of(path, fast), fast), clock()) is None


# Rotation


def test_old_keys_verify_on_after_a_rotation_and_new_ones_sign_without_a_restart(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    before = issue(auth_keys, clock)
    kid = rotate_keys(path, clock)
    clock.forward(seconds=1)
    after = issue(auth_keys, clock)
    assert parts(after)[0]["kid"] == kid != parts(before)[0]["kid"]
    assert auth_keys.verify(before, clock())
    assert auth_keys.verify(after, clock())
    assert es256(ring) == [kid, parts(before)[0]["kid"]]


def test_a_process_that_has_not_noticed_the_rotation_yet_believes_the_new_key_at_once(
    clock: FakeClock, path: Path
) -> None:
    late = auth_keys_of(path, clock)
    assert late.verify(issue(late, clock), clock())
    rotate_keys(path, clock)
    early = auth_keys_of(path, clock)
    # It has looked at the file a moment ago; a new key's name is reason enough to look again.
    assert late.verify(issue(early, clock), clock())


def test_a_key_that_was_replaced_a_day_ago_goes_at_the_next_rotation(
    auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    first = parts(issue(auth_keys, clock))[0]["kid"]
    clock.forward(ms=10 * DAY_MS)
    second = rotate_keys(path, clock)
    # It has just been retired, however old it is: tokens it signed a minute ago are about.
    assert [each["kid"] for each in read_key_file(path).keys] == [second, first]
    clock.forward(ms=RETIRED_KEPT_MS)
    third = rotate_keys(path, clock)
    assert [each["kid"] for each in read_key_file(path).keys] == [third, second]


@pytest.mark.security(15)
def test_a_token_that_was_believed_a_moment_ago_goes_with_its_key(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    token = issue(auth_keys, clock, lives_ms=10 * DAY_MS)
    assert auth_keys.verify(token, clock())
    rotate_keys(path, clock)
    clock.forward(ms=RETIRED_KEPT_MS)
    # What looks at the file is any call that needs the newest keys.
    assert len(es256(ring)) == 2
    assert auth_keys.verify(token, clock())
    rotate_keys(path, clock)
    clock.forward(seconds=1)
    assert ring.jwks()
    assert auth_keys.verify(token, clock()) is None


# Removal


@pytest.mark.security(35)
def test_a_key_that_is_removed_is_dead_for_tokens_known_and_newly_forged_though_nothing_else_is_asked(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    known = issue(auth_keys, clock)
    thief = private_key(path)
    stolen = parts(known)[0]["kid"]
    rotate_keys(path, clock)
    clock.forward(seconds=2)
    assert auth_keys.verify(known, clock())
    forged = jwt.encode(*parts(known), thief, algorithms=["ES256"])
    remove_key(path, stolen, clock)
    clock.forward(seconds=2)
    # It only verifies: no token is issued, no key served.
    assert auth_keys.verify(known, clock()) is None
    assert auth_keys.verify(forged, clock()) is None
    assert stolen not in [key["kid"] for key in ring.jwks()["keys"]]


@pytest.mark.security(35)
def test_a_key_that_an_editor_takes_out_goes_too_even_if_the_file_is_then_open_to_others(
    auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    known = issue(auth_keys, clock)
    rotate_keys(path, clock)
    content = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps(content | {"keys": content["keys"][:1]}))
    path.chmod(0o644)
    clock.forward(seconds=2)
    assert auth_keys.verify(known, clock()) is None


@pytest.mark.security(35, 37)
def test_a_clock_that_was_set_back_keeps_no_removed_key_alive(
    auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    known = issue(auth_keys, clock)
    assert auth_keys.verify(known, clock())
    remove_key(path, parts(known)[0]["kid"], clock)
    clock.forward(ms=-3_600_000)
    assert auth_keys.verify(known, clock()) is None


@pytest.mark.security(35)
def test_where_the_key_that_signs_is_removed_a_new_one_signs(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    first = parts(issue(auth_keys, clock))[0]["kid"]
    second = rotate_keys(path, clock)
    remove_key(path, second, clock)
    clock.forward(seconds=2)
    signs = parts(issue(auth_keys, clock))[0]["kid"]
    # Not the one before it, which has been retired.
    assert signs not in (first, second)
    assert es256(ring) == [signs, first]


@pytest.mark.security(35)
def test_an_rsa_key_that_is_removed_is_gone_from_a_running_server(ring: KeyRing, clock: FakeClock, path: Path) -> None:
    [stolen] = ring.of("RS256")
    assert ring.find("RS256", stolen)
    remove_key(path, stolen, clock)
    clock.forward(seconds=2)
    shown = [key["kid"] for key in ring.jwks()["keys"] if key["alg"] == "RS256"]
    assert len(shown) == 1
    assert stolen not in shown
    assert ring.find("RS256", stolen) is None
    assert stolen not in ring.ids


def test_keys_of_the_environment_without_rsa_offer_no_rs256(clock: FakeClock) -> None:
    old = msgspec.structs.replace(KeySet.new(clock), rsa_keys=[])
    ring = KeyRing(KeySet.parse(old.text(), "PAIRING_SIGNING_KEYS"), clock)
    assert not ring.of("RS256")
    assert [key["alg"] for key in ring.jwks()["keys"]] == ["ES256"]


def test_keys_of_the_environment_sign_and_verify(clock: FakeClock) -> None:
    keys = KeySet.parse(KeySet.new(clock).text(), "PAIRING_SIGNING_KEYS")
    auth_keys = auth_keys_of(keys, clock)
    assert auth_keys.verify(issue(auth_keys, clock), clock())
    after = auth_keys_of(keys.rotated(clock), clock)
    assert after.verify(issue(auth_keys, clock), clock())
    assert keys.rotated(clock).pepper == keys.pepper


def test_a_rotation_keeps_the_secret_of_the_keyed_digests_and_the_files_mode(
    ring: KeyRing, clock: FakeClock, path: Path
) -> None:
    rotate_keys(path, clock)
    clock.forward(seconds=2)
    assert KeyRing(path, clock).pepper == ring.pepper
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_breaks_while_the_server_runs_costs_nobody_his_keys(
    ring: KeyRing, auth_keys: AuthKeys, clock: FakeClock, path: Path
) -> None:
    token = issue(auth_keys, clock)
    for broke in (lambda: path.write_text("{"), lambda: path.chmod(0o644), path.unlink):
        broke()
        clock.forward(seconds=2)
        assert auth_keys.verify(token, clock())
        assert auth_keys.verify(issue(auth_keys, clock), clock())
        assert ring.jwks()["keys"]
