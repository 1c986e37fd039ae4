"""Which client a request comes from, and what proves it."""

import asyncio
import secrets
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.oauth.authentication import Credentials, Method
from pairing_ws.oauth.errors import OAuthError
from pairing_ws.oauth.ports import Client
from tests.oauth.conftest import ISSUER, World, refused_with

EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
JWKS = {"keys": [key.as_dict(private=False) for key in (EC, RSA)]}


async def authenticate(world: World, method: Method, client_id: str, secret: str = "", ip: str = "::1") -> Client:
    return await world.service.authentication.client(Credentials(method, client_id, secret), ip)


def assertion(world: World, key: Any = EC, alg: str = "ES256", header: Any = None, **changed: Any) -> str:
    """What a client signs; a claim that is None is left out."""
    claims = {
        "iss": "signer",
        "sub": "signer",
        "aud": ISSUER,
        "exp": world.clock() // 1000 + 60,
        "jti": secrets.token_urlsafe(16),
        **changed,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": alg} | (header or {}), claims, key, algorithms=[alg])


@pytest.fixture
async def signer(world: World) -> Client:
    return await world.stores.client("signer", jwks=JWKS)


@pytest.mark.security(45)
@pytest.mark.parametrize("method", [Method.BASIC, Method.POST])
async def test_a_confidential_client_is_known_by_its_secret_alone(world: World, method: Method) -> None:
    assert (await authenticate(world, method, "app", "s3cret")).id == "app"
    for secret in ("", "S3cret", "s3cret ", codes.digest("s3cret")):
        assert await refused_with(authenticate(world, method, "app", secret)) == "invalid_client"
    assert await refused_with(authenticate(world, Method.NONE, "app")) == "invalid_client"


async def test_a_public_client_names_itself_and_has_no_secret_that_could_be_right(world: World) -> None:
    await world.stores.client("spa")
    assert (await authenticate(world, Method.NONE, "spa")).id == "spa"
    for secret in ("", "x"):
        assert await refused_with(authenticate(world, Method.BASIC, "spa", secret)) == "invalid_client"


@pytest.mark.security(45)
@pytest.mark.parametrize("client_id", ["", "none", "APP", "app ", "a\x00b", "ä", "x" * 10_000])
async def test_an_unknown_client_is_told_what_a_wrong_secret_is_told(world: World, client_id: str) -> None:
    answers = set()
    for method, name in ((Method.BASIC, client_id), (Method.BASIC, "app"), (Method.NONE, client_id)):
        with pytest.raises(OAuthError) as caught:
            await authenticate(world, method, name, "wrong")
        answers.add((caught.value.error, caught.value.description, caught.value.status))
    assert len(answers) == 1
    assert answers.pop()[2] == 401


@pytest.mark.security(45)
async def test_failures_are_limited_by_client_and_address_and_cost_no_other_client(world: World) -> None:
    await world.stores.client("other", secret_hash=codes.digest("s"))
    world.rates = {"client_failure": "3/hour"}
    world.__post_init__()
    for _ in range(3):
        assert await refused_with(authenticate(world, Method.BASIC, "app", "wrong")) == "invalid_client"
    with pytest.raises(Refused) as caught:
        await authenticate(world, Method.BASIC, "app", "s3cret")
    assert caught.value.code is Code.RATE_LIMITED
    assert await authenticate(world, Method.BASIC, "app", "s3cret", ip="192.0.2.1")
    assert await authenticate(world, Method.BASIC, "other", "s")


async def test_requests_are_limited_by_address_and_by_the_client_that_has_proved_who_it_is(world: World) -> None:
    await world.stores.client("spa")
    world.rates = {"oauth": "4/hour", "client": "2/hour"}
    world.__post_init__()
    for _ in range(2):
        await authenticate(world, Method.BASIC, "app", "s3cret")
    with pytest.raises(Refused):
        await authenticate(world, Method.BASIC, "app", "s3cret")
    # Anybody can name a public client.
    await authenticate(world, Method.NONE, "spa")
    with pytest.raises(Refused):
        await authenticate(world, Method.NONE, "spa")
    for number in range(3):
        await authenticate(world, Method.NONE, "spa", ip=f"192.0.2.{number}")


# private_key_jwt


@pytest.mark.parametrize(
    ("key", "alg", "header"),
    [
        (EC, "ES256", {"kid": "ec"}),
        (EC, "ES256", {}),
        (RSA, "RS256", {"kid": "rsa", "typ": "JWT"}),
        (RSA, "PS256", {}),
    ],
)
async def test_a_client_is_known_by_an_assertion_under_its_own_key(
    world: World, signer: Client, key: Any, alg: str, header: Any
) -> None:
    for audience in (ISSUER, f"{ISSUER}/oauth/token", ["https://else.example", ISSUER]):
        signed = assertion(world, key, alg, header, aud=audience)
        assert await authenticate(world, Method.PRIVATE_KEY_JWT, "", signed) == signer
    assert await authenticate(world, Method.PRIVATE_KEY_JWT, "signer", assertion(world, key, alg, header)) == signer


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "app"},
        {"sub": "app"},
        {"sub": None},
        {"aud": None},
        {"aud": "https://else.example"},
        {"aud": f"{ISSUER}/"},
        {"aud": [1]},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": 1e400},
        {"exp": 1e308},
        {"exp": 10**400},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 300},
        {"nbf": 99_999_999_999},
    ],
    ids=str,
)
async def test_an_assertion_that_says_anything_else_is_refused(world: World, signer: Client, wrong: Any) -> None:
    signed = assertion(world, **wrong)
    assert await refused_with(authenticate(world, Method.PRIVATE_KEY_JWT, "", signed)) == "invalid_client"


