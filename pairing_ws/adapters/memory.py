"""Everything short-lived in this process's memory: for one worker, and for tests."""

import heapq
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pairing_ws.adapters.backend import Backend, MessageBus
from pairing_ws.core.clock import Clock
from pairing_ws.oauth.ports import AuthorizationCode
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import Full, Loaded, pairing_channel

# A finished pairing can be read this long, then it is unknown.
AFTERLIFE_MS = 300_000
# So many counters and marks are kept before it is seen which of them are over.
MOST_UNSWEPT = 1024


class MemoryBus(MessageBus):
    """A bus whose every message arrives, because it never leaves the process."""

    async def publish(self, channel: str, message: str = "") -> None:
        self.dispatch(channel, message)


class MemoryPairings:
    """The pairing store of one process. No method awaits between reading and writing, so each is atomic."""

    def __init__(self, bus: MemoryBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._pairings: dict[str, Pairing] = {}
        self._user_codes: dict[str, str] = {}
        # A dict for its order: by when each was entered.
        self._by_approver: dict[str, dict[str, None]] = {}
        self._live: set[str] = set()
        self._leaving: list[tuple[int, str]] = []

    async def ping(self) -> None:
        pass

    async def examine(self) -> None:
        pass

    async def add(self, pairing: Pairing, most: int = 0) -> Loaded | None:
        self._forget()
        now = self._clock()
        if 0 < most <= len(self._live):
            raise Full
        holder = self._pairings.get(self._user_codes.get(pairing.user_code_hash, ""))
        if holder and not holder.seen_at(now).final:
            return None
        begun = pairing.started_at(now)
        self._user_codes[begun.user_code_hash] = begun.id
        self._keep(begun)
        heapq.heappush(self._leaving, (begun.expires_at, begun.id))
        return Loaded(begun, now)

    async def get(self, pairing_id: str) -> Loaded | None:
        now = self._clock()
        pairing = self._pairings.get(pairing_id)
        if pairing is None or now >= _leaves_at(pairing):
            return None
        return Loaded(pairing.seen_at(now), now)

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        return self._user_codes.get(user_code_hash)

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        stored = self._pairings.get(old.id)
        if stored is None or stored.version != old.version or self._clock() >= stored.expires_at:
            return False
        self._keep(new)
        await self._bus.publish(pairing_channel(new.id))
        return True

    async def open_of(self, device_id: str, most: int | None = None) -> Sequence[str]:
        return list(reversed(self._by_approver.get(device_id, {})))[:most]

    def _keep(self, pairing: Pairing) -> None:
        self._pairings[pairing.id] = pairing
        if pairing.final:
            self._live.discard(pairing.id)
            self._leave_index(pairing)
            return
        self._live.add(pairing.id)
        if pairing.approver:
            self._by_approver.setdefault(pairing.approver.device_id, {})[pairing.id] = None

    def _leave_index(self, pairing: Pairing) -> None:
        device_id = pairing.approver.device_id if pairing.approver else ""
        mine = self._by_approver.get(device_id, {})
        mine.pop(pairing.id, None)
        if not mine:
            self._by_approver.pop(device_id, None)

    def _forget(self) -> None:
        """Drop what is due, soonest first; whatever a transition gave more time goes back into the heap."""
        now = self._clock()
        while self._leaving and self._leaving[0][0] <= now:
            _, pairing_id = heapq.heappop(self._leaving)
            pairing = self._pairings[pairing_id]
            if pairing.seen_at(now).final:
                self._live.discard(pairing_id)
            leaves_at = pairing.expires_at if pairing_id in self._live else _leaves_at(pairing)
            if leaves_at > now:
                heapq.heappush(self._leaving, (leaves_at, pairing_id))
                continue
            del self._pairings[pairing_id]
            if self._user_codes.get(pairing.user_code_hash) == pairing_id:
                del self._user_codes[pairing.user_code_hash]
            self._leave_index(pairing)


def _leaves_at(pairing: Pairing) -> int:
    return (pairing.finished_at or pairing.expires_at) + AFTERLIFE_MS


class MemoryCodes:
    """See `oauth.ports.CodeStore`. No method awaits, so each is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # All live about equally long: the oldest are in front.
        self._codes: dict[str, tuple[int, AuthorizationCode]] = {}

    async def keep(self, digest: str, code: AuthorizationCode, ttl_ms: int) -> None:
        now = self._clock()
        while self._codes and self._codes[oldest := next(iter(self._codes))][0] <= now:
            del self._codes[oldest]
        self._codes[digest] = (now + ttl_ms, code)

    async def get(self, digest: str) -> AuthorizationCode | None:
        until, code = self._codes.get(digest, (0, None))
        return code if self._clock() < until else None


class _Window(NamedTuple):
    """Times are ms on the timer."""

    start: int
    counted: int
    before: int
    forgotten_at: int


class MemoryCounters:
    """See `ports.SharedCounters`. `timer` (seconds) is never set: by a clock that is, a mark could be forgotten too
    soon. No method awaits between reading and writing, so each is atomic."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._windows: dict[str, _Window] = {}
        self._marks: dict[str, int] = {}
        self._sweep_at = MOST_UNSWEPT

    async def count(self, key: str, most: int, window_ms: int, *, counted: bool = True) -> int:
        """See `ports.SharedCounters.count`. The same window as in `redis/scripts/count.lua`."""
        now = self._now()
        start, count, before, _ = self._windows.get(key) or _Window(now, 0, 0, 0)
        if now >= start + 2 * window_ms:
            start, count, before = now, 0, 0
        elif now >= start + window_ms:
            start, count, before = start + window_ms, 0, count
        left = start + window_ms - now
        if before * left // window_ms + count >= most:
            return left if count >= most else (before * left - (most - count) * window_ms) // before + 1
        if counted:
            self._windows[key] = _Window(start, count + 1, before, start + 2 * window_ms)
            self._sweep(now)
        return 0

    async def mark(self, key: str, ttl_ms: int) -> bool:
        """See `ports.SharedCounters.mark`."""
        now = self._now()
        if self._marks.get(key, now) > now:
            return False
        self._marks[key] = now + ttl_ms
        self._sweep(now)
        return True

    def _now(self) -> int:
        return round(self._timer() * 1000)

    def _sweep(self, now: int) -> None:
        """Forget what is over, each time that there is twice as much as was left."""
        if len(self._windows) + len(self._marks) < self._sweep_at:
            return
        self._windows = {key: window for key, window in self._windows.items() if window.forgotten_at > now}
        self._marks = {key: until for key, until in self._marks.items() if until > now}
        self._sweep_at = max(MOST_UNSWEPT, 2 * (len(self._windows) + len(self._marks)))


def memory_backend(clock: Clock) -> Backend:
    """For one process. Pairings follow `clock`."""
    bus = MemoryBus()
    return Backend(bus, MemoryPairings(bus, clock), MemoryCodes(clock), MemoryCounters(), None)
