"""Many timers on few of the event loop's: each of uvloop's own takes 4 µs to set and cancel, one of these 0.7.

They call back up to `TICK_SECONDS` late, and are for limits: most are cancelled before their time.
"""

import asyncio
import heapq
import threading
from collections.abc import Callable
from types import TracebackType

# In seconds; a power of two, for its multiples to be exact.
TICK_SECONDS = 1 / 16


class Timer:
    __slots__ = ("_callback", "_same_tick")

    def __init__(self, same_tick: set["Timer"], callback: Callable[[], object]) -> None:
        self._same_tick = same_tick
        self._callback: Callable[[], object] | None = callback
        same_tick.add(self)

    def cancel(self) -> None:
        """Without effect after its callback was called."""
        self._same_tick.discard(self)
        # Most timers belong to what they call, and would be garbage that only a collection finds.
        self._callback = None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback:
            callback()


class Timers:
    """The timers of one event loop. Those of the same tick share one of its own timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # By the number of their tick.
        self._due: dict[int, set[Timer]] = {}
        self._ticks: list[int] = []
        self._next: asyncio.TimerHandle | None = None

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        tick = int((self._loop.time() + seconds) / TICK_SECONDS) + 1
        same_tick = self._due.get(tick)
        if same_tick is None:
            same_tick = self._due[tick] = set()
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._wait()
        return Timer(same_tick, callback)

    def _wait(self) -> None:
        if self._next:
            self._next.cancel()
        self._next = self._loop.call_at(self._ticks[0] * TICK_SECONDS, self._on_tick) if self._ticks else None

    def _on_tick(self) -> None:
        ticks, now = self._ticks, self._loop.time()
        while ticks and ticks[0] * TICK_SECONDS <= now:
            same_tick = self._due.pop(heapq.heappop(ticks))
            # One by one, for each may cancel others.
            while same_tick:
                self._fire(same_tick.pop())
        self._wait()

    def _fire(self, timer: Timer) -> None:
        try:
            timer.fire()
        except Exception as error:
            # As the event loop does: the others are called all the same.
            self._loop.call_exception_handler({"message": "a timer failed", "exception": error})


class _Here(threading.local):
    """A thread runs one event loop at a time."""

    loop: asyncio.AbstractEventLoop | None = None
    timers: Timers


_here = _Here()


def timers() -> Timers:
    """The timers of the running event loop."""
    loop = asyncio.get_running_loop()
    if _here.loop is not loop:
        _here.loop, _here.timers = loop, Timers(loop)
    return _here.timers


class Timeout:
    """`with Timeout(seconds)` around what is awaited: what `asyncio.timeout` is, on these timers. Raises TimeoutError.

    No `async with`, which would make two coroutines that await nothing."""

    __slots__ = ("_before", "_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._over = False
        self._timer = timers().call_later(self._seconds, self.end)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.cancel()
        # Another caller may have cancelled the task as well; then it has to end.
        if self._over and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Before its time, once entered."""
        if not self._over:
            self._over = True
            self._task.cancel()
