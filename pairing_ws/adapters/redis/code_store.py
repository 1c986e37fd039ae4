"""Redis: authorization codes. Keys: `authorization-code:{digest}`, one for each, with a time to live."""

import msgspec

from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.errors import raising_unavailable
from pairing_ws.oauth.ports import AuthorizationCode

_decode = msgspec.json.Decoder(AuthorizationCode).decode


class RedisCodes:
    """See `oauth.ports.CodeStore`. Redis's own clock decides."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def keep(self, digest: str, code: AuthorizationCode, ttl_ms: int) -> None:
        key = _key(digest)
        with raising_unavailable():
            await self._client.execute(key, "SET", key, msgspec.json.encode(code), "PX", ttl_ms)

    async def get(self, digest: str) -> AuthorizationCode | None:
        key = _key(digest)
        with raising_unavailable():
            record = await self._client.execute(key, "GET", key)
        return None if record is None else _decode(record)


def _key(digest: str) -> str:
    return f"authorization-code:{digest}"
