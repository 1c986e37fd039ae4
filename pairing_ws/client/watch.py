"""Watches one pairing until its end: by a socket that comes back, and by long polls while there is none. Each version
is told once, and none after a newer one."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException
from websockets.typing import Subprotocol

from pairing_ws.client.pauses import backoff, spread
from pairing_ws.client.problems import Problem
from pairing_ws.client.records import NewPairing, Pairing

SUBPROTOCOL = Subprotocol("pairing.v1")
# Of the handshake, and then until the first message: a proxy may swallow either.
HANDSHAKE_SECONDS = 6.0
# After these the client does not come back.
TERMINAL = {4400: "bad_request", 4401: "unauthenticated", 4404: "not_found", 4409: "taken_over"}
# All clients were closed at once, and do not return at once.
SPREAD = (1001, 1012)

Read = Callable[[NewPairing, int | None], Awaitable[Pairing]]


async def watch(url: str, pairing: NewPairing, read: Read) -> AsyncGenerator[Pairing, None]:
    """See `Client.watch`."""
    states: asyncio.Queue[Pairing | Exception] = asyncio.Queue()
    no_socket = asyncio.Event()
    no_socket.set()
    tasks = [
        asyncio.create_task(_reporting(states, _listen(url, pairing, states, no_socket))),
        asyncio.create_task(_reporting(states, _poll(pairing, read, states, no_socket))),
    ]
    told = 0
    try:
        while True:
            state = await states.get()
            if isinstance(state, Exception):
                raise state
            if state.version <= told:
                continue
            told = state.version
            yield state
            if state.is_final:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reporting(states: "asyncio.Queue[Pairing | Exception]", waiting: Awaitable[None]) -> None:
    try:
        await waiting
    except Exception as error:
        states.put_nowait(error)


async def _listen(
    url: str, pairing: NewPairing, states: "asyncio.Queue[Pairing | Exception]", no_socket: asyncio.Event
) -> None:
    address = f"ws{url.removeprefix('http')}/api/v1/pairings/{pairing.id}/socket"
    failures = 0
    while True:
        pause = 0.0
        try:
            async with connect(address, subprotocols=[SUBPROTOCOL], open_timeout=HANDSHAKE_SECONDS) as socket:
                await socket.send(json.dumps({"type": "auth", "secret": pairing.secret}))
                async for message in _messages(socket):
                    if message.get("type") == "pairing":
                        failures = 0
                        # What it says is newer than what a poll would.
                        no_socket.clear()
                        states.put_nowait(Pairing.read(message["pairing"]))
                    elif message.get("type") == "retry":
                        pause = float(message["retryAfter"])
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            if code in TERMINAL:
                raise Problem(TERMINAL[code]) from closed
            if code in SPREAD:
                pause += spread(3)
        except InvalidURI as error:
            raise Problem("unreachable", detail=f"{url} is no address of a server") from error
        except (OSError, TimeoutError, WebSocketException):
            # Sockets may be blocked here: polling goes on meanwhile.
            pass
        no_socket.set()
        await asyncio.sleep(pause + backoff(failures))
        failures += 1


async def _messages(socket: ClientConnection) -> AsyncIterator[Any]:
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        first = await socket.recv()
    yield json.loads(first)
    while True:
        yield json.loads(await socket.recv())


async def _poll(
    pairing: NewPairing, read: Read, states: "asyncio.Queue[Pairing | Exception]", no_socket: asyncio.Event
) -> None:
    known: int | None = None
    failures = 0
    while True:
        await no_socket.wait()
        try:
            state = await read(pairing, known)
        except Problem as problem:
            if not problem.passes:
                raise
            await asyncio.sleep(backoff(failures, problem.retry_after))
            failures += 1
            continue
        failures = 0
        states.put_nowait(state)
        if known == state.version:
            # It was cut short, or its half minute was over.
            await asyncio.sleep(min(state.poll_interval, 3))
        known = state.version
