"""A TCP proxy that fails on request: between a server under test and its Redis or PostgreSQL. No knowledge of either.

It runs in a thread of its own, so its methods may be called from sync and async tests, and are done when they return.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

T = TypeVar("T")

# Commands go up to the target, answers come down.
Way = Literal["commands", "answers"]
# Which connections a fault is for. A connection is Redis pub/sub once its client has subscribed on it.
Which = Literal["every", "pubsub", "commands"]
_Fate = Literal["reset", "silence", "held", "late"]

_CHUNK = 65536


class FaultProxy:
    """Listens on `port`, and forwards to `target_port` unless told to fail. Use it as a context manager.

    What a black hole holds back is delivered when it heals, as TCP would; a connection that was closed meanwhile has
    still sent what it had sent. Nothing is ever dropped or changed in the middle of a stream.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        # Never listens: it keeps the port ours while we refuse.
        self._reserved = _reusable()
        self._reserved.bind(("127.0.0.1", 0))
        self.port = int(self._reserved.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.opened = 0
        self._delay: tuple[float, Which] = (0.0, "every")
        self._holes: set[tuple[Which, Way]] = set()
        self._refused: Which | None = None
        self._awaited: tuple[re.Pattern[bytes], _Fate] | None = None
        self.caught = threading.Event()

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._reserved.close()

    def delay(self, seconds: float, which: Which = "every") -> None:
        """From now on, every byte comes that much later, in each direction; 0 ends it."""

        async def change() -> None:
            self._delay = (seconds, which)

        self._run(change)

    def cut(self, which: Which = "every") -> int:
        """Reset the connections that are open now. How many they were."""

        async def change() -> int:
            chosen = [connection for connection in self._connections if connection.is_one_of(which)]
            for connection in chosen:
                connection.reset()
            return len(chosen)

        return self._run(change)

    def refuse(self, which: Which = "every") -> None:
        """Refuse new connections (pub/sub: reset at its SUBSCRIBE) until `accept`; open ones go on."""

        async def change() -> None:
            self._refused = which
            if which == "every":
                await self._stop_listening()

        self._run(change)

    def accept(self) -> None:
        async def change() -> None:
            self._refused = None
            if self._listener is None:
                listening = _reusable()
                listening.bind(("127.0.0.1", self.port))
                self._listener = await asyncio.start_server(self._serve, sock=listening, backlog=1024)

        self._run(change)

    def black_hole(self, which: Which = "every") -> None:
        """Accept and read, and forward nothing either way, on open and new connections, until `heal`."""
        self._hole(which, "commands", "answers")

    def half(self, lost: Way, which: Which = "every") -> None:
        """A black hole in one direction: with `answers`, what is asked for happens and nobody hears of it."""
        self._hole(which, lost)

    def freeze(self, which: Which = "every") -> None:
        """The connections that are open now fall silent without a word, new ones work: a firewall has forgotten."""

        async def change() -> None:
            for connection in self._connections:
                connection.frozen = connection.frozen or connection.is_one_of(which)

        self._run(change)

    def heal(self) -> None:
        """No black hole and nothing frozen any more; what was held back comes late, as TCP would send it again."""

        async def change() -> None:
            self._holes.clear()
            self._awaited = None
            for connection in self._connections:
                connection.frozen = False
                connection.changed.set()

        self._run(change)

    def lose_answer_to(self, command: bytes, *, silently: bool = False) -> None:
        """Let the next command that matches the pattern be executed, and reset its connection in place of the answer.

        With `silently` the connection stays open without a word instead. `caught` is set when the answer has come.
        """
        self._await(command, "silence" if silently else "reset")

    def hold_back(self, command: bytes) -> None:
        """Keep the next command that matches the pattern, and what follows on its connection, until `heal`.

        `caught` is set when it has come.
        """
        self._await(command, "held")

    def delay_answer_to(self, command: bytes) -> None:
        """Let the next command that matches the pattern be executed, and keep its answer, and what follows on its
        connection, until `heal`.

        `caught` is set when the answer has come.
        """
        self._await(command, "late")

    def _await(self, command: bytes, fate: _Fate) -> None:
        async def change() -> None:
            self.caught.clear()
            self._awaited = (re.compile(command, re.DOTALL), fate)

        self._run(change)

    def fate_of(self, data: bytes) -> _Fate | None:
        """What is to happen to the connection on which the client has just sent this. Once."""
        if self._awaited is None or not self._awaited[0].search(data):
            return None
        _, fate = self._awaited
        self._awaited = None
        return fate

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def delay_of(self, connection: "_Connection") -> float:
        seconds, which = self._delay
        return seconds if connection.is_one_of(which) else 0.0

    def is_held(self, connection: "_Connection", way: Way) -> bool:
        return connection.frozen or any(held == way and connection.is_one_of(which) for which, held in self._holes)

    def is_refused(self, connection: "_Connection") -> bool:
        return self._refused not in (None, "every") and connection.is_one_of(self._refused or "every")

    def _hole(self, which: Which, *ways: Way) -> None:
        async def change() -> None:
            self._holes |= {(which, way) for way in ways}

        self._run(change)

    def _run(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            target = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        connection = _Connection(self, (reader, writer), target)
        self._connections.add(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            # At the end of the proxy; asyncio's streams would print it.
            pass
        finally:
            self._connections.discard(connection)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _end(self) -> None:
        await self._stop_listening()
        for connection in self._connections:
            connection.reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection:
    """One client's connection and the one to the target that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: "_Stream", target: "_Stream") -> None:
        self._proxy, self._client, self._target = proxy, client, target
        self._pubsub = False
        # What comes in place of the next answer.
        self._fate: _Fate | None = None
        self.frozen = False
        self._pumps: tuple[asyncio.Task[None], ...] = ()
        # What held something back may do so no longer.
        self.changed = asyncio.Event()

    def is_one_of(self, which: Which) -> bool:
        return which == "every" or self._pubsub is (which == "pubsub")

    def reset(self) -> None:
        for _, writer in (self._client, self._target):
            _reset(writer)
        for pump in self._pumps:
            pump.cancel()

    async def run(self) -> None:
        self._pumps = (
            asyncio.create_task(self._pump(self._client[0], self._target[1], "commands")),
            asyncio.create_task(self._pump(self._target[0], self._client[1], "answers")),
        )
        try:
            done, _ = await asyncio.wait(self._pumps, return_when=asyncio.FIRST_EXCEPTION)
            if any(pump.cancelled() or pump.exception() for pump in done):
                # One side was reset, so the other is.
                self.reset()
        finally:
            for pump in self._pumps:
                pump.cancel()
            for _, writer in (self._client, self._target):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(self._send(queue, writer, way))
        try:
            while True:
                data = await reader.read(_CHUNK)
                if data and way == "commands":
                    self._look_at(data)
                queue.put_nowait((asyncio.get_running_loop().time() + self._proxy.delay_of(self), data))
                if not data:
                    await sending
                    return
                if sending.done():
                    sending.result()
        finally:
            sending.cancel()

    def _look_at(self, data: bytes) -> None:
        if b"SUBSCRIBE" in data:
            self._pubsub = True
            if self._proxy.is_refused(self):
                raise ConnectionResetError
        fate = self._proxy.fate_of(data)
        if fate == "held":
            self.frozen = True
            self._proxy.caught.set()
        elif fate:
            self._fate = fate

    async def _send(self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, way: Way) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if way == "answers" and data and self._fate == "late":
                self.frozen, self._fate = True, None
                self._proxy.caught.set()
            if way == "answers" and data and self._fate:
                self._proxy.caught.set()
                if self._fate == "reset":
                    self.reset()
                # Never again a word on this connection.
                continue
            while self._proxy.is_held(self, way):
                self.changed.clear()
                await self.changed.wait()
            if not data:
                # Half-closed only: the other direction may still have something on its way.
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST in place of FIN, as from a machine that is gone or a firewall that forgot."""
    own = writer.get_extra_info("socket")
    if own is not None and own.fileno() != -1:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _reusable() -> socket.socket:
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return own
