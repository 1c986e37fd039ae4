"""How answers leave the server: a whole one in one write, and any other one as uvicorn sends it."""

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from pairing_ws.transport.connection_limits import ConnectionLimits
from pairing_ws.transport.http1 import HttpProtocol
from pairing_ws.transport.request_cycle import RequestCycle
from pairing_ws.transport.request_limits import MAX_OVERHEAD_BYTES, MAX_PIPELINED_BYTES, MAX_PIPELINED_REQUESTS
from pairing_ws.transport.response_head import HeaderLineCache
from pairing_ws.transport.websocket import WebSocketProtocol
from tests.support.transport import BODY, GET, LENGTH, UPGRADE, Transport, part, start

AT_ONCE = b"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE_FRAME = b"\x88\x80\0\0\0\0"
UNMASKED_FRAME = b"\x81\x00"
SAFE = {"X-Safe": "yes"}


App = Callable[[Any, Any, Any], Any]


def answering(*messages: dict[str, Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for each in messages:
            await send(each)

    return app


def connected(app: App, limits: ConnectionLimits | None = None) -> tuple[HttpProtocol, ServerState, Transport]:
    config = uvicorn.Config(
        app, interface="asgi3", ws=WebSocketProtocol, log_config=None, server_header=False, date_header=False
    )
    config.load()
    state, transport = ServerState(), Transport()
    protocol = HttpProtocol(limits or ConnectionLimits(), SAFE, config, state, {})
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


async def test_a_client_that_asks_on_before_the_answer_is_read_on_only_so_far() -> None:
    released = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await released.wait()
        await send(start(LENGTH))
        await send(part(BODY))

    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    assert not transport.paused
    protocol.data_received(GET)
    assert not transport.paused
    protocol.data_received(GET.replace(b"Host", b"X: " + b"x" * 30_000 + b"\r\nHost"))
    protocol.data_received(GET.replace(b"Host", b"X: " + b"x" * 30_000 + b"\r\nHost"))
    assert not transport.paused
    protocol.data_received(GET.replace(b"Host", b"X: " + b"x" * (MAX_PIPELINED_BYTES - 60_000) + b"\r\nHost"))
    assert transport.paused
    released.set()
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert not transport.paused
    assert len(transport.written) == 5
    protocol.connection_lost(ConnectionResetError())


@pytest.mark.security(25)
async def test_nobody_can_ask_for_any_number_of_answers_in_advance() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    protocol, state, transport = connected(app)
    protocol.data_received(GET * (1 + MAX_PIPELINED_REQUESTS))
    assert not transport.closed
    protocol.data_received(GET * 10_000)
    assert transport.closed
    assert sum(isinstance(each, RequestCycle) for each in gc.get_referrers(protocol)) == 1 + MAX_PIPELINED_REQUESTS
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
        UPGRADE + CLOSE_FRAME,
        UPGRADE + UNMASKED_FRAME,
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
    gc.collect()
    parsers = _frame_parsers()
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
        assert _frame_parsers() == parsers
    finally:
        gc.enable()


def _frame_parsers() -> int:
    return sum(isinstance(each, ServerProtocol) for each in gc.get_objects())


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


class Torn:
    """An application that has sent half of each answer, and sends the rest once told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        await send(part(BODY[:2], more=True))
        self.begun.set()
        await self.go_on.wait()
        await send(part(BODY[2:]))


NONSENSE = {
    "bytes": b"\x00\x01",
    "a method": b"FOO BAR BAZ\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "version": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "two framings": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "unknown coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "body": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
    "path": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a field": b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
    "tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01",
}


@pytest.mark.security(25)
@pytest.mark.parametrize("between", [[], [GET], [GET, GET]], ids=["call", "two calls", "three calls"])
@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_behind_calls_is_refused_behind_their_whole_answers(
    nonsense: bytes, between: list[bytes]
) -> None:
    app = Torn()
    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    await app.begun.wait()
    protocol.data_received(b"".join([*between, nonsense]))
    protocol.data_received(nonsense)
    assert b"".join(transport.written).endswith(b"\r\n\r\n" + BODY[:2])
    app.go_on.set()
    while state.tasks:
        await asyncio.wait(state.tasks)
    assert transport.closed
    *answers, refusal = b"".join(transport.written).split(b"HTTP/1.1 ")[1:]
    assert [each.startswith(b"200 ") and each.endswith(b"\r\n\r\n" + BODY) for each in answers] == [True] * (
        1 + len(between)
    )
    assert_refused(refusal, 405 if nonsense.startswith(b"CONNECT") else 400)
    protocol.connection_lost(None)


@pytest.mark.security(22)
@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_refused_by_a_problem_document_with_the_safe_headers(nonsense: bytes) -> None:
    protocol, state, transport = connected(answering(start(LENGTH), part(BODY)))
    protocol.data_received(nonsense)
    assert transport.closed
    assert_refused(b"".join(transport.written).removeprefix(b"HTTP/1.1 "), 405 if b"CONNECT" in nonsense else 400)
    protocol.connection_lost(None)
    if state.tasks:
        await asyncio.wait(state.tasks)
    assert len(transport.written) == 1


def assert_refused(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"%d " % status)
    assert b"content-type: application/problem+json" in head
    assert b"x-safe: yes" in head
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == {400: "bad_request", 405: "method_not_allowed"}[status]


@pytest.mark.security(25)
async def test_of_nonsense_without_end_no_more_is_read_than_of_anything_else() -> None:
    app = Torn()
    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    await app.begun.wait()
    protocol.data_received(b"\x00" * 1000)
    protocol.data_received(b"\x00" * MAX_OVERHEAD_BYTES)
    assert not transport.closed
    protocol.data_received(b"\x00")
    assert transport.closed
    protocol.connection_lost(None)
    app.go_on.set()
    await asyncio.wait(state.tasks)


@pytest.mark.security(25)
async def test_nonsense_leaves_one_line_in_the_log_at_the_most_for_all_of_a_minute_and_is_counted() -> None:
    limits = ConnectionLimits()
    before = REGISTRY.get_sample_value("pairing_connections_cut_total", {"reason": "bad_request"}) or 0
    with capture_logs() as logged:
        for _ in range(1000):
            protocol, _, transport = connected(answering(start(LENGTH), part(BODY)), limits)
            protocol.data_received(b"\x00\x01")
            assert transport.closed
            protocol.connection_lost(None)
    # Perhaps that of another test in this minute.
    assert len(logged) <= 1
    after = REGISTRY.get_sample_value("pairing_connections_cut_total", {"reason": "bad_request"}) or 0
    assert after - before == 1000


@pytest.mark.security(22)
def test_of_headers_neither_cookies_nor_any_number_of_them_are_remembered() -> None:
    lines = HeaderLineCache()
    assert lines[b"set-cookie", b"key"] == b"set-cookie: key\r\n"
    assert not lines
    for number in range(3 * HeaderLineCache.MAX_LINES):
        assert lines[b"X-Name", b"%d" % number] == b"x-name: %d\r\n" % number
        assert len(lines) <= HeaderLineCache.MAX_LINES


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
        await send(start(LENGTH))
        await send(part(BODY))

    protocol, state, transport = connected(app)
    protocol.data_received(GET)
    protocol.data_received(UPGRADE)
    released.set()
    while state.tasks:
        await asyncio.wait(state.tasks)
    # It is answered as any call is, and takes nothing from the one before it.
    assert len(transport.written) == 2
    protocol.connection_lost(ConnectionResetError())


# Offers of another protocol


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


class Echo:
    """Answers with what was asked, to the last byte of its body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, list[bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            more = message["more_body"]
        self.asked.append((scope["method"], body, [name for name, _ in scope["headers"]]))
        await send(start(LENGTH))
        await send(part(BODY))


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "offer",
    [
        OFFER,
        b"connection: keep-alive\r\nconnection: upgrade\r\nupgrade: h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/3.0\r\n",
        b"Connection: Upgrade \t\r\nUpgrade: h2c \r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ],
)
async def test_an_offer_of_another_protocol_that_is_not_taken_changes_nothing(offer: bytes, size: int) -> None:
    app = Echo()
    calls = [
        POST + offer + b"\r\nhello",
        GET.replace(b"\r\n\r\n", b"\r\n") + (offer if b"websocket" not in offer else b"") + b"\r\n",
        POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + offer + b"\r\n5\r\nhello\r\n0\r\n\r\n",
        GET,
    ]
    sent = b"".join(calls)
    transport = await talk(app, *(sent[at : at + size] for at in range(0, len(sent), size)))
    assert [(method, body) for method, body, _ in app.asked] == [
        ("POST", b"hello"), ("GET", b""), ("POST", b"hello"), ("GET", b""),
    ]  # fmt: skip
    assert not any(b"upgrade" in names for _, _, names in app.asked)
    assert b"".join(transport.written).count(b"HTTP/1.1 200 ") == 4
    assert not transport.closed


async def test_an_offer_beside_the_wish_to_close_leaves_the_wish() -> None:
    app = Echo()
    transport = await talk(app, POST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n\r\nhello")
    assert app.asked[0][:2] == ("POST", b"hello")
    assert b"connection: close" in b"".join(transport.written)
    assert transport.closed


@pytest.mark.security(25)
async def test_many_offers_at_once_cost_no_more_than_as_many_calls() -> None:
    app = Echo()
    transport = await talk(app, (POST + OFFER + b"\r\nhello") * 500)
    assert b"".join(transport.written).count(b"HTTP/1.1 200 ") == 500


@pytest.mark.security(25)
async def test_a_head_with_an_offer_is_bounded_as_any_other(caplog: pytest.LogCaptureFixture) -> None:
    transport = await talk(Echo(), POST + OFFER + b"X: " + b"x" * 40_000 + b"\r\n\r\nhello")
    assert transport.written[0].startswith(b"HTTP/1.1 431 ")
    assert len(transport.written) == 1


async def test_blanks_behind_a_value_are_no_part_of_it() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await send(start(LENGTH))
        await send(part(BODY))

    await talk(app, b"GET / HTTP/1.1\r\nHost: x \r\nX-Name: \t some value \t \r\nX-Empty:  \r\n\r\n")
    assert seen == [(b"host", b"x"), (b"x-name", b"some value"), (b"x-empty", b"")]


@pytest.mark.parametrize(("version", "asked"), [(b"1.0", False), (b"1.1", True)])
@pytest.mark.parametrize("blank", [b"", b" "])
async def test_a_client_of_http_1_0_is_not_told_to_continue(version: bytes, asked: bool, blank: bytes) -> None:
    request = POST.replace(b"1.1", version) + b"Expect: 100-Continue" + blank + b"\r\n\r\n"
    transport = await talk(Echo(), request, b"hello")
    assert transport.written[0].startswith(b"HTTP/1.1 100 " if asked else b"HTTP/1.1 200 ")


# Clients that have gone


@pytest.mark.security(34)
@pytest.mark.parametrize("ahead", [[], [GET], [GET] * 5])
@pytest.mark.parametrize("behind", [[], [GET], [GET[:20]], [GET] * 50, [b"\x00\x01"]])
async def test_a_call_that_waits_hears_that_its_client_has_gone(ahead: list[bytes], behind: list[bytes]) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/poll":
            while (message := await receive())["type"] != "http.disconnect":
                heard.append(message["type"])
            heard.append(message["type"])
            return
        await send(start(LENGTH))
        await send(part(BODY))

    protocol, state, transport = connected(app)
    for each in (*ahead, GET.replace(b"/ ", b"/poll "), *behind):
        protocol.data_received(each)
    for _ in range(20):
        await asyncio.sleep(0)
    assert heard == ["http.request"]
    # Or the event loop would not say so.
    assert not transport.paused
    protocol.connection_lost(None)
    await asyncio.wait(state.tasks)
    assert heard[1:] == ["http.disconnect"]


async def test_who_has_gone_is_sent_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(LENGTH))
        gone.close()
        await send(part(BODY))

    protocol, state, gone = connected(app)
    protocol.data_received(GET)
    await asyncio.wait(state.tasks)
    assert gone.written == []
