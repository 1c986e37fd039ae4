"""One connection to one Redis server, which all commands of a process share. It knows nothing of keys and homes."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

_ASKING = hiredis.pack_command(("ASKING",))
_INCOMPLETE = object()


class Asked:
    """A command, packed, and the answer to come before `deadline` on the event loop's clock."""

    __slots__ = ("answer", "deadline", "key", "packed", "redirected")

    def __init__(self, key: str, packed: bytes, answer: asyncio.Future[Any], deadline: float) -> None:
        self.key = key
        self.packed = packed
        self.answer = answer
        self.deadline = deadline
        self.redirected = False

    def fail(self, error: Exception) -> None:
        # Done is one whose caller was cancelled.
        if not self.answer.done():
            self.answer.set_exception(error)


class Line(asyncio.Protocol):
    """Commands go out as they come, those of one event-loop tick in one write, and are answered in their order. That
    costs a fourth of the CPU of redis-py's pool; a caller that is cancelled leaves it clean.

    `connect` opens redis-py's connection, with its TLS, credentials and greeting; its transport is then taken over.
    A line lives once: it ends when its connection does, or a command's deadline passes, and all commands under way
    fail with it; `lost` is then told why, and how many they were. What the server answers with an error is handed to
    `refused` instead of the caller.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        refused: Callable[[Sequence[tuple[Asked, Exception]]], None],
        lost: Callable[[Exception, int], None],
    ) -> None:
        self._refused = refused
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        # Not written yet; and, the oldest first, not answered yet: None stands for an answer that nobody wants.
        self._due: list[bytes] = []
        self._under_way: deque[Asked | None] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=BaseParser.parse_error, notEnoughData=_INCOMPLETE)
        self.ended = False
        self._connecting = asyncio.create_task(self._open(connect), name="redis-line")

    @property
    def idle(self) -> bool:
        return not self._under_way

    def ask(self, asked: Asked, *, newcomer: bool = False) -> None:
        """Of a `newcomer`, which the key is on its way to, with the word that it serves such keys on. Not once the line
        has ended."""
        if not self._due and self._transport:
            self._loop.call_soon(self._write)
        if newcomer:
            self._due.append(_ASKING)
            self._under_way.append(None)
        self._due.append(asked.packed)
        self._under_way.append(asked)
        if self._timer is None or asked.deadline < self._timer.when():
            self._set_timer(asked.deadline)

    def end(self, error: Exception) -> None:
        if self.ended:
            return
        self.ended = True
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.abort()
        if self._connection:
            # Or it would be missed by its __del__. `disconnect` waits for a protocol that is no longer there.
            self._connection._close()  # type: ignore[no-untyped-call]
        left = [asked for asked in self._under_way if asked]
        self._under_way.clear()
        for asked in left:
            asked.fail(error)
        if left:
            self._lost(error, len(left))

    async def aclose(self) -> None:
        self.end(RedisConnectionError("the process ends"))
        self._connecting.cancel()
        await asyncio.wait([self._connecting])

    async def _open(self, connect: Callable[[], Awaitable[Connection]]) -> None:
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
        if self.ended or self._transport is None:
            return
        packed, self._due = self._due, []
        try:
            self._transport.write(b"".join(packed))
        except RuntimeError as error:
            # uvloop's word for a connection that was closed a moment ago.
            self.end(RedisConnectionError(str(error)))

    def data_received(self, data: bytes) -> None:
        refusals: list[tuple[Asked, Exception]] = []
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _INCOMPLETE:
                asked = self._under_way.popleft()
                if asked is None or asked.answer.done():
                    continue
                if isinstance(answer, Exception):
                    refusals.append((asked, answer))
                else:
                    asked.answer.set_result(answer)
        except (hiredis.ProtocolError, IndexError) as error:
            # What it says is no answer to anything.
            self.end(RedisConnectionError(repr(error)))
        if refusals:
            self._refused(refusals)

    def connection_lost(self, error: Exception | None) -> None:
        self.end(error or RedisConnectionError("the server closed the connection"))

    def _set_timer(self, deadline: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        first = min((asked.deadline for asked in self._under_way if asked), default=None)
        if first is not None and first <= self._loop.time():
            self.end(TimeoutError("no answer in time"))
        elif first is not None:
            self._set_timer(first)
