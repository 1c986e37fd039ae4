"""Whether all servers on one database, or one Redis, have the same signing keys.

Servers with different keys refuse what the others sign, though each of them seems to be well. Every server leaves a
fingerprint of its keys and reads those of the others.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
import structlog

from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.jwt.key_set import KeySet
from pairing_ws.adapters.sql.executor import Statement, Store, Transaction, Upsert, read, write
from pairing_ws.adapters.sql.statements import param
from pairing_ws.adapters.sql.tables import key_rings, sessions
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Refused

log = structlog.get_logger()

LOOK_SECONDS = 60.0
# A server that has not been heard of for so long is gone; clocks may be a minute apart.
ABSENT_MS = 180_000
# How long a new key may take to reach all servers: a mounted secret takes minutes, a deploy one server after the other.
OVERLAP_MS = 600_000
KEPT_MS = 400 * 86_400_000


class Fingerprint(msgspec.Struct, frozen=True):
    """A fingerprint of a server's keys, which gives none of them away. `ids` and `rsa_ids` are the key ids, the signing
    one first, `rsa_ids` None of a version that knows no RSA; `made` is when the newest was made (ms)."""

    pepper: str
    ids: tuple[str, ...]
    made: int
    rsa_ids: tuple[str, ...] | None = None

    @classmethod
    def of(cls, keys: KeySet) -> "Fingerprint":
        return cls(
            codes.digest(f"pairing_ws pepper {keys.pepper}"),
            tuple(str(each["kid"]) for each in keys.keys),
            max(int(each.get("made", 0)) for each in (*keys.keys[:1], *keys.rsa_keys[:1])),
            tuple(str(each["kid"]) for each in keys.rsa_keys),
        )

    def accepts(self, other: "Fingerprint", at: int) -> bool:
        """Whether a server with this ring and one that had the other `at` that time take what each other signs; where
        one is only late to hear of a new key, they do."""
        if self.pepper != other.pepper:
            return False
        late = at < max(self.made, other.made) + OVERLAP_MS
        return late or (_overlap(self.ids, other.ids) and _overlap(self.rsa_ids, other.rsa_ids))


def _overlap(mine: Sequence[str] | None, others: Sequence[str] | None) -> bool:
    """Whether each knows the key that the other signs with."""
    if mine is None or others is None or mine == others:
        return True
    return bool(mine and others) and mine[0] in others and others[0] in mine


class PublishedFingerprint(NamedTuple):
    fingerprint: Fingerprint
    at: int


class Fingerprints(Protocol):
    async def publish(self, fingerprint: Fingerprint, now: int) -> None:
        """Say that a server with this ring is here now."""

    async def published_since(self, since: int) -> Sequence[PublishedFingerprint]:
        """The fingerprints of the servers that were here since then."""


_PUBLISH = Upsert(key_rings, ["id"])
_PUBLISHED = Statement(sa.select(key_rings.c.ring, key_rings.c.seen_at).where(key_rings.c.seen_at >= param("since")))
_DROP = Statement(key_rings.delete().where(key_rings.c.seen_at < param("before")))
_LIVE_SESSIONS = Statement(
    sa.select(sa.func.count()).where(sessions.c.revoked_at.is_(None), sessions.c.idle_until > param("now"))
)


class SqlFingerprints(Store):
    """See `Fingerprints`."""

    @write
    def publish(self, db: Transaction, fingerprint: Fingerprint, now: int) -> None:
        text = msgspec.json.encode(fingerprint)
        db.change(_PUBLISH, id=codes.digest(text.decode()), ring=text, seen_at=now)
        db.change(_DROP, before=now - KEPT_MS)

    @read
    def published_since(self, db: Transaction, since: int) -> Sequence[PublishedFingerprint]:
        return [PublishedFingerprint(_decode(fingerprint), at) for fingerprint, at in db.rows(_PUBLISHED, since=since)]

    @read
    def sessions(self, db: Transaction, now: int) -> int:
        [(count,)] = db.rows(_LIVE_SESSIONS, now=now)
        return int(count)


_decode = msgspec.json.Decoder(Fingerprint).decode


class KeySharing:
    """`stores`: by the name that people know each by."""

    def __init__(self, tokens: KeyRing, sql: SqlFingerprints, shared: Fingerprints | None, clock: Clock) -> None:
        self._tokens = tokens
        self._sql = sql
        self._clock = clock
        self._stores: dict[str, Fingerprints] = {"database": sql, **({"Redis": shared} if shared else {})}
        self._differing: set[str] = set()

    async def differing_servers(self, *, unmigrated: bool = False) -> dict[str, int]:
        """Where another server has other keys, and how many seconds ago it was last heard of. Changes nothing. What
        can't be asked is left out (an `unmigrated` database): other lines of the log say that it is away."""
        mine, now = Fingerprint.of(self._tokens.key_set), self._clock()
        found: dict[str, int] = {}
        for name, store in self._stores.items():
            if unmigrated and store is self._sql:
                continue
            try:
                others = [
                    each.at
                    for each in await store.published_since(now - ABSENT_MS)
                    if not mine.accepts(each.fingerprint, each.at)
                ]
            except Refused:
                continue
            if others:
                found[name] = max(0, (now - max(others)) // 1000)
        return found

    async def watch(self) -> None:
        """Say in the log when servers do not share their keys, and when they do again. Runs until it is cancelled."""
        await self._compare_with_sessions()
        while True:
            try:
                await self.check()
            except Exception:
                log.exception("keys.look_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def check(self) -> None:
        found = await self.differing_servers()
        for name in sorted(found.keys() - self._differing):
            log.error("keys.not_shared", store=name, seconds_ago=found[name], hint=HINT)
        for name in sorted(self._differing - found.keys()):
            log.warning("keys.shared", store=name)
        self._differing = set(found)
        await self._publish()

    async def _publish(self) -> None:
        mine, now = Fingerprint.of(self._tokens.key_set), self._clock()
        for store in self._stores.values():
            try:
                await store.publish(mine, now)
            except Refused:
                continue

    async def _compare_with_sessions(self) -> None:
        """Keys that no server here has had, beside sessions that were given others: a file that was lost."""
        mine, now = Fingerprint.of(self._tokens.key_set), self._clock()
        try:
            before = await self._sql.published_since(0)
            if not before or any(each.fingerprint.pepper == mine.pepper for each in before):
                return
            live = await self._sql.sessions(now)
        except Refused:
            return
        if live:
            log.warning("keys.made_beside_sessions", sessions=live, hint=HINT)


HINT = (
    "all servers need the same signing keys, and keep them: one PAIRING_SIGNING_KEY_FILE that they share on a disk that"
    " lasts, or one value of PAIRING_SIGNING_KEYS"
)
