"""How sessions begin: invites, logins through a pairing, quarantine, the device limit, exactly once."""

import asyncio
import secrets

import pytest

from pairing_ws.accounts.operator import INVITE_MS
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.adapters.memory import MemoryBus, MemoryPairings
from pairing_ws.core.errors import Code, Refused
from pairing_ws.pairing.machine import Event, Initiator, Pairing
from tests.accounts.conftest import World, as_approver, code_of, device

SECRET = "s" * 43
GRACE_SECONDS = 30


# Invites


async def test_an_invite_makes_the_account_and_logs_its_first_device_in(here: World) -> None:
    made = await here.accounts.operator.invite("alice")
    assert made.url == f"http://localhost:8000/join/invite#{made.code}"
    assert made.expires_at == here.clock() + INVITE_MS
    given = await here.accounts.logins.accept_invite(
        made.code, device(name="Phone", os="Android", ip="192.0.2.1"), None
    )
    session = await here.known(given)
    assert (session.user.username, session.device.name, session.device.os) == ("alice", "Phone", "Android")
    assert session.device.last_ip == "192.0.2.1"
    assert session.device.paired_by is None
    assert session.amr == "invite"


async def test_a_second_invite_leads_to_the_same_account(here: World) -> None:
    one, other = await here.by_invite("alice"), await here.by_invite("alice")
    stranger = await here.by_invite("bob")
    assert one.user.id == other.user.id != stranger.user.id


@pytest.mark.parametrize("same", ["alice", "Alice", "ALICE", " alicE ", "\uff41\uff2c\uff29\uff23\uff25"])
async def test_names_are_the_same_whatever_their_capitals_and_width(here: World, same: str) -> None:
    first = await here.accounts.operator.invite("Alice")
    again = await here.accounts.operator.invite(same)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.user == first.user
    assert (await here.accounts.operator.lock(same, locked=True)).locked_at
    await here.accounts.operator.delete_user(same)
    assert await here.accounts.operator.accounts() == []


async def test_an_invite_for_an_existing_account_makes_none(here: World) -> None:
    assert await code_of(here.accounts.operator.invite("alise", existing=True)) is Code.NOT_FOUND
    assert await here.accounts.operator.accounts() == []
    assert await here.column("SELECT code_hash FROM invites") == []
    made = await here.accounts.operator.invite("alice")
    assert (await here.accounts.operator.invite("ALICE", existing=True)).user == made.user


async def test_fifty_invites_at_once_in_all_capitals_make_one_account(here: World) -> None:
    spellings = ["alice", "Alice", "ALICE", "aLICE", "alicE"]
    made = await asyncio.gather(*(here.another().accounts.operator.invite(spellings[n % 5]) for n in range(50)))
    assert len({each.user.id for each in made}) == 1
    assert [each.is_new for each in made].count(True) == 1
    assert len(await here.column("SELECT code_hash FROM invites")) == 50


async def test_a_user_name_is_one_name_however_it_is_encoded(here: World) -> None:
    composed = await here.accounts.operator.invite("zo\u00eb")
    decomposed = await here.accounts.operator.invite(" zoe\u0308 ")
    assert composed.user.id == decomposed.user.id


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a\u202eb", "a\x00b"])
async def test_a_user_name_that_cannot_be_shown_is_refused(here: World, name: str) -> None:
    assert await code_of(here.accounts.operator.invite(name)) is Code.BAD_REQUEST
    assert await here.accounts.operator.accounts() == []


async def test_an_unknown_invite_is_not_found(here: World) -> None:
    assert await code_of(here.accounts.logins.accept_invite("nonsense", device(), None)) is Code.NOT_FOUND


async def test_an_invite_logs_in_once(here: World) -> None:
    made = await here.accounts.operator.invite("alice")
    await here.accounts.logins.accept_invite(made.code, device(), None)
    assert await code_of(here.accounts.logins.accept_invite(made.code, device(), None)) is Code.INVITE_USED
    assert len(await here.column("SELECT id FROM sessions")) == 1


