"""Rates per key, in memory and over Redis for all processes together."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from pairing_ws.adapters.memory import MemoryCounters
from pairing_ws.adapters.rate_limits import RateLimits
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.counters import RedisCounters
from pairing_ws.core.errors import Code, Refused, Unavailable
from tests.support.servers import RedisServer

Make = Callable[..., RateLimits]


@asynccontextmanager
async def process(url: str) -> AsyncIterator[RedisCounters]:
    topology = topology_at(url)
    client = RedisClient(topology)
    yield RedisCounters(client)
    await client.aclose()
    await topology.aclose()


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes the limits of one process. Rates in days: no window ends during a test."""
    if request.param == "memory":
        yield lambda **rules: RateLimits(rules, MemoryCounters())
    else:
        async with process(request.getfixturevalue("redis_server").url) as counters:
            yield lambda **rules: RateLimits(rules, counters)


@pytest.fixture
def key() -> str:
    return secrets.token_hex(8)


async def refusals(calls: list[object]) -> int:
    answers = await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload]
    for each in answers:
        assert each is None or isinstance(each, Refused), each
        assert each is None or each.code is Code.RATE_LIMITED
    return sum(each is not None for each in answers)


async def test_a_rate_lets_through_what_it_says_and_then_refuses_with_the_time_to_wait(make: Make, key: str) -> None:
    limits = make(create="3/day")
    for _ in range(3):
        await limits.hit("create", key)
    with pytest.raises(Refused) as caught:
        await limits.hit("create", key)
    assert caught.value.code is Code.RATE_LIMITED
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 2 * 86_400


async def test_each_key_and_each_rule_counts_for_itself(make: Make, key: str) -> None:
    limits = make(create="1/day", claim="1/day")
    await limits.hit("create", key)
    await limits.hit("create", f"{key} other")
    await limits.hit("claim", key)
    assert await refusals([limits.hit("create", key), limits.hit("claim", key)]) == 2


async def test_of_many_at_once_no_more_than_the_rate_get_through(make: Make, key: str) -> None:
    limits = make(create="10/day")
    assert await refusals([limits.hit("create", key) for _ in range(60)]) == 50


async def test_a_check_counts_nothing_and_refuses_once_the_rate_is_used_up(make: Make, key: str) -> None:
    limits = make(number="2/day")
    assert await refusals([limits.check("number", key) for _ in range(20)]) == 0
    await limits.hit("number", key)
    await limits.check("number", key)
    await limits.hit("number", key)
    with pytest.raises(Refused) as caught:
        await limits.check("number", key)
    assert caught.value.code is Code.RATE_LIMITED


async def test_a_rule_that_is_off_or_unknown_limits_nothing(make: Make, key: str) -> None:
    limits = make(create="0")
    assert await refusals([limits.hit(rule, key) for rule in ("create", "unknown") for _ in range(200)]) == 0


async def test_a_key_may_be_anything_an_address_or_a_client_can_be(make: Make, key: str) -> None:
    limits = make(claim="1/day")
    for odd in ("2001:db8::/64", "user:a/b", "ü 📱", "a" * 300, "unknown", "{x}", "a:b"):
        await limits.hit("claim", key + odd)
        with pytest.raises(Refused):
            await limits.hit("claim", key + odd)


async def test_processes_count_together_over_redis(redis_server: RedisServer, key: str) -> None:
    async with AsyncExitStack() as stack:
        counters = [await stack.enter_async_context(process(redis_server.url)) for _ in range(3)]
        processes = [RateLimits({"create": "10/day"}, each) for each in counters]
        assert await refusals([processes[n % 3].hit("create", key) for n in range(30)]) == 20


async def test_counters_that_are_away_are_unavailable_never_open_and_come_back(tmp_path: Path, key: str) -> None:
    server = RedisServer(tmp_path)
    async with process(server.url) as counters:
        limits = RateLimits({"create": "2/day"}, counters)
        await limits.hit("create", key)
        server.stop()
        for call in (limits.hit, limits.check):
            with pytest.raises(Unavailable) as caught:
                await call("create", key)
            assert caught.value.retry_after
        server.start()
        await limits.hit("create", key)
    server.stop()


async def test_every_counter_in_redis_has_a_time_to_live(tmp_path: Path, key: str) -> None:
    server = RedisServer(tmp_path)
    async with process(server.url) as counters:
        limits = RateLimits({"create": "2/minute", "number": "1/hour"}, counters)
        await limits.hit("create", key)
        await limits.hit("number", key)
    async with Redis.from_url(server.url) as redis:
        left = {name: await redis.pttl(name) async for name in redis.scan_iter()}
    server.stop()
    assert len(left) >= 2
    assert all(ttl > 0 for ttl in left.values()), left
