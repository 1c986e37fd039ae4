"""What `ports.SharedCounters` promises, in memory and over Redis: one algorithm, written twice."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from pairing_ws.adapters.memory import MOST_UNSWEPT, MemoryCounters
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.counters import RedisCounters
from pairing_ws.core.ports import SharedCounters
from tests.support.servers import RedisServer

# So long that the time that a test takes counts for nothing.
WINDOW = 1_000_000


@dataclass
class Counted:
    """A counter for this test alone; `forward` makes so many ms pass for it."""

    counters: SharedCounters
    forward: Callable[[int], Awaitable[None]]
    key: str

    async def room(self, most: int) -> int:
        """How many get room before one has to wait."""
        found = 0
        while await self.counters.count(self.key, most, WINDOW) == 0:
            found += 1
        return found


@pytest.fixture(params=["memory", "redis"])
async def counted(request: pytest.FixtureRequest) -> AsyncIterator[Counted]:
    key = secrets.token_hex(8)
    if request.param == "memory":
        now = [1000.0]

        async def forward(ms: int) -> None:
            now[0] += ms / 1000

        yield Counted(MemoryCounters(lambda: now[0]), forward, key)
        return
    redis_server: RedisServer = request.getfixturevalue("redis_server")
    topology = topology_at(redis_server.url)
    client = RedisClient(topology)

    async def age(ms: int) -> None:
        # Its clock can't be set: the counter is made older instead.
        await client.execute(key, "HINCRBY", key, "start", -ms)

    yield Counted(RedisCounters(client), age, key)
    await client.execute(key, "DEL", key)
    await client.aclose()
    await topology.aclose()


async def test_of_many_at_once_as_many_get_room_as_there_is_and_the_rest_learn_how_long_to_wait(
    counted: Counted,
) -> None:
    waits = await asyncio.gather(*(counted.counters.count(counted.key, 10, WINDOW) for _ in range(60)))
    assert sorted(waits)[:10] == [0] * 10
    assert all(WINDOW * 0.9 < each <= WINDOW + 1 for each in sorted(waits)[10:])


async def test_what_the_window_before_had_counts_by_the_share_of_it_that_is_not_over(counted: Counted) -> None:
    assert await counted.room(10) == 10
    await counted.forward(WINDOW * 145 // 100)
    # 55 % of ten are five.
    assert await counted.room(10) == 5
    await counted.forward(WINDOW * 40 // 100)
    # 15 % of ten are one; nine less the five of this window are four.
    assert await counted.room(10) == 4


async def test_after_the_wait_there_is_room_for_one(counted: Counted) -> None:
    assert await counted.room(10) == 10
    await counted.forward(WINDOW * 145 // 100)
    assert await counted.room(10) == 5
    for _ in range(3):
        wait = await counted.counters.count(counted.key, 10, WINDOW)
        assert 0 < wait <= WINDOW // 10 + 1
        await counted.forward(wait)
        assert await counted.room(10) == 1


async def test_after_two_windows_nothing_counts_any_more(counted: Counted) -> None:
    assert await counted.room(3) == 3
    await counted.forward(2 * WINDOW)
    assert await counted.room(3) == 3


async def test_what_is_not_to_be_counted_is_not(counted: Counted) -> None:
    for _ in range(5):
        assert await counted.counters.count(counted.key, 2, WINDOW, counted=False) == 0
    assert await counted.room(2) == 2
    assert await counted.counters.count(counted.key, 2, WINDOW, counted=False) > 0


async def test_of_many_at_once_one_makes_the_mark(counted: Counted) -> None:
    made = await asyncio.gather(*(counted.counters.mark(counted.key, WINDOW) for _ in range(60)))
    assert sorted(made) == [False] * 59 + [True]


async def test_a_mark_in_memory_is_good_for_its_time_and_then_it_can_be_made_again() -> None:
    now = [5.0]
    counters = MemoryCounters(lambda: now[0])
    assert await counters.mark("x", 1000)
    now[0] += 0.999
    assert not await counters.mark("x", 1000)
    now[0] += 0.001
    assert await counters.mark("x", 1000)


async def test_memory_forgets_what_is_over() -> None:
    now = [5.0]
    counters = MemoryCounters(lambda: now[0])
    for number in range(10 * MOST_UNSWEPT):
        now[0] += 1
        await counters.mark(f"mark {number}", 1000)
        await counters.count(f"counter {number}", 5, 1000)
    assert len(counters._marks) + len(counters._windows) <= MOST_UNSWEPT
