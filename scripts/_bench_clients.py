"""The load generator of `scripts/bench`: HTTP/1.1, WebSocket and Redis clients on raw asyncio protocols.

What may live here: what it takes to ask, to wait and to note the time. They know no more of each protocol than the
servers under test use, because a full client library would take longer than what it measures.
"""

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import hiredis

HOST = "127.0.0.1"
clock = time.perf_counter

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A whole request, ready to be sent again and again. `auth_key="…"` becomes the header `Auth-Key`."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *(f"{_header(name)}: {headers[name]}" for name in headers)]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _header(name: str) -> str:
    return name.replace("_", "-").title()


class Http(asyncio.Protocol):
    """One keep-alive connection, one request at a time; the answers have a Content-Length."""

    def __init__(self) -> None:
        self.open = True
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def ask(self, wanted: bytes) -> "asyncio.Future[bytes]":
        """Send a request now; the future is the body of its answer, or ConnectionError unless it succeeds."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(wanted)
        return self._answer

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head + 2) if head >= 0 else None
        # A 204 has no body, hence no length.
        empty = head >= 0 and data.startswith(b"HTTP/1.1 204")
        if not empty and (length is None or len(data) < head + 4 + int(length[1])):
            return
        self._buffer = b""
        if self._answer is None or self._answer.done():
            return
        if data[9:10] == b"2":
            self._answer.set_result(data[head + 4 :])
        else:
            self._answer.set_exception(ConnectionError(data.decode(errors="replace")))

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))


class Pool:
    """Some connections to one server, shared by many askers. Opened, and kept open, by `renew`."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._size = size
        self.connections: list[Http] = []
        self._idle: asyncio.Queue[Http] = asyncio.Queue()

    async def renew(self) -> None:
        """Replace what the server closed because it was idle for seconds. Only while nobody asks."""
        kept = [each for each in self.connections if each.open]
        connect = asyncio.get_running_loop().create_connection
        new = [(await connect(Http, HOST, self._port))[1] for _ in range(self._size - len(kept))]
        self.connections = kept + new
        self._idle = asyncio.Queue()
        for each in self.connections:
            self._idle.put_nowait(each)

    async def ask(self, wanted: bytes) -> bytes:
        connection = await self._idle.get()
        try:
            return await connection.ask(wanted)
        finally:
            self._idle.put_nowait(connection)

    async def ask_all(self, wanted: Iterable[bytes]) -> list[Any]:
        """The JSON answers to many requests, as fast as the connections allow."""
        await self.renew()
        return [json.loads(body) for body in await asyncio.gather(*(self.ask(each) for each in wanted))]


class Socket(asyncio.Protocol):
    """One WebSocket: sends `first` after the upgrade, answers pings, and notes when an awaited text arrives."""

    def __init__(self, path: str, first: str | None) -> None:
        self.open = True
        self._path = path
        self._first = first
        self._upgraded = False
        self._buffer = b""
        self._awaited = b""
        self._arrived: asyncio.Future[float] | None = None

    def arrival(self, text: bytes) -> "asyncio.Future[float]":
        """When the next message that holds `text` arrives; the empty text stands for the upgrade."""
        self._awaited, self._arrived = text, asyncio.get_running_loop().create_future()
        return self._arrived

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
        transport.write(
            request("GET", self._path, **upgrade, sec_websocket_key=key, sec_websocket_protocol="pairing.v1")
        )

    def data_received(self, data: bytes) -> None:
        now = clock()
        self._buffer += data
        if not self._upgraded:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._end(head.decode())
                return
            self._upgraded = True
            if self._first is not None:
                self._send(_TEXT, self._first.encode())
            if not self._awaited:
                self._arrive(now)
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                self._end(f"closed by the server: {int.from_bytes(payload[:2])}")
            elif self._awaited and self._awaited in payload:
                self._arrive(now)

    def connection_lost(self, _: Exception | None) -> None:
        self._end("the server closed the connection")

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame of the buffer (RFC 6455, section 5.2), which a server neither masks nor splits."""
        data = self._buffer
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        if size == 126:
            start, size = 4, int.from_bytes(data[2:4])
        if len(data) < start + size:
            return None
        self._buffer = data[start + size :]
        return data[0] & 0x0F, data[start : start + size]

    def _send(self, opcode: int, payload: bytes) -> None:
        assert len(payload) < 126, "longer frames need an extended length"
        # A mask of zeros is a mask, and leaves the payload as it is.
        self.transport.write(bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _arrive(self, now: float) -> None:
        if self._arrived and not self._arrived.done():
            self._arrived.set_result(now)

    def _end(self, reason: str) -> None:
        self.open = False
        self.transport.close()
        if self._arrived and not self._arrived.done():
            self._arrived.set_exception(ConnectionError(reason))


async def open_socket(port: int, path: str, first: str | None = None, awaited: bytes = b"") -> Socket:
    """A WebSocket that has been upgraded and, with `awaited`, been sent a message that holds it."""
    socket = Socket(path, first)
    ready = socket.arrival(awaited)
    await asyncio.get_running_loop().create_connection(lambda: socket, HOST, port)
    await ready
    return socket


class RedisPair:
    """A publisher and a subscriber of one channel, each on a connection of its own."""

    def __init__(self, publisher: asyncio.WriteTransport, padding: str) -> None:
        self._publisher = publisher
        self._padding = padding
        self._arrivals: dict[int, asyncio.Future[float]] = {}
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, port: int, padding: str) -> "RedisPair":
        """Messages are a number and the padding, which makes them as long as what they are compared with."""
        connect = asyncio.get_running_loop().create_connection
        publisher, _ = await connect(asyncio.Protocol, HOST, port)
        pair = cls(publisher, padding)
        subscriber, _ = await connect(lambda: _Redis(pair._heard), HOST, port)
        subscriber.write(_command("SUBSCRIBE", "bench"))
        await pair._subscribed
        return pair

    def publish(self, number: int) -> "asyncio.Future[float]":
        """Publish now; the future is the time of arrival."""
        self._arrivals[number] = asyncio.get_running_loop().create_future()
        self._publisher.write(_command("PUBLISH", "bench", f"{number} {self._padding}"))
        return self._arrivals[number]

    def _heard(self, reply: list[bytes], now: float) -> None:
        kind, _, content = reply
        if kind == b"message":
            self._arrivals.pop(int(content.split(b" ")[0])).set_result(now)
        else:
            self._subscribed.set_result(None)


def _command(*words: str) -> bytes:
    return hiredis.pack_command(words)


class _Redis(asyncio.Protocol):
    """Tells what is heard, and when."""

    def __init__(self, heard: Callable[[list[bytes], float], None]) -> None:
        self._heard = heard
        self._reader = hiredis.Reader()

    def data_received(self, data: bytes) -> None:
        now = clock()
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._heard(reply, now)
