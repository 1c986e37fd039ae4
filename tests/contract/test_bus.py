"""What `ports.Bus` promises, on every backend; then the Redis link: how many, killed, gone, back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from pairing_ws.adapters.redis.subscriptions import backoff_seconds
from pairing_ws.core.errors import Unavailable
from pairing_ws.core.ports import Bus
from pairing_ws.pairing.machine import Event
from pairing_ws.pairing.ports import pairing_channel
from tests.contract import token
from tests.contract.conftest import Backend, Ear, on_redis, one_process
from tests.support.servers import RedisServer, eventually


async def test_a_ring_wakes_every_watcher_of_its_channel_in_every_process_and_nobody_else(backend: Backend) -> None:
    channel, other = token(), token()
    ears = [Ear() for _ in range(20)]
    stranger = Ear()
    async with AsyncExitStack() as stack:
        for number, ear in enumerate(ears):
            bus = backend.bus if number % 2 else backend.other_bus
            await stack.enter_async_context(bus.watch([channel], ear.wake))
        await stack.enter_async_context(backend.other_bus.watch([other], stranger.wake))
        await backend.bus.publish(channel, "note")
        await backend.bus.publish(other, "for the stranger")
        for ear in ears:
            await ear.hears("note")
        await stranger.hears("for the stranger")


async def test_many_watchers_on_many_channels_each_hear_their_own_in_order(backend: Backend) -> None:
    channels = [token() for _ in range(40)]
    ears = {(channel, number): Ear() for channel in channels for number in range(3)}
    async with AsyncExitStack() as stack:
        for (channel, number), ear in ears.items():
            bus = backend.other_bus if number else backend.bus
            await stack.enter_async_context(bus.watch([channel], ear.wake))
        for turn in range(5):
            await asyncio.gather(*(backend.bus.publish(channel, f"{channel} {turn}") for channel in channels))
        for (channel, _), ear in ears.items():
            await ear.hears(*(f"{channel} {turn}" for turn in range(5)))


async def test_one_watcher_can_watch_several_channels(backend: Backend) -> None:
    one, other = token(), token()
    ear = Ear()
    async with backend.bus.watch([one, other], ear.wake):
        await backend.other_bus.publish(one, "one")
        await backend.other_bus.publish(other, "other")
        await ear.hears("one", "other")


async def test_nobody_is_woken_after_the_watch_has_ended(backend: Backend) -> None:
    channel = token()
    gone, there = Ear(), Ear()
    async with backend.bus.watch([channel], there.wake):
        async with backend.bus.watch([channel], gone.wake):
            pass
        await backend.other_bus.publish(channel, "late")
        await there.hears("late")
    assert gone.heard == []


async def test_a_ring_to_nobody_is_no_error(backend: Backend) -> None:
    await backend.bus.publish(token(), "anybody?")


async def test_a_swap_right_after_the_entry_is_heard(backend: Backend) -> None:
    async def once() -> None:
        pairing = await backend.added()
        ear = Ear()
        async with backend.other_bus.watch([pairing_channel(pairing.id)], ear.wake):
            assert await backend.store.replace(pairing, pairing.after(Event.CANCEL, pairing.created_at))
            await eventually(lambda: ear.heard, "the ring")

    for _ in range(10):
        await asyncio.gather(*(once() for _ in range(20)))


async def test_who_joins_a_channel_that_is_watched_or_just_being_left_loses_nothing(backend: Backend) -> None:
    # All on a few channels: subscriptions, confirmations and unsubscriptions of one name overlap all the time.
    channels = [token() for _ in range(3)]

    async def come_and_go(number: int) -> None:
        for turn in range(40):
            channel, note = channels[(number + turn) % 3], f"{number} {turn}"
            ear = Ear()
            async with backend.bus.watch([channel], ear.wake):
                await backend.other_bus.publish(channel, note)
                await eventually(lambda ear=ear, note=note: note in ear.heard, f"hearing {note!r}")

    await asyncio.gather(*(come_and_go(number) for number in range(8)))


async def test_a_watcher_aborted_while_it_enters_leaves_the_others_listening(backend: Backend) -> None:
    async def enter_and_stay(channel: str) -> None:
        async with backend.bus.watch([channel], Ear().wake):
            await asyncio.Event().wait()

    for _ in range(30):
        channel, ear = token(), Ear()
        hasty = asyncio.create_task(enter_and_stay(channel))
        # Its subscription is under way when the second watcher comes, and nobody's when it has gone.
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(hasty.cancel)
        async with backend.bus.watch([channel], ear.wake):
            await backend.other_bus.publish(channel, "still there?")
            await ear.hears("still there?")
        await asyncio.wait([hasty])
        assert hasty.cancelled()


# Redis alone: its link


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis that may be hurt."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
async def admin(own_redis: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(own_redis.url)
    yield client
    await client.aclose()


async def subscribers(admin: Redis) -> int:
    return len(await admin.client_list(_type="pubsub"))


async def until_subscribers(admin: Redis, count: int) -> None:
    """Redis notices a closed connection when it comes to it, and a link comes back when its bus does."""
    async with asyncio.timeout(10):
        while await subscribers(admin) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_process_has_one_pubsub_connection_however_many_wait(own_redis: RedisServer, admin: Redis) -> None:
    async with on_redis(own_redis.url) as backend, AsyncExitStack() as stack:
        for _ in range(300):
            await stack.enter_async_context(backend.bus.watch([token()], Ear().wake))
            await stack.enter_async_context(backend.other_bus.watch([token()], Ear().wake))
        assert await subscribers(admin) == 2
    await until_subscribers(admin, 0)


async def test_redis_is_told_when_nobody_waits_any_more(own_redis: RedisServer, admin: Redis) -> None:
    async with on_redis(own_redis.url) as backend:
        channels = [token() for _ in range(50)]
        async with AsyncExitStack() as stack:
            for channel in channels:
                await stack.enter_async_context(backend.bus.watch([channel], Ear().wake))
        while set(channels) & {each.decode() for each in await admin.pubsub_channels()}:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_killed_link_comes_back_and_wakes_every_watcher(own_redis: RedisServer, admin: Redis) -> None:
    async with on_redis(own_redis.url) as backend, AsyncExitStack() as stack:
        ears = {token(): Ear() for _ in range(50)}
        for channel, ear in ears.items():
            await stack.enter_async_context(backend.bus.watch([channel], ear.wake))
        await stack.enter_async_context(backend.other_bus.watch([token()], Ear().wake))
        for _ in range(3):
            for ear in ears.values():
                ear.heard.clear()
            while await subscribers(admin) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await until_subscribers(admin, 2)
            assert await admin.client_kill_filter(_type="pubsub") == 2
            # "" is what a watcher hears that was woken without a ring.
            for ear in ears.values():
                await eventually(lambda ear=ear: "" in ear.heard, "waking after the relink")
            for channel, ear in ears.items():
                ear.heard.clear()
                await backend.other_bus.publish(channel, "again")
                await ear.hears("again")
        while await subscribers(admin) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_who_enters_while_the_link_dies_loses_nothing(own_redis: RedisServer, admin: Redis) -> None:
    async def once(bus: Bus, backend: Backend) -> None:
        pairing = await backend.added()
        ear = Ear()
        async with bus.watch([pairing_channel(pairing.id)], ear.wake):
            assert await backend.store.replace(pairing, pairing.after(Event.CANCEL, pairing.created_at))
            await eventually(lambda: ear.heard, "hearing of the swap, or being woken after the relink")

    async with on_redis(own_redis.url) as backend:
        for _ in range(15):
            tasks = [asyncio.create_task(once(backend.other_bus, backend)) for _ in range(20)]
            await admin.client_kill_filter(_type="pubsub")
            await asyncio.gather(*tasks)


async def test_without_redis_a_ring_is_silent_a_watch_is_unavailable_and_all_of_it_comes_back(
    own_redis: RedisServer,
) -> None:
    channel, late = token(), token()
    ear, waiting = Ear(), Ear()
    async with on_redis(own_redis.url) as backend, backend.bus.watch([channel], ear.wake):
        own_redis.stop()
        await backend.other_bus.publish(channel, "into the void")
        with pytest.raises(Unavailable):
            async with backend.bus.watch([token()], Ear().wake):
                pass

        async def wait_for_it() -> None:
            async with backend.bus.watch([late], waiting.wake):
                await eventually(lambda: "hello" in waiting.heard, "hearing after the outage")

        # One that began to wait during the outage, and one from before it.
        patient = asyncio.create_task(wait_for_it())
        await asyncio.sleep(0)
        own_redis.start()
        await eventually(lambda: ear.heard, "waking after the outage")
        assert ear.heard[0] == ""
        while not patient.done():
            await backend.other_bus.publish(late, "hello")
            await asyncio.sleep(0.02)
        await patient
        ear.heard.clear()
        await backend.other_bus.publish(channel, "back")
        await ear.hears("back")


async def test_a_bus_that_starts_before_redis_does_listens_once_it_is_there(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.stop()
    channel = token()
    ear = Ear()
    async with one_process(server.url) as (_, bus):
        await asyncio.sleep(0)
        server.start()
        async with bus.watch([channel], ear.wake):
            await bus.publish(channel, "hello")
            await eventually(lambda: "hello" in ear.heard, "hearing the first ring")
    server.stop()


def test_a_link_is_tried_again_however_often_it_has_failed() -> None:
    assert all(0 < backoff_seconds(failures) <= 2 for failures in (0, 1, 1100, 10**9))
