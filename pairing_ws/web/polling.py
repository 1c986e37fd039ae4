"""Polls: of what version a client is asked to have, and the wait for a newer one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import Callback
from pairing_ws.core.timing_wheel import Within
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse

T = TypeVar("T")

MAX_WAIT_SECONDS = 30
# Of a number in a query string.
MAX_DIGITS = 9


def number(caller: RequestContext, name: str, limit: int | None = None) -> int | None:
    """A whole number from the query string; None if it is not there."""
    given = caller.query(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > MAX_DIGITS:
        raise Refused(Code.BAD_REQUEST, f"{name} has to be a whole number")
    if limit is not None and int(given) > limit:
        raise Refused(Code.BAD_REQUEST, f"{name} is at most {limit}")
    return int(given)


def wait_of(caller: RequestContext) -> int | None:
    return number(caller, "wait", MAX_WAIT_SECONDS)


def tagged(caller: RequestContext, answer: Any, etag: str) -> Response:
    """The answer, or 304 if the client has it."""
    known = caller.headers.first(b"if-none-match")
    if known and etag.removeprefix("W/") in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers={"ETag": etag})
    return JsonResponse(answer, 200, (b"etag", etag.encode()))


async def when_changed(
    caller: RequestContext,
    seconds: int,
    watches: Callable[[Callback], Iterable[AbstractAsyncContextManager[None]]],
    look: Callable[[], Awaitable[tuple[T, float | None]]],
) -> T:
    """What `look` sees once that has changed, or as it is when so many seconds are over or the process ends.

    `look` also says after how many seconds to look again though nothing has woken it; None: it has changed. Raises what
    `look` raises, and ClientDisconnect.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    waiting, drain = Waiting(caller.receive), caller.services.drain
    async with AsyncExitStack() as stack:
        try:
            for each in watches(waiting.wake):
                await stack.enter_async_context(each)
        except Unavailable:
            # Deaf, but perhaps not blind: without the bus this is a slow poll.
            return (await look())[0]
        while True:
            seen, again = await look()
            left = end - clock()
            if again is None or left <= 0 or drain.begun:
                return seen
            with drain.waking(waiting.wake):
                await waiting.wait(min(left, again))


class Waiting:
    """A call that waits for news: its own task does, in `receive`, where it hears as well that its client has gone."""

    __slots__ = ("_due", "_receive", "_within")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._due = False
        self._within: Within | None = None

    def wake(self, _: str = "") -> None:
        self._due = True
        if self._within:
            self._within.end()

    async def wait(self, seconds: float) -> None:
        """Until woken, at once if that has happened since the last time, or until so many seconds are over. Raises
        ClientDisconnect."""
        if not self._due:
            self._within = Within(seconds)
            try:
                async with self._within:
                    while (await self._receive())["type"] != "http.disconnect":
                        pass
                    raise ClientDisconnect
            except TimeoutError:
                pass
            finally:
                self._within = None
        self._due = False
