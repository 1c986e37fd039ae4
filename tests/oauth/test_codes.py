"""What an authorization code is exchanged for, and that it counts once."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from pairing_ws.core import codes
from pairing_ws.oauth.types import Policy
from tests.oauth.conftest import ISSUER, REDIRECT, VERIFIER, World, challenge, refused_with
from tests.support.client_tokens import claims, header
from tests.support.oauth_stores import Stores

MINUTE = 60


async def test_a_code_gives_tokens_for_what_was_consented(world: World) -> None:
    given = await world.granted(nonce="n-0S6", acr="1", scopes=("openid", "groups"))
    now = world.clock() // 1000
    access, identity = claims(given.access_token), claims(given.id_token or "")
    assert header(given.access_token) == {"typ": "at+jwt", "alg": "ES256"}
    assert header(given.id_token or "") == {"typ": "JWT", "alg": "RS256"}
    common = {"iss": ISSUER, "sub": world.login.user_id, "iat": now, "auth_time": now - 60, "acr": "1"}
    assert common.items() <= access.items()
    assert common.items() <= identity.items()
    assert {"aud": "app", "client_id": "app", "exp": now + 300, "scope": "openid groups"}.items() <= access.items()
    assert {"aud": "app", "azp": "app", "nonce": "n-0S6", "amr": ["qr"], "groups": []}.items() <= identity.items()
    assert identity["exp"] == now + 3600
    assert identity["at_hash"] == codes.base64url(hashlib.sha256(given.access_token.encode()).digest()[:16])
    assert access["sid"] == identity["sid"]
    assert (given.token_type, given.scope, given.expires_at) == ("Bearer", "openid groups", world.clock() + 300_000)


async def test_no_access_token_outlives_its_grant(world: World) -> None:
    world.policy = Policy(issuer=ISSUER, grant=100_000)
    world.__post_init__()
    given = await world.granted()
    assert claims(given.access_token)["exp"] == world.clock() // 1000 + 100
    assert given.expires_at == world.clock() + 100_000


async def test_without_openid_there_is_no_id_token(world: World) -> None:
    assert (await world.granted(scopes=("email",))).id_token is None


@pytest.mark.security(45)
async def test_a_code_that_comes_a_hundred_times_at_once_at_two_processes_gives_one_set_of_tokens(
    world: World, elsewhere: Stores
) -> None:
    other, code = world.another(elsewhere), await world.code()
    given = await asyncio.gather(*((world, other)[number % 2].redeem(code) for number in range(100)))
    assert len({each.refresh_token for each in given}) == len({each.access_token for each in given}) == 1
    assert [event for event, _ in world.events] == ["grant.started"]


@pytest.mark.security(45)
async def test_the_same_request_gets_the_same_answer_for_half_a_minute_and_not_longer(world: World) -> None:
    code = await world.code()
    first = await world.redeem(code)
    world.clock.forward(seconds=29)
    assert await world.redeem(code) == first
    world.clock.forward(seconds=1)
    assert await refused_with(world.redeem(code)) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "reused"


async def test_an_answer_is_not_repeated_once_its_grant_has_ended_and_that_end_stands(world: World) -> None:
    code = await world.code()
    given = await world.redeem(code)
    await world.service.shown_tokens.revoke(world.request(token=given.refresh_token))
    assert await refused_with(world.redeem(code)) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "revoked"


async def test_the_accounts_devices_and_its_activity_hear_of_a_beginning_and_of_a_copys_end(world: World) -> None:
    code = await world.code()
    await world.redeem(code)
    await world.redeem(code)
    assert world.changed == [world.login.user_id]
    for _ in range(2):
        assert await refused_with(world.redeem(code, redirect_uri="https://else.example")) == "invalid_grant"
    assert world.changed == [world.login.user_id] * 2
    told = [(line.event, line.device_name) for line in await world.stores.accounts.activity(world.login.user_id, 9)]
    assert told[:2] == [("app.reused", world.client.name), ("app.added", world.client.name)]


async def test_a_code_is_known_to_be_used_when_its_record_is_gone(world: World) -> None:
    code = await world.code()
    world.clock.forward(seconds=59)
    first = await world.redeem(code)
    world.clock.forward(seconds=2)
    assert await world.code_store.get(codes.digest(code)) is None
    assert await world.redeem(code) == first
    world.clock.forward(seconds=28)
    assert await refused_with(world.redeem(code)) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "reused"


@pytest.mark.security(45)
@pytest.mark.parametrize("used", ["access token", "refresh token"])
async def test_once_something_of_the_answer_was_used_a_second_request_is_refused_and_ends_it(
    world: World, used: str
) -> None:
    code = await world.code()
    first = await world.redeem(code)
    if used == "access token":
        await world.user_info(first.access_token)
    else:
        first = await world.refresh(first.refresh_token)
    assert await refused_with(world.redeem(code)) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "reused"
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_grant"
    assert await refused_with(world.user_info(first.access_token)) == "invalid_token"
    assert world.events[-1][0] == "grant.ended"


@pytest.mark.security(45)
@pytest.mark.parametrize(
    "wrong", [{"code_verifier": VERIFIER[::-1]}, {"redirect_uri": REDIRECT + "/"}, {"redirect_uri": ""}]
)
async def test_a_request_that_does_not_fit_gets_nothing_and_uses_nothing_up_but_ends_what_was_given(
    world: World, wrong: dict[str, Any]
) -> None:
    code = await world.code()
    assert await refused_with(world.redeem(code, **wrong)) == "invalid_grant"
    await world.redeem(code)
    assert await refused_with(world.redeem(code, **wrong)) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "reused"


@pytest.mark.parametrize("wrong", [{"code_verifier": ""}, {"code_verifier": "short"}, {"code": ""}])
async def test_a_request_without_what_it_needs_is_malformed(world: World, wrong: dict[str, Any]) -> None:
    code = await world.code()
    assert await refused_with(world.redeem(code, **wrong)) == "invalid_request"
    await world.redeem(code)


@pytest.mark.security(45)
async def test_the_challenge_itself_is_no_verifier(world: World) -> None:
    code = await world.code()
    assert await refused_with(world.redeem(code, code_verifier=challenge())) == "invalid_grant"


@pytest.mark.security(45)
async def test_another_clients_code_is_refused_before_and_after_and_ends_nothing(world: World) -> None:
    stranger = await world.stores.client("stranger", redirect_uris=(REDIRECT,))
    code = await world.code()
    assert await refused_with(world.redeem(code, stranger)) == "invalid_grant"
    given = await world.redeem(code)
    assert await refused_with(world.redeem(code, stranger)) == "invalid_grant"
    assert await world.user_info(given.access_token)


async def test_an_unknown_code_and_one_whose_time_is_over_are_refused(world: World) -> None:
    code = await world.code()
    assert await refused_with(world.redeem("x" * 43)) == "invalid_grant"
    world.clock.forward(seconds=MINUTE)
    assert await refused_with(world.redeem(code)) == "invalid_grant"


@pytest.mark.security(48)
async def test_a_login_that_ended_or_an_account_that_is_locked_since_gives_nothing(world: World) -> None:
    code = await world.code()
    await world.stores.users.lock("alice", world.clock())
    assert await refused_with(world.redeem(code)) == "invalid_grant"
    await world.stores.users.lock("alice", None)
    assert await refused_with(world.granted(session_id="none")) == "invalid_grant"
    assert await refused_with(world.granted(user_id="none")) == "invalid_grant"
    await world.redeem(code)


async def test_a_grant_is_offline_where_that_was_consented(world: World) -> None:
    for scopes, offline in ((("openid",), False), (("openid", "offline_access"), True)):
        code = await world.code(scopes=scopes)
        await world.redeem(code)
        assert (await world.grant_of(code)).offline is offline


async def test_a_client_without_a_redirect_uri_has_no_codes(world: World) -> None:
    bare = msgspec.structs.replace(world.client, redirect_uris=())
    assert await refused_with(world.redeem(await world.code(), bare)) == "unauthorized_client"


@pytest.mark.parametrize(
    ("grant_type", "error"),
    [("", "invalid_request"), ("password", "unsupported_grant_type"), ("implicit", "unsupported_grant_type")],
)
async def test_other_kinds_of_grants_are_refused(world: World, grant_type: str, error: str) -> None:
    assert await refused_with(world.redeem(await world.code(), grant_type=grant_type)) == error


# DPoP


async def test_tokens_are_bound_to_the_key_that_the_request_proves(world: World) -> None:
    code = await world.code()
    given = await world.redeem(code, key="jkt-1")
    assert given.token_type == "DPoP"
    assert claims(given.access_token)["cnf"] == {"jkt": "jkt-1"}
    assert await world.redeem(code, key="jkt-1") == given
    assert await refused_with(world.redeem(code, key="jkt-2")) == "invalid_grant"
    assert (await world.grant_of(code)).ended_why == "reused"


@pytest.mark.security(48)
@pytest.mark.parametrize("key", [None, "jkt-2"])
async def test_a_code_that_was_asked_for_with_a_key_is_given_to_no_other(world: World, key: str | None) -> None:
    code = await world.code(dpop_thumbprint="jkt-1")
    assert await refused_with(world.redeem(code, key=key)) == "invalid_grant"
    assert (await world.redeem(code, key="jkt-1")).token_type == "DPoP"