async def test_an_assertion_that_is_over_or_lasts_for_long_is_refused(world: World, signer: Client) -> None:
    for ahead in (-61, 3600 + 61, 10**10):
        signed = assertion(world, exp=world.clock() // 1000 + ahead)
        assert await refused_with(authenticate(world, Method.PRIVATE_KEY_JWT, "", signed)) == "invalid_client"


@pytest.mark.security(45)
async def test_an_assertion_counts_once_of_a_hundred_at_once(world: World, signer: Client) -> None:
    signed = assertion(world)
    tries = (authenticate(world, Method.PRIVATE_KEY_JWT, "", signed) for _ in range(100))
    given = await asyncio.gather(*tries, return_exceptions=True)
    assert [each for each in given if not isinstance(each, OAuthError)] == [signer]


@pytest.mark.security(45)
async def test_an_assertion_by_another_key_or_without_one_is_refused(world: World, signer: Client) -> None:
    stranger, octets = ECKey.generate_key("P-256"), JWKS["keys"][0]["x"]
    genuine = assertion(world)
    head, body, _ = genuine.split(".")
    none = codes.base64url(b'{"alg":"none"}')
    for signed in (
        assertion(world, stranger),
        assertion(world, header={"kid": "rsa"}),
        assertion(world, header={"kid": "unknown"}),
        f"{none}.{body}.",
        f"{head}.{body}.{codes.base64url(str(octets).encode())}",
        f"{head}.{body}.",
        "x",
        "a.b.c",
        "." * 5000,
        "x" * 5000,
    ):
        assert await refused_with(authenticate(world, Method.PRIVATE_KEY_JWT, "", signed)) == "invalid_client"
    assert await authenticate(world, Method.PRIVATE_KEY_JWT, "", genuine) == signer


async def test_an_assertion_is_of_the_client_that_the_form_names(world: World, signer: Client) -> None:
    assert await refused_with(authenticate(world, Method.PRIVATE_KEY_JWT, "app", assertion(world))) == "invalid_client"


async def test_a_client_with_keys_alone_has_no_secret_and_one_with_a_secret_alone_no_keys(
    world: World, signer: Client
) -> None:
    for secret in ("", "x"):
        assert await refused_with(authenticate(world, Method.POST, "signer", secret)) == "invalid_client"
    assert await refused_with(authenticate(world, Method.NONE, "signer")) == "invalid_client"
    signed = assertion(world, iss="app", sub="app")
    assert await refused_with(authenticate(world, Method.PRIVATE_KEY_JWT, "", signed)) == "invalid_client"


async def test_an_assertion_is_not_taken_while_nobody_can_say_whether_it_came_before(
    world: World, signer: Client
) -> None:
    async def away(key: str, ttl_ms: int) -> bool:
        raise Unavailable("the store")

    world.counters.mark = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await authenticate(world, Method.PRIVATE_KEY_JWT, "", assertion(world))


# What was known of it


async def test_a_new_secret_counts_at_once_and_the_old_one_for_two_seconds_at_most(world: World) -> None:
    await authenticate(world, Method.BASIC, "app", "s3cret")
    await world.stores.clients.replace(msgspec.structs.replace(world.client, secret_hash=codes.digest("n3w")))
    world.clock.forward(ms=1999)
    await authenticate(world, Method.BASIC, "app", "s3cret")
    await authenticate(world, Method.BASIC, "app", "n3w")
    assert await refused_with(authenticate(world, Method.BASIC, "app", "s3cret")) == "invalid_client"


@pytest.mark.parametrize("passed", [2000, -1], ids=["two seconds", "a clock that was set back"])
async def test_a_client_that_was_removed_is_unknown_two_seconds_later(world: World, passed: int) -> None:
    await authenticate(world, Method.BASIC, "app", "s3cret")
    await world.stores.clients.remove("app", world.clock())
    world.clock.forward(ms=passed)
    assert await refused_with(authenticate(world, Method.BASIC, "app", "s3cret")) == "invalid_client"


async def test_a_client_that_was_just_known_needs_no_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await authenticate(world, Method.BASIC, "app", "s3cret")

    async def away(client_id: str) -> Client | None:
        raise Unavailable("the database")

    monkeypatch.setattr(world.stores.clients, "get", away)
    assert (await authenticate(world, Method.BASIC, "app", "s3cret")).id == "app"
    with pytest.raises(Unavailable):
        await authenticate(world, Method.BASIC, "app", "wrong")
    world.clock.forward(ms=2000)
    with pytest.raises(Unavailable):
        await authenticate(world, Method.BASIC, "app", "s3cret")
