"""How HTTP comes and goes: uvicorn's protocol, with an end to every head of a request, and each answer in one write."""

from asyncio import Event
from asyncio.transports import BaseTransport
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from pairing_ws.errors import Code, Refused
from pairing_ws.timers import Timer, timers
from pairing_ws.web.errors import problem
from pairing_ws.web.frames import WebSocketProtocol

# nginx takes four buffers of 8 KiB as well.
MAX_HEAD = 32 * 1024
# Of path and query. To take percents out of a path of 32 KiB takes 5 ms.
MAX_TARGET = 8 * 1024
# 16 KiB of body in chunks of one byte, and some trailers.
MAX_BESIDE = 128 * 1024
# Of a handshake: bytes of subprotocols, of which we know one with ten letters, and headers, of which browsers send 20.
# Each is read on its own.
MAX_OFFER = 1024
MAX_FIELDS = 256
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding"})
# To the end of a request's headers, from its first byte, and for the first request from the connection.
HEAD_SECONDS = 10.0
# Calls behind one that is being answered. Reading pauses with the first of them, but one read can hold thousands.
MOST_AHEAD = 512


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
    bounds. httptools and uvicorn bound nothing, and a field costs time that grows with the square of its size.

    A request is its head, its body, and what else comes before the next one's head: chunk sizes, trailers, nonsense.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._in_head = True
        # In bytes: what has come of this head in earlier reads, and of this request beside head and body.
        self._earlier = self._beside = 0
        # Of the present read.
        self._size = self._of_bodies = 0
        self._begun = False
        # Of the present request's body, in this read.
        self._pieces: list[bytes] = []
        self._upgraded = False
        self._timers = timers()
        self._late: Timer | None = self._timers.call_later(HEAD_SECONDS, self._end_slow)
        # Set once, not anew with each answer as uvicorn's is.
        self._idle: Timer | None = None
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._size, self._of_bodies, self._begun = len(data), 0, False
        super().data_received(data)
        self._pass_body_on()
        if self._upgraded or self.transport.is_closing():
            return
        if self._in_head and not self._begun:
            self._earlier += len(data)
        elif not self._begun:
            self._beside += len(data) - self._of_bodies
        if self._earlier > MAX_HEAD or self._beside > MAX_BESIDE:
            self._refuse_large()
        elif self._late is None and (self._in_head or self._answered):
            # Whatever begins no request, and the rest of one that has its answer, is no reason to keep a connection.
            self._late = self._timers.call_later(HEAD_SECONDS, self._end_slow)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head = self._begun = True
        self._earlier = self._beside = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields behind the body are no headers, and no proxy has looked at them (RFC 9110, section 6.5.1).
        if self._in_head:
            name = name.lower()
            self.headers.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
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
        self._in_head = False
        self.scope = self._read_head()
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self._begin()

    def _read_head(self) -> Any:
        """The scope of ASGI 3.0. uvicorn makes it in three steps and has httptools take each path apart; with
        `_begin`, and `Cycle` in place of a wrapper around uvicorn's, this saves a twelfth of a poll."""
        if self.url.startswith(b"/") and b"#" not in self.url:
            raw_path, _, query = self.url.partition(b"?")
        else:
            parsed = httptools.parse_url(self.url)
            raw_path, query = parsed.path, parsed.query or b""
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
        answered = self._answered
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if answered:
            self._start_asgi_task(self.cycle, self.app)
        elif len(self.pipeline) >= MOST_AHEAD:
            self.transport.close()
            # Ends the parsing.
            raise ValueError("too many calls ahead of their answers")
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._of_bodies += len(body)
        # Of chunks of one byte there can be 16,000 in a read: one that is added to its read costs a tenth.
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._pass_body_on()
        super().on_message_complete()

    def _pass_body_on(self) -> None:
        if self._pieces:
            super().on_body(b"".join(self._pieces))
            self._pieces.clear()

    def on_response_complete(self) -> None:
        """uvicorn's, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._answered_at = self.loop.time()
            if self._idle is None:
                self._idle = self._timers.call_later(self.timeout_keep_alive, self._end_idle)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        for cycle, _ in self.pipeline:
            # It knows this one, and both would stay until a collection; of those that were begun, uvicorn sees to it.
            cycle.on_response = lambda: None
        if self._late:
            self._late.cancel()
        self._stop_idling()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        self._stop_idling()
        if not self._is_handshake:
            # Handed on, it would be left without an answer and without an end.
            detail = f"a socket is opened by a GET of HTTP/1.1: no body, {MAX_FIELDS} headers at the most"
            self._refuse(Refused(Code.BAD_REQUEST, f"{detail}, {MAX_OFFER} bytes of subprotocols"))
            return
        self.connections.discard(self)
        protocol = WebSocketProtocol(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        # It knows this one, which would stay, with all headers, until a collection.
        self.parser = None  # type: ignore[assignment]
        protocol.greet(self.url.decode("ascii"), self.headers)

    @property
    def _is_handshake(self) -> bool:
        """Behind a call that is still to be answered, it is none either."""
        return (
            self._answered
            and self.scope["method"] == "GET"
            and self.scope["http_version"] == "1.1"
            and all(name not in _OF_BODIES or value == b"0" for name, value in self.headers)
            and len(self.headers) <= MAX_FIELDS
            and sum(len(value) for name, value in self.headers if name == b"sec-websocket-protocol") <= MAX_OFFER
        )

    def send_400_response(self, msg: str) -> None:
        if self.transport.is_closing():
            return
        if self._answered or not self.cycle.response_started:
            super().send_400_response(msg)
        else:
            # It would be part of the answer that is on its way.
            self.transport.close()

    @property
    def _answered(self) -> bool:
        """Whether there is an answer to all that was asked."""
        return self.cycle is None or self.cycle.response_complete

    def _end_slow(self) -> None:
        self._late = None
        if not self._answered:
            # Whoever waits for an answer may be late with what he asks next.
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

    def _stop_idling(self) -> None:
        if self._idle:
            self._idle.cancel()
            self._idle = None

    def _refuse_large(self) -> None:
        detail = (
            f"an address has at most {MAX_TARGET} bytes; there are at most {MAX_FIELDS} headers, of {MAX_HEAD} bytes"
        )
        self._refuse(Refused(Code.HEADERS_TOO_LARGE, detail))

    def _refuse(self, refused: Refused) -> None:
        # In the middle of an answer to what was asked before, or behind the one to this, another would be part of it.
        if self._answered and (self._in_head or self._upgraded) and not self.transport.is_closing():
            answer = problem(refused)
            answer.headers["Connection"] = "close"
            head = [*self.server_state.default_headers, *answer.raw_headers]
            lines = [b"%s: %s\r\n" % field for field in head]
            self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
