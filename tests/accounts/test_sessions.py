"""How sessions are known again, renew their keys and end; devices and what may be done to them; locks and tidying."""

import asyncio
import secrets
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from pairing_ws.accounts.monitor import SEEN_MS
from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.refresh_keys import KeyPair, RefreshKey, unseal
from pairing_ws.accounts.session_cache import SESSION_CACHE_MS
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.core.errors import Code, Refused
from tests.accounts.conftest import World, as_approver, code_of, device

GRACE_MS = 30_000
DAY_SECONDS = 86_400


async def logged_in(here: World) -> LoggedIn:
    """A pair of keys of which neither has been used."""
    return await here.pair(await here.by_invite(), device())


# Refresh


async def test_a_refresh_gives_a_new_pair_and_the_old_refresh_key_is_no_more_the_current_one(here: World) -> None:
    first = await logged_in(here)
    here.clock.forward(seconds=60)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "192.0.2.9")
    assert second.key_pair.refresh_key != first.key_pair.refresh_key
    assert second.key_pair.auth_key != first.key_pair.auth_key
    session = await here.known(second)
    assert session.id == (await here.known(first)).id
    assert (session.device.last_seen_at, session.device.last_ip) == (here.clock(), "192.0.2.9")


async def test_the_same_key_again_gives_the_same_successor_while_that_is_unused(here: World) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    here.clock.forward(ms=GRACE_MS + 1)
    assert (await here.another().accounts.sessions.refresh(first.key_pair.refresh_key, "")).key_pair == second.key_pair


@pytest.mark.security(14)
async def test_a_refresh_whose_answer_got_lost_can_be_repeated_for_a_day_and_gives_keys_that_work(here: World) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    here.clock.forward(seconds=DAY_SECONDS, ms=-1)
    await here.accounts.operator.tidy()
    again = await here.another().accounts.sessions.refresh(first.key_pair.refresh_key, "")
    assert again.key_pair.refresh_key == second.key_pair.refresh_key
    assert again.key_pair.expires_at == here.clock() + here.policy.auth_key
    assert "session.key_reused" not in await here.column("SELECT event FROM activity")
    # The first use of the authKey that was made for the repetition ends it, too.
    await here.known(again)
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.ALREADY_REFRESHED
    await here.accounts.sessions.refresh(second.key_pair.refresh_key, "")


