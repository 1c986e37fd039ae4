"""Refresh tokens: they rotate, a lost answer can be had again, and a copy's use ends the grant."""

import asyncio

import msgspec
import pytest

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Client
from tests.oauth.conftest import REDIRECT, World, refused_with
from tests.support.client_tokens import claims
from tests.support.oauth_stores import Stores

DAY = 86_400


async def public(world: World) -> Client:
    """The same client without a secret."""
    client = msgspec.structs.replace(world.client, secret_hash=None)
    assert await world.stores.clients.replace(client)
    world.client = client
    return client


async def test_a_refresh_gives_new_tokens_that_keep_what_an_id_token_has_to_keep(world: World) -> None:
    first = await world.granted(nonce="n-0S6")
    world.clock.forward(seconds=600)
    second = await world.refresh(first.refresh_token)
    before, after = claims(first.id_token or ""), claims(second.id_token or "")
    kept = ("iss", "sub", "aud", "azp", "auth_time", "sid", "amr")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["iat"] == before["iat"] + 600
    assert "nonce" not in after
    assert second.refresh_token != first.refresh_token
    assert second.expires_at == world.clock() + 300_000
    assert await world.user_info(second.access_token)


@pytest.mark.security(45)
async def test_fifty_refreshes_at_once_at_two_processes_give_one_set_of_tokens(world: World, elsewhere: Stores) -> None:
    other, first = world.another(elsewhere), await world.granted()
    given = await asyncio.gather(*((world, other)[n % 2].refresh(first.refresh_token) for n in range(50)))
    assert len({each.refresh_token for each in given}) == len({each.access_token for each in given}) == 1
    assert [event for event, _ in world.events] == ["grant.started", "grant.refreshed"]


async def test_a_refresh_whose_answer_was_lost_gives_the_same_refresh_token_again_for_a_day(world: World) -> None:
    first = await world.granted()
    second = await world.refresh(first.refresh_token)
    assert await world.refresh(first.refresh_token) == second
    world.clock.forward(seconds=DAY - 1)
    late = await world.refresh(first.refresh_token)
    assert late.refresh_token == second.refresh_token
    # The access token had expired meanwhile.
    assert await world.user_info(late.access_token)


async def test_a_token_that_comes_again_soon_after_its_successors_first_use_is_only_refused(world: World) -> None:
    first = await world.granted()
    second = await world.refresh(first.refresh_token)
    await world.user_info(second.access_token)
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_grant"
    third = await world.refresh(second.refresh_token)
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_grant"
    assert await world.user_info(third.access_token)


@pytest.mark.security(45)
async def test_a_token_that_comes_again_later_is_a_copys_and_ends_the_grant(world: World) -> None:
    first = await world.granted()
    second = await world.refresh(first.refresh_token)
    await world.user_info(second.access_token)
    world.clock.forward(seconds=31)
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_grant"
    assert await refused_with(world.refresh(second.refresh_token)) == "invalid_grant"
    assert await refused_with(world.user_info(second.access_token)) == "invalid_token"
    assert world.events[-1] == (
        "grant.ended",
        {**world.events[-1][1], "why": "reused", "client": "app", "account": world.login.user_id},
    )


async def test_fewer_scopes_can_be_asked_for_and_the_next_refresh_has_all_again(world: World) -> None:
    first = await world.granted(scopes=("openid", "email", "groups"))
    second = await world.refresh(first.refresh_token, scope="openid groups")
    assert second.scope == claims(second.access_token)["scope"] == "openid groups"
    assert "email" not in await world.user_info(second.access_token)
    assert (await world.refresh(second.refresh_token)).scope == "openid email groups"


async def test_more_scopes_than_were_consented_are_refused(world: World) -> None:
    first = await world.granted(scopes=("openid",))
    assert await refused_with(world.refresh(first.refresh_token, scope="openid email")) == "invalid_scope"
    assert await world.refresh(first.refresh_token)


