"""Rates per key, by the `limits` library: counted in process memory, or in Redis for all processes together."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from pairing_ws.adapters.redis_commands import Commands, Script
from pairing_ws.errors import Code, Refused, Unavailable


class CommandsStorage(RedisStorage):
    """The library's counters and scripts over our own pipelines: one set of connections, for every kind of Redis."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        super().__init__("redis://", implementation="redispy", key_prefix="limits")

    def configure_bridge(self) -> None:
        """The library's hook: its scripts are registered at, and called through, what the bridge gets here."""
        self.bridge.connection_getter = lambda _: self  # type: ignore[attr-defined]

    def register_script(self, text: bytes) -> Any:
        script = Script(text.decode())

        async def run(keys: Sequence[str], arguments: Sequence[object]) -> Any:
            return await self._commands.run(script, keys, *arguments)

        return run


class RateLimits:
    """`rules`: name → rate such as `120/minute`, or "0" for none. `commands` counts them in Redis, for all processes
    together. See `ports.Limits`."""

    def __init__(self, rules: Mapping[str, str], commands: Commands | None) -> None:
        self._rules: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rules.items() if rate != "0"}
        storage: Storage = CommandsStorage(commands) if commands else MemoryStorage()
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
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("the rate limiter") from error
        wait = max(1, round(window.reset_time - time.time()))
        raise Refused(Code.RATE_LIMITED, "too many requests; slow down", retry_after=wait)
