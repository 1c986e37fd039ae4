"""How sessions end: by time, by logging out, by revocation; and who is told why."""

import asyncio
from collections.abc import Awaitable

import pytest

from pairing_ws.accounts.monitor import SEEN_MS
from pairing_ws.accounts.session_cache import SESSION_CACHE_MS
from pairing_ws.core.errors import Code, Refused
from tests.accounts.conftest import World, code_of, device, logged_in

GRACE_MS = 30_000
DAY_SECONDS = 86_400


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