async def test_what_is_no_refresh_token_of_ours_is_refused(world: World) -> None:
    first = await world.granted()
    for token in (first.refresh_token[:-1] + "!", "x", "a.b", first.access_token, "x" * 5000):
        assert await refused_with(world.refresh(token)) == "invalid_grant"
    assert await refused_with(world.refresh("")) == "invalid_request"


@pytest.mark.security(45)
async def test_a_stranger_can_use_nobody_elses_token_up(world: World) -> None:
    stranger = await world.stores.client("stranger", redirect_uris=(REDIRECT,))
    first = await world.granted()
    assert await refused_with(world.refresh(first.refresh_token, stranger)) == "invalid_grant"
    assert await world.refresh(first.refresh_token)


async def test_a_public_clients_token_rotates_too(world: World) -> None:
    await public(world)
    first = await world.granted()
    second = await world.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token


async def test_a_grant_that_nobody_used_for_its_time_is_over(world: World) -> None:
    first = await world.granted(scopes=("openid", "offline_access"))
    world.clock.forward(seconds=30 * DAY)
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_grant"


@pytest.mark.security(48)
async def test_what_is_not_offline_ends_with_its_login_and_what_is_outlives_it(world: World) -> None:
    online, offline = await world.granted(), await world.granted(scopes=("openid", "offline_access"))
    # By then the login has ended by itself.
    world.clock.forward(seconds=2 * DAY + 1)
    assert await refused_with(world.refresh(online.refresh_token)) == "invalid_grant"
    assert await world.refresh(offline.refresh_token)


async def test_refreshes_are_counted_per_grant(world: World) -> None:
    world.rates = {"refresh": "2/hour"}
    world.__post_init__()
    first, other = await world.granted(), await world.granted()
    second = await world.refresh((await world.refresh(first.refresh_token)).refresh_token)
    with pytest.raises(Refused) as caught:
        await world.refresh(second.refresh_token)
    assert caught.value.code is Code.RATE_LIMITED
    assert await world.refresh(other.refresh_token)


# DPoP


@pytest.mark.security(48)
async def test_a_public_clients_bound_token_needs_a_proof_by_its_key(world: World) -> None:
    await public(world)
    first = await world.granted_to("jkt-1")
    for key in (None, "jkt-2"):
        assert await refused_with(world.refresh(first.refresh_token, key=key)) == "invalid_dpop_proof"
    second = await world.refresh(first.refresh_token, key="jkt-1")
    assert claims(second.access_token)["cnf"] == {"jkt": "jkt-1"}


@pytest.mark.security(48)
async def test_a_public_clients_refresh_token_is_bound_by_the_first_proof_that_comes_with_it(world: World) -> None:
    await public(world)
    first = await world.granted()
    second = await world.refresh(first.refresh_token, key="jkt-1")
    assert claims(second.access_token)["cnf"] == {"jkt": "jkt-1"}
    for key in (None, "jkt-2"):
        assert await refused_with(world.refresh(second.refresh_token, key=key)) == "invalid_dpop_proof"
    assert await world.refresh(second.refresh_token, key="jkt-1")


async def test_a_confidential_client_may_bind_its_next_access_token_to_another_key_but_not_to_none(
    world: World,
) -> None:
    first = await world.granted_to("jkt-1")
    assert await refused_with(world.refresh(first.refresh_token)) == "invalid_dpop_proof"
    second = await world.refresh(first.refresh_token, key="jkt-2")
    assert claims(second.access_token)["cnf"] == {"jkt": "jkt-2"}


async def test_a_lost_answer_is_repeated_only_to_who_proves_the_same_key(world: World) -> None:
    first = await world.granted_to("jkt-1")
    second = await world.refresh(first.refresh_token, key="jkt-1")
    assert await refused_with(world.refresh(first.refresh_token, key="jkt-2")) == "invalid_grant"
    assert await world.refresh(first.refresh_token, key="jkt-1") == second
