"""Connections on which nobody asks for anything: when they end, on a clock that the tests turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from pairing_ws.transport.connection_limits import ConnectionLimits
from pairing_ws.transport.http1 import HttpProtocol
from pairing_ws.transport.request_limits import HEAD_TIMEOUT, WRITE_TIMEOUT
from pairing_ws.transport.websocket import WebSocketProtocol
from tests.support.transport import BODY, GET, LENGTH, UPGRADE, Transport, part, start

KEPT = 75


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time only the tests turn."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Connection:
    """One client's, at a server that answers at once while `free`."""

    def __init__(self, clock: Clock) -> None:
        config = uvicorn.Config(
            self._app, interface="asgi3", ws=WebSocketProtocol, log_config=None, timeout_keep_alive=KEPT
        )
        config.load()
        self._clock = clock
        self._state = ServerState()
        self.free = asyncio.Event()
        self.free.set()
        self.transport = Transport()
        self._protocol = HttpProtocol(ConnectionLimits(), {}, config, self._state, {})
        self._protocol.connection_made(self.transport)  # type: ignore[arg-type]

    @property
    def open(self) -> bool:
        return not self.transport.closed

    async def send(self, sent: bytes) -> None:
        self._protocol.data_received(sent)
        await self._settle()

    async def stop_reading(self) -> None:
        """Nothing more of what is written leaves."""
        self._protocol.pause_writing()
        await self._settle()

    async def read_on(self) -> None:
        self._protocol.resume_writing()
        await self._settle()

    async def wait(self, seconds: float) -> None:
        self._clock.now += seconds
        await self._settle()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        await self.free.wait()
        await send(start(LENGTH))
        await send(part(BODY))

    async def _settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def on_a_turned_clock(story: Callable[[Connection], Awaitable[None]]) -> None:
    clock = Clock()

    async def main() -> None:
        await story(Connection(clock))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        runner.run(main())


def test_a_connection_ends_when_nothing_has_been_asked_since_the_last_answer() -> None:
    async def story(connection: Connection) -> None:
        for _ in range(2):
            await connection.send(GET)
            await connection.wait(KEPT - 5)
            assert connection.open
        await connection.wait(6)
        assert not connection.open

    on_a_turned_clock(story)


def test_a_call_that_takes_longer_than_that_is_answered_and_the_time_starts_again() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        connection.free.clear()
        await connection.send(GET)
        await connection.wait(2 * KEPT)
        assert connection.open
        connection.free.set()
        await connection.wait(0)
        await connection.wait(KEPT - 5)
        assert connection.transport.written[-1].endswith(BODY)
        assert connection.open
        await connection.wait(6)
        assert not connection.open

    on_a_turned_clock(story)


def test_whatever_begins_no_call_keeps_a_connection_for_no_longer_than_a_head() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.send(b"\r\n")
        await connection.wait(HEAD_TIMEOUT - 1)
        await connection.send(b"\r\n")
        assert connection.open
        await connection.wait(2)
        assert not connection.open

    on_a_turned_clock(story)


def test_the_rest_of_a_call_that_has_its_answer_does_not_either() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        await connection.send(b"x")
        await connection.wait(HEAD_TIMEOUT - 1)
        await connection.send(b"x")
        assert connection.open
        await connection.wait(2)
        assert not connection.open

    on_a_turned_clock(story)


def test_who_sent_a_call_bit_by_bit_keeps_the_connection_behind_its_answer() -> None:
    async def story(connection: Connection) -> None:
        connection.free.clear()
        await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        await connection.send(b"x")
        await connection.send(b"x")
        connection.free.set()
        await connection.wait(0)
        assert connection.transport.written[-1].endswith(BODY)
        await connection.wait(2 * HEAD_TIMEOUT)
        assert connection.open

    on_a_turned_clock(story)


def test_a_call_behind_nonsense_is_answered_and_its_connection_stays() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.send(b"\r\n")
        await connection.send(GET)
        await connection.wait(2 * HEAD_TIMEOUT)
        assert connection.open

    on_a_turned_clock(story)


def test_who_begins_to_ask_at_the_last_moment_has_the_time_of_every_head() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.wait(KEPT - 1)
        await connection.send(GET[:10])
        await connection.wait(HEAD_TIMEOUT - 1)
        assert connection.open
        await connection.wait(2)
        assert connection.transport.written[-1].startswith(b"HTTP/1.1 408 ")
        assert not connection.open

    on_a_turned_clock(story)


def test_a_socket_on_a_connection_that_has_carried_calls_stays_open() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.send(UPGRADE)
        assert connection.transport.written[-1].startswith(b"HTTP/1.1 101 ")
        await connection.wait(KEPT + 5)
        assert connection.open

    on_a_turned_clock(story)


@pytest.mark.security(34)
def test_a_client_that_takes_nothing_of_its_answers_is_cut_off() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.stop_reading()
        await connection.send(GET * 300)
        await connection.wait(WRITE_TIMEOUT - 1)
        # Nothing is written for it meanwhile.
        assert len(connection.transport.written) == 1
        assert not connection.transport.aborted
        await connection.wait(2)
        assert connection.transport.aborted

    on_a_turned_clock(story)


@pytest.mark.security(34)
def test_the_end_of_a_connection_waits_no_longer_for_a_client_that_reads_nothing() -> None:
    async def story(connection: Connection) -> None:
        await connection.stop_reading()
        await connection.send(b"\x00\x01")
        assert not connection.open
        await connection.wait(WRITE_TIMEOUT + 1)
        assert connection.transport.aborted

    on_a_turned_clock(story)


def test_a_client_that_reads_on_in_time_gets_all_its_answers() -> None:
    async def story(connection: Connection) -> None:
        for _ in range(3):
            await connection.send(GET)
            await connection.stop_reading()
            await connection.send(GET)
            await connection.wait(WRITE_TIMEOUT - 1)
            await connection.read_on()
        assert b"".join(connection.transport.written).count(BODY) == 6
        await connection.wait(WRITE_TIMEOUT + 1)
        assert connection.open
        assert not connection.transport.aborted

    on_a_turned_clock(story)


@pytest.mark.security(34)
def test_a_socket_behind_answers_that_nobody_takes_is_cut_off_as_well() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(GET)
        await connection.stop_reading()
        await connection.send(UPGRADE)
        await connection.wait(WebSocketProtocol.write_timeout + 1)
        assert connection.transport.aborted

    on_a_turned_clock(story)