async def test_of_fifty_devices_with_one_invite_one_is_logged_in(here: World) -> None:
    made = await here.accounts.operator.invite("alice")
    answers = await asyncio.gather(
        *(here.another().accounts.logins.accept_invite(made.code, device(), None) for _ in range(50)),
        return_exceptions=True,
    )
    won = [each for each in answers if isinstance(each, LoggedIn)]
    lost = [each.code for each in answers if isinstance(each, Refused)]
    assert (len(won), lost) == (1, [Code.INVITE_USED] * 49)
    assert await here.column("SELECT id FROM devices") == [won[0].device.id]


async def test_an_invite_expires_after_fifteen_minutes(here: World) -> None:
    made = await here.accounts.operator.invite("alice")
    here.clock.forward(ms=INVITE_MS)
    assert await code_of(here.accounts.logins.accept_invite(made.code, device(), None)) is Code.INVITE_EXPIRED
    assert await here.column("SELECT id FROM devices") == []
    later = await here.accounts.operator.invite("alice")
    here.clock.forward(ms=INVITE_MS - 1)
    await here.accounts.logins.accept_invite(later.code, device(), None)


async def test_an_invite_into_a_locked_account_is_refused_and_not_used_up(here: World) -> None:
    made = await here.accounts.operator.invite("alice")
    await here.accounts.operator.lock("alice", locked=True)
    assert await code_of(here.accounts.logins.accept_invite(made.code, device(), None)) is Code.ACCOUNT_LOCKED
    await here.accounts.operator.lock("alice", locked=False)
    await here.accounts.logins.accept_invite(made.code, device(), None)


# A lost answer


async def begin(here: World, how: str) -> object:
    """A function that logs one device in by an invite or a pairing, and can be called again with any secret."""
    new = device()
    if how == "invite":
        made = await here.accounts.operator.invite("alice")
        return lambda secret: here.accounts.logins.accept_invite(made.code, new, secret)
    party = as_approver(await here.by_invite())
    pairing_id = secrets.token_urlsafe(16)
    return lambda secret: here.accounts.logins.log_in(pairing_id, party, new, secret)


SPENT = {"invite": Code.INVITE_USED, "pairing": Code.PAIRING_CONSUMED}
BOTH = pytest.mark.parametrize("how", ["invite", "pairing"])


@BOTH
async def test_a_lost_answer_is_repeated_to_the_same_secret_for_thirty_seconds(here: World, how: str) -> None:
    log_in = await begin(here, how)
    first = await log_in(SECRET)  # type: ignore[operator]
    here.clock.forward(seconds=GRACE_SECONDS, ms=-1)
    assert (await log_in(SECRET)).key_pair == first.key_pair  # type: ignore[operator]
    here.clock.forward(ms=1)
    assert await code_of(log_in(SECRET)) is SPENT[how]  # type: ignore[operator]


@BOTH
async def test_a_lost_answer_is_not_repeated_to_another_secret(here: World, how: str) -> None:
    log_in = await begin(here, how)
    await log_in(SECRET)  # type: ignore[operator]
    assert await code_of(log_in("t" * 43)) is SPENT[how]  # type: ignore[operator]


@BOTH
async def test_an_answer_is_not_repeated_once_its_auth_key_was_used(here: World, how: str) -> None:
    log_in = await begin(here, how)
    first = await log_in(SECRET)  # type: ignore[operator]
    await here.another().accounts.sessions.authenticate(first.key_pair.auth_key)
    assert await code_of(log_in(SECRET)) is SPENT[how]  # type: ignore[operator]


@BOTH
async def test_an_answer_is_not_repeated_once_its_refresh_key_was_used(here: World, how: str) -> None:
    log_in = await begin(here, how)
    first = await log_in(SECRET)  # type: ignore[operator]
    await here.another().accounts.sessions.refresh(first.key_pair.refresh_key, "")
    assert await code_of(log_in(SECRET)) is SPENT[how]  # type: ignore[operator]


@BOTH
async def test_an_answer_is_not_repeated_once_its_session_was_ended(here: World, how: str) -> None:
    log_in = await begin(here, how)
    first = await log_in(SECRET)  # type: ignore[operator]
    other = await here.another(quarantine=0).by_invite("alice")
    await here.accounts.devices.revoke(other, first.device.id, "")
    assert await code_of(log_in(SECRET)) is SPENT[how]  # type: ignore[operator]


