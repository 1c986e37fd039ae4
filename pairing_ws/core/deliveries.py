"""Deliveries: what is owed to another server, and stored until that has taken it or it is given up. One process takes
it at a time, tries, and tries again later. What is delivered, and what its answer means, is the caller's."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Generic, NamedTuple, Protocol, TypeVar

from pairing_ws.core.clock import SKEW_MS, Clock

# No other process takes it meanwhile, whose clock may be ahead; longer than an attempt takes, and the word of it in the
# store.
LEASE_MS = 30_000 + SKEW_MS
# At once, by one process.
MOST_AT_ONCE = 50
# While some are on their way: how soon what has become due joins them.
LOOK_SECONDS = 1.0
# After so many failures so many seconds; then every hour.
RETRY_SECONDS = (5, 15, 60, 300, 900, 1800)
LATER_SECONDS = 3600
OWED_MS = 86_400_000


class Outcome(Enum):
    TOLD = auto()
    # The other server will not take it, whatever comes.
    REFUSED = auto()
    FAILED = auto()


class Delivery(NamedTuple):
    """What an attempt came to. `not_before`: when the other server wants to be asked again (ms), at the soonest."""

    outcome: Outcome
    why: str = ""
    not_before: int = 0


class Owed(Protocol):
    """`attempts` are those that have failed."""

    @property
    def attempts(self) -> int: ...

    @property
    def created_at(self) -> int: ...


OwedT = TypeVar("OwedT", bound=Owed)


class Queue(Protocol[OwedT]):
    """Where it is stored. Any call raises Unavailable."""

    async def take_due(self, now: int, lease_ms: int, most: int) -> Sequence[OwedT]:
        """What is due, for this caller alone until that time is over."""

    async def forget(self, owed: OwedT) -> None:
        """It was delivered, or given up."""

    async def put_off(self, owed: OwedT, until: int) -> None:
        """Count one more failure; it is due then. Without effect where another process has taken it meanwhile, for the
        lease was over, if the queue says so."""


def next_attempt(owed: Owed, now: int, not_before: int = 0) -> int | None:
    """When to try again (ms) after one more failure; None when it is given up, a day after it came to be."""
    seconds = RETRY_SECONDS[owed.attempts] if owed.attempts < len(RETRY_SECONDS) else LATER_SECONDS
    at = max(now + seconds * 1000, not_before)
    return at if at < owed.created_at + OWED_MS else None


class Deliveries(Generic[OwedT]):
    """`attempt` never raises. `report` is told what came of each, and when it is tried again: None if it is not."""

    def __init__(
        self,
        queue: Queue[OwedT],
        attempt: Callable[[OwedT], Awaitable[Delivery]],
        report: Callable[[OwedT, Delivery, int | None], None],
        clock: Clock,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._queue = queue
        self._attempt = attempt
        self._report = report
        self._clock = clock
        self._most = most_at_once

    async def deliver_due(self) -> None:
        """Everything that is due now, or becomes due by that; each once, by one process. A server that lets some wait
        holds up no other, as long as they are fewer than may be on their way at once.

        Raises Unavailable, when what is on its way has come to its end. What was not noted as told is told again then,
        as is what is on its way when this is cancelled: its lease has to be over first.
        """
        on_its_way: set[asyncio.Task[None]] = set()
        failure: BaseException | None = None
        try:
            while True:
                room = self._most - len(on_its_way)
                if room and failure is None:
                    try:
                        due = await self._queue.take_due(self._clock(), LEASE_MS, room)
                        on_its_way |= {asyncio.create_task(self._deliver(each)) for each in due}
                    except Exception as error:
                        failure = error
                if not on_its_way:
                    break
                done, on_its_way = await asyncio.wait(
                    on_its_way, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                failure = next((each.exception() for each in done if each.exception()), failure)
        finally:
            for each in on_its_way:
                each.cancel()
            await asyncio.gather(*on_its_way, return_exceptions=True)
        if failure:
            raise failure

    async def _deliver(self, owed: OwedT) -> None:
        delivery = await self._attempt(owed)
        again = None
        if delivery.outcome is Outcome.FAILED:
            again = next_attempt(owed, self._clock(), delivery.not_before)
        if again is None:
            await self._queue.forget(owed)
        else:
            await self._queue.put_off(owed, again)
        self._report(owed, delivery, again)
