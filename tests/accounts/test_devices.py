"""Names of devices, and the devices that they let in: what a revocation takes along."""

from contextlib import AsyncExitStack
from functools import partial

import pytest

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.session_cache import SESSION_CACHE_MS
from pairing_ws.core.errors import Code
from tests.accounts.conftest import World, as_approver, code_of, device

# Names


@pytest.mark.security(18)
async def test_a_name_that_a_person_gave_outlives_the_devices_next_login(here: World) -> None:
    root = await here.by_invite(name="Root")
    session = await here.by_pairing(root, code="tv", name="LG-1234")
    await here.accounts.devices.change_device(root, session.device.id, "", name="Kitchen", push_token=None)
    again = await here.pair(root, device(code="tv", name="LG-1234 v2"))
    listed = {each.id: each for each in await here.accounts.devices.devices(root)}[session.device.id]
    for each in (again.device, listed):
        assert (each.name, each.reported_name) == ("Kitchen", "LG-1234 v2")
    # The alarm quotes what it calls itself: a name that the person trusts could be claimed by its code alone.
    assert (await here.accounts.devices.activity(root))[0].device_name == "LG-1234 v2"
    # It may be renamed back, and then goes by its own name again.
    await here.accounts.devices.change_device(root, session.device.id, "", name="LG-1234 v2", push_token=None)
    assert (await here.by_pairing(root, code="tv", name="LG-1234 v3")).device.name == "LG-1234 v3"


async def test_revoking_an_unknown_or_foreign_device_is_not_found_and_ends_nothing(here: World) -> None:
    alice, bob = await here.by_invite("alice"), await here.by_invite("bob")
    for device_id in (bob.device.id, "0" * 32, ""):
        for call in (
            here.accounts.devices.revoke(alice, device_id, ""),
            here.accounts.devices.revoke(alice, device_id, "", descendants=True),
            here.accounts.devices.change_device(alice, device_id, "", name="Mine", push_token=None),
        ):
            assert await code_of(call) is Code.NOT_FOUND
    assert await here.accounts.sessions.reload_if_alive(bob.id)
    assert here.ended == []


async def family(here: World) -> dict[str, Session]:
    """root let in a and b; a let in c, c let in d."""
    free = here.another(quarantine=0)
    made = {"root": await free.by_invite(name="root")}
    for parent, child in (("root", "a"), ("root", "b"), ("a", "c"), ("c", "d")):
        made[child] = await free.by_pairing(made[parent], name=child, code=child)
    return made


async def names_left(here: World, session: Session) -> set[str]:
    return {each.name for each in await here.accounts.devices.devices(session)}


async def test_revoking_without_descendants_ends_one_device(here: World) -> None:
    made = await family(here)
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "")
    assert await names_left(here, made["root"]) == {"root", "b", "c", "d"}


async def test_revoking_with_descendants_ends_all_that_were_let_in_by_it(here: World) -> None:
    made = await family(here)
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "", descendants=True)
    assert await names_left(here, made["root"]) == {"root", "b"}
    assert set(here.ended) == {made[name].device.id for name in "acd"}
    here.clock.forward(ms=SESSION_CACHE_MS)
    for name in "acd":
        assert await here.accounts.sessions.reload_if_alive(made[name].id) is None


async def test_a_chain_is_followed_through_a_device_that_has_left_already(here: World) -> None:
    made = await family(here)
    await here.accounts.sessions.log_out(made["c"], "")
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "", descendants=True)
    assert await names_left(here, made["root"]) == {"root", "b"}


async def test_what_a_device_let_in_can_be_revoked_after_it_has_left_itself(here: World) -> None:
    made = await family(here)
    await here.accounts.sessions.log_out(made["a"], "")
    here.ended.clear()
    # Alone there is nothing left to end.
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "")
    assert here.ended == []
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "192.0.2.1", descendants=True)
    assert await names_left(here, made["root"]) == {"root", "b"}
    assert set(here.ended) == {made[name].device.id for name in "cd"}
    line = (await here.accounts.devices.activity(made["root"]))[0]
    assert (line.event, line.device_name, line.ip) == ("device.revoked", "a", "192.0.2.1")
    # Once more changes nothing and leaves no line.
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "", descendants=True)
    assert (await here.accounts.devices.activity(made["root"]))[0] == line


async def test_devices_that_let_each_other_in_are_a_cycle_that_ends(here: World) -> None:
    free = here.another(quarantine=0)
    made = await family(here)
    # a comes back, this time let in by its own grandchild.
    made["a"] = await free.by_pairing(made["d"], name="a", code="a")
    await here.accounts.devices.revoke(made["root"], made["c"].device.id, "", descendants=True)
    assert await names_left(here, made["root"]) == {"root", "b"}


