"""Polls: of what version a client is asked to have, and the wait for a newer one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import Callback
from pairing_ws.web.http import Caller, JsonResponse, Waiting

T = TypeVar("T")

MAX_WAIT_SECONDS = 30
# Of a number in a query string.
MAX_DIGITS = 9


def number(caller: Caller, name: str, limit: int | None = None) -> int | None:
    """A whole number from the query string; None if it is not there."""
    given = caller.query(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > MAX_DIGITS:
        raise Refused(Code.BAD_REQUEST, f"{name} has to be a whole number")
    if limit is not None and int(given) > limit:
        raise Refused(Code.BAD_REQUEST, f"{name} is at most {limit}")
    return int(given)


def wait_of(caller: Caller) -> int | None:
    return number(caller, "wait", MAX_WAIT_SECONDS)


def tagged(caller: Caller, answer: Any, etag: str) -> Response:
    """The answer, or 304 if the client has it."""
    known = caller.fields.first(b"if-none-match")
    if known and etag.removeprefix("W/") in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers={"ETag": etag})
    return JsonResponse(answer, 200, (b"etag", etag.encode()))


async def when_changed(
    caller: Caller,
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
