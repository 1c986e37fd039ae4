"""The callers of `scripts/bench` and `scripts/capacity`: HTTP/1.1 and WebSocket clients on raw asyncio protocols.

What may live here: what it takes to ask, to wait and to note the time. They know no more of each protocol than the
servers under test use, because a full client library would take longer than what it measures.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import cycle, repeat
from typing import Any, TypeVar
from urllib.parse import urlencode

HOST = "127.0.0.1"
# Linux has one such clock for all processes: what one sends can be compared with what another one hears.
clock = time.perf_counter
T = TypeVar("T")

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
# As browsers ask for it.
_DEFLATE = {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"}


def form(path: str, **fields: str) -> bytes:
    """A whole POST of a form, as clients of OAuth send it."""
    content = urlencode(fields).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A whole request, ready to be sent again and again. `auth_key="…"` becomes the header `Auth-Key`."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *(f"{_header(name)}: {headers[name]}" for name in headers)]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def upgrade(path: str, *, deflate: bool = False) -> bytes:
    """A handshake. Nobody looks at the key: these clients know whom they talk to."""
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec_websocket_protocol": "pairing.v1",
    }
    return request("GET", path, **headers, **(_DEFLATE if deflate else {}))


def _header(name: str) -> str:
    return name.replace("_", "-").title()


class _Answered(asyncio.Protocol):
    """One keep-alive connection, one request at a time; the answers have a Content-Length."""

    # The first digit of the status that is no failure.
    expected = b"2"

    def __init__(self) -> None:
        self.open = True
        self.bytes = 0
        self._buffer = b""

    def answered(self, answer: bytes, start: int) -> None:
        """A whole answer has come; its body starts there."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        raise NotImplementedError

    def send(self, wanted: bytes) -> None:
        self.bytes += len(wanted)
        self.transport.write(wanted)

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        self._buffer = data = self._buffer + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head + 2) if head >= 0 else None
        # A 204 has no body, hence no length.
        empty = head >= 0 and data.startswith(b"HTTP/1.1 204")
        if not empty and (length is None or len(data) < head + 4 + int(length[1])):
            return
        self._buffer = b""
        if data[9:10] == self.expected:
            self.answered(data, head + 4)
        else:
            self.fail(ConnectionError(data.decode(errors="replace")))

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self.fail(ConnectionError("the server closed the connection"))


