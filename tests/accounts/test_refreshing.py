"""How refresh keys are exchanged: lost answers, late and stolen keys, many at once."""

import asyncio
import secrets

import pytest

from pairing_ws.accounts.refresh_keys import KeyPair, RefreshKey, unseal
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.core.errors import Code, Refused
from tests.accounts.conftest import World, code_of, device, logged_in

GRACE_MS = 30_000
DAY_SECONDS = 86_400


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
