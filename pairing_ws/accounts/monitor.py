"""Notices the end of a session that nothing else announced: it ran out, the command line locked or deleted its account
without Redis, or the message was lost.

Only sessions that something in this process depends on are looked at: those whose sockets and long polls wait, and
those that a new device waits for. One read covers many of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence, Set
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pairing_ws.core.clock import Clock
from pairing_ws.core.devices import Approver
from pairing_ws.core.ports import Callback

# What a session may see ends with it within 5 s: this, one read, and a late timer.
LOOK_SECONDS = 2.0
# Sessions in one read, or one write.
MOST = 100
# How late "last seen" may be while a socket is open.
SEEN_MS = 60_000


class SessionStates(Protocol):
    async def live_sessions(self, session_ids: Collection[str], now: int) -> Set[str]:
        """Which of these, `MOST` at most, are alive and in an account that is not locked. Raises Unavailable."""

    async def seen(self, session_ids: Collection[str], now: int, idle_until: int) -> None:
        """Their devices are there now, and they live until then unless they end otherwise. Of these, `MOST` at most, it
        passes over locked rows. Raises Unavailable."""


class SessionMonitor:
    """`look` is to be called every `LOOK_SECONDS`. `ended` is called with each approver whose session has ended, again
    at each look until the time of its `expect` is over: it may fail. `idle`: how long a session lives unused, in ms;
    one with a socket or a long poll here is in use."""

    def __init__(
        self, store: SessionStates, clock: Clock, ended: Callable[[Approver], Awaitable[None]], idle: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._ended = ended
        self._idle = idle
        # Well before the shortest session would run out.
        self._seen_every = min(SEEN_MS, idle // 4)
        self._seen_at = clock()
        self._watchers: dict[str, set[Callback]] = {}
        self._expected: dict[str, tuple[int, Approver]] = {}

    def watching(
        self, session_id: str, wake: Callback, beside: AbstractAsyncContextManager[None]
    ) -> AbstractAsyncContextManager[None]:
        """Within `beside`, `wake` is also called once the session has ended."""
        return _Watching(self, session_id, wake, beside)

    def expect(self, approver: Approver, until: int) -> None:
        """A new device waits for this approver's answer until then (ms)."""
        before, _ = self._expected.get(approver.session_id, (0, approver))
        self._expected[approver.session_id] = max(before, until), approver

    def add(self, session_id: str, wake: Callback) -> None:
        self._watchers.setdefault(session_id, set()).add(wake)

    def remove(self, session_id: str, wake: Callback) -> None:
        wakes = self._watchers[session_id]
        wakes.discard(wake)
        if not wakes:
            del self._watchers[session_id]

    async def look(self) -> None:
        """Find who has ended, and tell who depends on it. Raises Unavailable."""
        now = self._clock()
        if not 0 <= now - self._seen_at < self._seen_every:
            # First, for a session that is in use has not run out, however long ago the last look was.
            self._seen_at = now
            for part in batched(list(self._watchers)):
                await self._store.seen(part, now, now + self._idle)
        self._expected = {key: value for key, value in self._expected.items() if value[0] > now}
        ids = list({*self._watchers, *self._expected})
        for part in batched(ids):
            await self._tell_of(set(part) - await self._store.live_sessions(part, now))
            # A read on SQLite does not leave the event loop to others.
            await asyncio.sleep(0)

    async def _tell_of(self, ended: Collection[str]) -> None:
        for each in ended:
            for wake in list(self._watchers.get(each, ())):
                wake("")
            if each in self._expected:
                await self._ended(self._expected[each][1])


def batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + MOST] for start in range(0, len(ids), MOST))


class _Watching:
    """A class, for a generator in its place costs every waiting device a KiB."""

    __slots__ = ("_beside", "_monitor", "_session_id", "_wake")

    def __init__(
        self, monitor: SessionMonitor, session_id: str, wake: Callback, beside: AbstractAsyncContextManager[None]
    ) -> None:
        self._monitor = monitor
        self._session_id = session_id
        self._wake = wake
        self._beside = beside

    async def __aenter__(self) -> None:
        await self._beside.__aenter__()
        self._monitor.add(self._session_id, self._wake)

    async def __aexit__(self, *error: object) -> bool | None:
        self._monitor.remove(self._session_id, self._wake)
        return await self._beside.__aexit__(*error)  # type: ignore[arg-type]
