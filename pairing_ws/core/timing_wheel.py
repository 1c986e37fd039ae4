"""Many timers on few of the event loop's: each of uvloop's own takes 4 µs to set and cancel, one of these 0.7.

They ring up to `GRAIN` late, and are for limits: most are cancelled before their time.
"""

import asyncio
import heapq
import threading
from collections.abc import Callable
from types import TracebackType

# In seconds; a power of two, for its multiples to be exact.
GRAIN = 1 / 16


class Timer:
    __slots__ = ("_ring", "_together")

    def __init__(self, together: set["Timer"], ring: Callable[[], object]) -> None:
        self._together = together
        self._ring: Callable[[], object] | None = ring
        together.add(self)

    def cancel(self) -> None:
        """Without effect on one that has rung."""
        self._together.discard(self)
        # Most belong to what they ring, and would be garbage that only a collection finds.
        self._ring = None

    def ring(self) -> None:
        ring, self._ring = self._ring, None
        if ring:
            ring()


class Timers:
    """Of one event loop. Those of the same grain of time share one of its timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # By the number of their grain.
        self._due: dict[int, set[Timer]] = {}
        self._grains: list[int] = []
        self._next: asyncio.TimerHandle | None = None

    def call_later(self, seconds: float, ring: Callable[[], object]) -> Timer:
        grain = int((self._loop.time() + seconds) / GRAIN) + 1
        together = self._due.get(grain)
        if together is None:
            together = self._due[grain] = set()
            heapq.heappush(self._grains, grain)
            if self._grains[0] == grain:
                self._wait()
        return Timer(together, ring)

    def _wait(self) -> None:
        if self._next:
            self._next.cancel()
        self._next = self._loop.call_at(self._grains[0] * GRAIN, self._look) if self._grains else None

    def _look(self) -> None:
        grains, now = self._grains, self._loop.time()
        while grains and grains[0] * GRAIN <= now:
            together = self._due.pop(heapq.heappop(grains))
            # One by one, for each may cancel others.
            while together:
                self._ring(together.pop())
        self._wait()

    def _ring(self, timer: Timer) -> None:
        try:
            timer.ring()
        except Exception as error:
            # As the event loop does: the others are to ring all the same.
            self._loop.call_exception_handler({"message": "a timer failed", "exception": error})


class _Here(threading.local):
    """A thread runs one event loop at a time."""

    loop: asyncio.AbstractEventLoop | None = None
    timers: Timers


_here = _Here()


def timers() -> Timers:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    if _here.loop is not loop:
        _here.loop, _here.timers = loop, Timers(loop)
    return _here.timers


class Within:
    """`async with Within(seconds)`: what `asyncio.timeout` is, on these timers. Raises TimeoutError."""

    __slots__ = ("_before", "_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._over = False
        self._timer = timers().call_later(self._seconds, self.end)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # Somebody else may have cancelled the task as well, and then it is to end.
        if self._over and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Before its time, once entered."""
        if not self._over:
            self._over = True
            self._task.cancel()
