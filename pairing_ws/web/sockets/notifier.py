"""The shell that carries a watcher's commands out on one socket."""

import asyncio
from typing import Generic

import msgspec
import structlog

from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.timing_wheel import Timeout, Timer, timers
from pairing_ws.pairing.notifications import decode_notification
from pairing_ws.pairing.watcher import (
    READ_AGAIN,
    Announce,
    ArmTimer,
    Close,
    Commands,
    End,
    MessageT,
    Read,
    Send,
    StateT,
    Watcher,
)
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.problems import SHAPES
from pairing_ws.web.sockets.connection import Connection, Disconnected
from pairing_ws.web.wire.base import Json

log = structlog.get_logger()

# A client that does not read for this long is cut off; nobody else waits for it meanwhile.
SEND_SECONDS = 10.0
CLOSES = {
    End.FINAL: CloseCode.DONE,
    End.TAKEN_OVER: CloseCode.TAKEN_OVER,
    End.STORE_WENT_BACK: CloseCode.RESTART,
    End.SESSION_ENDED: CloseCode.UNAUTHENTICATED,
}


class Closing(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Notifier(Generic[StateT, MessageT]):
    """One socket's watcher, task and timer. An idle one has no task of its own.

    A subclass says how to `read` and `send`, and how to `announce`.
    """

    __slots__ = ("_closing", "_task", "_timer", "connection", "watcher")

    def __init__(self, connection: Connection, watcher: Watcher[StateT, MessageT]) -> None:
        self.connection = connection
        self.watcher = watcher
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    async def read(self, command: Read) -> StateT:
        """Raises Refused."""
        raise NotImplementedError

    async def send(self, message: MessageT) -> None:
        """Raises Closing and Disconnected."""
        raise NotImplementedError

    async def announce(self, mark: str) -> None:
        raise NotImplementedError

    def on_notification(self, message: str) -> None:
        """For a channel whose messages `decode_notification` reads."""
        self.carry_out(self.watcher.notified(decode_notification(message), loop_time()))

    def wake(self, _: str = "") -> None:
        """For the timer, and for a channel whose messages only say that something has changed."""
        self.carry_out(self.watcher.notified(READ_AGAIN, loop_time()))

    def carry_out(self, commands: Commands[MessageT]) -> None:
        """Begin with what `notified` or `start` has given."""
        if commands and isinstance(commands[0], Close):
            self.close(CLOSES[End(commands[0].cause)], commands[0].reason)
        elif commands:
            self._task = asyncio.create_task(self.work(commands))

    def close(self, code: CloseCode, reason: str) -> None:
        self.watcher.stop()
        if self._closing is None:
            self._closing = asyncio.create_task(self.connection.close(code, reason))

    def stop(self) -> None:
        """The socket is gone: nothing more is to be sent."""
        self.watcher.stop()
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    async def work(self, commands: Commands[MessageT]) -> None:
        """Carry these out, and those that come of them. Never raises: it closes the socket instead."""
        try:
            while commands:
                commands = await self._results(commands)
        except Closing as closing:
            self.close(closing.code, closing.reason)
        except Disconnected:
            self.close(CloseCode.INTERNAL_ERROR, "gone")
        except Exception:
            log.exception("socket.failed")
            self.close(CloseCode.INTERNAL_ERROR, Code.INTERNAL.value)
        finally:
            self._task = None

    async def _results(self, commands: Commands[MessageT]) -> Commands[MessageT]:
        for command in commands:
            if isinstance(command, Send):
                await self.send(command.message)
            elif isinstance(command, ArmTimer):
                if self._timer:
                    self._timer.cancel()
                self._timer = timers().call_later(command.seconds, self.wake)
            elif isinstance(command, Read):
                try:
                    state = await self.read(command)
                except Refused as refused:
                    return self.watcher.failed(refused)
                return self.watcher.loaded(state) or self.watcher.done(loop_time())
            elif isinstance(command, Announce):
                await self.announce(command.mark)
            else:
                code = CLOSES[command.cause] if isinstance(command.cause, End) else SHAPES[command.cause].close
                self.close(code, command.reason)
        return self.watcher.done(loop_time())


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def send(connection: Connection, message: Json) -> None:
    """Raises Closing if the client does not read."""
    try:
        with Timeout(SEND_SECONDS):
            await connection.send(msgspec.json.encode(message).decode())
    except TimeoutError:
        raise Closing(CloseCode.INTERNAL_ERROR, "not reading") from None
