"""What a backend does with accounts as the operator, on each database: made once, enrolled once, told in one order."""

import asyncio
import secrets
from collections import Counter

import pytest

from pairing_ws.accounts.operator import LINES, USERS, NumberedActivity, UserId
from pairing_ws.accounts.ports import Activity
from pairing_ws.core.errors import Code, Refused
from tests.accounts.conftest import World, code_of, device

CALLERS = 60


async def outcome(call: object) -> object:
    try:
        return await call  # type: ignore[misc]
    except Refused as refused:
        return refused.code


@pytest.mark.security(53)
async def test_of_many_calls_that_make_one_user_one_makes_it_and_all_get_it(here: World) -> None:
    processes = [here, here.another()]
    made = await asyncio.gather(
        *(
            processes[n % 2].accounts.operator.add_user("4711", "Ada", {"email": "a@example.com"})
            for n in range(CALLERS)
        )
    )
    assert Counter(each.is_new for each in made) == {True: 1, False: CALLERS - 1}
    assert {each.account for each in made} == {await here.accounts.operator.account(UserId("4711"))}
    assert [event for event, _ in here.events].count("account.created") <= 1


async def test_of_many_ids_that_want_one_name_one_gets_it(here: World) -> None:
    processes = [here, here.another()]
    ends = await asyncio.gather(
        *(
            outcome(processes[n % 2].accounts.operator.add_user(f"id-{n}", "ADA"[: 1 + n % 3], {}))
            for n in range(CALLERS)
        )
    )
    assert ends.count(Code.USER_EXISTS) == CALLERS - 3
    assert len(await here.accounts.operator.accounts()) == 3


@pytest.mark.security(53)
@pytest.mark.parametrize("one_device", [True, False], ids=["one device", "a device each"])
async def test_of_many_enrolments_with_one_key_one_logs_a_device_in(here: World, one_device: bool) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    processes = [here, here.another()]
    ends = await asyncio.gather(
        *(
            outcome(processes[n % 2].accounts.logins.enrol("4711", device("same" if one_device else None), "a key"))
            for n in range(CALLERS)
        )
    )
    given = [each for each in ends if not isinstance(each, Code)]
    assert len({each.key_pair.auth_key for each in given}) == 1  # type: ignore[attr-defined]
    assert len(given) == (CALLERS if one_device else 1)
    assert set(ends) - set(given) <= {Code.ALREADY_ENROLLED}
    assert await here.rows("SELECT count(*) FROM devices") == [(1,)]
    assert await here.rows("SELECT count(*) FROM sessions") == [(1,)]
    assert await here.column("SELECT event FROM activity") == ["device.added"]


async def test_the_answer_to_an_enrolment_is_repeated_for_its_key_device_and_account_alone(here: World) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    await here.accounts.operator.add_user("4712", None, {})
    enrol = here.accounts.logins.enrol
    mine = device()
    first = await enrol("4711", mine, "a key")
    assert (await enrol("4711", mine, "a key")).key_pair == first.key_pair
    assert await code_of(enrol("4711", device(), "a key")) is Code.ALREADY_ENROLLED
    assert await code_of(enrol("4711", device(mine.code, key_thumbprint="x" * 43), "a key")) is Code.ALREADY_ENROLLED
    # Another account's is another call.
    assert (await enrol("4712", mine, "a key")).user.id == "4712"
    # Nor once its keys are in use, or late.
    await here.known(first)
    assert await code_of(enrol("4711", mine, "a key")) is Code.ALREADY_ENROLLED
    second = await enrol("4711", mine, "another key")
    here.clock.forward(ms=30_001)
    assert await code_of(enrol("4711", mine, "another key")) is Code.ALREADY_ENROLLED
    # Without a key each call is one of its own; the same device replaces itself.
    third = await enrol("4711", mine, None)
    assert third.key_pair != second.key_pair
    assert len(await here.accounts.operator.devices(UserId("4711"))) == 1
    assert "a key" not in str(await here.rows("SELECT * FROM sessions"))


@pytest.mark.security(13)
async def test_an_enrolled_device_is_treated_as_an_invited_one(here: World) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    first = await here.known(await here.accounts.logins.enrol("4711", device(), None))
    assert (first.amr, first.verified_at, first.device.paired_by) == ("host", here.clock(), None)
    assert first.device.quarantine_until is None
    second = await here.known(await here.accounts.logins.enrol("4711", device(), None))
    assert second.device.quarantine_until == here.clock() + here.policy.quarantine
    few = here.another(device_limit=2)
    assert await code_of(few.accounts.logins.enrol("4711", device(), None)) is Code.DEVICE_LIMIT
    await here.accounts.operator.lock(UserId("4711"), locked=True)
    assert await code_of(here.accounts.logins.enrol("4711", device(), None)) is Code.ACCOUNT_LOCKED
    assert await here.accounts.operator.devices(UserId("4711")) == []
    await here.accounts.operator.delete_user(UserId("4711"))
    assert await code_of(here.accounts.logins.enrol("4711", device(), None)) is Code.NOT_FOUND


