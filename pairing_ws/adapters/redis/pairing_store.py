"""Redis: the pairing store.

Keys: `pairing:{id}` hash and channel of the same name; `user-code:{digest}` → id; `live-pairings`, ids by deadline;
`open-of:{device}`, ids by when they were entered. Every key has a time to live. A pairing is one key, so that a Cluster
can spread them; elsewhere one script sees to all of its keys, in one trip.
"""

import asyncio
from collections.abc import Sequence

import structlog

from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.adapters.redis.client import RedisClient, Script, script
from pairing_ws.adapters.redis.errors import RedisError, raising_unavailable
from pairing_ws.pairing.machine import Pairing, decode_pairing, encode_pairing
from pairing_ws.pairing.ports import Full, Loaded, pairing_channel

log = structlog.get_logger()

# The indexes outlive every pairing in them: created, claimed and approved at the last moment, with each setting at its
# upper bound, one lives for 3 h 1 min (3600 + 60 + 2 * 3600 s).
INDEX_TTL_MS = 4 * 3_600_000
_LIVE = "live-pairings"


class RedisPairings:
    """The pairing store that all processes share. See `ports.PairingStore` for its promises.

    `publish` is the command by which a script publishes.
    """

    def __init__(self, client: RedisClient, publish: str) -> None:
        self._client = client
        self._publish = publish
        self._add = script("add.lua")
        self._read = script("read.lua")
        self._replace = script("replace.lua")

    async def ping(self) -> None:
        with raising_unavailable():
            await self._client.ping()

    async def examine(self) -> None:
        with raising_unavailable():
            await self._client.examine(
                Script("for _, key in ipairs(KEYS) do redis.call('SET', key, '', 'PX', 1000) end")
            )

    async def add(self, pairing: Pairing, most: int = 0) -> Loaded | None:
        indexes = [_LIVE, *([_open_of(pairing.approver.device_id)] if pairing.approver else [])]
        # The pairing's own key comes first: its server has the clock.
        keys = [pairing_channel(pairing.id), f"user-code:{pairing.user_code_hash}", *indexes]
        code_lasts = pairing.expires_at - pairing.created_at + AFTERLIFE_MS
        state = (pairing.version, pairing.expires_at, encode_pairing(pairing), AFTERLIFE_MS)
        with raising_unavailable():
            answers = await self._client.run_script_for_each(
                self._add, keys, pairing.id, INDEX_TTL_MS, most, code_lasts, *state
            )
            refused = [answer for answer in answers if isinstance(answer, bytes)]
            if refused and self._client.sharded:
                # The other servers have stored theirs. Nobody has heard of it yet.
                stored = [key for key, answer in zip(keys, answers, strict=True) if answer not in refused]
                undo = (("ZREM", key, pairing.id) if key in indexes else ("DEL", key) for key in stored)
                await asyncio.gather(*(self._client.execute(words[1], *words) for words in undo))
        if b"full" in refused:
            raise Full
        return None if refused else Loaded(pairing.started_at(answers[0]), answers[0])

    async def get(self, pairing_id: str) -> Loaded | None:
        with raising_unavailable():
            record, now = await self._client.run_script(self._read, [pairing_channel(pairing_id)])
        if record is None:
            return None
        return Loaded(decode_pairing(record).seen_at(now), now)

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        code = f"user-code:{user_code_hash}"
        with raising_unavailable():
            found = await self._client.execute(code, "GET", code)
        return _text(found) if found else None

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        pairing = pairing_channel(old.id)
        enters_or_leaves = new.approver if new.final or not old.approver else None
        index = [_open_of(enters_or_leaves.device_id)] if enters_or_leaves else []
        record, final = encode_pairing(new), int(new.final)
        state = (old.version, new.version, record, new.expires_at, AFTERLIFE_MS, final, self._publish)
        with raising_unavailable():
            if not self._client.sharded:
                keys = [pairing, _LIVE, *index]
                return bool(await self._client.run_script(self._replace, keys, *state, new.id, INDEX_TTL_MS))
            # Indexed before the swap: an entry too many is harmless, one too few survives a revocation.
            if index and not new.final:
                await self._client.run_script(self._add, index, new.id, INDEX_TTL_MS)
            won = await self._client.run_script(self._replace, [pairing], *state)
        if won:
            await self._tidy(old, new, index)
        return bool(won)

    async def _tidy(self, old: Pairing, new: Pairing, index: Sequence[str]) -> None:
        """Keep a Cluster's indexes near the truth. The swap has been made: a failure here must not say otherwise."""
        execute = self._client.execute
        try:
            if new.final:
                await asyncio.gather(*(execute(each, "ZREM", each, new.id) for each in (_LIVE, *index)))
            elif new.expires_at != old.expires_at:
                await execute(_LIVE, "ZADD", _LIVE, "XX", new.expires_at, new.id)
        except (RedisError, OSError, TimeoutError):
            log.warning("redis.index_lags", pairing=new.id)

    async def open_of(self, device_id: str, most: int | None = None) -> Sequence[str]:
        index, last = _open_of(device_id), -1 if most is None else most - 1
        with raising_unavailable():
            return [_text(member) for member in await self._client.execute(index, "ZREVRANGE", index, 0, last)]


def _open_of(device_id: str) -> str:
    return f"open-of:{device_id}"


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer
