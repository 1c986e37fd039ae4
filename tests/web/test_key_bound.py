"""Devices with a key of their own: how the key comes in, what it is needed for, and which proofs of it count."""

import asyncio
import base64
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import Mount

from pairing_ws.adapters.jwt.dpop import NONCE_SECONDS, REMEMBERED_MS
from pairing_ws.app import create_app
from pairing_ws.config.settings import Settings
from pairing_ws.web.call import KEY
from pairing_ws.web.calls import CALLS
from tests.support.client import Api, Phone, code_of, device_headers, with_api
from tests.support.embedded import Embedded, embedded, invite_in
from tests.support.keys import BoundDevice, DeviceKey, payload, spelt
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal

# Line 15 is about tokens: a proof is one more of them.
pytestmark = [pytest.mark.security(15), pytest.mark.mitigation("6.1.12")]

NewBound = Callable[[], Awaitable[BoundDevice]]


@pytest.fixture
def new_bound(api: Api, server: Server) -> NewBound:
    """`await new_bound()`: a key-bound device, logged in by an invite to an account of its own."""

    async def make() -> BoundDevice:
        invite = await invite_in(server.folder, f"user-{secrets.token_hex(6)}")
        return await BoundDevice(api, server.public_url).accept(invite)

    return make


@pytest.fixture
async def bound(new_bound: NewBound) -> BoundDevice:
    return await new_bound()


async def create(b: BoundDevice) -> dict[str, Any]:
    body = {"qr": "none", "deviceKey": b.key.jwk}
    answer = await b.send("POST", "/pairings", json=body, headers=device_headers())
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def scan(b: BoundDevice, phone: Phone, way: str) -> dict[str, Any]:
    """B's pairing, scanned and approved. `way`: how B came to it."""
    if way == "created":
        pairing = await create(b)
        assert (await phone.claim(pairing)).status_code == 200
    else:
        shown = await phone.show_code()
        path, code = f"/pairings/{shown['id']}/claim", {"code": code_of(shown)}
        if way == "typed":
            path, code = "/pairings/claim", {"userCode": shown["userCode"]}
        answer = await b.send("POST", path, json={**code, "deviceKey": b.key.jwk}, headers=device_headers())
        assert answer.status_code == 200, answer.text
        pairing = answer.json()
    assert (await phone.approve(pairing["id"])).status_code == 200
    return dict(pairing)


# Where the key comes in


@pytest.mark.parametrize("way", ["created", "scanned", "typed"])
async def test_who_shows_a_key_logs_in_with_a_proof_of_it_and_no_secret_does_without(
    api: Api, server: Server, phone: Phone, way: str
) -> None:
    b = BoundDevice(api, server.public_url)
    pairing = await scan(b, phone, way)
    path, secret = f"/pairings/{pairing['id']}/login", {"Pairing-Secret": pairing["secret"]}
    number = {} if way != "typed" else {"number": (await phone.get(f"/pairings/{pairing['id']}")).json()["number"]}
    thief = BoundDevice(api, server.public_url, nonce=b.nonce)
    for proof in (None, thief.proof("POST", path)):
        refused = await thief.send("POST", path, proof=proof, headers=secret, json=number)
        assert refusal(refused) == (401, "invalid_proof")
        assert refused.headers["www-authenticate"] == 'DPoP error="invalid_dpop_proof", algs="ES256"'
    # What came with the refusals has used up none of the tries, and the nonce of the first answer is still good.
    given = await b.send("POST", path, proof=b.proof("POST", path), headers=secret, json=number)
    assert given.status_code == 200, given.text
    b.keys = given.json()
    assert payload(b.auth_key)["cnf"] == {"jkt": b.key.jkt}
    assert (await b.get("/me")).json()["session"]["jkt"] == b.key.jkt


