"""Whatever ends a login or an account ends what came of it, and owes its applications a logout: on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import pytest

from pairing_ws.accounts.ended import EndedGrant, Revoked
from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Grant, StartedGrant
from tests.support.oauth_stores import Login, Stores


@pytest.fixture
async def here(database: str) -> AsyncIterator[Stores]:
    opened = open_database(database)
    stores = Stores(opened)
    await stores.client(backchannel_logout_uri="https://app.example/logout")
    yield stores
    await opened.close()


@pytest.fixture
async def there(database: str) -> AsyncIterator[Stores]:
    """Another process."""
    opened = open_database(database)
    yield Stores(opened)
    await opened.close()


async def apps_of(here: Stores, login: Login) -> tuple[Grant, Grant]:
    """One that ends with the login, and one that is offline; and what was consented to there."""
    await here.grants.consent(login.user_id, "app", [f"by {login.device_id}"], login.device_id, here.now)
    return await here.grant(login), await here.grant(login, offline=True)


async def whys(here: Stores, *apps: tuple[Grant, Grant]) -> list[str | None]:
    return [await here.why(each) for pair in apps for each in pair]


async def ended(here: Stores, login: Login, event: str) -> Sequence[EndedGrant]:
    line = Activity(user_id=login.user_id, at=here.now, event=event, device_id=login.device_id)
    return await here.accounts.end_session(login.session_id, here.now, line)


async def revoke(here: Stores, login: Login, by: Login, *, descendants: bool = False) -> Revoked:
    line = Activity(user_id=login.user_id, at=here.now, event="device.revoked")
    revoked = await here.accounts.revoke(
        login.user_id, login.device_id, here.now, line, by=by.device_id, descendants=descendants, passkeys=False
    )
    assert revoked
    return revoked


async def revoke_others(here: Stores, login: Login) -> Revoked:
    line = Activity(user_id=login.user_id, at=here.now, event="device.revoked_others")
    return await here.accounts.revoke_others(login.user_id, login.device_id, here.now, line)


@pytest.mark.security(48)
async def test_a_log_out_ends_what_needs_the_login_and_leaves_what_is_offline(here: Stores) -> None:
    login = await here.login()
    other = await here.login(by=login)
    apps, others = await apps_of(here, login), await apps_of(here, other)
    await ended(here, login, "session.logged_out")
    assert await whys(here, apps, others) == ["logged_out", None, None, None]
    assert await here.owed() == [apps[0].id]
    # Once more changes nothing.
    await ended(here, login, "session.logged_out")
    assert await here.owed() == []


@pytest.mark.security(48)
async def test_a_stolen_login_takes_all_along_that_it_let_in(here: Stores) -> None:
    login = await here.login()
    apps = await apps_of(here, login)
    await ended(here, login, "session.key_reused")
    assert await whys(here, apps) == ["key_reused", "key_reused"]
    assert sorted(await here.owed()) == sorted(each.id for each in apps)


async def test_a_device_that_logs_in_again_ends_what_needed_its_login_before(here: Stores) -> None:
    root = await here.login()
    before = await here.login(by=root)
    apps, others = await apps_of(here, before), await apps_of(here, root)
    again = await here.login(by=root, device_id=before.device_id)
    new = await here.grant(again)
    assert await whys(here, apps, others) == ["replaced", None, None, None]
    assert await here.why(new) is None
    assert await here.owed() == [apps[0].id]


@pytest.mark.security(48)
async def test_a_device_that_is_revoked_takes_its_apps_along_and_nobody_elses(here: Stores) -> None:
    root, stranger = await here.login(), await here.login("bob")
    bad = await here.login(by=root)
    child = await here.login(by=bad)
    apps = {each: await apps_of(here, each) for each in (root, bad, child, stranger)}
    assert (await revoke(here, bad, root)).devices == [bad.device_id]
    assert await whys(here, apps[bad]) == ["device_revoked"] * 2
    assert await whys(here, apps[root], apps[child], apps[stranger]) == [None] * 6
    assert sorted(await here.owed()) == sorted(each.id for each in apps[bad])
    assert await here.grants.consented(root.user_id, "app") == {f"by {root.device_id}", f"by {child.device_id}"}


@pytest.mark.security(19)
async def test_this_was_not_me_takes_along_the_apps_of_all_that_an_intruder_let_in_even_if_they_left(
    here: Stores,
) -> None:
    root = await here.login()
    bad = await here.login(by=root)
    child = await here.login(by=bad)
    grandchild = await here.login(by=child)
    apps = {each: await apps_of(here, each) for each in (root, bad, child, grandchild)}
    await ended(here, bad, "session.logged_out")
    await ended(here, child, "session.logged_out")
    await here.owed()
    assert (await revoke(here, bad, root, descendants=True)).devices == [grandchild.device_id]
    gone = ["logged_out", "device_revoked"]
    assert await whys(here, apps[bad], apps[child]) == gone * 2
    assert await whys(here, apps[grandchild], apps[root]) == ["device_revoked"] * 2 + [None] * 2
    told = [apps[bad][1], apps[child][1], *apps[grandchild]]
    assert sorted(await here.owed()) == sorted(each.id for each in told)
    assert await here.grants.consented(root.user_id, "app") == {f"by {root.device_id}"}


async def test_who_revokes_what_let_them_in_keeps_their_own_apps(here: Stores) -> None:
    root = await here.login()
    child = await here.login(by=root)
    apps = await apps_of(here, root), await apps_of(here, child)
    await revoke(here, root, child, descendants=True)
    assert await whys(here, *apps) == ["device_revoked"] * 2 + [None] * 2


async def test_a_device_that_revokes_itself_takes_its_apps_along(here: Stores) -> None:
    root = await here.login()
    apps = await apps_of(here, root)
    await revoke(here, root, root)
    assert await whys(here, apps) == ["device_revoked"] * 2


async def test_revoking_all_others_ends_the_apps_of_those_that_left_too(here: Stores) -> None:
    root, stranger = await here.login(), await here.login("bob")
    other, left = await here.login(by=root), await here.login(by=root)
    apps = {each: await apps_of(here, each) for each in (root, other, left, stranger)}
    await ended(here, left, "session.logged_out")
    assert (await revoke_others(here, root)).devices == [other.device_id]
    assert await whys(here, apps[other], apps[left]) == ["device_revoked"] * 2 + ["logged_out", "device_revoked"]
    assert await whys(here, apps[root], apps[stranger]) == [None] * 4
    assert await here.grants.consented(root.user_id, "app") == {f"by {root.device_id}"}


@pytest.mark.security(48)
async def test_an_account_that_is_locked_loses_its_apps_for_good(here: Stores) -> None:
    login, stranger = await here.login(), await here.login("bob")
    apps, others = await apps_of(here, login), await apps_of(here, stranger)
    assert await here.users.lock("alice", here.now)
    assert await whys(here, apps, others) == ["locked", "locked", None, None]
    assert sorted(await here.owed()) == sorted(each.id for each in apps)
    assert await here.users.lock("alice", None)
    assert await here.grants.live_of_user(login.user_id, here.now) == []
    assert await here.owed() == []


async def test_an_account_that_is_locked_again_keeps_the_time_since_when_it_is(here: Stores) -> None:
    await here.login()
    for at in (here.now, here.now + 1):
        locked, account = await here.users.lock("alice", at), await here.users.account("alice")
        assert locked
        assert account
        assert locked.user.locked_at == account.user.locked_at == here.now
    unlocked, again = await here.users.lock("alice", None), await here.users.lock("alice", here.now + 2)
    assert unlocked
    assert again
    assert (unlocked.user.locked_at, again.user.locked_at) == (None, here.now + 2)


async def test_the_applications_of_an_account_that_is_deleted_are_told(here: Stores) -> None:
    login, stranger = await here.login(), await here.login("bob")
    apps, others = await apps_of(here, login), await apps_of(here, stranger)
    assert await here.users.delete_user("alice", here.now)
    assert [await here.grants.get(each.id) for each in apps] == [None, None]
    assert await whys(here, others) == [None, None]
    notices = await here.grants.due_logouts(here.now, 0, 10)
    assert {(each.grant_id, each.user_id) for each in notices} == {(each.id, login.user_id) for each in apps}


def named(grants: Iterable[EndedGrant]) -> set[tuple[str, str]]:
    assert {each.client_id for each in grants} <= {"app"}
    return {(each.id, each.why) for each in grants}


async def test_who_ends_grants_is_told_of_each_and_why(here: Stores) -> None:
    root = await here.login()
    left, gone, other = await here.login(by=root), await here.login(by=root), await here.login(by=root)
    apps = {each: await apps_of(here, each) for each in (root, left, gone, other)}
    ended_now = await ended(here, left, "session.logged_out")
    assert named(ended_now) == {(apps[left][0].id, "logged_out")}
    assert {each.user_id for each in ended_now} == {root.user_id}
    assert await ended(here, left, "session.logged_out") == ()
    revoked = await revoke(here, gone, root)
    assert named(revoked.grants) == {(each.id, "device_revoked") for each in apps[gone]}
    others = (*apps[other], apps[left][1])
    assert named((await revoke_others(here, root)).grants) == {(each.id, "device_revoked") for each in others}
    begun = await here.grants.begin(here.new_grant(root), 2)
    assert begun
    assert len(named(begun.ended)) == 1
    assert {each.why for each in begun.ended} == {"limit"}
    locked = await here.users.lock("alice", here.now)
    assert locked
    assert {why for _, why in named(locked.grants)} == {"locked"}
    assert len(locked.grants) == 2
    await here.users.lock("alice", None)
    again = await here.login("bob")
    app = await here.grant(again)
    deleted = await here.users.delete_user("bob", here.now)
    assert deleted
    assert named(deleted.grants) == {(app.id, "deleted")}
    last = await here.grant(await here.login("carol"))
    assert named(await here.clients.remove("app", here.now) or ()) == {(last.id, "client_removed")}


ENDS: dict[str, Callable[[Stores, Login, Login], Awaitable[object]]] = {
    "revoke": lambda here, root, bad: revoke(here, bad, root),
    "this was not me": lambda here, root, bad: revoke(here, bad, root, descendants=True),
    "revoke others": lambda here, root, _: revoke_others(here, root),
    "log out": lambda here, _, bad: ended(here, bad, "session.logged_out"),
    "lock": lambda here, root, _: here.users.lock(root.username, here.now),
}


@pytest.mark.security(48)
@pytest.mark.parametrize("way", ENDS)
async def test_no_app_is_let_in_past_the_end_of_its_login_however_close_the_race(
    here: Stores, there: Stores, way: str
) -> None:
    for round_ in range(4):
        root = await here.login(f"user {round_}")
        bad = await here.login(by=root)
        calls: list[Awaitable[object]] = [
            (here, there)[number % 2].grants.begin(here.new_grant(bad), 0) for number in range(6)
        ]
        calls.insert(round_ * 2, ENDS[way](here, root, bad))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        refused = [each for each in ends if isinstance(each, BaseException)]
        assert {each.code for each in refused if isinstance(each, Refused)} <= {
            Code.PAIRING_DENIED,
            Code.ACCOUNT_LOCKED,
        }
        assert all(isinstance(each, Refused) for each in refused)
        begun = [each.grant for each in ends if isinstance(each, StartedGrant)]
        assert [await here.why(each) for each in begun].count(None) == 0
        assert sorted(await here.owed()) == sorted(each.id for each in begun)


async def test_a_client_and_its_accounts_can_go_at_once_and_nobody_waits_in_a_circle(
    here: Stores, there: Stores
) -> None:
    for round_ in range(5):
        client = await here.client(f"app-{round_}")
        logins = [await here.login(f"user {round_} {number}") for number in range(4)]
        for each in [*logins, *reversed(logins)] * 2:
            await here.grant(each, client_id=client.id, offline=True)
        ends = await asyncio.gather(
            *(revoke(there, each, each) for each in logins[:2]),
            here.clients.remove(client.id, here.now),
            *(there.users.lock(f"user {round_} {number}", here.now) for number in range(2, 4)),
            *(here.grants.begin(here.new_grant(each, client_id=client.id), 3) for each in logins),
            return_exceptions=True,
        )
        codes = {each.code for each in ends if isinstance(each, Refused)}
        assert codes <= {Code.PAIRING_DENIED, Code.ACCOUNT_LOCKED}
        assert all(isinstance(each, Refused) for each in ends if isinstance(each, BaseException))