@pytest.mark.security(17)
async def test_nothing_stored_gives_a_key_or_a_secret_away(here: World) -> None:
    log_in = await begin(here, "pairing")
    given = await log_in(SECRET)  # type: ignore[operator]
    stored = b""
    for table in ("users", "devices", "sessions", "invites", "activity"):
        stored += repr(await here.rows(f"SELECT * FROM {table}")).encode()
    family, value = given.key_pair.refresh_key.split(".")
    for hidden in (SECRET, given.key_pair.auth_key, given.key_pair.refresh_key, family, value):
        assert hidden.encode() not in stored


# Quarantine


async def test_the_first_device_of_an_account_is_not_quarantined(here: World) -> None:
    session = await here.by_invite()
    assert session.device.quarantine_until is None
    here.accounts.devices.refuse_quarantined(session)


async def test_a_device_that_was_let_in_is_quarantined_for_as_long_as_the_setting_says(here: World) -> None:
    session = await here.by_pairing(await here.by_invite())
    assert session.device.quarantine_until == here.clock() + here.policy.quarantine
    here.clock.forward(ms=here.policy.quarantine - 1)
    with pytest.raises(Refused) as caught:
        here.accounts.devices.refuse_quarantined(session)
    assert (caught.value.code, caught.value.retry_after) == (Code.DEVICE_QUARANTINED, 1)
    here.clock.forward(ms=1)
    here.accounts.devices.refuse_quarantined(session)


async def test_an_invite_to_an_account_that_has_devices_starts_quarantine(here: World) -> None:
    await here.by_invite()
    assert (await here.by_invite()).device.quarantine_until


async def test_an_invite_to_who_lost_all_devices_starts_none(here: World) -> None:
    first = await here.by_invite()
    await here.accounts.sessions.log_out(first, "")
    assert (await here.by_invite()).device.quarantine_until is None


async def test_a_quarantine_of_zero_is_none(here: World) -> None:
    demo = here.another(quarantine=0)
    assert (await demo.by_pairing(await demo.by_invite())).device.quarantine_until is None


async def test_a_quarantined_device_can_end_itself_and_change_nothing_of_others(here: World) -> None:
    old = await here.by_invite(name="Old")
    new = await here.by_pairing(old, name="New")
    forbidden = (
        here.accounts.devices.revoke(new, old.device.id, ""),
        here.accounts.devices.revoke_others(new, ""),
        here.accounts.devices.change_device(new, old.device.id, "", name="Mine", push_token=None),
    )
    for call in forbidden:
        assert await code_of(call) is Code.DEVICE_QUARANTINED
    assert {each.name for each in await here.accounts.devices.devices(old)} == {"Old", "New"}
    await here.accounts.devices.change_device(new, new.device.id, "", name="Newer", push_token=None)
    await here.accounts.devices.revoke(new, new.device.id, "")
    assert [each.name for each in await here.accounts.devices.devices(old)] == ["Old"]


@pytest.mark.security(13)
async def test_revoking_others_does_not_end_a_quarantine(here: World) -> None:
    old = await here.by_invite()
    new = await here.by_pairing(old)
    await here.accounts.devices.revoke_others(old, "")
    again = await here.by_pairing(old)
    for session in (new, again):
        with pytest.raises(Refused):
            here.accounts.devices.refuse_quarantined(session)


# Device records


@pytest.mark.security(18)
async def test_who_brings_an_existing_devices_code_inherits_nothing_and_ends_the_older_session(here: World) -> None:
    root = await here.by_invite()
    first = await here.by_invite(code="same", name="First", push_token="address", os="Android")
    here.clock.forward(seconds=7200)
    here.accounts.devices.refuse_quarantined(first)
    second = await here.by_pairing(root, code="same", name="Second")
    assert second.device.id == first.device.id
    assert second.device.created_at == here.clock()
    assert second.device.quarantine_until == here.clock() + here.policy.quarantine
    assert (second.device.name, second.device.os, second.device.paired_by) == ("Second", "", root.device.id)
    assert await here.column("SELECT push_address FROM devices WHERE id = :id", id=first.device.id) == [None]
    assert await here.accounts.sessions.reload_if_alive(first.id) is None
    assert {each.name for each in await here.accounts.devices.devices(root)} == {"Test device", "Second"}


