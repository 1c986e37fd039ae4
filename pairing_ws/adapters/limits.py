"""Rates per key, by the `limits` library: counted in process memory, or in Redis for all processes together."""

import time
from collections.abc import Mapping

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from pairing_ws.errors import Code, Refused, Unavailable

log = structlog.get_logger()


class RateLimits:
    """`rules`: name → rate such as `120/minute`, or "0" for none. See `ports.Limits`."""

    def __init__(self, rules: Mapping[str, str], redis_url: str | None) -> None:
        self._rules: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rules.items() if rate != "0"}
        storage: Storage = MemoryStorage(wrap_exceptions=True)
        if redis_url:
            # The library's own spelling for a Unix socket.
            address = f"redis+{redis_url}" if redis_url.startswith("unix:") else redis_url
            storage = RedisStorage(
                f"async+{address}",
                wrap_exceptions=True,
                implementation="redispy",
                key_prefix="limits",
                socket_timeout=3,
                socket_connect_timeout=2,
            )
        self._strategy = SlidingWindowCounterRateLimiter(storage)

    async def hit(self, rule: str, key: str) -> None:
        """See `ports.Limits.hit`."""
        await self._ask(rule, key, counted=True)

    async def check(self, rule: str, key: str) -> None:
        """See `ports.Limits.check`."""
        await self._ask(rule, key, counted=False)

    async def _ask(self, rule: str, key: str, *, counted: bool) -> None:
        rate = self._rules.get(rule)
        if rate is None:
            return
        try:
            allowed = await (self._strategy.hit if counted else self._strategy.test)(rate, rule, key)
            if allowed:
                return
            window = await self._strategy.get_window_stats(rate, rule, key)
        except StorageError as error:
            log.warning("limits.failed", error=repr(error))
            raise Unavailable("the rate limiter") from error
        wait = max(1, round(window.reset_time - time.time()))
        raise Refused(Code.RATE_LIMITED, "too many requests; slow down", retry_after=wait)
