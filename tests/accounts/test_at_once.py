"""Several processes act on one account at once: what has to come in order does, and nobody waits in a circle."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.adapters.sql.postgresql import PostgresqlDatabase
from pairing_ws.core.errors import Code, Refused
from tests.accounts.conftest import World, as_approver, code_of, device


async def settled(*calls: Awaitable[object]) -> list[object]:
    """What each gave, or the word it was refused with; any other end is an error."""
    ends = await asyncio.gather(*calls, return_exceptions=True)
    for each in ends:
        if isinstance(each, BaseException) and not isinstance(each, Refused):
            raise each
    return [each.code if isinstance(each, Refused) else each for each in ends]


def seen_alone(here: World, approver: Session, number: int) -> Awaitable[LoggedIn]:
    """A login whose approver was looked at before the race began."""
    return here.another().accounts.logins.log_in(f"pairing-{number}", as_approver(approver), device(), "s" * 43)


@pytest.mark.parametrize("round_", range(3))
async def test_nobody_survives_the_revocation_of_who_let_them_in(here: World, round_: int) -> None:
    root = await here.by_invite()
    bad = await here.another(quarantine=0).by_pairing(root)
    child = await here.another(quarantine=0).by_pairing(bad, code="child")
    grandchild = await here.another(quarantine=0).by_pairing(child)
    # The two have let each other in now.
    child = await here.another(quarantine=0).by_pairing(grandchild, code="child")
    calls: list[Awaitable[object]] = [
        seen_alone(here, (bad, child, grandchild)[number % 3], number) for number in range(12)
    ]
    calls.insert(round_ * 5, here.another().accounts.devices.revoke(root, bad.device.id, "", descendants=True))
    ends = await settled(*calls)
    assert {each for each in ends if isinstance(each, Code)} <= {Code.PAIRING_DENIED}
    assert [each.id for each in await here.accounts.devices.devices(root)] == [root.device.id]
    for each in (bad, child, grandchild):
        assert await code_of(seen_alone(here, each, 99)) is Code.PAIRING_DENIED


@pytest.mark.parametrize("round_", range(3))
async def test_nobody_is_overlooked_when_all_others_are_revoked(here: World, round_: int) -> None:
    root = await here.by_invite()
    bad = await here.another(quarantine=0).by_pairing(root)
    calls: list[Awaitable[object]] = [seen_alone(here, bad, number) for number in range(12)]
    calls.insert(round_ * 5, here.another().accounts.devices.revoke_others(root, ""))
    await settled(*calls)
    assert [each.id for each in await here.accounts.devices.devices(root)] == [root.device.id]


async def test_no_login_is_approved_by_who_has_just_logged_out(here: World) -> None:
    for round_ in range(5):
        root = await here.by_invite(f"user{round_}")
        ends = await settled(
            *(seen_alone(here, root, 10 * round_ + n) for n in range(4)), here.accounts.sessions.log_out(root, "")
        )
        before = len(await here.column("SELECT id FROM sessions"))
        assert await code_of(seen_alone(here, root, 10 * round_ + 9)) is Code.PAIRING_DENIED
        assert len(await here.column("SELECT id FROM sessions")) == before
        assert {each for each in ends if isinstance(each, Code)} <= {Code.PAIRING_DENIED}


async def test_a_push_address_ends_up_with_one_device_however_many_claim_it_at_once(here: World) -> None:
    roomy = here.another(quarantine=0)
    root = await roomy.by_invite()
    sessions = [root, *[await roomy.by_pairing(root) for _ in range(7)]]
    for address in ("one", "two", "three"):
        await asyncio.gather(
            *(
                here.another().accounts.devices.change_device(each, each.device.id, "", name=None, push_token=address)
                for each in sessions
            ),
            roomy.pair(root, device(push_token=address)),
        )
        query = "SELECT id FROM devices WHERE push_address = :address"
        assert len(await here.column(query, address=address)) == 1


async def test_of_two_accounts_that_approve_one_pairing_one_gets_the_session(here: World) -> None:
    # Redis forgot that it was consumed, and even who had claimed it.
    parties = [as_approver(await here.by_invite(name)) for name in ("alice", "bob")]
    for number in range(5):
        new = device()
        logins = (here.another().accounts.logins.log_in(f"p{number}", each, new, "s" * 43) for each in parties * 4)
        ends = await settled(*logins)
        given = {each.key_pair for each in ends if isinstance(each, LoggedIn)}
        assert len(given) == 1
        assert (
            len(await here.column("SELECT id FROM sessions WHERE origin = :origin", origin=f"pairing:p{number}")) == 1
        )


async def test_an_invite_finds_its_account_even_while_that_is_deleted(here: World) -> None:
    for _ in range(10):
        await here.accounts.operator.invite("alice")
        ends = await settled(
            *(here.accounts.operator.invite("alice") for _ in range(3)),
            here.accounts.operator.delete_user("alice"),
            *(here.accounts.operator.invite("alice") for _ in range(3)),
        )
        assert not [each for each in ends if isinstance(each, Code)]
        assert len(await here.column("SELECT id FROM users WHERE username = 'alice'")) <= 1


async def test_a_line_of_activity_for_an_account_that_is_gone_is_dropped(here: World) -> None:
    root = await here.by_invite()
    await here.accounts.operator.delete_user("alice")
    await here.accounts.logins.note("pairing.denied", as_approver(root), device())
    await here.accounts.sessions.log_out(root, "")
    assert await here.column("SELECT event FROM activity") == []


# What has to do with one device of an account: its own acts, and those of others.
ACTS: dict[str, Callable[[World, Session, LoggedIn], Awaitable[object]]] = {
    "log in again": lambda here, root, _: here.accounts.logins.log_in(
        f"again-{root.user.id}", as_approver(root), device("it", push_token="new"), "s" * 43
    ),
    "refresh": lambda here, _, it: here.accounts.sessions.refresh(it.key_pair.refresh_key, ""),
    "log out": lambda here, _, it: log_out(here, it),
    "revoke": lambda here, root, it: here.accounts.devices.revoke(root, it.device.id, "", descendants=True),
    "rename": lambda here, root, it: here.accounts.devices.change_device(
        root, it.device.id, "", name="New", push_token=None
    ),
    "move its address": lambda here, root, _: here.accounts.devices.change_device(
        root, root.device.id, "", name=None, push_token="its own"
    ),
    "delete": lambda here, root, _: here.accounts.operator.delete_user(root.user.username),
}


async def log_out(here: World, it: LoggedIn) -> None:
    await here.accounts.sessions.log_out(await here.known(it), "")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("held", ["users", "sessions", "devices"])
async def test_no_two_acts_take_the_rows_of_an_account_in_opposite_orders(here: World, held: str) -> None:
    """One waits for a row that a third party holds, the other comes after it and takes what it can get before that row.

    When the row is let go, the first one goes on to what the second one holds: then both wait, if the orders differ.
    """
    column = {"users": "username = :name", "sessions": "user_id = :id", "devices": "user_id = :id"}[held]
    hold = sa.text(f"SELECT 1 FROM {held} WHERE {column} FOR UPDATE")

    async def race(first: str, second: str) -> list[object]:
        root = await here.by_invite(f"{first}, {second}")
        it = await here.another(quarantine=0).pair(root, device("it", push_token="its own"))
        assert isinstance(here.database, PostgresqlDatabase)
        async with here.database.engine.connect() as third:
            await third.execute(hold, {"name": root.user.username, "id": root.user.id})
            acts = []
            for name in (first, second):
                acts.append(asyncio.create_task(settled(ACTS[name](here.another(), root, it))))
                # Until it waits, or has ended.
                await asyncio.wait(acts[-1:], timeout=0.02)
        return [end for act in acts for end in await act]

    pairs = [(first, second) for first in ACTS for second in ACTS]
    for start in range(0, len(pairs), 6):
        ends = await asyncio.gather(*(race(*each) for each in pairs[start : start + 6]))
        circles = [pair for pair, end in zip(pairs[start:], ends, strict=False) if Code.UNAVAILABLE in end]
        assert not circles


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_tidying_passes_over_what_somebody_holds_and_sweeps_it_the_next_time(here: World) -> None:
    sessions = [await here.by_invite(f"user{number}") for number in range(3)]
    here.clock.forward(ms=here.policy.session + 2 * 86_400_000)
    assert isinstance(here.database, PostgresqlDatabase)
    async with here.database.engine.connect() as third:
        await third.execute(sa.text("SELECT 1 FROM sessions WHERE id = :id FOR UPDATE"), {"id": sessions[1].id})
        await asyncio.gather(here.accounts.operator.tidy(), here.another().accounts.operator.tidy())
        assert await here.column("SELECT id FROM sessions") == [sessions[1].id]
    await here.accounts.operator.tidy()
    assert await here.column("SELECT id FROM sessions") == []
