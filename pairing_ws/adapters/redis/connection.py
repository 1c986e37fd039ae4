"""Connections to one Redis server at a time. What may live here: how bytes come and go; no keys, no homes, no channels.

redis-py opens each, with its TLS, credentials and greeting; then its transport is taken over, for what redis-py does
per command and per message costs four times as much CPU as all of this.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

# From asking to answer, connecting included.
COMMAND_SECONDS = 4.0
# So many commands go at once, for the server to begin with them while this process makes the next ones: with all of a
# tick in one write, each waited for the other (an eighth of all polls, a sixth of all creations).
TOGETHER = 12
_ASKING = hiredis.pack_command(("ASKING",))
_INCOMPLETE = object()

Connect = Callable[[], Awaitable[Connection]]


class Wire(asyncio.Protocol):
    """One connection's life: it begins with `connect` and ends once, whoever ends it. What one event-loop tick writes
    goes out by the dozen. A subclass is told what is `heard`, errors of the server included, and when it `is_over`.
    """

    def __init__(self, connect: Connect) -> None:
        self._loop = asyncio.get_running_loop()
        # Not written yet.
        self._due: list[bytes] = []
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=BaseParser.parse_error, notEnoughData=_INCOMPLETE)
        self.ended = False
        self._connecting = asyncio.create_task(self._open(connect), name="redis-connect")

    def heard(self, reply: Any) -> None:
        raise NotImplementedError

    def heard_all(self) -> None:
        """Of what came together."""

    def is_over(self, error: Exception) -> None:
        raise NotImplementedError

    def write(self, packed: bytes) -> None:
        """In the order of the calls; while it connects, what is written waits. May end it."""
        if not self._due and self._transport:
            self._loop.call_soon(self._write)
        self._due.append(packed)
        if len(self._due) == TOGETHER and self._transport:
            self._write()

    def end(self, error: Exception) -> None:
        if self.ended:
            return
        self.ended = True
        if self._transport:
            self._transport.abort()
        if self._connection:
            # Its `disconnect` would wait for a protocol that is no longer there, its `__del__` complain.
            self._connection._close()  # type: ignore[no-untyped-call]
        self.is_over(error)

    async def aclose(self) -> None:
        self.end(RedisConnectionError("the process ends"))
        self._connecting.cancel()
        await asyncio.wait([self._connecting])

    async def _open(self, connect: Connect) -> None:
        try:
            connection = await connect()
        except Exception as error:
            self.end(error)
            return
        writer = connection._writer
        if self.ended or writer is None:
            await connection.disconnect(nowait=True)
            self.end(RedisConnectionError("it was closed at once"))
            return
        # Kept, for who throws it away closes it.
        self._connection = connection
        self._transport = writer.transport  # type: ignore[assignment]
        writer.transport.set_protocol(self)
        self._write()

    def _write(self) -> None:
        if self.ended or self._transport is None or not self._due:
            return
        due, self._due = self._due, []
        try:
            self._transport.write(b"".join(due))
        except RuntimeError as error:
            # uvloop's word for a connection that was closed a moment ago.
            self.end(RedisConnectionError(str(error)))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self.heard(reply)
        except (hiredis.ProtocolError, LookupError, ValueError) as error:
            # It is not what was asked for.
            self.end(RedisConnectionError(repr(error)))
        self.heard_all()

    def connection_lost(self, error: Exception | None) -> None:
        self.end(error or RedisConnectionError("the server closed the connection"))


class Asked:
    """A command, packed, and the answer to come before `deadline` on the event loop's clock.

    `instead` is for a server that does not know its script; `redirected`, that another one has refused it; `sent_at`,
    when it came to its present line.
    """

    __slots__ = ("answer", "deadline", "instead", "key", "packed", "redirected", "sent_at")

    def __init__(self, key: str, words: tuple[Any, ...], instead: tuple[Any, ...] = ()) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.packed = hiredis.pack_command(words)
        self.instead = instead
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.sent_at = loop.time()
        self.deadline = self.sent_at + COMMAND_SECONDS
        self.redirected = False

    def fail(self, error: Exception) -> None:
        # Done is one whose caller was cancelled.
        if not self.answer.done():
            self.answer.set_exception(error)


class Line(Wire):
    """For commands, of all who ask. They are answered in their order, and a caller that is cancelled leaves it clean.

    Once the server has let a command's deadline pass, the line ends, and all commands under way fail with it; `lost` is
    then told why. What the server answers with an error is handed to `refused` instead of the
    caller.
    """

    def __init__(
        self,
        connect: Connect,
        refused: Callable[[Sequence[tuple[Asked, Exception]]], None],
        lost: Callable[[Exception], None],
    ) -> None:
        super().__init__(connect)
        self._refused = refused
        self._lost = lost
        self._refusals: list[tuple[Asked, Exception]] = []
        # The oldest first; None stands for an answer that nobody wants.
        self._under_way: deque[Asked | None] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not self._under_way

    def ask(self, asked: Asked, *, newcomer: bool = False) -> None:
        """Of a `newcomer`, which the key is on its way to, with the word that it serves such keys on. Not once the line
        has ended."""
        asked.sent_at = self._loop.time()
        if asked.deadline <= asked.sent_at:
            asked.fail(_late())
            return
        if newcomer:
            self._under_way.append(None)
            self.write(_ASKING)
        self._under_way.append(asked)
        self.write(asked.packed)
        if self.ended:
            # Either write may have found the connection dead.
            asked.fail(RedisConnectionError("the connection was closed a moment ago"))
            return
        if self._timer is None or asked.deadline < self._timer.when():
            self._set_timer(asked.deadline)

    def heard(self, reply: Any) -> None:
        asked = self._under_way.popleft()
        if asked is None or asked.answer.done():
            return
        if isinstance(reply, Exception):
            self._refusals.append((asked, reply))
        else:
            asked.answer.set_result(reply)

    def heard_all(self) -> None:
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            self._refused(refusals)

    def is_over(self, error: Exception) -> None:
        if self._timer:
            self._timer.cancel()
        left = [asked for asked in self._under_way if asked]
        self._under_way.clear()
        for asked in left:
            asked.fail(error)
        if left:
            self._lost(error)

    def _set_timer(self, deadline: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        now = self._loop.time()
        waiting = [asked for asked in self._under_way if asked and not asked.answer.done()]
        for asked in waiting:
            if asked.deadline <= now and now - asked.sent_at >= COMMAND_SECONDS / 2:
                self.end(_late())
                return
            if asked.deadline <= now:
                # Another server has taken its time; this one is not to blame, nor are those who ask it.
                asked.fail(_late())
        first = min((asked.deadline for asked in waiting if not asked.answer.done()), default=None)
        if first is not None:
            self._set_timer(first)


def _late() -> Exception:
    return TimeoutError("no answer in time")
