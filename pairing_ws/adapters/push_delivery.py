"""Delivers push messages in the background, by whatever service an address belongs to: how many at once, how often a
message is tried, and what becomes of an address that is gone. What a service is asked, and what its answers mean, is
its own adapter's (`fcm`, `web_push`)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import NamedTuple, Protocol

import structlog
from prometheus_client import Counter

from pairing_ws.adapters.outages import Outages, Repeats
from pairing_ws.core.codes import RandomBytes
from pairing_ws.core.push_addresses import Kind, kind_of

log = structlog.get_logger()

SENT = Counter("pairing_push_messages", "Push messages, by what came of them", ["outcome"])

# A message is tried so often; before each further time it waits, unless the service says how long, about 1, 4 and 16 s.
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 1.0
# A service that wants to be left alone for longer is left alone for good.
MAX_PAUSE_SECONDS = 300.0
# On their way at once: to one server, and by one service. Those that wait for a turn, or for the next time, are more.
MAX_PER_SERVER = 20
MAX_IN_FLIGHT = 100
MAX_PENDING = 5000


class Verdict(StrEnum):
    """What a service said. `later`: it may take the message another time."""

    SENT = "sent"
    UNREGISTERED = "unregistered"
    REFUSED = "refused"
    LATER = "later"


class Answer(NamedTuple):
    """`pause` is how many seconds the service wants to be left alone, None if it does not say."""

    verdict: Verdict
    status: int = 0
    pause: float | None = None


class PushService(Protocol):
    """One service, as its adapter."""

    def server(self, address: str) -> str:
        """Which server a message to this address is sent to. Raises ValueError if the address is none."""

    async def post(self, address: str, data: Mapping[str, str], seconds: int) -> Answer:
        """Try once; the service may keep the message for so many seconds. Raises TimeoutError if no answer came in
        time, Unreachable and Forbidden."""

    async def aclose(self) -> None: ...


class Unreachable(OSError):
    """The service can't be reached. The text is for the log: it quotes no address of a device."""


class Forbidden(Exception):
    """Nothing is sent there. The text is for the log, as that of `Unreachable`."""


class PushDelivery:
    """See `ports.Push`. `unregistered` is told the addresses that their service says are gone."""

    def __init__(
        self,
        services: Mapping[Kind, PushService],
        unregistered: Callable[[str], Awaitable[None]],
        random: RandomBytes,
        application_server_key: str = "",
        end_seconds: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application_server_key = application_server_key
        self._services = services
        self._unregistered = unregistered
        self._random = random
        self._end_seconds = end_seconds
        self._sleep = sleep
        self._in_flight = {id(each): asyncio.Semaphore(MAX_IN_FLIGHT) for each in services.values()}
        # server → its turns, and how many messages want one.
        self._turns: dict[str, tuple[asyncio.Semaphore, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Of them, those that wait for the next time: nobody waits for them.
        self._pausing: set[asyncio.Task[None]] = set()
        self._repeats = Repeats(timer)
        self._outages = Outages(
            lost=lambda server, cause: log.warning("push.failed", server=server, cause=cause),
            back=lambda server, seconds: log.warning("push.back", server=server, seconds=seconds),
        )

    async def __aenter__(self) -> "PushDelivery":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._pausing):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._end_seconds)
        for task in self._tasks:
            task.cancel()
        for service in {id(each): each for each in self._services.values()}.values():
            await service.aclose()

    def send(self, address: str, data: Mapping[str, str], seconds: int) -> None:
        """See `ports.Push.send`."""
        service = self._services.get(kind_of(address))
        if service is not None:
            self._start(self._deliver(service, address, data, seconds))

    def send_to_each(
        self, addresses: Callable[[], Awaitable[Sequence[str]]], data: Mapping[str, str], seconds: int
    ) -> None:
        """See `ports.Push.send_to_each`."""
        self._start(self._send_to_each(addresses, data, seconds))

    def _start(self, sending: Coroutine[None, None, None]) -> None:
        if len(self._tasks) >= MAX_PENDING:
            sending.close()
            SENT.labels("dropped").inc()
            return
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_to_each(
        self, addresses: Callable[[], Awaitable[Sequence[str]]], data: Mapping[str, str], seconds: int
    ) -> None:
        try:
            found = await addresses()
        except Exception as error:
            # Best effort, as below.
            log.warning("push.failed", error=type(error).__name__)
            SENT.labels("failed").inc()
            return
        for address in found:
            self.send(address, data, seconds)

    async def _deliver(self, service: PushService, address: str, data: Mapping[str, str], seconds: int) -> None:
        outcome = "failed"
        try:
            outcome = await self._try_all(service, address, data, seconds)
            if outcome == Verdict.UNREGISTERED:
                await self._unregistered(address)
        except Exception as error:
            # Best effort: whatever goes wrong here must not touch the pairing. The text may quote the address.
            log.warning("push.failed", error=type(error).__name__)
        SENT.labels(outcome).inc()

    async def _try_all(self, service: PushService, address: str, data: Mapping[str, str], seconds: int) -> str:
        """Try until it is taken, refused for good, or worth nothing any more; what came of it, as it is counted."""
        server, left = service.server(address), float(seconds)
        for attempt in range(ATTEMPTS):
            outcome, pause = "failed", None
            try:
                async with self._turn(service, server):
                    answer = await service.post(address, data, max(1, int(left)))
                self._outages.works(server)
                if answer.verdict in (Verdict.SENT, Verdict.UNREGISTERED):
                    return answer.verdict
                if times := self._repeats.times("refused", server, answer.status):
                    log.warning("push.refused", server=server, status=answer.status, since_last=times)
                if answer.verdict is Verdict.REFUSED:
                    return outcome
                pause = answer.pause
            except TimeoutError:
                outcome = "timeout"
                if times := self._repeats.times("timeout", server):
                    log.warning("push.timeout", server=server, since_last=times)
            except Forbidden as error:
                # Also because a setting forbids it: the operator should know.
                if times := self._repeats.times("forbidden", server):
                    log.warning("push.forbidden", server=server, cause=str(error), since_last=times)
                return outcome
            except Unreachable as error:
                # Said once, and once when it can be reached again.
                self._outages.failed(server, str(error))
            pause = pause if pause is not None else self._backoff(attempt)
            left -= pause
            if attempt + 1 == ATTEMPTS or pause > MAX_PAUSE_SECONDS or left <= 0:
                break
            await self._pause(pause)
        return outcome

    async def _pause(self, seconds: float) -> None:
        """No turn is held meanwhile."""
        task = asyncio.current_task()
        assert task
        self._pausing.add(task)
        try:
            await self._sleep(seconds)
        finally:
            self._pausing.discard(task)

    def _backoff(self, attempt: int) -> float:
        # Up to half as long again: those that failed together do not come back together.
        return FIRST_PAUSE_SECONDS * 4.0**attempt * (1 + self._random(1)[0] / 512)

    @asynccontextmanager
    async def _turn(self, service: PushService, server: str) -> AsyncIterator[None]:
        """One of the server's, then one of the service's: who waits for a slow server takes none of the others'."""
        turns, wanted = self._turns.get(server) or (asyncio.Semaphore(MAX_PER_SERVER), 0)
        self._turns[server] = (turns, wanted + 1)
        try:
            async with turns, self._in_flight[id(service)]:
                yield
        finally:
            turns, wanted = self._turns[server]
            if wanted > 1:
                self._turns[server] = (turns, wanted - 1)
            else:
                del self._turns[server]
