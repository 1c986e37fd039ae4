"""The store of passkeys and challenges on each kind of database: what happens once, and what goes along with whom."""

import asyncio
import secrets
from collections.abc import Awaitable

import pytest

from pairing_ws.accounts.passkeys import Added, Passkey, Purpose
from pairing_ws.accounts.ports import Activity, Session
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from tests.accounts.conftest import World


@pytest.fixture
def store(here: World) -> SqlPasskeys:
    return SqlPasskeys(here.database)


def passkey(session: Session, **more: object) -> Passkey:
    made = {
        "id": secrets.token_urlsafe(16), "user_id": session.user.id, "credential_id": secrets.token_bytes(32),
        "public_key": b"key", "sign_count": 0, "transports": "internal", "name": "Key",
        "device_id": session.device.id, "created_at": session.created_at,
    }  # fmt: skip
    return Passkey(**(made | more))  # type: ignore[arg-type]


def line(session: Session, event: str = "passkey.added") -> Activity:
    return Activity(user_id=session.user.id, at=session.created_at, event=event)


async def adding(store: SqlPasskeys, session: Session, new: Passkey, *, limit: int = 10, first: bool = False) -> Added:
    return await store.add_passkey(new, session.id, limit, line(session), first=first)


async def test_of_twenty_first_passkeys_at_once_one_is_the_first(here: World, store: SqlPasskeys) -> None:
    session = await here.by_invite()
    ends = await asyncio.gather(*(adding(store, session, passkey(session), first=True) for _ in range(20)))
    assert sorted(each.name for each in ends) == ["DONE"] + ["NOT_FIRST"] * 19
    assert await here.column("SELECT event FROM activity ORDER BY id") == ["device.added", "passkey.added"]


async def test_of_twenty_passkeys_at_once_as_many_are_added_as_may_be(here: World, store: SqlPasskeys) -> None:
    session = await here.by_invite()
    ends = await asyncio.gather(*(adding(store, session, passkey(session), limit=3) for _ in range(20)))
    assert sorted(each.name for each in ends) == ["DONE"] * 3 + ["FULL"] * 17
    assert len(await store.passkeys(session.user.id)) == 3


async def test_a_credential_belongs_to_one_account(here: World, store: SqlPasskeys) -> None:
    ada, bob = await here.by_invite("ada"), await here.by_invite("bob")
    new = passkey(ada)
    assert await adding(store, ada, new) is Added.DONE
    assert await adding(store, bob, passkey(bob, credential_id=new.credential_id)) is Added.KNOWN
    assert await store.passkeys(bob.user.id) == []
    assert await store.passkeys(ada.user.id) == [new]


@pytest.mark.security(16)
async def test_a_revoked_session_adds_nothing(here: World, store: SqlPasskeys) -> None:
    session = await here.by_invite()
    await here.accounts.sessions.log_out(session, "")
    assert await adding(store, session, passkey(session)) is Added.ENDED


async def test_of_twenty_uses_with_one_count_one_is_taken_and_the_others_are_copies(
    here: World, store: SqlPasskeys
) -> None:
    session = await here.by_invite()
    new = passkey(session, sign_count=4)
    await adding(store, session, new)
    copied = line(session, "passkey.copied")
    uses = [store.use_passkey(new, 5, session.id, here.clock() + 7, copied) for _ in range(20)]
    assert sorted(await asyncio.gather(*uses)) == [False] * 19 + [True]
    assert await here.column("SELECT count FROM activity WHERE event = 'passkey.copied'") == [19]
    (stored,) = await store.passkeys(session.user.id)
    assert (stored.sign_count, stored.last_used_at) == (5, here.clock() + 7)
    now = await here.store.session(session.id)
    assert now is not None
    assert now.verified_at == here.clock() + 7
    # One that counted does not stop counting.
    assert not await store.use_passkey(new, 0, session.id, here.clock(), copied)


async def test_a_passkey_that_is_gone_is_used_by_nobody_and_is_no_copy(here: World, store: SqlPasskeys) -> None:
    session = await here.by_invite()
    new = passkey(session)
    await adding(store, session, new)
    assert await store.remove_passkey(session.user.id, new.id, line(session, "passkey.removed")) == new
    assert await store.remove_passkey(session.user.id, new.id, line(session, "passkey.removed")) is None
    assert not await store.use_passkey(new, 1, session.id, here.clock(), line(session, "passkey.copied"))
    assert "passkey.copied" not in await here.column("SELECT event FROM activity")


async def test_a_challenge_is_given_to_one_of_twenty_and_the_newest_replaces_the_others(
    here: World, store: SqlPasskeys
) -> None:
    session = await here.by_invite()
    for each in (b"old", b"new"):
        await store.put_challenge(session.id, Purpose.STEP_UP, each, 100)
    await store.put_challenge(session.id, Purpose.ADD, b"other", 100)
    taken = await asyncio.gather(*(store.take_challenge(session.id, Purpose.STEP_UP, 99) for _ in range(20)))
    assert [each for each in taken if each is not None] == [b"new"]
    assert await store.take_challenge(session.id, Purpose.ADD, 100) is None
    assert await here.column("SELECT purpose FROM challenges") == []


