"""How long the server waits for a client that does not go on, with its own times: the only tests that wait for them."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, device_headers
from tests.support.raw import raw, upgrade
from tests.support.servers import Server, eventually

PING = 0x89


@pytest.mark.security(27, 32, 34)
async def test_clients_that_stop_reading_or_talking_are_gone_within_a_minute_and_slow_requests_within_15_seconds(
    server: Server, api: Api
) -> None:
    device = await api.new_pairing()
    slow = raw(server, "POST", "/pairings", device_headers() | {"Content-Length": "100"})
    # Whatever begins no request, and the rest of one that has its answer, is no reason to keep a connection.
    ended = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    refused = raw(server, "POST", "/no-such-call", {"Content-Length": "100"})
    seen: list[Any] = await asyncio.gather(
        half_open(server, upgrade(server, device.id, device.headers)),
        pipeline(server, 100),
        dribble(server, ended, more=b"\r\n"),
        dribble(server, refused),
        dribble(server, slow),
        dribble(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
        dribble(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /healthz HTTP/1.1\r\nX-Slow: "),
        dribble(server, b"", more=b""),
    )
    (pinged, gone), unread, (nothing, nothing_cut), (rest, rest_cut), *slow_ones = seen
    for answer, cut in slow_ones:
        assert cut < 15
        assert b"HTTP/1.1 408 " in answer
        assert b'"code":"request_timeout"' in answer
    assert nothing.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 404 ")
    assert max(nothing_cut, rest_cut) < 15
    assert pinged < 25
    assert gone < 60
    assert unread < 60
    metrics = (await api.http.get(f"{server.url}/metrics")).text
    assert "pairing_sockets_open 0.0" in metrics


async def half_open(server: Server, handshake: bytes) -> tuple[float, float]:
    """Seconds until the first ping, and until the end, of a client that reads and never says a word again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    clock = asyncio.get_running_loop().time
    began, pinged = clock(), 0.0
    writer.write(handshake)
    async with asyncio.timeout(70):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while frame := await reader.read(4096):
                if frame[0] == PING and not pinged:
                    pinged = clock() - began
    writer.transport.abort()
    assert pinged
    return pinged, clock() - began


async def pipeline(server: Server, count: int) -> float:
    """Seconds until the server has let go of so many clients that ask for a file 300 times each and read nothing."""
    folder, clock = Path(f"/proc/{server.process.popen.pid}/fd"), asyncio.get_running_loop().time
    began = clock()
    call = b"GET /static/client/vendor/qr/decode.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    clients = [socket.socket() for _ in range(count)]
    try:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(call * 300)
        await eventually(lambda: len(list(folder.iterdir())) > count, "their connections")
        await eventually(lambda: len(list(folder.iterdir())) < count, "the end of their connections", 100)
        return clock() - began
    finally:
        for client in clients:
            client.close()


async def dribble(server: Server, start: bytes, more: bytes = b" ") -> tuple[bytes, float]:
    """What is answered to a request that comes byte by byte, and after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    clock, answer = asyncio.get_running_loop().time, b""
    began = clock()
    writer.write(start)

    async def go_on() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0.5)

    going = asyncio.create_task(go_on())
    async with asyncio.timeout(30):
        with suppress(ConnectionError):
            while read := await reader.read(4096):
                answer += read
    took = clock() - began
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    writer.transport.abort()
    return answer, took
