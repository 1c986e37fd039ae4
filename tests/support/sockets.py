"""WebSockets whose first words, codes and refusals a test looks at."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.embedded import Embedded
from tests.support.servers import Server

PROTOCOL = websockets.Subprotocol("pairing.v1")
CAP = 10.0


@asynccontextmanager
async def raw(
    server: Server | Embedded, path: str, *first: str | bytes, **options: Any
) -> AsyncIterator[websockets.ClientConnection]:
    """A socket on `path`, after sending `first` as it is."""
    options = {"subprotocols": [PROTOCOL]} | options
    async with websockets.connect(f"{server.ws_url}/api/v1{path}", **options) as connection:
        for message in first:
            await connection.send(message)
        yield connection


async def close_code(connection: websockets.ClientConnection, cap: float = CAP) -> int | None:
    """The code the server closes with; whatever it says before is dropped."""
    try:
        async with asyncio.timeout(cap):
            while True:
                await connection.recv()
    except ConnectionClosed:
        return connection.close_code


async def refused(server: Server | Embedded, path: str, **options: Any) -> tuple[int, dict[str, Any], Any]:
    with pytest.raises(InvalidStatus) as failed:
        async with raw(server, path, **options):
            pass
    response = failed.value.response
    return response.status_code, json.loads(response.body), response.headers


def auth(**credential: str) -> str:
    return json.dumps({"type": "auth", **credential})