async def test_an_older_sessions_keys_die_at_once_when_its_device_logs_in_anew(here: World) -> None:
    root = await here.by_invite()
    old = await here.pair(root, device("same"))
    here.clock.forward(seconds=1)
    # From now on it is known without a look at the database.
    await here.known(old)
    await here.pair(root, device("same"))
    for call in (
        here.accounts.sessions.authenticate(old.key_pair.auth_key),
        here.accounts.sessions.refresh(old.key_pair.refresh_key, ""),
    ):
        assert await code_of(call) is Code.UNAUTHENTICATED


async def test_one_code_in_two_accounts_is_two_records_that_do_not_touch(here: World) -> None:
    alices = await here.by_invite("alice", code="same", name="Alice's", push_token="address")
    bobs = await here.by_invite("bob", code="same", name="Bob's", push_token="address")
    assert alices.device.id != bobs.device.id
    assert await here.accounts.sessions.reload_if_alive(alices.id)
    assert [each.name for each in await here.accounts.devices.devices(alices)] == ["Alice's"]
    # One phone with two accounts on it: both may push to it.
    assert await here.column("SELECT push_address FROM devices") == ["address", "address"]


@pytest.mark.security(18)
async def test_a_push_address_belongs_to_one_device_of_an_account(here: World) -> None:
    first = await here.by_invite(push_token="address")
    second = await here.another(quarantine=0).by_pairing(first, push_token="address")
    query = "SELECT id FROM devices WHERE push_address = 'address'"
    assert await here.column(query) == [second.device.id]
    await here.accounts.devices.change_device(first, first.device.id, "", name=None, push_token="address")
    assert await here.column(query) == [first.device.id]


@pytest.mark.security(13)
async def test_from_quarantine_a_push_address_is_taken_from_nobody_who_is_logged_in(here: World) -> None:
    first = await here.by_invite(push_token="address")
    second = await here.by_pairing(first, push_token="address")
    query = "SELECT id FROM devices WHERE push_address = 'address'"
    assert await here.column(query) == [first.device.id]

    async def ask() -> list[object]:
        await here.accounts.devices.change_device(second, second.device.id, "", name=None, push_token="address")
        return await here.column(query)

    assert await ask() == [first.device.id]
    # Its own is its own, and so is one that nobody has.
    assert await here.column("SELECT id FROM devices WHERE push_address IS NULL") == [second.device.id]
    here.clock.forward(ms=here.policy.quarantine)
    assert await ask() == [second.device.id]


async def test_from_quarantine_a_push_address_is_taken_from_a_device_whose_time_is_over(here: World) -> None:
    first = await here.by_invite()
    await here.by_invite(push_token="address")
    here.clock.forward(ms=here.policy.refresh_key - 1)
    await here.accounts.sessions.refresh((await here.pair(first, device())).key_pair.refresh_key, "")
    fresh = await here.by_pairing(first)
    here.clock.forward(ms=1)
    fresh = await here.another().by_pairing(fresh, push_token="address")
    assert await here.column("SELECT id FROM devices WHERE push_address = 'address'") == [fresh.device.id]


@pytest.mark.security(16, 19)
async def test_news_are_for_the_addresses_of_all_devices_that_are_logged_in_but_one(here: World) -> None:
    first = await here.by_invite(push_token="first")
    second, _ = await here.by_pairing(first, push_token="second"), await here.by_pairing(first)
    revoked, idle = [await here.by_pairing(first, push_token=each) for each in ("revoked", "idle")]
    await here.by_invite("bob", push_token="bob's")
    await here.accounts.devices.revoke(first, revoked.device.id, "")
    user, now = first.user.id, here.clock()
    assert sorted(await here.store.push_addresses(user, now, exclude=second.device.id)) == ["first", "idle"]
    here.clock.forward(ms=here.policy.refresh_key)
    assert await here.store.push_addresses(user, here.clock(), exclude=idle.device.id) == []


