"""Handshakes of sockets, plain and odd: each gets an answer."""

import asyncio

import pytest

from tests.servers import Server

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
PATH = b"/api/v1/pairings/kP3y0rJ5Q0uXb8T1n2m4Zw/socket"
PLAIN = b"GET " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + KEY + VERSION


async def status(server: Server, request: bytes) -> int:
    """Of the answer. Unless it has opened a socket, returns once the connection has ended."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request + b"\r\n")
            answer = await reader.readline()
            found = int(answer.split()[1])
            if found != 101:
                await reader.read()
            return found
        finally:
            writer.close()


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Sec-WebSocket-Protocol:   pairing.v1  \r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        b"X-Latin: \xe9\r\n",
        b"Content-Length: 0\r\n",
        b"".join(b"X-%d: x\r\n" % each for each in range(200)),
        b"X-Long: " + b"x" * 20_000 + b"\r\n",
    ],
    ids=["nothing more", "spaces", "deflate", "latin", "no body", "many", "long"],
)
async def test_a_handshake_opens_a_socket(server: Server, fields: bytes) -> None:
    assert await status(server, PLAIN + fields) == 101


@pytest.mark.security(22)
@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (PLAIN.replace(b"GET", b"POST"), 400),
        (PLAIN.replace(b"GET", b"HEAD"), 400),
        (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (PLAIN + b"Transfer-Encoding: chunked\r\n", 400),
        (PLAIN + b"Content-Length: 5\r\n", 400),
        (PLAIN.replace(KEY, b""), 400),
        (PLAIN + KEY, 400),
        (PLAIN.replace(KEY, b"Sec-WebSocket-Key: short\r\n"), 400),
        (PLAIN.replace(VERSION, b"Sec-WebSocket-Version: 8\r\n"), 400),
        (PLAIN.replace(VERSION, b""), 400),
        (PLAIN.replace(PATH, PATH + b"\xff"), 400),
        (PLAIN.replace(PATH, PATH + b"%ff%00"), 404),
    ],
    ids=[
        "POST", "HEAD", "HTTP/1.0", "chunked", "body", "no key", "two keys", "short key", "old version", "no version",
        "raw path", "odd path",
    ],
)  # fmt: skip
async def test_an_odd_handshake_is_refused_and_the_connection_ends(
    server: Server, request_: bytes, wanted: int
) -> None:
    assert await status(server, request_) == wanted
    # And whoever comes next is served.
    assert await status(server, PLAIN) == 101
