"""How HTTP comes and goes: uvicorn's protocol, with an end to every head of a request, and each answer in one write."""

import re
from asyncio import Event
from asyncio.transports import BaseTransport
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.timing_wheel import Timer, timers
from pairing_ws.transport.connection_limits import Peer, Room
from pairing_ws.transport.websocket import WebSocketProtocol
from pairing_ws.web.problems import problem

# nginx takes four buffers of 8 KiB as well.
MAX_HEAD = 32 * 1024
# Of path and query. To take percents out of a path of 32 KiB takes 5 ms.
MAX_TARGET = 8 * 1024
# 16 KiB of body in chunks of one byte, and some trailers.
MAX_BESIDE = 128 * 1024
# Of a handshake: bytes of subprotocols, of which we know one with ten letters, and headers, of which browsers send 20.
MAX_OFFER = 1024
MAX_FIELDS = 256
# Members of lists (RFC 9110, section 5.6.1), in one look: a head has room for 16,000.
_OFFERS_WEBSOCKET = re.compile(rb"(?:^|,)[ \t]*websocket[ \t]*(?:,|$)", re.IGNORECASE)
_UPGRADE = re.compile(rb"(?:^|(?<=,))[ \t]*upgrade[ \t]*(?=,|$)", re.IGNORECASE)
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_SUBPROTOCOLS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding"})
# To the end of a request's headers, from its first byte, and for the first request from the connection.
HEAD_SECONDS = 10.0
# Calls behind one that is being answered, and what they may have before reading pauses: one read can hold thousands.
# Not paused at the first of them, for a connection that is not read does not say that its client has gone.
MOST_AHEAD = 512
MAX_AHEAD = 64 * 1024
# A client has to take what was written for it within that time.
READ_SECONDS = 30.0