async def test_an_invite_with_a_key_needs_a_proof_and_gives_a_bound_session(api: Api, server: Server) -> None:
    code = await invite_in(server.folder, f"user-{secrets.token_hex(6)}")
    b = BoundDevice(api, server.public_url)
    body = {"code": code, "deviceKey": b.key.jwk}
    refused = await b.send("POST", "/invites/accept", json=body, headers=device_headers())
    assert refusal(refused) == (401, "invalid_proof")
    await b.accept(code)
    assert payload(b.auth_key)["cnf"] == {"jkt": b.key.jkt}


async def test_fetching_a_nonce_is_no_try_but_has_a_bound_of_its_own(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, **NO_LIMITS_INSIDE | {"limit_claim": "2/hour"})) as (server, api):
        invites = [await invite_in(tmp_path, "many", server.clock) for _ in range(3)]
        # Each is new here: two calls, the first for the nonce.
        for code in invites[:2]:
            await BoundDevice(api, server.settings.public_url).accept(code)
        b = BoundDevice(api, server.settings.public_url)
        body, path = {"code": invites[2], "deviceKey": b.key.jwk}, "/invites/accept"
        for nonce in (None, b.nonce):
            proof = b.proof("POST", path, nonce=nonce)
            refused = await b.send("POST", path, proof=proof, json=body, headers=device_headers())
            assert refusal(refused) == (429, "rate_limited")
    async with with_api(embedded(tmp_path, demo=True, **NO_LIMITS_INSIDE | {"limit_claim": "3/hour"})) as (server, api):
        b = BoundDevice(api, server.settings.public_url, key=b.key)
        said = []
        for _ in range(60):
            proof = b.proof("POST", path, nonce=None)
            said.append(refusal(await b.send("POST", path, proof=proof, json=body, headers=device_headers())))
        assert said == [(401, "use_dpop_nonce")] * 3 + [(429, "rate_limited")] * 57


BAD_KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a private member": lambda jwk: {**jwk, "d": jwk["x"]},
    "a member more": lambda jwk: {**jwk, "use": "sig"},
    "no y": lambda jwk: {name: jwk[name] for name in ("kty", "crv", "x")},
    "another type": lambda jwk: {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    "another curve": lambda jwk: {**jwk, "crv": "P-384"},
    "off the curve": lambda jwk: {**jwk, "y": jwk["x"]},
    "too short": lambda jwk: {**jwk, "x": jwk["x"][:-1]},
    "padded": lambda jwk: {**jwk, "x": jwk["x"] + "="},
    "a line break": lambda jwk: {**jwk, "x": jwk["x"] + "\n"},
    "another spelling": lambda jwk: {**jwk, "x": jwk["x"][:-1] + _next(jwk["x"][-1])},
    "a number": lambda jwk: {**jwk, "x": 7},
    "a text": lambda jwk: "key",
}


