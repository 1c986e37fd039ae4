"""Tokens that come back: at UserInfo, to be revoked, to be described."""

import asyncio
from typing import Any

import msgspec
import pytest

from pairing_ws.accounts.ports import Account, Profile, User
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth import scopes
from pairing_ws.oauth.ports import Client
from tests.oauth.conftest import ISSUER, REDIRECT, World, refused_with
from tests.support.client_tokens import PlainTokens, claims
from tests.support.oauth_stores import Stores

PROFILE = Profile(email="alice@example.org", email_verified=True, name="Alice", groups=("admins", "staff"))


async def revoke(world: World, token: str, client: Client | None = None, **form: Any) -> None:
    await world.service.shown_tokens.revoke(world.request(client, token=token, **form))


async def stranger(world: World, **settings: Any) -> Client:
    return await world.stores.client("stranger", redirect_uris=(REDIRECT,), secret_hash="x", **settings)


# UserInfo


@pytest.mark.parametrize(
    ("granted", "told"),
    [
        ({"openid"}, {}),
        ({"openid", "email"}, {"email": "alice@example.org", "email_verified": True}),
        ({"openid", "groups"}, {"groups": ["admins", "staff"]}),
        ({"openid", "profile"}, {"name": "Alice", "preferred_username": "alice"}),
        ({"openid", "address", "phone", "offline_access"}, {}),
    ],
)
def test_each_scope_tells_its_own(granted: set[str], told: dict[str, Any]) -> None:
    user = User(id="u", username="alice", display_name="alice", created_at=0)
    assert scopes.claims(Account(user, PROFILE), granted) == told


async def test_user_info_and_id_token_tell_the_same(world: World) -> None:
    given = await world.granted(scopes=("openid", "profile", "groups", "email"))
    told = {"name": "alice", "preferred_username": "alice", "groups": []}
    assert await world.user_info(given.access_token) == {"sub": world.login.user_id} | told
    assert told.items() <= claims(given.id_token or "").items()


async def test_without_openid_nothing_is_told(world: World) -> None:
    given = await world.granted(scopes=("email",))
    assert await refused_with(world.user_info(given.access_token)) == "insufficient_scope"


async def test_tokens_that_are_none_or_over_are_refused(world: World) -> None:
    given = await world.granted()
    foreign = PlainTokens().sign(
        {**claims(given.access_token), "client_id": "another"}, typ="at+jwt", alg=world.client.access_token_alg
    )
    for token in ("", "x", given.refresh_token, given.id_token or "", foreign):
        assert await refused_with(world.user_info(token)) == "invalid_token"
    world.clock.forward(seconds=300)
    assert await refused_with(world.user_info(given.access_token)) == "invalid_token"


async def test_a_locked_accounts_token_is_refused(world: World) -> None:
    given = await world.granted()
    await world.stores.users.lock("alice", world.clock())
    assert await refused_with(world.user_info(given.access_token)) == "invalid_token"


@pytest.mark.security(48)
async def test_a_bound_token_needs_a_proof_by_its_key_and_an_unbound_one_takes_none(world: World) -> None:
    bound, free = await world.granted_to("jkt-1"), await world.granted()
    assert await world.user_info(bound.access_token, key="jkt-1")
    assert await refused_with(world.user_info(bound.access_token, key="jkt-2")) == "invalid_dpop_proof"
    # As a bearer token, and the reverse.
    assert await refused_with(world.user_info(bound.access_token)) == "invalid_token"
    assert await refused_with(world.user_info(free.access_token, key="jkt-1")) == "invalid_token"


async def test_a_use_is_remembered_once_a_minute(world: World) -> None:
    code = await world.code()
    given = await world.redeem(code)
    begun = world.clock()
    world.clock.forward(seconds=59)
    await world.user_info(given.access_token)
    assert (await world.grant_of(code)).last_used_at == begun
    world.clock.forward(seconds=1)
    await world.user_info(given.access_token)
    assert (await world.grant_of(code)).last_used_at == world.clock()


async def test_an_older_access_tokens_use_costs_no_lost_answer(world: World) -> None:
    first = await world.granted()
    second = await world.refresh(first.refresh_token)
    await world.user_info(first.access_token)
    assert await world.refresh(first.refresh_token) == second


async def test_requests_are_counted_by_address(world: World) -> None:
    given = await world.granted()
    world.rates = {"oauth": "2/hour"}
    world.__post_init__()
    await world.user_info(given.access_token)
    await world.user_info(given.access_token)
    with pytest.raises(Refused) as caught:
        await world.user_info(given.access_token)
    assert caught.value.code is Code.RATE_LIMITED


# Introspection


