"""The history of an account: what counts in one line, what nobody can push out of sight, and its pages."""

import asyncio

import pytest

from pairing_ws.accounts.devices import ACTIVITY_LINES
from pairing_ws.accounts.ports import LINES_AT_WILL, LOGIN, REPEATED_MS, Activity, Position
from tests.accounts.conftest import World, as_approver, device


@pytest.mark.security(38)
async def test_no_newcomer_can_push_its_own_login_out_of_the_owners_sight(here: World) -> None:
    owner = await here.by_invite()
    newcomer = await here.by_pairing(owner, name="Newcomer")
    for number in range(2 * ACTIVITY_LINES):
        here.clock.forward(ms=400)
        # Each from another address and under another name.
        asker = device(name=f"Asker {number}", ip=f"2001:db8:{number:x}::1")
        event = ("pairing.reported", "pairing.denied", "pairing.number_missed")[number % 3]
        await here.accounts.logins.note(event, as_approver(newcomer), asker)
        own_name = f"Name {number}"
        await here.accounts.devices.change_device(newcomer, newcomer.device.id, "", name=own_name, push_token=None)
    lines = await here.accounts.devices.activity(owner)
    assert [each.device_name for each in lines if each.event == LOGIN] == ["Newcomer", "Test device"]
    assert len(lines) <= 2 + 4 * LINES_AT_WILL
    # None of it is lost without a trace.
    assert sum(each.count for each in lines if each.event != LOGIN) == 4 * ACTIVITY_LINES
    assert f"Name {2 * ACTIVITY_LINES - 1}" in {each.device_name for each in lines}


async def test_a_line_that_repeats_itself_is_one_line_with_a_count(here: World) -> None:
    root = await here.by_invite()
    began = here.clock()
    for _ in range(3):
        here.clock.forward(ms=REPEATED_MS - 1)
        await here.accounts.logins.note("pairing.denied", as_approver(root), device(name="Same", ip="192.0.2.66"))
    await here.accounts.logins.note("pairing.denied", as_approver(root), device(name="Other", ip="192.0.2.66"))
    other, same, _ = await here.accounts.devices.activity(root)
    assert (same.count, same.first_at, same.at) == (3, began + REPEATED_MS - 1, here.clock())
    assert (other.count, other.first_at) == (1, None)
    here.clock.forward(ms=REPEATED_MS)
    await here.accounts.logins.note("pairing.denied", as_approver(root), device(name="Same", ip="192.0.2.66"))
    assert [each.count for each in await here.accounts.devices.activity(root)] == [1, 1, 3, 1]


async def test_fifty_repetitions_at_once_count_fifty_in_one_line(here: World) -> None:
    root = await here.by_invite()
    processes = [here.another() for _ in range(2)]
    asker = device(name="Same")
    await asyncio.gather(
        *(processes[n % 2].accounts.logins.note("pairing.denied", as_approver(root), asker) for n in range(50))
    )
    assert [each.count for each in await here.accounts.devices.activity(root)] == [50, 1]


async def test_each_login_is_a_line_of_its_own_and_the_logins_can_be_read_apart_from_the_rest(here: World) -> None:
    root = await here.by_invite()
    for _ in range(3):
        await here.by_pairing(root, code="same", name="Same")
    await here.accounts.logins.note("pairing.denied", as_approver(root), device())
    logins = await here.accounts.devices.activity(root, logins=True)
    assert [(each.event, each.device_name, each.count) for each in logins[:3]] == [(LOGIN, "Same", 1)] * 3
    assert len(logins) == 4
    rest = await here.accounts.devices.activity(root, logins=False)
    assert [(each.event, each.count) for each in rest] == [("pairing.denied", 1), ("session.replaced", 2)]


@pytest.mark.parametrize("logins", [None, False])
async def test_the_pages_of_a_history_hold_each_line_once_however_many_share_a_moment(
    here: World, logins: bool | None
) -> None:
    root = await here.by_invite()
    for number in range(2 * ACTIVITY_LINES + 3):
        here.clock.forward(ms=number % 2 * (number % 3))
        await here.store.note(Activity(user_id=root.user.id, at=here.clock(), event="noted", ip=f"{number}"))
    seen, before = list[Activity](), None
    while page := await here.accounts.devices.activity(root, before, logins=logins):
        seen += page
        before = Position(page[-1].at, page[-1].id)
    assert [each.ip for each in seen if each.event == "noted"] == [f"{n}" for n in reversed(range(203))]
    assert len(seen) == 203 + (logins is None)
