"""How answers leave the server: a whole one in one write, and any other one as uvicorn sends it."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from pairing_ws.web.answers import MOST_AHEAD, HttpProtocol, Lines

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
AT_ONCE = b"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BODY = b"hello"
LENGTH = (b"content-length", b"5")


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = self.paused = False
        self.protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


App = Callable[[Any, Any, Any], Any]


def answering(*messages: dict[str, Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for each in messages:
            await send(each)

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def connected(app: App) -> tuple[HttpProtocol, ServerState, Transport]:
    config = uvicorn.Config(app, interface="asgi3", log_config=None, server_header=False, date_header=False)
    config.load()
    state, transport = ServerState(), Transport()
    protocol = HttpProtocol(config, state, {})
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, state, transport


async def talk(app: App, *requests: bytes) -> Transport:
    protocol, state, transport = connected(app)
    for each in requests:
        protocol.data_received(each)
    while state.tasks:
        await asyncio.wait(state.tasks)
    # uvicorn closes what ends without an error.
    protocol.connection_lost(ConnectionResetError())
    return transport


async def test_a_whole_answer_leaves_in_one_write() -> None:
    transport = await talk(answering(start((b"X-Name", b"some value"), LENGTH), part(BODY)), GET)
    assert transport.written == [b"HTTP/1.1 200 OK\r\nx-name: some value\r\ncontent-length: 5\r\n\r\nhello"]
    assert not transport.closed


async def test_calls_that_come_at_once_are_answered_in_their_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start((b"x-path", scope["raw_path"]), LENGTH))
        await send(part(BODY))

    transport = await talk(app, b"".join(GET.replace(b"/ ", b"/%d " % each) for each in range(5)))
    assert [each.split(b"\r\n")[1] for each in transport.written] == [b"x-path: /%d" % each for each in range(5)]


async def test_who_asks_on_before_the_answer_is_not_read_on_meanwhile() -> None:
    released = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await released.wait()
        await send(start(LENGTH))
        await send(part(BODY))

    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    assert not transport.paused
    protocol.data_received(GET)
    assert transport.paused
    released.set()
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert not transport.paused
    assert len(transport.written) == 2
    protocol.connection_lost(ConnectionResetError())


@pytest.mark.security(25)
async def test_nobody_can_ask_for_any_number_of_answers_in_advance() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    protocol, state, transport = connected(app)
    protocol.data_received(GET * (1 + MOST_AHEAD))
    assert not transport.closed
    protocol.data_received(GET * 10_000)
    assert transport.closed
    assert len(protocol.pipeline) == MOST_AHEAD
    assert transport.written == []
    protocol.connection_lost(None)
    for task in state.tasks:
        task.cancel()


@pytest.mark.security(25)
@pytest.mark.parametrize(
    "sent",
    [
        GET,
        AT_ONCE,
        AT_ONCE + UPGRADE,
        GET + GET[:20],
        GET * 5,
        b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
        UPGRADE,
        GET + UPGRADE,
    ],
)
async def test_of_a_connection_that_has_ended_nothing_is_left_for_the_garbage_collector(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    released = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        elif scope["path"] == "/at-once":
            await send(start(LENGTH))
            await send(part(BODY))
            return
        await released.wait()

    protocol, state, transport = connected(app)
    gc.disable()
    try:
        protocol.data_received(sent)
        await asyncio.sleep(0)
        # A socket has a protocol of its own from then on.
        (transport.protocol or protocol).connection_lost(None)
        released.set()
        while state.tasks:
            await asyncio.wait(state.tasks)
        left = weakref.ref(protocol)
        del protocol
        transport.protocol = None
        assert left() is None
    finally:
        gc.enable()


async def test_calls_do_not_share_what_each_notes_on_itself() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["state"]))
        scope["state"]["noted"] = True
        await send(start(LENGTH))
        await send(part(BODY))

    await talk(app, GET, GET)
    assert seen == [{}, {}]


async def test_an_answer_in_parts_leaves_part_by_part() -> None:
    transport = await talk(answering(start(), part(b"one", more=True), part(b"two"), part(b"")), GET)
    head, *parts = transport.written
    assert b"transfer-encoding: chunked" in head
    assert b"".join(parts) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_an_answer_is_not_whole_before_its_last_part() -> None:
    sent: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for each in (start(LENGTH), part(BODY, more=True), part(b"")):
            await send(each)
            sent.append(each["type"])

    transport = await talk(app, GET)
    assert len(sent) == 3
    assert b"".join(transport.written).endswith(b"content-length: 5\r\n\r\nhello")


async def test_an_answer_to_head_has_no_body() -> None:
    transport = await talk(answering(start(LENGTH), part(BODY)), GET.replace(b"GET", b"HEAD"))
    assert b"".join(transport.written).endswith(b"content-length: 5\r\n\r\n")


async def test_who_wants_the_connection_closed_is_told_and_it_is() -> None:
    transport = await talk(
        answering(start(LENGTH), part(BODY)), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    assert b"\r\nconnection: close\r\n" in b"".join(transport.written)
    assert transport.closed


async def test_an_answer_that_closes_the_connection_does() -> None:
    transport = await talk(answering(start((b"connection", b"close"), LENGTH), part(BODY)), GET)
    assert b"".join(transport.written).count(b"connection: close") == 1
    assert transport.closed


@pytest.mark.security(22)
@pytest.mark.parametrize("header", [(b"x-name", b"a\r\nset-cookie: b"), (b"x-\nname", b"a"), (b"x name", b"a")])
async def test_no_header_can_bring_another_one_with_it(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    transport = await talk(answering(start(header, LENGTH), part(BODY)), GET)
    assert b"".join(transport.written).startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in b"".join(transport.written)


@pytest.mark.parametrize("fails", [True, False])
async def test_an_answer_that_ends_before_its_body_is_an_error(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        if fails:
            raise OSError

    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    transport = await talk(app, GET)
    assert b"".join(transport.written).startswith(b"HTTP/1.1 500 ")
    assert transport.closed


async def test_nonsense_behind_a_call_becomes_no_part_of_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        await send(part(BODY[:2], more=True))
        begun.set()
        await go_on.wait()

    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    await begun.wait()
    protocol.data_received(b"\x00\x01")
    assert transport.closed
    assert b"".join(transport.written).endswith(b"\r\n\r\n" + BODY[:2])
    protocol.connection_lost(ConnectionResetError())
    go_on.set()
    await asyncio.wait(state.tasks)


@pytest.mark.security(22)
def test_of_headers_neither_cookies_nor_any_number_of_them_are_remembered() -> None:
    lines = Lines()
    assert lines[b"set-cookie", b"key"] == b""
    assert not lines
    for number in range(3 * Lines.MOST):
        assert lines[b"X-Name", b"%d" % number] == b"x-name: %d\r\n" % number
        assert len(lines) <= Lines.MOST


@pytest.mark.parametrize("length", [b"4", b"6"])
async def test_an_answer_of_another_length_than_it_says_ends_the_connection(
    length: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    transport = await talk(answering(start((b"content-length", length)), part(BODY)), GET)
    assert transport.closed


async def test_who_waits_to_be_asked_for_the_body_is_not_asked_behind_the_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        await send(part(BODY))
        assert (await receive())["type"] == "http.disconnect"

    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    assert (await talk(app, request)).written == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]


async def test_behind_a_call_that_waits_for_its_answer_no_socket_opens() -> None:
    released = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await released.wait()

    upgrade = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    protocol.data_received(upgrade)
    assert transport.closed
    protocol.connection_lost(None)
    released.set()
    await asyncio.wait(state.tasks)
    assert transport.written == []


async def test_who_has_gone_is_sent_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        gone.close()
        await send(part(BODY))

    protocol, state, gone = connected(app)
    protocol.data_received(GET)
    await asyncio.wait(state.tasks)
    assert gone.written == []
