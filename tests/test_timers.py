"""Timers that share one of the event loop's, on a clock that the tests turn; and the limits that are built of them."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from pairing_ws.core.timing_wheel import TICK_SECONDS, Timeout, Timers


class Handle:
    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at = at
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """What `Timers` uses of an event loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.handles: list[Handle] = []
        self.failures: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, ring: Callable[[], None]) -> Handle:
        self.handles.append(Handle(at, ring))
        return self.handles[-1]

    def call_exception_handler(self, context: Any) -> None:
        self.failures.append(context["exception"])

    @property
    def waiting(self) -> list[Handle]:
        return [each for each in self.handles if not each.cancelled]

    def turn_to(self, now: float) -> None:
        self.now = now
        for each in self.waiting:
            if each.at <= now:
                self.handles.remove(each)
                each.ring()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def timers(loop: Loop) -> Timers:
    return Timers(loop)  # type: ignore[arg-type]


def test_a_timer_rings_once_not_before_its_time_and_a_grain_late_at_the_most(loop: Loop, timers: Timers) -> None:
    rung: list[float] = []
    for seconds in (0.0, 0.01, 0.05, 1.0, 1.02, 75.0):
        timers.call_later(seconds, lambda due=1000 + seconds: rung.append(loop.now - due))  # type: ignore[misc]
    for step in range(1, 76 * 1000):
        loop.turn_to(1000 + step / 1000)
    assert len(rung) == 6
    assert all(0 <= late <= TICK_SECONDS + 0.001 for late in rung)
    assert not loop.waiting


def test_a_timer_that_is_set_later_for_an_earlier_time_rings_first(loop: Loop, timers: Timers) -> None:
    rung: list[str] = []
    timers.call_later(10, lambda: rung.append("late"))
    timers.call_later(1, lambda: rung.append("early"))
    loop.turn_to(1001 + TICK_SECONDS)
    assert rung == ["early"]
    loop.turn_to(1010 + TICK_SECONDS)
    assert rung == ["early", "late"]


def test_a_cancelled_timer_does_not_ring_and_neither_does_one_that_another_cancels_in_the_same_moment(
    loop: Loop, timers: Timers
) -> None:
    rung: list[str] = []
    timers.call_later(1, lambda: rung.append("cancelled")).cancel()

    def first() -> None:
        rung.append("one of two")
        b.cancel()

    def second() -> None:
        rung.append("one of two")
        a.cancel()

    a, b = timers.call_later(1, first), timers.call_later(1, second)
    loop.turn_to(1001 + TICK_SECONDS)
    assert rung == ["one of two"]
    # It has rung, or was cancelled: there is nothing left of either.
    a.cancel()
    b.cancel()


def test_a_timer_that_fails_keeps_no_other_from_ringing(loop: Loop, timers: Timers) -> None:
    rung: list[str] = []
    for seconds in (1, 1, 2):
        timers.call_later(seconds, lambda: [][0])
        timers.call_later(seconds, lambda: rung.append("rung"))
    loop.turn_to(1005)
    assert rung == ["rung"] * 3
    assert len(loop.failures) == 3


def test_any_number_of_timers_waits_on_one_of_the_event_loops(loop: Loop, timers: Timers) -> None:
    for _ in range(1000):
        timers.call_later(1, print).cancel()
        timers.call_later(75, print).cancel()
        timers.call_later(0.5, print).cancel()
    assert len(loop.waiting) == 1
    # What was cancelled leaves nothing behind but a grain, and that until its time.
    loop.turn_to(1080)
    assert not loop.waiting
    assert not timers._due


async def test_what_is_not_done_within_its_time_is_cancelled_and_says_so() -> None:
    with pytest.raises(TimeoutError), Timeout(0):
        await asyncio.Event().wait()
    # And nothing of it is left in the task.
    with Timeout(60):
        await asyncio.sleep(0)


async def test_who_is_cancelled_by_somebody_else_is_not_told_of_a_time_limit() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        with Timeout(60):
            begun.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_is_cancelled_and_out_of_time_at_once_is_cancelled() -> None:
    limit = Timeout(60)

    async def wait() -> None:
        with limit:
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    limit.end()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_time_limit_can_be_ended_before_its_time_any_number_of_times() -> None:
    limit = Timeout(60)

    async def wait() -> str:
        try:
            with limit:
                await asyncio.Event().wait()
        except TimeoutError:
            # Nothing of it is left for what comes next.
            await asyncio.sleep(0)
            return "over"
        return "not over"

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    for _ in range(3):
        limit.end()
    assert await waiting == "over"


async def test_a_time_limit_and_a_timer_leave_no_garbage_for_the_collector() -> None:
    class Owner:
        def __init__(self, timers: Timers) -> None:
            self.timer = timers.call_later(seconds, self.ring)

        def ring(self) -> None:
            pass

    loop = Loop()
    timers, owners = Timers(loop), 50  # type: ignore[arg-type]
    gc.collect()
    gc.disable()
    try:
        for seconds in (1, 2):
            for _ in range(owners):
                with Timeout(60):
                    pass
                owner = Owner(timers)
                if seconds == 1:
                    owner.timer.cancel()
        loop.turn_to(1005)
        del owner
        assert gc.collect() < owners
    finally:
        gc.enable()


async def test_a_failure_of_its_own_passes_through_a_time_limit() -> None:
    with pytest.raises(KeyError), Timeout(60):
        raise KeyError