async def test_the_hosts_word_counts_once_and_never_makes_a_session_older(here: World, store: SqlPasskeys) -> None:
    session = await here.by_invite()
    at = here.clock() + 1000
    assert sorted(await asyncio.gather(*(store.verify_session(session.id, at, at) for _ in range(20)))) == (
        [False] * 19 + [True]
    )
    assert not await store.verify_session(session.id, at - 1, at - 1)
    # Nor later, where the host's clock was ahead and the proof was dated back to ours.
    assert not await store.verify_session(session.id, at + 1, at)
    assert await store.verify_session(session.id, at + 1, at + 1)


async def test_passkeys_and_challenges_go_with_their_user(here: World, store: SqlPasskeys) -> None:
    ada, bob = await here.by_invite("ada"), await here.by_invite("bob")
    for session in (ada, bob):
        await adding(store, session, passkey(session))
        await store.put_challenge(session.id, Purpose.ADD, b"x", 100)
    await here.accounts.operator.delete_user("ada")
    assert await here.column("SELECT user_id FROM passkeys") == [bob.user.id]
    assert await here.column("SELECT session_id FROM challenges") == [bob.id]


async def test_only_an_invite_begins_a_verified_session(here: World, store: SqlPasskeys) -> None:
    invited = await here.by_invite()
    scanned = await here.by_pairing(invited)
    assert (invited.verified_at, scanned.verified_at) == (invited.created_at, None)


# Those of a device that is logged out


async def names(store: SqlPasskeys, session: Session) -> set[str]:
    return {each.name for each in await store.passkeys(session.user.id)}


async def with_passkeys(here: World, store: SqlPasskeys) -> dict[str, Session]:
    """The owner lets a newcomer in, that one a second, and that a third, who has logged himself out since."""
    free = here.another(quarantine=0)
    made = {"owner": await free.by_invite()}
    for by, name in (("owner", "newcomer"), ("newcomer", "second"), ("second", "third")):
        made[name] = await free.by_pairing(made[by], name=name)
    made["stranger"] = await free.by_invite("bob")
    for name, session in made.items():
        await adding(store, session, passkey(session, name=name))
    await free.accounts.sessions.log_out(made["third"], "")
    return made


@pytest.mark.security(19)
@pytest.mark.parametrize("step_up", [False, True])
async def test_with_a_newcomer_and_all_that_it_let_in_go_the_passkeys_that_they_added(
    here: World, store: SqlPasskeys, step_up: bool
) -> None:
    made = await with_passkeys(here, store)
    accounts = here.another(step_up=step_up).accounts
    await accounts.devices.revoke(made["owner"], made["newcomer"].device.id, "192.0.2.1", descendants=True)
    assert await names(store, made["owner"]) == {"owner"}
    assert await names(store, made["stranger"]) == {"stranger"}
    lines = [each for each in await accounts.devices.activity(made["owner"]) if each.event == "passkey.removed"]
    assert {each.device_name for each in lines} == {"newcomer", "second", "third"}
    assert {(each.by_name, each.ip, each.device_id) for each in lines} == {
        (made["owner"].device.name, "192.0.2.1", made["owner"].device.id)
    }


async def test_what_a_device_added_goes_even_if_it_and_all_it_let_in_have_left_already(
    here: World, store: SqlPasskeys
) -> None:
    made = await with_passkeys(here, store)
    await here.accounts.devices.revoke_others(made["owner"], "")
    await here.accounts.devices.revoke(made["owner"], made["newcomer"].device.id, "", descendants=True)
    assert await names(store, made["owner"]) == {"owner"}


async def test_a_mere_log_out_takes_a_devices_passkeys_along_only_where_another_can_be_added_without(
    here: World, store: SqlPasskeys
) -> None:
    made = await with_passkeys(here, store)
    await here.another(step_up=True).accounts.devices.revoke(made["owner"], made["newcomer"].device.id, "")
    assert await names(store, made["owner"]) == {"owner", "newcomer", "second", "third"}
    await here.accounts.devices.revoke(made["owner"], made["second"].device.id, "")
    assert await names(store, made["owner"]) == {"owner", "newcomer", "third"}


async def test_passkeys_stay_when_a_device_leaves_by_itself_and_when_all_others_are_logged_out(
    here: World, store: SqlPasskeys
) -> None:
    made = await with_passkeys(here, store)
    await here.accounts.devices.revoke(made["second"], made["second"].device.id, "")
    await here.accounts.devices.revoke_others(made["owner"], "")
    everything = {"owner", "newcomer", "second", "third"}
    assert await names(store, made["owner"]) == everything
    # What it let in was let in by mistake, but it asks for itself.
    await here.accounts.devices.revoke(made["owner"], made["owner"].device.id, "", descendants=True)
    assert await names(store, made["owner"]) == {"owner"}


async def test_nobody_adds_a_passkey_at_the_moment_of_being_logged_out_that_stays(
    here: World, store: SqlPasskeys
) -> None:
    for round_ in range(4):
        owner = await here.by_invite(f"user{round_}")
        bad = await here.another(quarantine=0).by_pairing(owner)
        calls: list[Awaitable[object]] = [adding(store, bad, passkey(bad)) for _ in range(6)]
        calls.insert(2 * round_, here.another().accounts.devices.revoke(owner, bad.device.id, "", descendants=True))
        await asyncio.gather(*calls)
        assert await store.passkeys(owner.user.id) == []