async def test_of_many_invites_with_one_key_all_are_one_link_until_it_is_used_or_over(here: World) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    who = UserId("4711")
    processes = [here, here.another()]

    async def invited(number: int, key: str = "a key") -> str:
        return (await processes[number % 2].accounts.operator.invite(who, idempotency_key=key)).code

    codes = set(await asyncio.gather(*map(invited, range(CALLERS))))
    assert len(codes) == 1
    assert await here.rows("SELECT count(*) FROM invites") == [(1,)]
    await here.accounts.logins.accept_invite(codes.pop(), device(), None)
    assert await code_of(invited(0)) is Code.INVITE_USED
    other = await invited(0, "another key")
    here.clock.forward(ms=15 * 60_000)
    assert await code_of(invited(1, "another key")) is Code.INVITE_EXPIRED
    assert await code_of(here.accounts.logins.accept_invite(other, device(), None)) is Code.INVITE_EXPIRED


async def test_the_pages_of_accounts_hold_each_once(here: World) -> None:
    await asyncio.gather(*(here.accounts.operator.add_user(f"user-{n}", None, {}) for n in range(USERS + 5)))
    first = await here.accounts.operator.accounts_after("")
    second = await here.accounts.operator.accounts_after(first[-1].user.id)
    assert (len(first), len(second)) == (USERS, 5)
    assert {each.user.id for each in (*first, *second)} == {f"user-{n}" for n in range(USERS + 5)}


@pytest.mark.parametrize("user_id", ["", "x" * 65, "a b", "ä", "a/b", "..", "{a}", "a\n"], ids=repr)
async def test_an_id_that_no_address_can_hold_is_refused(here: World, user_id: str) -> None:
    assert await code_of(here.accounts.operator.add_user(user_id, "ada", {})) is Code.BAD_REQUEST


async def test_a_backends_id_may_have_64_letters(here: World) -> None:
    longest = secrets.token_hex(32)
    await here.accounts.operator.add_user(longest, None, {})
    session = await here.known(await here.accounts.logins.enrol(longest, device(), None))
    assert session.user.id == session.user.username == longest


# The feed


async def followed(here: World, seq: int = 0) -> list[NumberedActivity]:
    found: list[NumberedActivity] = []
    while page := await here.accounts.operator.lines_after(found[-1].seq if found else seq):
        found += page
    return found


@pytest.mark.security(53)
async def test_a_reader_misses_no_line_and_sees_none_twice_while_many_are_written(here: World) -> None:
    accounts, each_writes = 12, 30
    for number in range(accounts):
        await here.accounts.operator.add_user(f"user-{number}", None, {})
    processes = [here.another() for _ in range(3)]

    async def write(number: int) -> None:
        for line in range(each_writes):
            store = processes[(number + line) % 3].store
            await store.note(Activity(user_id=f"user-{number}", at=here.clock(), event="noted", ip=f"{number}-{line}"))

    writing = asyncio.gather(*map(write, range(accounts)))
    found: list[NumberedActivity] = []
    reads = 0
    while not writing.done():
        found += await here.accounts.operator.lines_after(found[-1].seq if found else 0)
        reads += 1
    await writing
    found += await followed(here, found[-1].seq if found else 0)
    assert reads > 3
    assert len(found) == accounts * each_writes
    assert {each.line.ip for each in found} == {f"{a}-{b}" for a in range(accounts) for b in range(each_writes)}
    numbers = [each.seq for each in found]
    assert numbers == sorted(set(numbers))
    for account in range(accounts):
        # An account's own lines in its own order.
        own = [each.line.ip for each in found if each.line.user_id == f"user-{account}"]
        assert own == [f"{account}-{line}" for line in range(each_writes)]


async def test_a_line_that_is_repeated_comes_again_with_its_id_and_its_count(here: World) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    line = Activity(user_id="4711", at=here.clock(), event="noted")
    await here.store.note(line)
    (first,) = await followed(here)
    await here.store.note(line)
    (again,) = await followed(here, first.seq)
    assert (again.line.id, again.line.count, again.line.first_at) == (first.line.id, 2, line.at)
    assert again.seq > first.seq
    assert await followed(here, again.seq) == []


async def test_a_number_is_given_once_whatever_is_deleted(here: World) -> None:
    for name in ("one", "two"):
        await here.accounts.operator.add_user(name, None, {})
        await here.store.note(Activity(user_id=name, at=here.clock(), event="noted"))
    newest = (await followed(here))[-1].seq
    await here.accounts.operator.delete_user(UserId("two"))
    assert len(await followed(here)) == 1
    await here.store.note(Activity(user_id="one", at=here.clock(), event="noted again"))
    (after,) = await followed(here, newest)
    assert after.line.event == "noted again"


async def test_a_page_of_the_feed_is_bounded(here: World) -> None:
    await here.accounts.operator.add_user("4711", None, {})
    for number in range(LINES + 1):
        await here.store.note(Activity(user_id="4711", at=here.clock(), event="noted", ip=f"{number}"))
    assert len(await here.accounts.operator.lines_after(0)) == LINES
    assert len(await followed(here)) == LINES + 1
