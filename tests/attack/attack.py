"""What the attacks share: the list of them, and how they read an answer and the end of a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx2
import websockets
from websockets.exceptions import ConnectionClosed

from tests.attack.target import Target

Attack = Callable[[Target], Awaitable[None]]
ATTACKS: list[tuple[int, Attack]] = []


def against(line: int) -> Callable[[Attack], Attack]:
    """The line of SECURITY.md's table that it would break."""

    def add(attack: Attack) -> Attack:
        ATTACKS.append((line, attack))
        return attack

    return add


def problem(answer: httpx2.Response) -> tuple[int, str]:
    with suppress(ValueError, AttributeError):
        return answer.status_code, str(answer.json().get("code"))
    return answer.status_code, ""


async def close_code(connection: websockets.ClientConnection, within: float = 15) -> int | None:
    try:
        async with asyncio.timeout(within):
            while True:
                await connection.recv()
    except ConnectionClosed:
        return connection.close_code