async def test_for_how_long_a_refresh_can_be_repeated_is_a_setting(here: World) -> None:
    short = here.another(refresh_repeat=60_000)
    first = await short.accounts.logins.accept_invite(
        (await short.accounts.operator.invite("alice")).code, device(), None
    )
    second = await short.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    here.clock.forward(ms=60_000)
    assert await code_of(short.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await code_of(short.accounts.sessions.refresh(second.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED


@pytest.mark.security(17)
async def test_what_is_kept_for_a_repetition_opens_with_the_key_that_was_exchanged_alone(here: World) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    (sealed,) = await here.column("SELECT sealed FROM sessions WHERE sealed IS NOT NULL")
    kept = [await here.column(f"SELECT {name} FROM sessions") for name in ("retired", "refresh_hash", "family_hash")]
    assert isinstance(sealed, bytes)
    assert unseal(sealed, first.key_pair.refresh_key, KeyPair) == second.key_pair
    assert unseal(sealed, second.key_pair.refresh_key, KeyPair) is None
    for answer in (first.key_pair, second.key_pair):
        for secret in (answer.auth_key, *answer.refresh_key.split(".")):
            assert secret not in f"{sealed!r} {kept}"


@pytest.mark.parametrize("used", ["authKey", "refreshKey"])
async def test_the_grace_of_an_exchanged_key_starts_with_the_first_use_of_its_successor(here: World, used: str) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    here.clock.forward(seconds=300)
    if used == "authKey":
        await here.known(second)
        here.clock.forward(ms=GRACE_MS // 2)
        # Later uses do not prolong it.
        await here.another().known(second)
        here.clock.forward(ms=GRACE_MS - GRACE_MS // 2 - 1)
    else:
        await here.accounts.sessions.refresh(second.key_pair.refresh_key, "")
        here.clock.forward(ms=GRACE_MS - 1)
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.ALREADY_REFRESHED
    here.clock.forward(ms=1)
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.authenticate(second.key_pair.auth_key)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("used", ["authKey", "refreshKey"])
async def test_the_same_key_again_after_its_successor_was_used_is_told_so(here: World, used: str) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    if used == "authKey":
        await here.known(second)
    else:
        await here.accounts.sessions.refresh(second.key_pair.refresh_key, "")
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.ALREADY_REFRESHED
    # Not theft: the session lives on.
    assert await here.accounts.sessions.reload_if_alive((await here.known(second)).id)


@pytest.mark.parametrize("ms", [60_000, 1])
async def test_going_on_with_the_older_auth_key_does_not_use_up_the_successor(here: World, ms: int) -> None:
    # The answer of the refresh got lost while the same client's other requests and sockets went on.
    first = await logged_in(here)
    session = await here.known(first)
    here.clock.forward(ms=ms)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    await here.known(first)
    await here.accounts.sessions.reload_if_alive(session.id)
    assert (await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")).key_pair == second.key_pair
    # The successor's first use still ends it, even while the session is fresh in the cache.
    await here.known(second)
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.ALREADY_REFRESHED


@pytest.mark.security(14)
async def test_a_key_reused_after_the_grace_ends_the_session_with_all_its_keys(here: World) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    device_id = (await here.known(second)).device.id
    here.clock.forward(ms=GRACE_MS)
    assert (
        await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "192.0.2.66")) is Code.UNAUTHENTICATED
    )
    assert await code_of(here.accounts.sessions.refresh(second.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    for each in (first, second):
        assert await code_of(here.accounts.sessions.authenticate(each.key_pair.auth_key)) is Code.UNAUTHENTICATED
    assert here.ended == [device_id]
    assert "session.key_reused" in await here.column("SELECT event FROM activity WHERE ip = '192.0.2.66'")


async def test_a_key_two_rotations_old_counts_as_late_within_the_grace_and_as_stolen_after_it(here: World) -> None:
    first = await logged_in(here)
    second = await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
    third = await here.accounts.sessions.refresh(second.key_pair.refresh_key, "")
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.ALREADY_REFRESHED
    assert (await here.accounts.sessions.refresh(second.key_pair.refresh_key, "")).key_pair == third.key_pair
    here.clock.forward(ms=GRACE_MS)
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.refresh(third.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED


async def test_an_unknown_value_of_a_right_family_ends_the_session(here: World) -> None:
    # Whoever knows the family has held one of its keys, so one that nobody remembers is an old one.
    first = await logged_in(here)
    family = RefreshKey.parse(first.key_pair.refresh_key)
    assert family is not None
    guess = str(family.successor(secrets.token_bytes))
    assert await code_of(here.accounts.sessions.refresh(guess, "")) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("key", ["", ".", "a.", ".b", "made-up.value", "no-dot", "é.ü", "x." + "y" * 300, "a.b\x00"])
async def test_a_made_up_key_is_refused_and_ends_nothing(here: World, key: str) -> None:
    first = await logged_in(here)
    assert await code_of(here.accounts.sessions.refresh(key, "")) is Code.UNAUTHENTICATED
    # Its second half in another family is as good as made up.
    value = first.key_pair.refresh_key.split(".")[1]
    assert await code_of(here.accounts.sessions.refresh(f"made-up.{value}", "")) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.refresh(first.key_pair.auth_key, "")) is Code.UNAUTHENTICATED
    await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")


@pytest.mark.security(14)
@pytest.mark.parametrize("asleep", [0, 12 * 3600])
async def test_fifty_parallel_refreshes_leave_one_live_branch(here: World, asleep: int) -> None:
    first = await logged_in(here)
    if asleep:
        await here.accounts.sessions.refresh(first.key_pair.refresh_key, "")
        here.clock.forward(seconds=asleep)
    processes = [here.another() for _ in range(5)]
    answers = await asyncio.gather(
        *(processes[n % 5].accounts.sessions.refresh(first.key_pair.refresh_key, "") for n in range(50)),
        return_exceptions=True,
    )
    renewed = {each.key_pair.refresh_key for each in answers if isinstance(each, LoggedIn)}
    assert {each.code for each in answers if isinstance(each, Refused)} <= {Code.ALREADY_REFRESHED}
    assert len(renewed) == 1
    # That branch lives.
    third = await here.accounts.sessions.refresh(renewed.pop(), "")
    await here.known(third)


async def test_parallel_refreshes_and_uses_of_what_they_give_never_log_the_user_out(here: World) -> None:
    # As several tabs would: whoever gets a pair uses it at once.
    given = await logged_in(here)

    async def tab(key: str) -> LoggedIn:
        renewed = await here.accounts.sessions.refresh(key, "")
        await here.known(renewed)
        return renewed

    for _ in range(5):
        answers = await asyncio.gather(*(tab(given.key_pair.refresh_key) for _ in range(8)), return_exceptions=True)
        assert {each.code for each in answers if isinstance(each, Refused)} <= {Code.ALREADY_REFRESHED}
        renewed = [each for each in answers if isinstance(each, LoggedIn)]
        assert len({each.key_pair for each in renewed}) == 1
        given = renewed[0]


# The end by time


async def test_a_session_that_nobody_refreshes_ends(here: World) -> None:
    given = await logged_in(here)
    here.clock.forward(ms=here.policy.refresh_key - 1)
    given = await here.accounts.sessions.refresh(given.key_pair.refresh_key, "")
    here.clock.forward(ms=here.policy.refresh_key)
    assert await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED


async def test_a_session_ends_at_last_however_often_it_is_refreshed(here: World) -> None:
    short = here.another(session=100 * DAY_SECONDS * 1000)
    given = await short.accounts.logins.accept_invite(
        (await short.accounts.operator.invite("alice")).code, device(), None
    )
    end = short.clock() + short.policy.session
    for _ in range(4):
        short.clock.forward(seconds=20 * DAY_SECONDS)
        given = await short.accounts.sessions.refresh(given.key_pair.refresh_key, "")
    short.clock.now = end - 60_000
    given = await short.accounts.sessions.refresh(given.key_pair.refresh_key, "")
    # No key outlives its session.
    assert given.key_pair.expires_at == end
    short.clock.now = end
    assert await code_of(short.accounts.sessions.refresh(given.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await code_of(short.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.UNAUTHENTICATED


async def test_an_auth_key_lives_for_as_long_as_the_setting_says(here: World) -> None:
    given = await logged_in(here)
    assert given.key_pair.expires_at == here.clock() + here.policy.auth_key
    here.clock.forward(ms=here.policy.auth_key - 1)
    await here.known(given)
    # Up to a minute of leeway would be allowed; none is taken.
    here.clock.forward(ms=60_001)
    assert await code_of(here.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("days", [1, 29, 200])
async def test_a_session_with_an_open_socket_is_seen_and_does_not_run_out(here: World, days: int) -> None:
    given, silent = await logged_in(here), await logged_in(here)
    session, woken = await here.known(given), list[str]()
    async with here.accounts.sessions.watch(session.user.id, session.id, woken.append):
        for _ in range(300 // days):
            here.clock.forward(seconds=days * DAY_SECONDS)
            await here.accounts.sessions.look_for_ended_sessions()
            now = await here.accounts.sessions.reload_if_alive(session.id)
            assert now is not None
            assert now.device.last_seen_at == here.clock()
        # As often as it is worth a write, and no more.
        here.clock.forward(ms=SEEN_MS - 1)
        await here.accounts.sessions.look_for_ended_sessions()
        now = await here.accounts.sessions.reload_if_alive(session.id)
        assert now is not None
        assert now.device.last_seen_at == here.clock() - SEEN_MS + 1
    assert woken == []
    await here.accounts.sessions.refresh(given.key_pair.refresh_key, "")
    assert await code_of(here.accounts.sessions.refresh(silent.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED


async def test_a_session_with_an_open_socket_ends_at_last_nevertheless(here: World) -> None:
    session, woken = await here.known(await logged_in(here)), list[str]()
    async with here.accounts.sessions.watch(session.user.id, session.id, woken.append):
        here.clock.now = session.ends_at
        await here.accounts.sessions.look_for_ended_sessions()
    assert woken
    assert await here.accounts.sessions.reload_if_alive(session.id) is None


async def test_an_open_socket_revives_no_session_that_has_ended(here: World) -> None:
    root = await here.by_invite()
    gone = await here.by_pairing(root)
    async with here.accounts.sessions.watch(gone.user.id, gone.id, lambda _: None):
        await here.accounts.devices.revoke(root, gone.device.id, "")
        here.clock.forward(ms=SEEN_MS)
        await here.accounts.sessions.look_for_ended_sessions()
        assert await here.accounts.sessions.reload_if_alive(gone.id) is None
        (seen,) = await here.column("SELECT last_seen_at FROM devices WHERE id = :id", id=gone.device.id)
        assert seen == here.clock() - SEEN_MS


async def test_looking_at_open_sockets_never_waits_in_a_circle_with_those_who_end_sessions(here: World) -> None:
    root = await here.by_invite()
    ids = [(await here.by_pairing(root, push_token="one address")).id for _ in range(12)] + [root.id]
    processes = [here.another() for _ in range(4)]
    for number in range(8):
        here.clock.forward(ms=SEEN_MS)
        until = here.clock() + here.policy.refresh_key
        order = ids[number:] + ids[:number]
        await asyncio.gather(
            *(
                each.store.seen(order if n % 2 else order[::-1], here.clock(), until)
                for n, each in enumerate(processes)
            ),
            *(
                each.accounts.devices.change_device(root, root.device.id, "", name=None, push_token=f"address {number}")
                for each in processes
            ),
            *([here.accounts.devices.revoke_others(root, "")] if number % 3 == 2 else []),
        )
    assert await here.accounts.sessions.reload_if_alive(root.id)


# Log out, revoke


@pytest.mark.security(16)
async def test_logging_out_ends_the_session_its_keys_and_its_push_address(here: World) -> None:
    root = await here.by_invite()
    given = await here.pair(root, device(push_token="address"))
    session = await here.known(given)
    await here.accounts.sessions.log_out(session, "")
    assert await code_of(here.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await here.column("SELECT id FROM devices WHERE push_address IS NOT NULL") == []
    assert here.ended == [session.device.id]
    assert [each.id for each in await here.accounts.devices.devices(root)] == [root.device.id]


async def test_a_revoked_devices_keys_die_in_every_process_within_five_seconds(here: World) -> None:
    root, elsewhere = await here.by_invite(), here.another()
    given = await here.pair(root, device(push_token="address"))
    session = await elsewhere.accounts.sessions.authenticate(given.key_pair.auth_key)
    await here.accounts.devices.revoke(root, session.device.id, "")
    # At once: the refresh key everywhere, the authKey here.
    assert await code_of(elsewhere.accounts.sessions.refresh(given.key_pair.refresh_key, "")) is Code.UNAUTHENTICATED
    assert await code_of(here.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.UNAUTHENTICATED
    assert await here.column("SELECT id FROM devices WHERE push_address IS NOT NULL") == []
    here.clock.forward(ms=SESSION_CACHE_MS)
    assert SESSION_CACHE_MS <= 5_000
    assert await code_of(elsewhere.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.UNAUTHENTICATED


async def reason_of(call: Awaitable[object]) -> object:
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value.extra.get("reason")


async def test_who_is_logged_out_by_another_machine_with_the_same_code_is_told_so_and_a_line_says_it(
    here: World,
) -> None:
    root = await here.by_invite()
    first = await here.pair(root, device(code="image", name="First"))
    session = await here.known(first)
    here.clock.forward(seconds=60)
    await here.pair(root, device(code="image", name="Second", ip="192.0.2.2"))
    assert await here.accounts.sessions.reload_if_alive(session.id) is None
    for elsewhere in (here, here.another()):
        assert await reason_of(elsewhere.accounts.sessions.authenticate(first.key_pair.auth_key)) == "replaced"
        assert await reason_of(elsewhere.accounts.sessions.refresh(first.key_pair.refresh_key, "")) == "replaced"
    (line,) = [each for each in await here.accounts.devices.activity(root) if each.event == "session.replaced"]
    assert (line.device_id, line.device_name, line.ip) == (session.device.id, "Second", "192.0.2.2")


async def test_a_login_after_the_session_has_run_out_replaces_none(here: World) -> None:
    session = await here.by_invite(code="same")
    here.clock.forward(ms=here.policy.refresh_key)
    assert (await here.by_invite(code="same")).device.id == session.device.id
    assert await here.column("SELECT event FROM activity WHERE event = 'session.replaced'") == []


async def test_the_holder_of_a_key_is_told_why_its_session_ended_and_nobody_else_is(here: World) -> None:
    root = await here.by_invite()
    given = {why: await here.pair(root, device()) for why in ("revoked", "logged_out", "key_reused")}
    await here.accounts.devices.revoke(root, (await here.known(given["revoked"])).device.id, "")
    await here.accounts.sessions.log_out(await here.known(given["logged_out"]), "")
    stolen = given["key_reused"].key_pair.refresh_key
    newest = await here.accounts.sessions.refresh(stolen, "")
    await here.known(newest)
    here.clock.forward(ms=GRACE_MS)
    assert await reason_of(here.accounts.sessions.refresh(stolen, "")) == "key_reused"
    for why, each in given.items():
        assert await reason_of(here.accounts.sessions.authenticate(each.key_pair.auth_key)) == why
        assert await reason_of(here.accounts.sessions.refresh(each.key_pair.refresh_key, "")) == why
    for made_up in ("family.value", given["revoked"].key_pair.auth_key):
        assert await reason_of(here.accounts.sessions.refresh(made_up, "")) is None
    idle = await here.pair(root, device())
    here.clock.forward(ms=here.policy.refresh_key)
    assert await reason_of(here.accounts.sessions.refresh(idle.key_pair.refresh_key, "")) is None


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
