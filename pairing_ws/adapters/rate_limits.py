"""Rates per key, by the `limits` library: counted in process memory, or in Redis for all processes together."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from pairing_ws.core.errors import Code, Refused, Unavailable

if TYPE_CHECKING:
    from pairing_ws.adapters.redis.client import Commands


class RateLimits:
    """`rules`: name → rate such as `120/minute`, or "0" for none. `commands` counts them in Redis, for all processes
    together. See `ports.Limits`."""

    def __init__(self, rules: Mapping[str, str], commands: "Commands | None") -> None:
        self._rules: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rules.items() if rate != "0"}
        storage: Storage = MemoryStorage()
        if commands:
            # Not needed without Redis, whose modules are 80 ms of a start.
            from pairing_ws.adapters.redis.counters import CommandsStorage

            storage = CommandsStorage(commands)
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
        except Unavailable as error:
            raise Unavailable("the rate limiter") from error
        wait = max(1, round(window.reset_time - time.time()))
        raise Refused(Code.RATE_LIMITED, "too many requests; slow down", retry_after=wait)
