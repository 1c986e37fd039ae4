"""What `oauth.ports.ClientStore` and `GrantStore` promise, on both databases, to two processes at once."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from pairing_ws.accounts.ports import Activity, Profile, Retired
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Algorithm, Client, DeviceGrant, StartedGrant
from tests.support.oauth_stores import HOUR_MS, Stores

TOLD = "https://app.example/logout"


@pytest.fixture
async def here(database: str) -> AsyncIterator[Stores]:
    opened = open_database(database)
    yield Stores(opened)
    await opened.close()


@pytest.fixture
async def there(database: str) -> AsyncIterator[Stores]:
    """Another process."""
    opened = open_database(database)
    yield Stores(opened)
    await opened.close()


# Clients


async def test_a_client_comes_back_as_it_was_added_and_once(here: Stores, there: Stores) -> None:
    full = Client(
        id="full",
        name="Zoë's app",
        created_at=7,
        secret_hash="digest",
        jwks={"keys": [{"kty": "EC", "x": "1"}]},
        redirect_uris=("https://app.example/a b", "com.example:/c"),
        post_logout_redirect_uris=("https://app.example/bye",),
        backchannel_logout_uri=TOLD,
        device_grant=DeviceGrant.SAME_NETWORK,
        scopes=("openid", "groups"),
        id_token_alg=Algorithm.ES256,
        access_token_alg=Algorithm.RS256,
        audience="https://api.example",
        origins=("https://app.example",),
        logo_uri="https://app.example/logo.png",
        trusted=True,
    )
    bare = Client(id="bare", name="A bare one", created_at=8)
    assert await here.clients.add(full)
    assert await here.clients.add(bare)
    assert not await there.clients.add(msgspec.structs.replace(full, name="Another"))
    assert await there.clients.get("full") == full
    assert await there.clients.get("none") is None
    assert await there.clients.all() == [bare, full]
    changed = msgspec.structs.replace(full, secret_hash="other", redirect_uris=(), jwks=None, trusted=False)
    assert await there.clients.replace(changed)
    assert await here.clients.get("full") == changed
    assert await here.clients.get("bare") == bare
    assert not await here.clients.replace(msgspec.structs.replace(full, id="none"))


async def test_a_client_that_is_removed_takes_its_grants_and_consents_along_and_is_told_of_each(here: Stores) -> None:
    await here.client("app", backchannel_logout_uri=TOLD, id_token_alg=Algorithm.ES256)
    await here.client("other", backchannel_logout_uri=TOLD)
    alice, bob = await here.login("alice"), await here.login("bob")
    ended = [await here.grant(alice), await here.grant(bob, offline=True)]
    kept = await here.grant(alice, client_id="other")
    await here.grants.consent(alice.user_id, "app", ["openid"], alice.device_id, 1)
    assert await here.clients.remove("app", here.now)
    assert await here.clients.remove("app", here.now) is None
    assert [await here.grants.get(each.id) for each in ended] == [None, None]
    assert await here.why(kept) is None
    assert await here.grants.consented(alice.user_id, "app") == frozenset()
    notices = await here.grants.due_logouts(here.now, 0, 10)
    assert {(each.client_id, each.uri, each.alg) for each in notices} == {("app", TOLD, Algorithm.ES256)}
    assert {(each.grant_id, each.user_id) for each in notices} == {(each.id, each.user.id) for each in ended}


async def test_a_grant_that_begins_while_its_client_is_removed_is_refused_or_gone(here: Stores, there: Stores) -> None:
    login = await here.login()
    for number in range(10):
        client = await here.client(f"app-{number}", backchannel_logout_uri=TOLD)
        new = [there.new_grant(login, client_id=client.id) for _ in range(4)]
        ends = await asyncio.gather(
            *(there.grants.begin(each, 0) for each in new[:2]),
            here.clients.remove(client.id, here.now),
            *(here.grants.begin(each, 0) for each in new[2:]),
            return_exceptions=True,
        )
        refused = [each for each in ends if isinstance(each, BaseException)]
        assert all(isinstance(each, Refused) and each.code is Code.PAIRING_DENIED for each in refused)
        begun = {each.grant.id for each in ends if isinstance(each, StartedGrant)}
        assert await here.grants.live_of_user(login.user_id, here.now) == []
        # Whoever was first is told of its end.
        assert set(await here.owed()) == begun


# Begin


async def test_a_grant_comes_back_as_it_began_by_each_of_its_names(here: Stores, there: Stores) -> None:
    await here.client()
    login = await here.login()
    new = here.new_grant(login, offline=True, acr="2", key_thumbprint="jkt")
    started = await here.grants.begin(new, 10)
    assert started
    begun = started.grant
    own = msgspec.structs.asdict(new)
    for name in ("user_id", "ip", "family_hash"):
        del own[name]
    assert {name: getattr(begun, name) for name in own} == own
    assert (begun.user.id, begun.user.username) == (login.user_id, "alice")
    assert (begun.last_used_at, begun.last_ip) == (new.created_at, new.ip)
    assert (begun.retired, begun.ended_at, begun.ended_why) == ((), None, None)
    assert begun.login_until == here.now + 24 * HOUR_MS
    assert await there.grants.get(begun.id) == begun
    assert await there.grants.of_origin(new.origin) == begun
    assert await there.grants.of_family(new.family_hash) == begun
    assert await there.grants.live_of_user(login.user_id, here.now) == [begun]
    assert await there.grants.get("none") is None
    assert await there.grants.of_origin("none") is None
    assert await there.grants.of_family("none") is None


async def test_of_fifty_callers_with_one_origin_one_begins(here: Stores, there: Stores) -> None:
    await here.client()
    alice, bob = await here.login("alice"), await here.login("bob")
    new = [here.new_grant((alice, bob)[number % 2], origin="code:one") for number in range(50)]
    begun = await asyncio.gather(
        *((here, there)[number // 2 % 2].grants.begin(each, 10) for number, each in enumerate(new))
    )
    [winner] = [each.grant for each in begun if each]
    assert await here.grants.of_origin("code:one") == winner
    lines = await here.accounts.activity(winner.user.id, 10)
    assert [each.event for each in lines].count("app.added") == 1


async def test_an_app_that_is_added_stands_in_the_activity_with_the_device_that_consented(here: Stores) -> None:
    await here.client("app", name="Grafana")
    login = await here.login()
    await here.grant(login)
    (line, *_) = await here.accounts.activity(login.user_id, 10)
    [device] = await here.accounts.devices(login.user_id, here.now)
    said = (line.event, line.device_name, line.by_name, line.device_id, line.ip)
    assert said == ("app.added", "Grafana", device.name, login.device_id, "192.0.2.7")


async def test_nothing_is_granted_by_a_login_that_no_longer_stands(here: Stores) -> None:
    await here.client()
    locked, ended, gone = await here.login("alice"), await here.login("bob"), await here.login("carol")
    expired = here.new_grant(await here.login("dave"), created_at=here.now + 24 * HOUR_MS)
    foreign = here.new_grant(await here.login("erin"), session_id=locked.session_id)
    await here.users.lock("alice", here.now)
    await here.accounts.end_session(
        ended.session_id, here.now, Activity(user_id=ended.user_id, at=here.now, event="session.logged_out")
    )
    await here.users.delete_user("carol", here.now)
    cases = [
        (here.new_grant(locked), Code.ACCOUNT_LOCKED),
        (here.new_grant(ended), Code.PAIRING_DENIED),
        (here.new_grant(gone), Code.PAIRING_DENIED),
        (expired, Code.PAIRING_DENIED),
        (foreign, Code.PAIRING_DENIED),
        (here.new_grant(await here.login("frank"), client_id="none"), Code.PAIRING_DENIED),
    ]
    for new, code in cases:
        with pytest.raises(Refused) as caught:
            await here.grants.begin(new, 10)
        assert caught.value.code is code
        assert await here.grants.of_origin(new.origin) is None


async def test_beyond_the_limit_the_grants_used_longest_ago_end(here: Stores) -> None:
    await here.client(backchannel_logout_uri=TOLD)
    login, other = await here.login("alice"), await here.login("bob")
    foreign = await here.grant(other)
    first, second, third = [await here.grant(login, limit=3, created_at=here.now + n) for n in range(3)]
    await here.grants.touch(first.id, here.now + 10, "192.0.2.9")
    fourth = await here.grant(login, limit=3, created_at=here.now + 11)
    ends = [await here.why(each) for each in (first, second, third, fourth, foreign)]
    assert ends == [None, "limit", None, None, None]
    assert await here.owed() == [second.id]
    await here.grant(login, limit=0, created_at=here.now + 12)
    assert len(await here.grants.live_of_user(login.user_id, here.now)) == 4


# Alive


async def test_a_grant_lives_as_long_as_its_login_or_by_itself_if_it_is_offline(here: Stores) -> None:
    await here.client()
    login = await here.login()
    bound, free = await here.grant(login), await here.grant(login, offline=True)
    login_ends, free_ends = here.now + 24 * HOUR_MS, here.now + 200 * HOUR_MS
    for grant, end in ((bound, login_ends), (free, free_ends)):
        assert (grant.alive_at(end - 1), grant.alive_at(end)) == (True, False)
    for now, alive in ((login_ends - 1, {bound.id, free.id}), (login_ends, {free.id}), (free_ends, set())):
        assert {each.id for each in await here.grants.live_of_user(login.user_id, now)} == alive
    # The session is tidied away, what was granted for longer stays.
    await here.accounts.tidy(here.now + 90 * HOUR_MS)
    assert await here.accounts.session(login.session_id) is None
    found = await here.grants.get(bound.id), await here.grants.get(free.id)
    assert [each.alive_at(here.now) for each in found if each] == [False, True]


async def test_the_newest_grant_is_listed_first(here: Stores) -> None:
    await here.client()
    login = await here.login()
    made = [await here.grant(login, created_at=here.now + number) for number in (2, 0, 1)]
    listed = [each.id for each in await here.grants.live_of_user(login.user_id, here.now)]
    assert listed == [made[0].id, made[2].id, made[1].id]


# Renew


async def test_of_fifty_refreshes_one_rotates(here: Stores, there: Stores) -> None:
    await here.client()
    grant = await here.grant(await here.login())
    hashes = [f"new-{number}" for number in range(50)]
    won = await asyncio.gather(
        *((here, there)[number % 2].grants.rotate(here.rotation(grant, each)) for number, each in enumerate(hashes))
    )
    [winner] = [new for new, did in zip(hashes, won, strict=True) if did]
    found = await here.grants.get(grant.id)
    assert found
    assert (found.refresh_hash, found.sealed, found.last_ip) == (winner, b"next answer", "192.0.2.8")
    assert (found.last_used_at, found.idle_until) == (here.now + 5, here.now + 300 * HOUR_MS)


async def test_what_was_exchanged_is_remembered_and_a_used_answer_forgotten(here: Stores) -> None:
    await here.client()
    grant = await here.grant(await here.login())
    retired = (Retired("old", 3, "here"),)
    await here.grants.forget_sealed(grant.id, "another token", retired)
    found = await here.grants.get(grant.id)
    assert found == grant
    await here.grants.forget_sealed(grant.id, grant.refresh_hash, retired)
    found = await here.grants.get(grant.id)
    assert found
    assert (found.sealed, found.retired) == (None, retired)
    # Once is enough: a later caller knows less.
    await here.grants.forget_sealed(grant.id, grant.refresh_hash, ())
    assert await here.grants.get(grant.id) == found


async def test_a_grant_is_touched_forwards_only(here: Stores) -> None:
    await here.client()
    grant = await here.grant(await here.login())
    await here.grants.touch(grant.id, here.now + 60_000, "192.0.2.9")
    await here.grants.touch(grant.id, here.now + 1, "192.0.2.10")
    found = await here.grants.get(grant.id)
    assert found
    assert (found.last_used_at, found.last_ip) == (here.now + 60_000, "192.0.2.9")


# End


async def test_of_fifty_who_end_a_grant_one_does_and_a_refresh_that_races_it_loses(here: Stores, there: Stores) -> None:
    await here.client(backchannel_logout_uri=TOLD)
    login = await here.login()
    grant = await here.grant(login)
    line = Activity(user_id=login.user_id, at=here.now, event="app.revoked", device_name="The app")
    ends = await asyncio.gather(
        *((here, there)[number % 2].grants.end(grant.id, f"why-{number}", here.now, line) for number in range(50))
    )
    assert ends.count(True) == 1
    assert await here.why(grant) == f"why-{ends.index(True)}"
    assert await here.owed() == [grant.id]
    assert [each.event for each in await here.accounts.activity(login.user_id, 9)].count("app.revoked") == 1
    assert not await there.grants.rotate(there.rotation(grant, "late"))
    found = await there.grants.get(grant.id)
    assert found
    assert (found.sealed, found.alive_at(here.now)) == (None, False)
    assert not await here.grants.end("none", "revoked", here.now, line)


async def test_a_client_that_asked_for_no_logout_is_owed_none(here: Stores) -> None:
    await here.client()
    assert await here.grants.end((await here.grant(await here.login())).id, "revoked", here.now)
    assert await here.owed() == []


# Consents


async def test_consents_add_up_per_person_and_client_and_can_be_forgotten(here: Stores, there: Stores) -> None:
    await here.client("app")
    await here.client("other")
    alice, bob = await here.login("alice"), await here.login("bob")
    for scopes in (["openid"], ["openid", "email"], []):
        await there.grants.consent(alice.user_id, "app", scopes, alice.device_id, here.now)
    await here.grants.consent(alice.user_id, "other", ["openid"], alice.device_id, here.now)
    assert await here.grants.consented(alice.user_id, "app") == {"openid", "email"}
    assert await here.grants.consented(bob.user_id, "app") == frozenset()
    await here.grants.forget_consent(alice.user_id, "app")
    assert await there.grants.consented(alice.user_id, "app") == frozenset()
    assert await there.grants.consented(alice.user_id, "other") == {"openid"}


async def test_a_consent_to_a_client_or_by_an_account_that_is_gone_is_nothing(here: Stores) -> None:
    await here.client()
    login = await here.login()
    await here.grants.consent(login.user_id, "none", ["openid"], login.device_id, here.now)
    await here.users.delete_user("alice", here.now)
    await here.grants.consent(login.user_id, "app", ["openid"], login.device_id, here.now)
    assert await here.grants.consented(login.user_id, "app") == frozenset()


# What applications are told


async def test_an_account_without_a_profile_tells_nothing_but_who_it_is(here: Stores) -> None:
    login = await here.login()
    account = await here.grants.account(login.user_id)
    assert account
    assert (account.user.username, account.profile) == ("alice", Profile())
    assert await here.grants.account("none") is None


async def test_a_notice_is_taken_by_one_process_at_a_time_until_it_is_told_or_a_day_old(
    here: Stores, there: Stores
) -> None:
    await here.client(backchannel_logout_uri=TOLD)
    login = await here.login()
    grants = [await here.grant(login) for _ in range(40)]
    for each in grants:
        await here.grants.end(each.id, "revoked", here.now)
    taken = await asyncio.gather(
        *((here, there)[number % 2].grants.due_logouts(here.now, 1000, 5) for number in range(10))
    )
    notices = [notice for each in taken for notice in each]
    assert max(map(len, taken)) <= 5
    assert len({each.id for each in notices}) == len(notices)
    notices += await here.grants.due_logouts(here.now, 1000, 100)
    assert sorted(each.grant_id for each in notices) == sorted(each.id for each in grants)
    assert {each.attempts for each in notices} == {0}
    assert await there.grants.due_logouts(here.now + 999, 1000, 100) == []
    told, failed, left = notices[0], notices[1], notices[2:]
    await here.grants.logout_told(told.id)
    await here.grants.logout_failed(failed.id, here.now + 5000)
    again = await there.grants.due_logouts(here.now + 1000, 1000, 100)
    assert {each.id for each in again} == {each.id for each in left}
    [tried] = [each for each in await there.grants.due_logouts(here.now + 5000, 0, 100) if each.attempts]
    assert (tried.id, tried.attempts) == (failed.id, 1)
    assert await here.grants.due_logouts(here.now + 24 * HOUR_MS, 0, 100) == []
    await here.grants.tidy(here.now + 25 * HOUR_MS)
    assert await here.grants.due_logouts(here.now + 5000, 0, 100) == []


async def test_tidying_drops_what_nobody_can_ask_for_any_more_and_nothing_else(here: Stores) -> None:
    await here.client()
    login = await here.login()
    ended, expired, live = [
        await here.grant(login, offline=True, **more) for more in ({}, {"ends_at": here.now + 1}, {})
    ]
    await here.grants.end(ended.id, "revoked", here.now)
    await here.grants.tidy(here.now + 24 * HOUR_MS)
    assert await here.why(ended) == "revoked"
    await here.grants.tidy(here.now + 25 * HOUR_MS)
    assert [await here.grants.get(each.id) for each in (ended, expired)] == [None, None]
    found = await here.grants.get(live.id)
    assert found == msgspec.structs.replace(live, sealed=None)