async def test_a_push_address_is_set_by_its_own_device_alone(here: World) -> None:
    first = await here.by_invite()
    second = await here.by_pairing(first)
    call = here.accounts.devices.change_device(first, second.device.id, "", name=None, push_token="address")
    assert await code_of(call) is Code.BAD_REQUEST
    assert await here.column("SELECT push_address FROM devices") == [None, None]


async def test_a_push_address_that_the_service_calls_gone_is_dropped_everywhere(here: World) -> None:
    await here.by_invite("alice", push_token="gone")
    await here.by_invite("bob", push_token="there")
    await here.store.drop_push_token("gone")
    assert sorted(await here.column("SELECT push_address FROM devices"), key=str) == [None, "there"]


async def test_the_account_is_full_at_its_device_limit_and_nobody_is_evicted(here: World) -> None:
    small = here.another(device_limit=3)
    root = await small.by_invite()
    await small.by_pairing(root, code="second")
    await small.by_pairing(root)
    party, fourth = as_approver(root), device()
    assert await code_of(small.accounts.logins.check_login(party, fourth)) is Code.DEVICE_LIMIT
    assert await code_of(small.accounts.logins.log_in("fourth", party, fourth, SECRET)) is Code.DEVICE_LIMIT
    made = await small.accounts.operator.invite("alice")
    assert await code_of(small.accounts.logins.accept_invite(made.code, fourth, None)) is Code.DEVICE_LIMIT
    assert len(await small.accounts.devices.devices(root)) == 3
    # Who is one of the three may come back, and who leaves makes room; the refused invite is still good.
    again = await small.by_pairing(root, code="second")
    await small.accounts.sessions.log_out(again, "")
    await small.accounts.logins.accept_invite(made.code, fourth, None)


@pytest.mark.security(18)
async def test_the_device_limit_holds_against_many_at_once(here: World) -> None:
    small = here.another(device_limit=5)
    party = as_approver(await small.by_invite())
    logins = (small.another().accounts.logins.log_in(f"p{n}", party, device(), SECRET) for n in range(30))
    answers = await asyncio.gather(*logins, return_exceptions=True)
    assert [isinstance(each, LoggedIn) for each in answers].count(True) == 4
    assert {each.code for each in answers if isinstance(each, Refused)} == {Code.DEVICE_LIMIT}


# Logins through a pairing


async def test_fifty_logins_of_one_pairing_give_one_session_one_device_and_one_pair_of_keys(here: World) -> None:
    party, new = as_approver(await here.by_invite()), device()
    processes = [here.another() for _ in range(5)]
    answers = await asyncio.gather(
        *(processes[n % 5].accounts.logins.log_in("pairing", party, new, SECRET) for n in range(50))
    )
    assert len({each.key_pair for each in answers}) == 1
    assert len(await here.column("SELECT id FROM sessions WHERE origin = 'pairing:pairing'")) == 1
    assert len(await here.column("SELECT id FROM devices")) == 2


async def test_a_pairing_that_redis_forgot_to_have_consumed_still_logs_in_once(here: World) -> None:
    # An acknowledged write vanished at a failover: the pairing is approved again, and SQL is the judge.
    bus = MemoryBus()
    root, new = await here.by_invite(), device()
    pending = Pairing(
        id="pairing",
        initiator=Initiator.NEW_DEVICE,
        created_at=0,
        expires_at=120_000,
        code_hash="",
        user_code_hash="",
        new_device=new,
    )
    claimed = pending.after(Event.CLAIM, 0, approver=as_approver(root))

    async def log_in_with_a_fresh_store() -> LoggedIn:
        store = MemoryPairings(bus, here.clock)
        added = await store.add(claimed.after(Event.APPROVE, 0))
        assert added
        assert await store.replace(added.pairing, added.pairing.after(Event.LOGIN, added.now))
        await here.accounts.logins.check_login(as_approver(root), new)
        return await here.accounts.logins.log_in(pending.id, as_approver(root), new, SECRET)

    first = await log_in_with_a_fresh_store()
    assert (await log_in_with_a_fresh_store()).key_pair == first.key_pair
    await here.known(first)
    assert await code_of(log_in_with_a_fresh_store()) is Code.PAIRING_CONSUMED
    assert len(await here.column("SELECT id FROM sessions WHERE origin = 'pairing:pairing'")) == 1


