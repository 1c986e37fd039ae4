"""Redis: the fingerprints of the signing keys of all servers on it, in one sorted set by when each was last seen."""

import asyncio
from collections.abc import Sequence

import msgspec

from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.errors import raising_unavailable
from pairing_ws.adapters.sql.shared_keys import ABSENT_MS, Fingerprint, PublishedFingerprint

_KEY = "key-rings"
_decode = msgspec.json.Decoder(Fingerprint).decode


class RedisFingerprints:
    """See `shared_keys.Fingerprints`."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def publish(self, fingerprint: Fingerprint, now: int) -> None:
        execute = self._client.execute
        with raising_unavailable():
            await asyncio.gather(
                execute(_KEY, "ZADD", _KEY, now, msgspec.json.encode(fingerprint)),
                execute(_KEY, "ZREMRANGEBYSCORE", _KEY, "-inf", now - 2 * ABSENT_MS),
                execute(_KEY, "PEXPIRE", _KEY, 2 * ABSENT_MS),
            )

    async def published_since(self, since: int) -> Sequence[PublishedFingerprint]:
        with raising_unavailable():
            found = await self._client.execute(_KEY, "ZRANGE", _KEY, since, "+inf", "BYSCORE", "WITHSCORES")
        return [PublishedFingerprint(_decode(fingerprint), int(at)) for fingerprint, at in found]