class Cycle(RequestResponseCycle):
    """One request and its answer. One that is whole leaves in one write: uvicorn makes two of it, each a system call
    here, a packet, and a wake-up there, and looks at every letter of every header. Of a poll it saves a sixth.

    Of the application's headers it expects what Starlette keeps to: tuples, with names in lower case.
    """

    _start: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._start is None and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            whole = None if message.get("more_body") else self._whole(start, message.get("body", b""))
            if whole:
                self._write(whole)
                return
            await self._pass_on(start)
        await self._pass_on(message)

    async def send_500_response(self) -> None:
        # What was begun has not left.
        self._start = None
        await super().send_500_response()

    async def _pass_on(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.transport.is_closing():
            # uvicorn tells so only the newest of several calls on one connection.
            self.disconnected = True
        await super().send(message)

    def _whole(self, start: Any, body: bytes) -> bytes | None:
        """Head and body; None where there is more to be thought of than these."""
        headers = start["headers"]
        if not self.keep_alive or self.scope["method"] == "HEAD" or self.disconnected or self.flow.write_paused:
            return None
        if (b"content-length", b"%d" % len(body)) not in headers:
            return None
        lines = [*map(_lines.__getitem__, self.default_headers), *map(_lines.__getitem__, headers)]
        return None if b"" in lines else b"".join([STATUS_LINE[start["status"]], *lines, b"\r\n", body])

    def _write(self, whole: bytes) -> None:
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        # Who reset the connection in between gets nothing.
        if not self.transport.is_closing():
            self.transport.write(whole)
        self.message_event.set()
        self.on_response()


# What says how the connection goes on, and what must not be kept.
_UVICORNS = frozenset({b"connection", b"transfer-encoding", b"set-cookie"})


class Lines(dict[tuple[bytes, bytes], bytes]):
    """Fields as they are spelt, empty for uvicorn's. The same few go with every answer, so `MOST` are remembered; the
    library's cache takes as long as all else of them."""

    MOST = 1024

    def __missing__(self, field: tuple[bytes, bytes]) -> bytes:
        name, value = field
        if name in _UVICORNS:
            return b""
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise RuntimeError("no header can be spelt like that")
        if len(self) >= self.MOST:
            self.clear()
        self[field] = line = b"%b: %b\r\n" % (name.lower(), value)
        return line


_lines = Lines()


class HttpProtocol(HttpToolsProtocol):
    """Costs a bounded amount of memory and time per client, whatever it sends beside bodies, which the application
    bounds, and whether it reads or not. httptools and uvicorn bound nothing, and a field costs time that grows with the
    square of its size.

    A request is its head, its body, and what else comes before the next one's head: chunk sizes, trailers, nonsense.
    """

    def __init__(self, room: Room, safe_headers: Mapping[str, str], *given: Any, **named: Any) -> None:
        """`safe_headers` go with refusals of what is no request that the application could answer; the rest is
        uvicorn's."""
        super().__init__(*given, **named)
        self._room = room
        self._safe_headers = safe_headers
        self._peer: Peer | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        # The application waits for each client that has not taken all.
        self.transport.set_write_buffer_limits(high=0)
        self._in_head = True
        # In bytes: what has come of this head in earlier reads, of this request beside head and body, and of calls
        # behind one that is being answered.
        self._earlier = self._beside = self._ahead = 0
        # Of the present read.
        self._size = self._of_bodies = 0
        self._begun = False
        self._hosts = 0
        # Of the present request's body, in this read.
        self._pieces: list[bytes] = []
        # Its last request is refused: nothing that follows is one.
        self._refused = False
        # The call that the application is answering, or has answered; `cycle` is the newest one.
        self._running: Cycle | None = None
        self._timers = timers()
        self._late: Timer | None = self._timers.call_later(HEAD_SECONDS, self._end_slow)
        # Set once, not with each answer as uvicorn's is.
        self._idle: Timer | None = None
        self._answered_at = 0.0
        self._unread: Timer | None = None
        self._peer = self._room.enter(self, self.client[0] if self.client else None, len(self.connections))
        if self._peer is None:
            self._write_refusal(Refused(Code.UNAVAILABLE, "too many open connections", retry_after=10))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._size, self._of_bodies, self._begun = len(data), 0, False
        if self._refused:
            # Read on only to hear that the client has gone.
            self._beside += len(data)
            if self._beside > MAX_BESIDE:
                self.transport.close()
            return
        if not self._parse(data):
            return
        self._pass_body_on()
        if self._in_head and not self._begun:
            self._earlier += len(data)
        elif not self._begun:
            self._beside += len(data) - self._of_bodies
        if self.transport.is_closing():
            return
        if self._earlier > MAX_HEAD or self._beside > MAX_BESIDE:
            self._refuse_large()
        elif self._late is None and (self._in_head or self._answered):
            # Whatever begins no request, and the rest of one that has its answer, is no reason to keep a connection.
            self._late = self._timers.call_later(HEAD_SECONDS, self._end_slow)
        if self.pipeline:
            self._ahead += len(data)
            if self._ahead > MAX_AHEAD:
                self.flow.pause_reading()

    def _parse(self, data: bytes) -> bool:
        """False once it is another protocol's connection."""
        parts: list[bytes | memoryview] = [data]
        while parts and not self._refused:
            part = parts.pop(0)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as offer:
                if self._is_handshake:
                    if refused := self._refused_handshake():
                        self._refuse(refused)
                        break
                    self._open_socket()
                    return False
                parts[:0] = [self._without_offer(), memoryview(part)[offer.args[0] :]]
            except httptools.HttpParserError:
                self._pass_body_on()
                self._refuse(Refused(Code.BAD_REQUEST, "that is no request as RFC 9112 has it"))
                break
        return True

    def _without_offer(self) -> bytes:
        """The head that was read, without its offer of another protocol (RFC 9110, section 7.8), for a new parser: the
        old one takes whatever is behind for that protocol's, and knows no way back."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            # Read once more, it would be the same again.
            self._refuse(Refused(Code.METHOD_NOT_ALLOWED, "this is no proxy"))
            return b""
        head = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = _UPGRADE.sub(b"", value)
            if name != b"upgrade":
                head.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*head, b"\r\n"])

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head = self._begun = True
        self._earlier = self._beside = self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields behind the body are no headers, and no proxy has looked at them (RFC 9110, section 6.5.1).
        if self._in_head:
            # The parser leaves what is blank behind a value (section 5.5).
            name, value = name.lower(), value.rstrip(b" \t")
            self.headers.append((name, value))
            if name == b"host":
                self._hosts += 1
            elif name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
        # Only if it fills a read, or more than one, there can be so much of it.
        too_long = len(self.url) > MAX_TARGET
        if too_long or not self._begun or self._size > MAX_HEAD:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if too_long or size > MAX_HEAD:
                self._refuse_large()
                # Ends the parsing: of what follows, nothing is a request.
                raise ValueError("too large")
        if self.parser.should_upgrade():
            # Decided once the parser has let go of it.
            return
        self.scope = self._read_head()
        version = self.scope["http_version"]
        if version == "1.0":
            # RFC 9110, section 10.1.1.
            self.expect_100_continue = False
        if version not in ("1.0", "1.1") or self._hosts > 1 or (version == "1.1" and not self._hosts):
            # RFC 9112, section 3.2: two readers could take it for two hosts' request.
            raise ValueError("HTTP/1.1 with one Host, or HTTP/1.0")
        self._in_head = False
        self._begin()

    def _read_head(self) -> Any:
        """The scope of ASGI 3.0. uvicorn makes it in three steps and has httptools take each path apart; with
        `_begin`, and `Cycle` in place of a wrapper around uvicorn's, this saves a twelfth of a poll."""
        if self.url.startswith(b"/") and b"#" not in self.url:
            raw_path, _, query = self.url.partition(b"?")
        else:
            parsed = httptools.parse_url(self.url)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": self.parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": self.parser.get_method().decode("ascii"),
            "root_path": self.root_path,
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def _begin(self) -> None:
        """Call the application, once all that was asked before is answered."""
        if len(self.pipeline) >= MOST_AHEAD:
            self._room.cut("too_many_ahead")
            self.transport.close()
            # Ends the parsing.
            raise ValueError("too many calls ahead of their answers")
        keep_alive = self.scope["http_version"] != "1.0" and self.parser.should_keep_alive()
        self._call(self.app, self.scope, keep_alive=keep_alive)

    def _call(self, app: Any, scope: Any, *, keep_alive: bool) -> None:
        answered = self._answered
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        if answered:
            self._start(self.cycle, app)
        else:
            self.pipeline.appendleft((self.cycle, app))

    def _start(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if self._peer:
            self._room.work(self, self._peer)
        self._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._of_bodies += len(body)
        # Of chunks of one byte there can be 16,000 in a read: one that is added to its read costs a tenth.
        self._pieces.append(body)

    def _pass_body_on(self) -> None:
        if self._pieces:
            super().on_body(b"".join(self._pieces))
            self._pieces.clear()

    def on_message_complete(self) -> None:
        # Not behind an offer: what it calls complete is only the head.
        if not self._in_head:
            self._pass_body_on()
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """uvicorn's, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(*self.pipeline.pop())
        else:
            self._ahead = 0
            self._answered_at = self.loop.time()
            if self._peer:
                self._room.rest(self, self._peer)
            if self._idle is None:
                self._idle = self._timers.call_later(self.timeout_keep_alive, self._end_idle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._timers.call_later(READ_SECONDS, self._end_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._running and not self._running.response_complete:
            # uvicorn tells only the newest of several calls.
            self._running.disconnected = True
            self._running.message_event.set()
        for cycle, _ in self.pipeline:
            # It knows this one, and both would stay until a collection; of those that were begun, uvicorn sees to it.
            cycle.on_response = lambda: None
        if self._late:
            self._late.cancel()
        self._stop_idling()
        self._stop_waiting()

    def give_way(self) -> None:
        # What it has not taken would hold up the end.
        self._stop_idling()
        if self.flow.write_paused:
            self.transport.abort()
        else:
            self.transport.close()

    def _open_socket(self) -> None:
        self._stop_idling()
        self._stop_waiting()
        self.connections.discard(self)
        ours = self.ws_protocol_class
        kind = ours if isinstance(ours, type) and issubclass(ours, WebSocketProtocol) else WebSocketProtocol
        protocol = kind(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        # It knows this one, which would stay, with all headers, until a collection.
        self.parser = None  # type: ignore[assignment]
        protocol.greet(self.url.decode("ascii"), self.headers)
        if self.flow.write_paused:
            # Answers to calls before it.
            protocol.pause_writing()

    @property
    def _is_handshake(self) -> bool:
        """Of a WebSocket (RFC 6455, section 4.2.1); behind a call that is still to be answered there is none."""
        return (
            self._answered
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self._hosts == 1
            and self.ws_protocol_class is not None
            and any(name == b"upgrade" and _OFFERS_WEBSOCKET.search(value) for name, value in self.headers)
            and all(name not in _OF_BODIES or value == b"0" for name, value in self.headers)
        )

    def _refused_handshake(self) -> Refused | None:
        """What the library would refuse in plain text, and what costs it too much: it reads each header, and each
        subprotocol, on its own."""
        keys, versions, offered = [], [], []
        for name, value in self.headers:
            if name == b"sec-websocket-key":
                keys.append(value)
            elif name == b"sec-websocket-version":
                versions.append(value)
            elif name == b"sec-websocket-protocol":
                offered.append(value)
        if versions != [b"13"]:
            return Refused(Code.UPGRADE_REQUIRED, "of WebSockets, version 13 is spoken here")
        if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
            return Refused(Code.BAD_REQUEST, "a handshake has one Sec-WebSocket-Key, of 16 bytes in base64")
        if len(self.headers) > MAX_FIELDS or sum(map(len, offered)) > MAX_OFFER:
            detail = f"a handshake has at most {MAX_FIELDS} headers, and {MAX_OFFER} bytes of subprotocols"
            return Refused(Code.BAD_REQUEST, detail)
        if not all(map(_SUBPROTOCOLS.fullmatch, offered)):
            return Refused(Code.BAD_REQUEST, "subprotocols are names with commas between them")
        return None

    @property
    def _answered(self) -> bool:
        """Whether there is an answer to all that was asked."""
        return self.cycle is None or self.cycle.response_complete

    def _end_slow(self) -> None:
        self._late = None
        if not self._answered:
            # A client that waits for an answer may be late with what it asks next.
            self._late = self._timers.call_later(HEAD_SECONDS, self._end_slow)
        elif self._in_head:
            self._refuse(Refused(Code.REQUEST_TIMEOUT, f"headers have to be here within {HEAD_SECONDS:.0f} seconds"))
        else:
            self.transport.close()

    def _end_idle(self) -> None:
        self._idle = None
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle = self._timers.call_later(left, self._end_idle)
        elif self._answered and not self._late:
            self.transport.close()

    def _end_unread(self) -> None:
        self._unread = None
        self._room.cut("not_reading")
        self.transport.abort()

    def _stop_idling(self) -> None:
        """No room is taken any more by an HTTP connection."""
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self._peer:
            self._room.leave(self, self.client[0] if self.client else None, self._peer)
            self._peer = None

    def _stop_waiting(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _refuse_large(self) -> None:
        detail = (
            f"an address has at most {MAX_TARGET} bytes; there are at most {MAX_FIELDS} headers, of {MAX_HEAD} bytes"
        )
        self._refuse(Refused(Code.HEADERS_TOO_LARGE, detail))

    def _refuse(self, refused: Refused) -> None:
        """Answer the newest request with this, behind the answers to those before it, and end the connection."""
        if self.transport.is_closing() or self._refused:
            return
        self._room.count(refused.code.value)
        of_newest = not self._in_head and self.cycle is not None and self.cycle.more_body
        if self._answered:
            if self._in_head:
                self._write_refusal(refused)
            # Else it is the rest of one that has its answer.
            self.transport.close()
        elif of_newest and self.cycle is self._running:
            if not self.cycle.response_started:
                self._write_refusal(refused)
            # Else it would be part of the answer that is on its way.
            self.transport.close()
        else:
            self._refused = True
            if of_newest:
                torn, _ = self.pipeline.popleft()
                torn.on_response = lambda: None
            nothing = {"path": "", "query_string": b"", "http_version": "1.1", "client": self.client}
            self._call(self._problem(refused), {"type": "http", "method": "GET", **nothing}, keep_alive=False)

    def _problem(self, refused: Refused) -> Response:
        answer = problem(refused)
        for name, value in self._safe_headers.items():
            answer.headers.setdefault(name, value)
        answer.headers["Connection"] = ", ".join(sorted({"close", answer.headers.get("Connection", "close")}))
        return answer

    def _write_refusal(self, refused: Refused) -> None:
        answer = self._problem(refused)
        lines = [b"%s: %s\r\n" % field for field in [*self.server_state.default_headers, *answer.raw_headers]]
        self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
