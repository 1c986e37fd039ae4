"""Redis: the pairing store.

Keys: `pairing:{id}` hash and channel of the same name; `user-code:{digest}` → id; `open-of:{device}` and
`live-pairings`, ids by deadline. Every key has a time to live. A pairing is one key, so that a Cluster can spread them.
"""

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec
import structlog
from redis.exceptions import RedisError

from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.adapters.redis_commands import Commands, Script, script, translated
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import Loaded, pairing_channel

log = structlog.get_logger()

# The indexes outlive every pairing in them: created, claimed and approved at the last moment, with each setting at its
# upper bound, one lives for 3 h 1 min (3600 + 60 + 2 * 3600 s).
INDEX_TTL_MS = 4 * 3_600_000
_LIVE = "live-pairings"


class RedisPairings:
    """The pairing store that all processes share. See `ports.PairingStore` for its promises.

    `ring` is the command that rings a channel from within a script.
    """

    def __init__(self, commands: Commands, ring: str) -> None:
        self._commands = commands
        self._ring = ring
        self._add = script("add.lua")
        self._index = script("index.lua")
        self._count = script("count.lua")
        self._read = script("read.lua")
        self._replace = script("replace.lua")

    async def ping(self) -> None:
        with translated():
            await self._commands.ping()

    async def examine(self) -> None:
        with translated():
            await self._commands.examine(Script("return redis.call('SET', KEYS[1], '', 'PX', 1000)"))

    async def now(self, pairing_id: str = "") -> int:
        with translated():
            return _milliseconds(await self._commands.ask(pairing_channel(pairing_id), "TIME"))

    async def add(self, pairing: Pairing) -> bool:
        key, run = pairing_channel(pairing.id), self._commands.run
        leaves_at = pairing.expires_at + AFTERLIFE_MS
        code = f"user-code:{pairing.user_code_hash}"
        with translated():
            # All at once, for a code is next to never taken. In a Cluster it lives in another slot than the pairing.
            reserved, *_ = await asyncio.gather(
                self._commands.ask(code, "SET", code, pairing.id, "PX", _ttl(pairing), "NX"),
                run(self._add, [key], pairing.version, pairing.expires_at, _encode(pairing), leaves_at),
                self._enter(_LIVE, pairing),
                *self._enter_as_open(pairing),
            )
            if not reserved:
                # Nobody has heard of it yet.
                indexes = [_LIVE, *([_open_of(pairing.approver.device_id)] if pairing.approver else [])]
                leave = (self._commands.ask(index, "ZREM", index, pairing.id) for index in indexes)
                await asyncio.gather(self._commands.ask(key, "DEL", key), *leave)
        return bool(reserved)

    async def get(self, pairing_id: str) -> Loaded | None:
        with translated():
            record, time = await self._commands.run(self._read, [pairing_channel(pairing_id)])
        if record is None:
            return None
        now = _milliseconds(time)
        return Loaded(_decode(record).seen_at(now), now)

    def told_by(self, note: str) -> Loaded | None:
        now, _, record = note.partition(" ")
        return Loaded(_decode(record), int(now)) if now.isdigit() else None

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        code = f"user-code:{user_code_hash}"
        with translated():
            found = await self._commands.ask(code, "GET", code)
        return _text(found) if found else None

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        state = (old.version, new.version, _encode(new), new.expires_at, AFTERLIFE_MS, int(new.final), self._ring)
        with translated():
            # Indexed before the swap: an entry too many is harmless, one too few survives a revocation.
            if not old.approver:
                await asyncio.gather(*self._enter_as_open(new))
            won = await self._commands.run(self._replace, [pairing_channel(old.id)], *state)
        if won:
            await self._tidy(old, new)
        return bool(won)

    async def _tidy(self, old: Pairing, new: Pairing) -> None:
        """Keep the indexes near the truth. The swap has been made: a failure here must not say otherwise."""
        ask = self._commands.ask
        try:
            if new.final:
                removed = [ask(_LIVE, "ZREM", _LIVE, new.id)]
                if new.approver:
                    index = _open_of(new.approver.device_id)
                    removed.append(ask(index, "ZREM", index, new.id))
                await asyncio.gather(*removed)
            elif new.expires_at != old.expires_at:
                await self._enter(_LIVE, new)
        except (RedisError, OSError, TimeoutError):
            log.warning("redis.index_lags", pairing=new.id)

    async def live(self) -> int:
        with translated():
            return int(await self._commands.run(self._count, [_LIVE]))

    async def open_of(self, device_id: str) -> Sequence[str]:
        index = _open_of(device_id)
        with translated():
            return [_text(member) for member in await self._commands.ask(index, "ZRANGE", index, 0, -1)]

    def _enter_as_open(self, pairing: Pairing) -> list[Awaitable[object]]:
        return [self._enter(_open_of(pairing.approver.device_id), pairing)] if pairing.approver else []

    def _enter(self, index: str, pairing: Pairing) -> Awaitable[object]:
        return self._commands.run(self._index, [index], pairing.expires_at, pairing.id, INDEX_TTL_MS)


def _open_of(device_id: str) -> str:
    return f"open-of:{device_id}"


def _encode(pairing: Pairing) -> bytes:
    return msgspec.json.encode(pairing)


_decode = msgspec.json.Decoder(Pairing).decode


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _milliseconds(time: Sequence[int | bytes]) -> int:
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


def _ttl(pairing: Pairing) -> int:
    return pairing.expires_at - pairing.created_at + AFTERLIFE_MS
