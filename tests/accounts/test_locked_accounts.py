"""Accounts that are locked or deleted, what tidying drops, and what is written down of reports."""

import pytest

from pairing_ws.core.errors import Code
from tests.accounts.conftest import World, as_approver, code_of, device, logged_in

DAY_SECONDS = 86_400


# Locked and deleted accounts


async def test_a_locked_account_refuses_keys_refreshes_and_logins_until_it_is_unlocked(here: World) -> None:
    root = await here.by_invite()
    given = await here.pair(root, device())
    await here.accounts.operator.lock("alice", locked=True)
    for call in (
        here.accounts.sessions.authenticate(given.key_pair.auth_key),
        here.accounts.sessions.refresh(given.key_pair.refresh_key, ""),
        here.accounts.logins.check_login(as_approver(root), device()),
        here.accounts.logins.log_in("pairing", as_approver(root), device(), "s" * 43),
    ):
        assert await code_of(call) is Code.ACCOUNT_LOCKED
    assert await here.accounts.sessions.reload_if_alive(root.id) is None
    await here.accounts.operator.lock("alice", locked=False)
    await here.accounts.sessions.refresh(given.key_pair.refresh_key, "")
    await here.known(given)


async def test_a_lock_holds_in_another_process_within_five_seconds(here: World) -> None:
    elsewhere = here.another()
    given = await logged_in(here)
    await elsewhere.accounts.sessions.authenticate(given.key_pair.auth_key)
    await here.accounts.operator.lock("alice", locked=True)
    here.clock.forward(seconds=5)
    assert await code_of(elsewhere.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.ACCOUNT_LOCKED


async def test_deleting_a_user_leaves_nothing_of_it_and_all_of_others(here: World) -> None:
    alice, bob = await here.by_invite("alice"), await here.by_invite("bob")
    await here.accounts.operator.invite("alice")
    await here.accounts.operator.delete_user("alice")
    assert await here.accounts.sessions.reload_if_alive(alice.id) is None
    for table in ("devices", "sessions", "activity", "invites"):
        assert set(await here.column(f"SELECT user_id FROM {table}")) == {bob.user.id}
    assert [each.user.username for each in await here.accounts.operator.accounts()] == ["bob"]


@pytest.mark.parametrize("name", ["nobody", "", "a\x00", "\udcff", "x" * 100_000])
async def test_an_unknown_user_is_not_found(here: World, name: str) -> None:
    await here.by_invite("alice")
    for call in (here.accounts.operator.lock(name, locked=True), here.accounts.operator.delete_user(name)):
        assert await code_of(call) is Code.NOT_FOUND


async def test_a_user_is_found_by_its_name_however_that_is_encoded(here: World) -> None:
    await here.accounts.operator.invite("zo\u00eb")
    assert (await here.accounts.operator.lock("zoe\u0308", locked=True)).locked_at
    await here.accounts.operator.delete_user("zoe\u0308 ")
    assert await here.accounts.operator.accounts() == []


# Tidying, reports


async def test_tidying_drops_what_nobody_can_ask_for_and_keeps_the_rest(here: World) -> None:
    root = await here.by_invite("alice")
    gone = await here.by_pairing(root)
    unused = await here.pair(root, device())
    await here.accounts.sessions.log_out(gone, "")
    await here.accounts.operator.invite("alice")
    here.clock.forward(seconds=DAY_SECONDS + 901)
    fresh = await here.accounts.operator.invite("alice")
    await here.accounts.operator.tidy()
    assert set(await here.column("SELECT device_id FROM sessions")) == {root.device.id, unused.device.id}
    assert set(await here.column("SELECT sealed FROM sessions")) == {None}
    assert len(await here.column("SELECT code_hash FROM invites")) == 1
    await here.accounts.sessions.refresh(unused.key_pair.refresh_key, "")
    await here.accounts.logins.accept_invite(fresh.code, device(), None)
    before = await here.column("SELECT event FROM activity")
    here.clock.forward(seconds=91 * DAY_SECONDS)
    await here.accounts.operator.tidy()
    assert before
    assert await here.column("SELECT event FROM activity") == []


async def test_tidying_leaves_a_lost_answer_that_can_still_be_repeated(here: World) -> None:
    party, new = as_approver(await here.by_invite()), device()
    first = await here.accounts.logins.log_in("pairing", party, new, "s" * 43)
    await here.accounts.operator.tidy()
    assert (await here.accounts.logins.log_in("pairing", party, new, "s" * 43)).key_pair == first.key_pair


async def test_a_report_is_written_down_with_what_the_approver_saw(here: World) -> None:
    root = await here.by_invite()
    await here.accounts.logins.note("pairing.reported", as_approver(root), device(name="Not mine", ip="192.0.2.66"))
    line = (await here.accounts.devices.activity(root))[0]
    assert (line.event, line.device_name, line.ip) == ("pairing.reported", "Not mine", "192.0.2.66")


async def test_an_account_sees_its_own_activity_alone(here: World) -> None:
    alice, bob = await here.by_invite("alice", name="Alice's"), await here.by_invite("bob", name="Bob's")
    assert [each.device_name for each in await here.accounts.devices.activity(alice)] == ["Alice's"]
    assert [each.device_name for each in await here.accounts.devices.activity(bob)] == ["Bob's"]