@pytest.mark.security(30)
async def test_sixty_four_logins_of_different_pairings_at_once_all_succeed(here: World) -> None:
    roomy = here.another(device_limit=0)
    roots = [await roomy.by_invite(f"user{n}") for n in range(4)]
    processes = [roomy.another() for _ in range(4)]
    given = await asyncio.gather(*(processes[n % 4].pair(roots[n // 16], device(f"d{n}")) for n in range(64)))
    assert len({each.key_pair.refresh_key for each in given}) == 64
    for root in roots:
        assert len(await roomy.accounts.devices.devices(root)) == 17
    sessions = await asyncio.gather(*(roomy.known(each) for each in given))
    assert {each.device.id for each in sessions} == {each.device.id for each in given}


@pytest.mark.parametrize("undo", ["revoked", "logged out", "locked", "deleted"])
async def test_an_approval_is_worth_nothing_once_the_approver_has_gone(here: World, undo: str) -> None:
    root = await here.by_invite()
    approver = await here.by_invite()
    party, new = as_approver(approver), device()
    expected = {Code.PAIRING_DENIED}
    match undo:
        case "revoked":
            await here.accounts.devices.revoke(root, approver.device.id, "")
        case "logged out":
            await here.accounts.sessions.log_out(approver, "")
        case "locked":
            await here.accounts.operator.lock("alice", locked=True)
            expected = {Code.ACCOUNT_LOCKED}
        case "deleted":
            await here.accounts.operator.delete_user("alice")
            expected = {Code.PAIRING_DENIED, Code.NOT_FOUND}
    before = await here.column("SELECT id FROM devices")
    # The look before the swap, and the transaction itself for what happens after that look.
    assert await code_of(here.accounts.logins.check_login(party, new)) in expected
    assert await code_of(here.accounts.logins.log_in("pairing", party, new, SECRET)) in expected
    assert await here.column("SELECT id FROM devices") == before


@pytest.mark.security(29)
async def test_a_login_that_was_aborted_leaves_nothing_half_done(here: World) -> None:
    party = as_approver(await here.by_invite())
    roomy = here.another(device_limit=0)
    for turns in range(40):
        new = device()
        login = asyncio.create_task(roomy.accounts.logins.log_in(f"p{turns}", party, new, SECRET))
        for _ in range(turns):
            await asyncio.sleep(0)
        login.cancel()
        await asyncio.wait([login])
    sessions = set(await here.column("SELECT device_id FROM sessions"))
    assert sessions == set(await here.column("SELECT id FROM devices"))
    assert len(sessions) - 1 == len(await here.column("SELECT id FROM sessions WHERE origin LIKE 'pairing:%'"))
    # And the database is not left locked.
    await roomy.accounts.logins.log_in("last", party, device(), SECRET)


async def test_every_login_is_in_the_activity_with_device_and_address(here: World) -> None:
    root = await here.by_invite(name="Root", ip="192.0.2.1")
    here.clock.forward(seconds=1)
    await here.by_pairing(root, name="Laptop", ip="2001:db8::1")
    lines = await here.accounts.devices.activity(root)
    assert [(each.event, each.device_name, each.ip) for each in lines] == [
        ("device.added", "Laptop", "2001:db8::1"),
        ("device.added", "Root", "192.0.2.1"),
    ]


async def test_the_other_devices_are_woken_by_a_login_also_through_an_invite(here: World) -> None:
    root = await here.by_invite()
    woken: list[str] = []
    async with here.accounts.sessions.watch(root.user.id, root.id, woken.append):
        await here.by_pairing(root)
        assert len(woken) == 1
        await here.by_invite("alice")
        assert len(woken) == 2
        await here.by_invite("bob")
        assert len(woken) == 2
