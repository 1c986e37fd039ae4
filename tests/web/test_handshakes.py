"""Handshakes of sockets, plain and odd: each gets an answer."""

import asyncio

import pytest

from tests.support.client import Api
from tests.support.servers import Server
from tests.web.conftest import refusal

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
PATH = b"/api/v1/pairings/kP3y0rJ5Q0uXb8T1n2m4Zw/socket"
PLAIN = b"GET " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + KEY + VERSION


async def answered(server: Server, request: bytes) -> bytes:
    """The head of the answer. Unless it has opened a socket, returns once the connection has ended."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head:
                await reader.read()
            return head
        finally:
            writer.close()


async def status(server: Server, request: bytes) -> int:
    return int((await answered(server, request)).split()[1])


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


@pytest.mark.parametrize("size", [1, 1000])
async def test_frames_right_behind_the_handshake_are_read(server: Server, size: int) -> None:
    """A client that does not wait for the answer, which RFC 6455, section 4.1 forbids, but a proxy may join them."""
    close = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
    sent = PLAIN + b"\r\n" + close
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0)
        head, _, frames = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames == b"\x88\x02\x03\xe8"


@pytest.mark.parametrize(
    "offer",
    [
        b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: WebSocket , h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n",
        b"Connection: keep-alive , UPGRADE\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade \t\r\nUpgrade: websocket \r\n",
    ],
)
@pytest.mark.parametrize("blank", [b"", b" ", b"\t "], ids=["bare", "blank", "blanks"])
async def test_however_a_websocket_is_offered_it_opens(server: Server, offer: bytes, blank: bytes) -> None:
    fields = KEY.replace(b"\r\n", blank + b"\r\n") + VERSION.replace(b"\r\n", blank + b"\r\n")
    assert await status(server, b"GET " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n" + offer + fields) == 101


CLOSE = b"Connection: close\r\n"
ASKED = b"GET " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n" + CLOSE


@pytest.mark.parametrize(
    "request_",
    [
        ASKED,
        ASKED.replace(PATH, b"/api/v1/socket"),
        ASKED.replace(PATH, b"/api/v1/pairings/x/socket"),
        ASKED.replace(b"GET", b"HEAD"),
        ASKED + b"Upgrade: websocket\r\n",
        ASKED + b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        ASKED + b"Origin: http://localhost\r\n",
        # RFC 9110, section 7.8: of HTTP/1.0 no offer counts.
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN + CLOSE + b"Content-Length: 5\r\n\r\nhell",
        PLAIN + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        PLAIN.replace(b"GET", b"HEAD") + CLOSE,
    ],
)
async def test_a_sockets_path_that_is_asked_without_an_upgrade_says_so(server: Server, request_: bytes) -> None:
    head = (await answered(server, request_)).lower()
    assert head.startswith(b"http/1.1 426 ")
    assert b"\r\nupgrade: websocket\r\n" in head
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nx-frame-options: deny\r\n" in head


async def test_the_problem_of_a_path_that_needs_an_upgrade_has_a_code_of_its_own(api: Api) -> None:
    assert refusal(await api.http.get("/socket")) == (426, "upgrade_required")
    assert refusal(await api.http.get("/pairings/kP3y0rJ5Q0uXb8T1n2m4Zw/socket")) == (426, "upgrade_required")
    assert refusal(await api.http.post("/socket")) == (405, "method_not_allowed")


@pytest.mark.security(22)
@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (PLAIN.replace(b"GET", b"POST") + b"Connection: close\r\n", 405),
        (PLAIN.replace(b"Host: localhost\r\n", b""), 400),
        (PLAIN.replace(KEY, b""), 400),
        (PLAIN + KEY, 400),
        (PLAIN.replace(KEY, b"Sec-WebSocket-Key: short\r\n"), 400),
        (PLAIN.replace(VERSION, b"Sec-WebSocket-Version: 8\r\n"), 426),
        (PLAIN.replace(VERSION, b""), 426),
        (PLAIN + b"Sec-WebSocket-Protocol: a b\r\n", 400),
        (PLAIN + b"Sec-WebSocket-Protocol: \"a\"\r\n", 400),
        (PLAIN + b"Sec-WebSocket-Protocol: " + b"a," * 1000 + b"a\r\n", 400),
        (PLAIN + b"".join(b"X-%d: x\r\n" % each for each in range(300)), 400),
        (PLAIN.replace(PATH, PATH + b"\xff"), 400),
        (PLAIN.replace(PATH, PATH + b"%ff%00"), 404),
    ],
    ids=[
        "POST", "no host", "no key", "two keys", "short key", "old version", "no version", "subprotocol",
        "quoted subprotocol", "many subprotocols", "many headers", "raw path", "odd path",
    ],
)  # fmt: skip
async def test_an_odd_handshake_is_refused_and_the_connection_ends(
    server: Server, request_: bytes, wanted: int
) -> None:
    head = (await answered(server, request_)).lower()
    assert head.startswith(b"http/1.1 %d " % wanted)
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nx-frame-options: deny\r\n" in head
    assert (b"\r\nsec-websocket-version: 13\r\n" in head) == (wanted == 426)
    # And whoever comes next is served.
    assert await status(server, PLAIN) == 101