async def test_an_access_token_is_described_to_its_client(world: World) -> None:
    given = await world.granted(acr="1")
    told, now = await world.introspect(given.access_token), world.clock() // 1000
    assert told == {
        "active": True,
        "scope": "openid email groups",
        "client_id": "app",
        "sub": world.login.user_id,
        "aud": "app",
        "iss": ISSUER,
        "exp": now + 300,
        "iat": now,
        "auth_time": now - 60,
        "acr": "1",
        "jti": claims(given.access_token)["jti"],
        "sid": claims(given.access_token)["sid"],
        "token_type": "Bearer",
    }


async def test_a_bound_token_is_described_with_its_key(world: World) -> None:
    given = await world.granted_to("jkt-1")
    for token in (given.access_token, given.refresh_token):
        assert (await world.introspect(token))["cnf"] == {"jkt": "jkt-1"}
    assert (await world.introspect(given.access_token))["token_type"] == "DPoP"


async def test_a_refresh_token_is_described_and_active_while_it_is_the_current_one(world: World) -> None:
    first = await world.granted()
    told = await world.introspect(first.refresh_token)
    assert told["active"] is True
    assert told["scope"] == "openid email groups"
    assert "aud" not in told
    second = await world.refresh(first.refresh_token)
    assert await world.introspect(first.refresh_token) == {"active": False}
    assert (await world.introspect(second.refresh_token))["active"] is True


@pytest.mark.security(48)
async def test_everything_else_is_inactive_and_nothing_more(world: World) -> None:
    given = await world.granted()
    for token in ("x", "a.b", "a.b.c", given.id_token or "", given.refresh_token[:-1] + "!"):
        assert await world.introspect(token) == {"active": False}
    world.clock.forward(seconds=300)
    assert await world.introspect(given.access_token) == {"active": False}


async def test_without_a_token_there_is_nothing_to_describe(world: World) -> None:
    assert await refused_with(world.introspect("")) == "invalid_request"


@pytest.mark.security(45)
async def test_a_stranger_is_told_that_it_is_inactive_and_a_resource_server_what_it_is(world: World) -> None:
    given = await world.granted()
    assert await world.introspect(given.access_token, await stranger(world)) == {"active": False}
    server = await world.stores.client("api", secret_hash="x", audience="app")
    assert (await world.introspect(given.access_token, server))["active"] is True
    assert await world.introspect(given.refresh_token, server) == {"active": False}


@pytest.mark.security(45)
async def test_a_public_client_may_not_ask(world: World) -> None:
    given = await world.granted()
    public = msgspec.structs.replace(world.client, secret_hash=None)
    assert await refused_with(world.introspect(given.access_token, public)) == "invalid_client"


async def test_a_description_is_a_use_of_an_access_token_and_none_of_a_refresh_token(world: World) -> None:
    code = await world.code()
    given = await world.redeem(code)
    await world.introspect(given.refresh_token)
    assert await world.redeem(code) == given
    await world.introspect(given.access_token)
    assert await refused_with(world.redeem(code)) == "invalid_grant"


# Revocation


@pytest.mark.security(48)
@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "no such kind"])
async def test_a_revoked_token_takes_the_others_along_at_once_and_everywhere(
    world: World, elsewhere: Stores, kind: str, hint: str
) -> None:
    code = await world.code()
    given = await world.redeem(code)
    other = world.another(elsewhere)
    assert (await other.introspect(given.access_token))["active"] is True
    await revoke(world, getattr(given, kind), token_type_hint=hint)
    assert (await world.grant_of(code)).ended_why == "revoked"
    for token in (given.access_token, given.refresh_token):
        assert await other.introspect(token) == {"active": False}
    assert await refused_with(other.user_info(given.access_token)) == "invalid_token"
    assert await refused_with(other.refresh(given.refresh_token)) == "invalid_grant"


async def test_a_hundred_revocations_at_once_are_one_end(world: World, elsewhere: Stores) -> None:
    given, other = await world.granted(), world.another(elsewhere)
    await asyncio.gather(*(revoke((world, other)[n % 2], given.refresh_token) for n in range(100)))
    assert [event for event, _ in world.events] == ["grant.started", "grant.ended"]


@pytest.mark.security(45)
async def test_an_unknown_token_is_no_error_and_a_strangers_is_refused(world: World) -> None:
    given = await world.granted()
    await revoke(world, "x")
    await revoke(world, "a.b.c")
    other = await stranger(world)
    for token in (given.access_token, given.refresh_token):
        assert await refused_with(revoke(world, token, other)) == "invalid_grant"
    assert await world.user_info(given.access_token)
    assert await refused_with(revoke(world, "")) == "invalid_request"
