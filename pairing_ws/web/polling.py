"""Polls: of what version a client is asked to have, and the wait for a newer one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import Callback
from pairing_ws.core.timing_wheel import Timeout
from pairing_ws.pairing.notifications import decode_notification
from pairing_ws.pairing.watcher import READ_AGAIN, ArmTimer, Close, MessageT, Read, Send, StateT, Watcher
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse

MAX_WAIT_SECONDS = 30
# Of a number in a query string.
MAX_DIGITS = 9


def number(request: RequestContext, name: str, limit: int | None = None) -> int | None:
    """A whole number from the query string; None if it is not there."""
    given = request.query(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > MAX_DIGITS:
        raise Refused(Code.BAD_REQUEST, f"{name} has to be a whole number")
    if limit is not None and int(given) > limit:
        raise Refused(Code.BAD_REQUEST, f"{name} is at most {limit}")
    return int(given)


def wait_of(request: RequestContext) -> int | None:
    return number(request, "wait", MAX_WAIT_SECONDS)


def tagged(request: RequestContext, answer: Any, etag: str) -> Response:
    """The answer, or 304 if the client has it."""
    known = request.headers.first(b"if-none-match")
    if known and etag.removeprefix("W/") in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers={"ETag": etag})
    return JsonResponse(answer, 200, (b"etag", etag.encode()))


async def when_changed(
    request: RequestContext,
    seconds: int,
    watcher: Watcher[StateT, MessageT],
    subscriptions: Callable[[Callback], Iterable[AbstractAsyncContextManager[None]]],
    read: Callable[[Read], Awaitable[StateT]],
) -> StateT:
    """The state that `watcher` has something to say about, or the newest when so many seconds are over or the process
    ends: the shell of a long poll. Raises what `read` raises, and ClientDisconnect."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    waiting, drain = Waiting(request.receive), request.services.drain

    def on_notification(message: str) -> None:
        # Gives no command while one is carried out: the watcher looks again when that is done.
        watcher.notified(decode_notification(message), clock())
        waiting.wake()

    async with AsyncExitStack() as stack:
        try:
            for each in subscriptions(on_notification):
                await stack.enter_async_context(each)
        except Unavailable:
            # Without the bus this is a slow poll: perhaps the store can still be read.
            return await read(Read())
        commands = watcher.start(clock())
        while True:
            # Of a poll's watcher each batch is one Read.
            (command,) = commands
            assert isinstance(command, Read)
            state = await read(command)
            pause = None
            for each_command in watcher.loaded(state):
                if isinstance(each_command, Send | Close):
                    return state
                if isinstance(each_command, ArmTimer):
                    pause = each_command.seconds
            left = end - clock()
            if left <= 0 or drain.begun:
                return state
            with drain.waking(waiting.wake):
                await waiting.wait(left if pause is None else min(left, pause))
            commands = watcher.done(clock()) or watcher.notified(READ_AGAIN, clock())


class Waiting:
    """A call that waits for a notification, in its own task: that waits in `receive`, where it learns as well that its
    client has disconnected."""

    __slots__ = ("_due", "_receive", "_within")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._due = False
        self._within: Timeout | None = None

    def wake(self, _: str = "") -> None:
        self._due = True
        if self._within:
            self._within.end()

    async def wait(self, seconds: float) -> None:
        """Until woken, at once if that has happened since the last time, or until so many seconds are over. Raises
        ClientDisconnect."""
        if not self._due:
            self._within = Timeout(seconds)
            try:
                with self._within:
                    while (await self._receive())["type"] != "http.disconnect":
                        pass
                    raise ClientDisconnect
            except TimeoutError:
                pass
            finally:
                self._within = None
        self._due = False
