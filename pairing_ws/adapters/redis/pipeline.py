"""The one connection to a server that all commands of this process share: order, deadlines, and what a loss costs."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from pairing_ws.adapters.redis.connection import Command, Connect, RespConnection
from pairing_ws.adapters.redis.errors import ConnectionLost

# From asking to the answer, connecting included.
COMMAND_TIMEOUT = 4.0
_ASKING = hiredis.pack_command(("ASKING",))


class PendingCommand:
    """A command, packed, and the answer to come before `deadline` on the event loop's clock.

    `fallback` is sent if the server does not know the script. `redirected` says that another server has refused it.
    `sent_at` is when it came to its present connection.
    """

    __slots__ = ("answer", "deadline", "fallback", "key", "packed", "redirected", "sent_at")

    def __init__(self, key: str, command: Command, fallback: Command = ()) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.packed = hiredis.pack_command(command)
        self.fallback = fallback
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.sent_at = loop.time()
        self.deadline = self.sent_at + COMMAND_TIMEOUT
        self.redirected = False

    def fail(self, error: Exception) -> None:
        # It is done if its caller was cancelled.
        if not self.answer.done():
            self.answer.set_exception(error)


class PipelinedConnection(RespConnection):
    """For commands of all callers. They are answered in their order; a caller that is cancelled does no harm.

    Once the server has let a command's deadline pass, the connection ends. All commands under way then fail, and
    `on_lost` is called with the reason. What the server answers with an error goes to `on_refused` instead of the
    caller.
    """

    def __init__(
        self,
        connect: Connect,
        on_refused: Callable[[Sequence[tuple[PendingCommand, Exception]]], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        super().__init__(connect)
        self._on_refused = on_refused
        self._on_lost = on_lost
        self._refusals: list[tuple[PendingCommand, Exception]] = []
        # The oldest first; None stands for an answer that nobody wants.
        self._under_way: deque[PendingCommand | None] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not self._under_way

    def execute(self, command: PendingCommand, *, asking: bool = False) -> None:
        """Send it. `asking` is for a server that the key is on its way to: it serves such a key only after ASKING. Not
        to be called on a closed connection."""
        command.sent_at = self._loop.time()
        if command.deadline <= command.sent_at:
            command.fail(_late())
            return
        if asking:
            self._under_way.append(None)
            self.write(_ASKING)
        self._under_way.append(command)
        self.write(command.packed)
        if self.closed:
            # Either write may have found the connection dead.
            command.fail(ConnectionLost("the connection was closed a moment ago"))
            return
        if self._timer is None or command.deadline < self._timer.when():
            self._set_timer(command.deadline)

    def on_reply(self, reply: Any) -> None:
        command = self._under_way.popleft()
        if command is None or command.answer.done():
            return
        if isinstance(reply, Exception):
            self._refusals.append((command, reply))
        else:
            command.answer.set_result(reply)

    def on_batch_end(self) -> None:
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            self._on_refused(refusals)

    def on_closed(self, error: Exception) -> None:
        if self._timer:
            self._timer.cancel()
        unanswered = [command for command in self._under_way if command]
        self._under_way.clear()
        for command in unanswered:
            command.fail(error)
        if unanswered:
            self._on_lost(error)

    def _set_timer(self, deadline: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        waiting = [command for command in self._under_way if command and not command.answer.done()]
        for command in waiting:
            if command.deadline <= now and now - command.sent_at >= COMMAND_TIMEOUT / 2:
                self.close(_late())
                return
            if command.deadline <= now:
                # Another server has taken its time. This one is not to blame, nor are the other callers.
                command.fail(_late())
        first = min((command.deadline for command in waiting if not command.answer.done()), default=None)
        if first is not None:
            self._set_timer(first)


def _late() -> Exception:
    return TimeoutError("no answer in time")