def _next(letter: str) -> str:
    """Differs in bits that base64url throws away at the end of 32 bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) ^ 1]


@pytest.mark.parametrize("what", BAD_KEYS)
async def test_a_key_that_is_not_a_public_one_on_p256_is_refused(api: Api, what: str) -> None:
    bad = {"deviceKey": BAD_KEYS[what](DeviceKey().jwk)}
    for path, more in (
        ("/pairings", {}),
        ("/pairings/claim", {"userCode": "AAAA-AAAA"}),
        ("/invites/accept", {"code": "x"}),
    ):
        answer = await api.http.post(path, json=bad | more, headers=device_headers())
        assert refusal(answer) == (400, "bad_request")


async def test_a_logged_in_device_has_no_key_to_show(phone: Phone) -> None:
    assert refusal(await phone.post("/pairings", {"deviceKey": DeviceKey().jwk})) == (400, "bad_request")


async def test_the_key_that_was_claimed_with_stays(api: Api, phone: Phone) -> None:
    shown, headers = await phone.show_code(), device_headers() | {"Pairing-Secret": secrets.token_urlsafe(32)}
    path, one, other = f"/pairings/{shown['id']}/claim", DeviceKey(), DeviceKey()
    for key, expected in ((one, 200), (one, 200), (other, 409), (None, 409)):
        body = {"code": code_of(shown)} | ({"deviceKey": key.jwk} if key else {})
        answer = await api.http.post(path, json=body, headers=headers)
        assert answer.status_code == expected
    assert answer.json()["code"] == "device_changed"


# What it is needed for


WITH_AUTH_KEY = {f"{call.method} {call.path}": call for call in CALLS if KEY in call.proofs}


@pytest.mark.parametrize("name", WITH_AUTH_KEY)
async def test_no_call_takes_a_bound_auth_key_without_its_proof(bound: BoundDevice, name: str) -> None:
    call = WITH_AUTH_KEY[name]
    path = call.path.removeprefix("/api/v1").replace("{id}", "AAAAAAAAAAAAAAAAAAAAAA")
    passkey = {"name": "x", "credential": {"id": "x", "rawId": "x", "type": "public-key", "response": {}}}
    body = {"code": "x", "userCode": "AAAA-AAAA", "query": "x", **passkey}
    more: dict[str, Any] = {"json": body} if call.method in ("POST", "PATCH") else {}
    for headers in (
        {"Auth-Key": bound.auth_key},
        {"Authorization": f"Bearer {bound.auth_key}"},
        {"Authorization": f"DPoP {bound.auth_key}"},
    ):
        refused = await bound.send(call.method, path, headers=headers, **more)
        assert refusal(refused) == (401, "invalid_proof")
        assert refused.headers["dpop-nonce"] == refused.json()["nonce"]
    assert (await bound.get("/me")).status_code == 200


async def test_a_bound_refresh_key_is_worth_nothing_without_its_key(
    api: Api, bound: BoundDevice, server: Server
) -> None:
    first = bound.keys["refreshKey"]
    thief = BoundDevice(api, server.public_url, keys=bound.keys, nonce=bound.nonce)
    unproved = await thief.send("POST", "/sessions/refresh", json={"refreshKey": first})
    assert refusal(unproved) == (401, "invalid_proof")
    assert refusal(await thief.refresh()) == (401, "invalid_proof")
    cookie = {"Cookie": f"pairing_refresh={first}", "Origin": server.public_url}
    by_cookie = await thief.send("POST", "/sessions/refresh", json={"keys": "cookie"}, headers=cookie)
    assert refusal(by_cookie) == (401, "invalid_proof")

    renewed = await bound.refresh()
    assert renewed.status_code == 200, renewed.text
    bound.keys = renewed.json()
    assert payload(bound.auth_key)["cnf"] == {"jkt": bound.key.jkt}
    # The first use of the new authKey, by who has stolen it alone, is none.
    assert refusal(await thief.send("GET", "/me", key=bound.auth_key)) == (401, "invalid_proof")
    again = await bound.ask("POST", "/sessions/refresh", json={"refreshKey": first})
    assert again.json()["refreshKey"] == bound.keys["refreshKey"]
    # An exchanged key in the wrong hands does not end the session of its owner.
    assert (await bound.get("/me")).status_code == 200
    assert refusal(await thief.send("POST", "/sessions/refresh", json={"refreshKey": first})) == (401, "invalid_proof")
    assert (await bound.get("/me")).status_code == 200


async def test_a_cookie_is_refreshed_with_a_proof(bound: BoundDevice, server: Server) -> None:
    cookie = {"Cookie": f"pairing_refresh={bound.keys['refreshKey']}", "Origin": server.public_url}
    renewed = await bound.ask("POST", "/sessions/refresh", json={"keys": "cookie"}, headers=cookie)
    assert renewed.status_code == 200
    assert payload(renewed.json()["authKey"])["cnf"] == {"jkt": bound.key.jkt}


async def test_a_lost_answer_is_given_again_to_the_same_key_alone(api: Api, server: Server, phone: Phone) -> None:
    b = BoundDevice(api, server.public_url)
    pairing = await scan(b, phone, "created")
    path, secret = f"/pairings/{pairing['id']}/login", {"Pairing-Secret": pairing["secret"]}
    first = (await b.ask("POST", path, headers=secret)).json()
    thief = BoundDevice(api, server.public_url, nonce=b.nonce)
    assert refusal(await thief.ask("POST", path, headers=secret)) == (401, "invalid_proof")
    assert (await b.ask("POST", path, headers=secret)).json()["refreshKey"] == first["refreshKey"]

    code = await invite_in(server.folder, f"user-{secrets.token_hex(6)}")
    own = {"Pairing-Secret": secrets.token_urlsafe(32)} | device_headers()
    accepted = await b.ask("POST", "/invites/accept", json={"code": code, "deviceKey": b.key.jwk}, headers=own)
    for key, body in ((thief, {"deviceKey": thief.key.jwk}), (thief, {})):
        assert (
            refusal(await key.ask("POST", "/invites/accept", json={"code": code} | body, headers=own))[1]
            == "invite_used"
        )
    again = await b.ask("POST", "/invites/accept", json={"code": code, "deviceKey": b.key.jwk}, headers=own)
    assert again.json()["refreshKey"] == accepted.json()["refreshKey"]


async def test_who_has_no_key_goes_on_as_before_whatever_it_sends(api: Api, server: Server, phone: Phone) -> None:
    b = BoundDevice(api, server.public_url, keys=phone.keys)
    assert "cnf" not in payload(b.auth_key)
    for proof in (None, "nonsense", b.proof("GET", "/devices", b.auth_key)):
        assert (await b.send("GET", "/me", proof=proof, key=b.auth_key)).status_code == 200
    # But it can't pass for one that has proved a key (RFC 9449, section 7.1).
    refused = await b.send("GET", "/me", headers={"Authorization": f"DPoP {b.auth_key}"})
    assert refusal(refused) == (401, "unauthenticated")
    assert "DPoP" in refused.headers["www-authenticate"]


# Which proofs count


def _hmac(b: BoundDevice) -> str:
    """The public key as an HMAC secret."""
    _, claims, _ = b.proof("GET", "/me", b.auth_key).split(".")
    text = f"{spelt({'typ': 'dpop+jwt', 'alg': 'HS256', 'jwk': b.key.jwk})}.{claims}"
    return f"{text}.{spelt(hmac.digest(b.key.pair.as_pem(private=False), text.encode(), 'sha256'))}"


def _relabelled(algorithm: str) -> Callable[[BoundDevice], str]:
    """Of another algorithm, as its header says; for `none` without a signature."""

    def make(b: BoundDevice) -> str:
        _, claims, signature = b.proof("GET", "/me", b.auth_key).split(".")
        header = {"typ": "dpop+jwt", "alg": algorithm, "jwk": b.key.jwk}
        return f"{spelt(header)}.{claims}.{'' if algorithm.lower() == 'none' else signature}"

    return make


def _changed(**changed: Any) -> Callable[[BoundDevice], str]:
    return lambda b: b.proof("GET", "/me", b.auth_key, **changed)


def _headed(**header: Any) -> Callable[[BoundDevice], str]:
    return _changed(header=header)


INVALID: dict[str, Callable[[BoundDevice], str]] = {
    "another key's": lambda b: DeviceKey().proof("GET", b.url("/me"), b.nonce, b.auth_key),
    "another key's, with ours in the header": lambda b: DeviceKey().proof(
        "GET", b.url("/me"), b.nonce, b.auth_key, header={"jwk": b.key.jwk}
    ),
    "another method": lambda b: b.proof("POST", "/me", b.auth_key),
    "the method in small letters": lambda b: b.proof("get", "/me", b.auth_key),
    "another path": lambda b: b.proof("GET", "/devices", b.auth_key),
    "a longer path": lambda b: b.proof("GET", "/me/", b.auth_key),
    "the address that was asked, not the public one": lambda b: b.key.proof(
        "GET", f"{b.api.url}/api/v1/me", b.nonce, b.auth_key
    ),
    "another port": lambda b: b.key.proof("GET", "http://localhost:1/api/v1/me", b.nonce, b.auth_key),
    "another scheme": lambda b: b.key.proof("GET", b.url("/me").replace("http", "https"), b.nonce, b.auth_key),
    "a user in the address": lambda b: b.key.proof("GET", b.url("/me").replace("//", "//u@"), b.nonce, b.auth_key),
    "no address": _changed(htu="/api/v1/me"),
    "a broken address": _changed(htu="http://[/api/v1/me"),
    "a surrogate in the address": _changed(htu="http://\ud800/"),
    "no htm": _changed(htm=None),
    "no htu": _changed(htu=None),
    "no ath": lambda b: b.proof("GET", "/me"),
    "another ath": lambda b: b.proof("GET", "/me", "another.auth.key"),
    "a surrogate as ath": _changed(ath="\ud800"),
    "no iat": _changed(iat=None),
    "a text as iat": _changed(iat="now"),
    "no jti": _changed(jti=None),
    "an empty jti": _changed(jti=""),
    "a long jti": _changed(jti="x" * 257),
    "a surrogate as jti": _changed(jti="\ud800"),
    "another typ": _headed(typ="JWT"),
    "no typ": _headed(typ=None),
    "no jwk": _headed(jwk=None),
    "a text as jwk": _headed(jwk="key"),
    "a private key": lambda b: b.proof("GET", "/me", b.auth_key, header={"jwk": b.key.pair.as_dict(private=True)}),
    "crit": _headed(crit=["b64"]),
    "jku": _headed(jku="https://evil.example/keys"),
    "another algorithm": _relabelled("ES384"),
    "none": _relabelled("none"),
    "none, in other letters": _relabelled("nOnE"),
    "HMAC with the public key": _hmac,
    "a deep one": lambda b: b.key.signed({"typ": "dpop+jwt", "alg": "ES256", "jwk": b.key.jwk}, b"[" * 2000),
    "an authKey": lambda b: b.auth_key,
    "nonsense": lambda b: "nonsense",
    "a long one": lambda b: b.proof("GET", "/me", b.auth_key, more="x" * 8000),
    "a surrogate as nonce": _changed(nonce="\ud800"),
    "two in one": lambda b: ", ".join(b.proof("GET", "/me", b.auth_key) for _ in range(2)),
}  # fmt: skip
STALE: dict[str, Callable[[BoundDevice], str]] = {
    "no nonce": _changed(nonce=None),
    "an empty nonce": _changed(nonce=""),
    "a made-up nonce": _changed(nonce=base64.urlsafe_b64encode(b"x" * 21).decode()),
    "a later nonce under the old seal": lambda b: b.proof("GET", "/me", b.auth_key, nonce=_later(b.nonce)),
}


def _later(nonce: str) -> str:
    raw = base64.urlsafe_b64decode(nonce)
    return base64.urlsafe_b64encode((int.from_bytes(raw[:5]) + 60).to_bytes(5) + raw[5:]).decode()


@pytest.fixture(scope="module")
def kept() -> dict[str, BoundDevice]:
    return {}


@pytest.fixture
async def one(kept: dict[str, BoundDevice], api: Api, new_bound: NewBound) -> BoundDevice:
    """A bound device for many tests that change nothing of it, with a fresh nonce."""
    b = kept["one"] if kept else kept.setdefault("one", await new_bound())
    b.api = api
    assert (await b.get("/me")).status_code == 200
    return b


@pytest.mark.parametrize("what", INVALID)
async def test_a_proof_that_does_not_fit_is_refused(one: BoundDevice, what: str) -> None:
    assert refusal(await one.send("GET", "/me", proof=INVALID[what](one), key=one.auth_key)) == (401, "invalid_proof")


@pytest.mark.parametrize("what", STALE)
async def test_a_proof_that_is_not_of_this_moment_gets_a_nonce_for_the_next(one: BoundDevice, what: str) -> None:
    refused = await one.send("GET", "/me", proof=STALE[what](one), key=one.auth_key)
    assert refusal(refused) == (401, "use_dpop_nonce")
    assert refused.headers["www-authenticate"] == 'DPoP error="use_dpop_nonce", algs="ES256"'
    assert (
        await one.send("GET", "/me", proof=one.proof("GET", "/me", one.auth_key), key=one.auth_key)
    ).status_code == 200


async def test_two_proofs_at_once_are_none(one: BoundDevice) -> None:
    proofs = [("DPoP", one.proof("GET", "/me", one.auth_key)) for _ in range(2)]
    answer = await one.api.http.get("/me", headers=[("Auth-Key", one.auth_key), *proofs])
    assert refusal(answer) == (401, "invalid_proof")


async def test_a_proof_counts_once(one: BoundDevice) -> None:
    proof = one.proof("GET", "/me", one.auth_key)
    assert (await one.send("GET", "/me", proof=proof, key=one.auth_key)).status_code == 200
    assert refusal(await one.send("GET", "/me", proof=proof, key=one.auth_key)) == (401, "invalid_proof")


@pytest.mark.parametrize(
    "changed",
    [
        {"iat": 1}, {"iat": 9_999_999_999}, {"iat": 1.5}, {"more": "members"},
    ],
    ids=str,
)  # fmt: skip
async def test_what_says_nothing_of_the_request_does_not_matter(one: BoundDevice, changed: dict[str, Any]) -> None:
    proof = one.proof("GET", "/me", one.auth_key, **changed)
    assert (await one.send("GET", "/me", proof=proof, key=one.auth_key)).status_code == 200


async def test_an_address_is_compared_as_addresses_are(one: BoundDevice) -> None:
    for way in ("{}?a=b#c", "{}?"):
        proof = one.key.proof("GET", way.format(one.url("/me")), one.nonce, one.auth_key)
        assert (await one.send("GET", "/me", proof=proof, key=one.auth_key)).status_code == 200
    proof = one.key.proof(
        "GET", one.url("/me").replace("http://localhost", "HTTP://LocalHost"), one.nonce, one.auth_key
    )
    assert (await one.send("GET", "/me", proof=proof, key=one.auth_key)).status_code == 200


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "Bearer"])
async def test_the_auth_key_may_come_as_authorization(one: BoundDevice, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {one.auth_key}"}
    proof = one.proof("GET", "/me", one.auth_key)
    assert (await one.send("GET", "/me", proof=proof, headers=headers)).status_code == 200


async def test_members_that_say_nothing_of_the_key_are_passed_over(one: BoundDevice) -> None:
    jwk = {**one.key.jwk, "use": "sig", "alg": "ES256", "kid": "mine", "ext": True, "key_ops": ["verify"]}
    proof = one.proof("GET", "/me", one.auth_key, header={"jwk": jwk})
    assert (await one.send("GET", "/me", proof=proof, key=one.auth_key)).status_code == 200


async def test_a_nonce_grows_old_and_a_proof_can_never_come_back(clocked: Embedded, clocked_api: Api) -> None:
    invite = await invite_in(clocked.folder, f"user-{secrets.token_hex(6)}", clocked.clock)
    b = await BoundDevice(clocked_api, clocked.settings.public_url).accept(invite)
    used, unused = [b.proof("GET", "/me", b.auth_key) for _ in range(2)]
    assert (await b.send("GET", "/me", proof=used, key=b.auth_key)).status_code == 200
    clocked.clock.advance(NONCE_SECONDS + 1)
    for proof in (used, unused):
        assert refusal(await b.send("GET", "/me", proof=proof, key=b.auth_key)) == (401, "use_dpop_nonce")
    assert (await b.get("/me")).status_code == 200
    clocked.clock.advance(REMEMBERED_MS / 1000)
    assert refusal(await b.send("GET", "/me", proof=used, key=b.auth_key)) == (401, "use_dpop_nonce")


# Sockets


async def first_words(uri: str, **credential: str) -> tuple[list[dict[str, Any]], int | None]:
    """What the socket says at first, and the code that it closes with, unless it stays open."""
    said: list[dict[str, Any]] = []
    async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("pairing.v1")]) as connection:
        await connection.send(json.dumps({"type": "auth", **credential}))
        try:
            said.append(json.loads(await connection.recv()))
            if said[0]["type"] == "pairing":
                return said, None
            await connection.recv()
        except websockets.ConnectionClosed as closed:
            return said, closed.rcvd.code if closed.rcvd else None
    return said, None


async def test_a_pairings_socket_takes_a_bound_auth_key_with_its_proof_alone(
    server: Server, bound: BoundDevice
) -> None:
    pairing = (await bound.ask("POST", "/pairings", key=bound.auth_key, json={"qr": "none"})).json()
    path = f"/pairings/{pairing['id']}/socket"
    uri = f"{server.ws_url}/api/v1{path}"
    for proof in (
        {},
        {"proof": "nonsense"},
        {"proof": bound.proof("GET", path)},
        {"proof": bound.proof("GET", "/socket", bound.auth_key)},
    ):
        said, code = await first_words(uri, authKey=bound.auth_key, **proof)
        assert [each["type"] for each in said] == ["nonce"]
        assert code == 4401
    old = bound.proof("GET", path, bound.auth_key, nonce=None)
    said, code = await first_words(uri, authKey=bound.auth_key, proof=old)
    assert code == 4401
    bound.nonce = said[0]["nonce"]
    good = bound.proof("GET", path, bound.auth_key)
    said, code = await first_words(uri, authKey=bound.auth_key, proof=good)
    assert (said[0]["type"], code) == ("pairing", None)
    assert (await first_words(uri, authKey=bound.auth_key, proof=good))[1] == 4401


async def test_an_accounts_socket_takes_a_bound_auth_key_with_its_proof_alone(
    server: Server, bound: BoundDevice, new_phone: NewPhone
) -> None:
    uri = f"{server.ws_url}/api/v1/socket"
    said, code = await first_words(uri, authKey=bound.auth_key)
    assert ([each["type"] for each in said], code) == (["nonce"], 4401)
    hello = {"type": "auth", "authKey": bound.auth_key, "proof": bound.proof("GET", "/socket", bound.auth_key)}
    username = (await bound.get("/me")).json()["user"]["username"]
    async with websockets.connect(uri) as connection:
        await connection.send(json.dumps(hello))
        heard = asyncio.create_task(connection.recv())
        # A fresh account socket says nothing, so devices come until it tells of one.
        while not heard.done():
            await new_phone(username)
        assert json.loads(await heard)["type"] == "device.added"


async def test_a_socket_takes_key_and_proof_from_headers_too(server: Server, bound: BoundDevice) -> None:
    pairing = (await bound.ask("POST", "/pairings", key=bound.auth_key, json={"qr": "none"})).json()
    path = f"/pairings/{pairing['id']}/socket"
    uri = f"{server.ws_url}/api/v1{path}"
    good = {"Authorization": f"DPoP {bound.auth_key}", "DPoP": bound.proof("GET", path, bound.auth_key)}
    async with websockets.connect(uri, additional_headers=good) as connection:
        assert json.loads(await connection.recv())["type"] == "pairing"
    async with websockets.connect(uri, additional_headers=good) as connection:
        assert json.loads(await connection.recv())["type"] == "nonce"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "invalid_proof")


async def test_below_another_apps_path_a_proof_names_the_public_address(tmp_path: Path) -> None:
    settings = Settings(
        public_url="https://app.example.com/login",
        database_url=f"sqlite:///{tmp_path / 'pairing.db'}",
        signing_key_file=tmp_path / "pairing-keys.json",
    )
    login = create_app(settings)
    around = Starlette(routes=[Mount("/login", login)])
    async with (
        login.router.lifespan_context(login),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(around), base_url="https://app.example.com/login/api/v1"
        ) as client,
    ):
        api = Api("https://app.example.com/login")
        await api.http.aclose()
        api.http = client
        code = await invite_in(tmp_path, "alice")
        b = await BoundDevice(api, settings.public_url).accept(code)
        assert (await b.get("/me")).status_code == 200
        inside = b.key.proof("GET", "https://app.example.com/api/v1/me", b.nonce, b.auth_key)
        assert refusal(await b.send("GET", "/me", proof=inside, key=b.auth_key)) == (401, "invalid_proof")