class Http(_Answered):
    """A connection whose caller wants the answer."""

    _answer: asyncio.Future[bytes] | None = None

    def ask(self, wanted: bytes) -> "asyncio.Future[bytes]":
        """Send a request now; the future is the body of its answer, or ConnectionError unless it succeeds."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send(wanted)
        return self._answer

    def answered(self, answer: bytes, start: int) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(answer[start:])

    def fail(self, error: Exception) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)


class Hammer(_Answered):
    """A connection that counts the answers until `end`: it asks again as soon as it is answered."""

    def __init__(self, wanted: Iterator[bytes]) -> None:
        super().__init__()
        self.count = 0
        self._wanted = wanted
        self._end = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, end: float) -> None:
        self._end = end
        self.send(next(self._wanted))

    def answered(self, answer: bytes, start: int) -> None:
        self.count += 1
        if clock() < self._end:
            self.send(next(self._wanted))
        elif not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def hammer(port: int, wanted: Sequence[bytes], clients: int, seconds: float) -> tuple[int, float]:
    """How many answers so many clients got, and in which time."""
    each = zip(cycle(wanted), range(clients), strict=False)
    return await strike(port, [Hammer(repeat(one)) for one, _ in each], seconds)


async def strike(port: int, hammers: Sequence[Hammer], seconds: float) -> tuple[int, float]:
    """The same with these, each on a connection of its own."""
    connect = asyncio.get_running_loop().create_connection
    for each in hammers:
        await connect(lambda hammer=each: hammer, HOST, port)  # type: ignore[misc]
    started = clock()
    for each in hammers:
        each.start(started + seconds)
    await asyncio.gather(*(each.done for each in hammers))
    lasted = clock() - started
    for each in hammers:
        each.transport.abort()
    return sum(each.count for each in hammers), lasted


class Pool:
    """Some connections to one server, shared by many askers. Opened, and kept open, by `renew`."""

    def __init__(self, port: int, size: int) -> None:
        self.port = port
        self.size = size
        self._connections: list[Http] = []
        self._idle: asyncio.Queue[Http] = asyncio.Queue()

    async def renew(self) -> None:
        """Replace what the server closed because it was idle for long. Only while nobody asks."""
        kept = [each for each in self._connections if each.open]
        connect = asyncio.get_running_loop().create_connection
        new = [(await connect(Http, HOST, self.port))[1] for _ in range(self.size - len(kept))]
        self._connections = kept + new
        self._idle = asyncio.Queue()
        for each in self._connections:
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
        answers: list[Any] = []
        rest = iter(enumerate(wanted))

        async def go_through() -> None:
            for number, each in rest:
                answers.append((number, json.loads(await self.ask(each))))

        await asyncio.gather(*(go_through() for _ in range(self.size)))
        return [answer for _, answer in sorted(answers, key=lambda each: int(each[0]))]

    @property
    def bytes(self) -> int:
        """Sent and received so far."""
        return sum(each.bytes for each in self._connections)

    def close(self) -> None:
        for each in self._connections:
            each.transport.abort()


async def paced(rate: float, acts: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """What the acts return; each starts at its time, whether or not the last one has ended."""
    started, running = clock(), []
    for place, act in enumerate(acts):
        await asyncio.sleep(max(0.0, started + place / rate - clock()))
        running.append(asyncio.ensure_future(act()))
    return await asyncio.gather(*running)


class Socket(asyncio.Protocol):
    """One WebSocket: sends `first` after the upgrade, answers pings, and notes when an awaited text arrives."""

    __slots__ = ("_arrived", "_awaited", "_buffer", "_first", "_hello", "bytes", "open", "transport")

    def __init__(self, hello: bytes, first: str | None) -> None:
        self.open = True
        self.bytes = 0
        # Until it is upgraded.
        self._hello: bytes | None = hello
        self._first = first
        self._buffer = b""
        self._awaited = b""
        self._arrived: asyncio.Future[float] | None = None

    def arrival(self, text: bytes) -> "asyncio.Future[float]":
        """When the next message that holds `text` arrives; the empty text stands for the upgrade."""
        self._awaited, self._arrived = text, asyncio.get_running_loop().create_future()
        return self._arrived

    def heard(self, text: bytes, now: float) -> None:
        if self._arrived and self._awaited and self._awaited in text:
            self._arrive(now)

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        assert self._hello
        self._write(self._hello)

    def data_received(self, data: bytes) -> None:
        now = clock()
        self.bytes += len(data)
        self._buffer += data
        if self._hello:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._end(head.decode())
                return
            self._hello = None
            if self._first is not None:
                self._send(_TEXT, self._first.encode())
                self._first = None
            if not self._awaited:
                self._arrive(now)
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                self._end(f"closed by the server: {int.from_bytes(payload[:2])}")
            else:
                self.heard(payload, now)

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
        self._write(bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _write(self, data: bytes) -> None:
        self.bytes += len(data)
        self.transport.write(data)

    def _arrive(self, now: float) -> None:
        if self._arrived and not self._arrived.done():
            self._arrived.set_result(now)
        # There may be tens of thousands of these.
        self._arrived = None

    def _end(self, reason: str) -> None:
        self.open = False
        self.transport.close()
        if self._arrived and not self._arrived.done():
            self._arrived.set_exception(ConnectionError(reason))


async def open_socket(port: int, socket: Socket, awaited: bytes = b"", source: tuple[str, int] | None = None) -> None:
    """Return once it has been upgraded and, with `awaited`, been sent a message that holds it."""
    ready = socket.arrival(awaited)
    await asyncio.get_running_loop().create_connection(lambda: socket, HOST, port, local_addr=source)
    await ready
