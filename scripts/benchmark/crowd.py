"""A helper that holds WebSockets open, as devices that wait do, and notes what each of them hears and when."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis.asyncio

from benchmark.clients import HOST, Socket, clock, open_socket, upgrade
from benchmark.helper import help_with

_VERSION = b'"version":'


class Seat(Socket):
    """The socket of the device with this number."""

    __slots__ = ("_crowd", "_number")

    def __init__(self, hello: bytes, first: str | None, crowd: "Crowd", number: int) -> None:
        super().__init__(hello, first)
        self._crowd = crowd
        self._number = number

    def heard(self, text: bytes, now: float) -> None:
        super().heard(text, now)
        at = text.find(_VERSION)
        if at >= 0:
            version = int(text[at + len(_VERSION) :].split(b",", 1)[0].rstrip(b"}"))
            self._crowd.noted.append((self._number, version, now))


class Crowd:
    def __init__(self) -> None:
        self.noted: list[tuple[int, int, float]] = []
        self._addresses = [HOST]
        self._seats: list[Seat] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def come_from(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def open(
        self,
        port: int,
        devices: Sequence[tuple[int, str, str | None]],
        at_once: int,
        deflate: bool,
    ) -> dict[str, float]:
        """Open a socket for each (number, path, secret), so many at a time: until it is upgraded, or with a secret
        until it has been told what is. Returns how long that took, and how long this process was busy with it."""
        rest = iter(devices)

        async def go_through() -> None:
            for number, path, secret in rest:
                first = json.dumps({"type": "auth", "secret": secret}) if secret else None
                seat = Seat(upgrade(path, deflate=deflate), first, self, number)
                self._seats.append(seat)
                source = self._addresses[number % len(self._addresses)]
                await open_socket(port, seat, b'"pairing"' if secret else b"", (source, 0))

        started, busy = clock(), time.process_time()
        await asyncio.gather(*(go_through() for _ in range(at_once)))
        return {"seconds": clock() - started, "busy": time.process_time() - busy}

    async def heard(self) -> list[tuple[int, int, float]]:
        """(number, version, time) of all that was heard since the last call."""
        noted, self.noted = self.noted, []
        return noted

    async def open_now(self) -> int:
        return sum(each.open for each in self._seats)

    async def bytes(self) -> int:
        """Sent and received so far, by all."""
        return sum(each.bytes for each in self._seats)

    async def leave(self) -> None:
        for each in self._seats:
            each.transport.abort()
        self._seats = []

    async def listen(self, port: int) -> None:
        """Subscribe to the two channels on which a changer publishes for comparison; each message is its number. It is
        noted with the version 0, and what came without a library with -1."""
        client = redis.asyncio.Redis(host=HOST, port=port, client_name="bench")
        link = client.pubsub()
        await link.subscribe("bench")
        confirmed = asyncio.get_running_loop().create_future()

        async def listen() -> None:
            async for message in link.listen():
                now = clock()
                if message["type"] == "message":
                    self.noted.append((int(message["data"].split(b" ")[0]), 0, now))
                elif not confirmed.done():
                    confirmed.set_result(None)

        self._tasks.append(asyncio.create_task(listen()))
        await confirmed
        bare = _Bare(self.noted_bare)
        await asyncio.get_running_loop().create_connection(lambda: bare, HOST, port)
        packed = hiredis.pack_command(("SUBSCRIBE", "bench-bare"))  # type: ignore[arg-type]
        bare.transport.write(packed)
        await bare.subscribed

    def noted_bare(self, number: int, now: float) -> None:
        self.noted.append((number, -1, now))


class _Bare(asyncio.Protocol):
    """A Redis client that only listens: the least that can be between a PUBLISH and its receiver."""

    def __init__(self, heard: Callable[[int, float], None]) -> None:
        self._heard = heard
        self._reader = hiredis.Reader()
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        now = clock()
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            kind, _, content = reply
            if kind == b"message":
                self._heard(int(content.split(b" ")[0]), now)
            elif not self.subscribed.done():
                self.subscribed.set_result(None)


if __name__ == "__main__":
    help_with(Crowd())