@pytest.mark.security(19)
@pytest.mark.parametrize("comes_again", ["let in by its child", "let in by the owner", "by invite"])
async def test_no_device_leaves_the_family_by_coming_again_under_its_code(here: World, comes_again: str) -> None:
    free = here.another(quarantine=0)
    made = await family(here)
    if comes_again == "by invite":
        await free.by_invite(name="c", code="c")
    else:
        approver = made["d"] if comes_again == "let in by its child" else made["root"]
        made["c"] = await free.by_pairing(approver, name="c", code="c")
        # Once more changes nothing, neither of those who let it in twice is forgotten.
        await free.by_pairing(made["root"], name="c", code="c")
    shown = (await here.accounts.devices.descendants(made["root"]))[made["a"].device.id]
    assert shown == {made[name].device.id for name in "acd"}
    await here.accounts.devices.revoke(made["root"], made["a"].device.id, "", descendants=True)
    assert await names_left(here, made["root"]) == {"root", "b"}


async def test_whoever_revokes_its_own_ancestors_with_descendants_stays(here: World) -> None:
    made = await family(here)
    await here.accounts.devices.revoke(made["d"], made["root"].device.id, "", descendants=True)
    assert await names_left(here, made["d"]) == {"d"}


async def test_revoking_the_others_leaves_oneself_and_says_how_many_went(here: World) -> None:
    made = await family(here)
    stranger = await here.by_invite("bob")
    assert await here.accounts.devices.revoke_others(made["b"], "192.0.2.1") == 4
    assert await names_left(here, made["b"]) == {"b"}
    assert set(here.ended) == {made[name].device.id for name in ("root", "a", "c", "d")}
    assert await here.accounts.sessions.reload_if_alive(stranger.id)
    assert await here.accounts.devices.revoke_others(made["b"], "") == 0


async def test_the_account_is_woken_by_a_revocation_and_a_log_out(here: World) -> None:
    made = await family(here)
    woken: list[str] = []
    async with here.accounts.sessions.watch(made["root"].user.id, made["root"].id, woken.append):
        await here.accounts.devices.revoke(made["root"], made["b"].device.id, "")
        await here.accounts.sessions.log_out(made["a"], "")
        assert len(woken) == 2


@pytest.mark.security(36)
async def test_the_end_of_a_session_that_nothing_announced_is_found_among_hundreds(here: World) -> None:
    ended, stands = await here.by_invite(), await here.by_invite("bob")
    woken: list[str] = []
    async with AsyncExitStack() as stack:
        for number in range(250):
            unknown = here.accounts.sessions.watch("nobody", f"unknown {number}", lambda _: None)
            await stack.enter_async_context(unknown)
        for each in (ended, stands):
            wake = partial(lambda name, _: woken.append(name), each.user.username)
            await stack.enter_async_context(here.accounts.sessions.watch(each.user.id, each.id, wake))
        await here.accounts.sessions.look_for_ended_sessions()
        assert woken == []
        # Another process, and no message between the two.
        await here.another().accounts.operator.lock("alice", locked=True)
        await here.accounts.sessions.look_for_ended_sessions()
        assert woken == ["alice"]
    await here.accounts.sessions.look_for_ended_sessions()
    assert woken == ["alice"]


@pytest.mark.security(36)
async def test_the_story_hears_of_an_approver_whose_session_has_ended_while_a_device_waits(here: World) -> None:
    waited_for, before = await here.by_invite(), await here.by_invite("bob")
    here.accounts.logins.expect(as_approver(before), 30_000)
    here.clock.forward(seconds=31)
    here.accounts.logins.expect(as_approver(waited_for), 60_000)
    here.accounts.logins.expect(as_approver(waited_for), 1_000)
    here.clock.forward(seconds=2)
    for username in ("alice", "bob"):
        await here.another().accounts.operator.lock(username, locked=True)
    for _ in range(2):
        await here.accounts.sessions.look_for_ended_sessions()
    # Again, for the story may not have reached its store. Of bob nobody waits for an answer any more.
    assert here.ended == [waited_for.id, waited_for.id]


async def test_a_rename_is_seen_at_once_and_written_down(here: World) -> None:
    session = await here.by_invite(name="Old")
    changed = await here.accounts.devices.change_device(session, session.device.id, "", name="New", push_token=None)
    assert changed.name == "New"
    assert (await here.accounts.devices.activity(session))[0].event == "device.renamed"
