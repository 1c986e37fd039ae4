"""Redis: what all processes count together. Each counter and each mark is one key with a time to live."""

from pairing_ws.adapters.redis.client import RedisClient, script
from pairing_ws.adapters.redis.errors import raising_unavailable


class RedisCounters:
    """See `ports.SharedCounters`."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._count = script("count.lua")

    async def count(self, key: str, most: int, window_ms: int, *, counted: bool = True) -> int:
        """See `ports.SharedCounters.count`. Redis's own clock decides."""
        with raising_unavailable():
            return int(await self._client.run_script(self._count, [key], most, window_ms, int(counted)))

    async def mark(self, key: str, ttl_ms: int) -> bool:
        """See `ports.SharedCounters.mark`."""
        with raising_unavailable():
            return bool(await self._client.execute(key, "SET", key, 1, "PX", ttl_ms, "NX"))
