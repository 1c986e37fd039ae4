"""HTTP/1.1 on httptools: from the bytes of a connection to calls of an ASGI application, and to a WebSocket.

uvicorn's `Server` makes one HttpProtocol per connection, and knows of it: the arguments of the constructor, its place
in `connections`, and `shutdown()`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.responses import Response
from starlette.types import ASGIApp, Scope
from uvicorn import Config
from uvicorn.server import ServerState

from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.timing_wheel import Timer, timers
from pairing_ws.transport.addresses import is_tls, local_address, remote_address
from pairing_ws.transport.connection_limits import AddressConnections, ConnectionLimits
from pairing_ws.transport.request_cycle import RequestCycle
from pairing_ws.transport.request_limits import (
    HEAD_TIMEOUT,
    HEADERS_TOO_LARGE,
    MAX_PIPELINED_BYTES,
    MAX_PIPELINED_REQUESTS,
    WRITE_TIMEOUT,
)
from pairing_ws.transport.request_reader import RequestReader
from pairing_ws.transport.response_head import Field, serialize_head
from pairing_ws.transport.websocket import WebSocketProtocol
from pairing_ws.web.problems import problem


class HttpProtocol(asyncio.Protocol):
    """Costs a bounded amount of memory and time per client, whatever it sends, and whether it reads or not; bodies are
    the application's to bound.

    Requests may be pipelined (RFC 9112, section 9.3.2): each is answered behind the ones before it.
    """

    __slots__ = (
        "__weakref__", "_address", "_answered_at", "_app_state", "_config", "_header_timer", "_idle_timer", "_limits",
        "_loop", "_newest", "_peers", "_pipeline", "_pipelined", "_read_paused", "_reader", "_refused", "_running",
        "_safe_headers", "_scheme", "_server", "_state", "_writable", "_write_timer", "transport", "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self,
        limits: ConnectionLimits,
        safe_headers: Mapping[str, str],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`safe_headers` go with refusals that the application does not see; from `config` on, uvicorn gives."""
        self._limits = limits
        self._safe_headers = safe_headers
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._reader = RequestReader(self)
        # The one that the application answers, or has answered; the last one of all; and those that wait in between.
        self._running: RequestCycle | None = None
        self._newest: RequestCycle | None = None
        self._pipeline: list[tuple[RequestCycle, ASGIApp]] = []
        self._pipelined = 0
        # The last request is refused: nothing that follows is one.
        self._refused = False
        self._read_paused = self.write_paused = False
        # Made when a response waits for the client for the first time.
        self._writable: asyncio.Event | None = None
        self._header_timer: Timer | None = None
        # Set once, not with each response.
        self._idle_timer: Timer | None = None
        self._answered_at = 0.0
        self._write_timer: Timer | None = None
        self._peers: AddressConnections | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        # Each response waits until the client has taken the ones before it.
        self.transport.set_write_buffer_limits(high=0)
        self._address, self._server = remote_address(transport), local_address(transport)
        self._scheme = "https" if is_tls(transport) else "http"
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._start_header_timer()
        host = self._address[0] if self._address else None
        self._peers = self._limits.admit(self, host, len(self._state.connections))
        if self._peers is None:
            self._write_refusal(Refused(Code.UNAVAILABLE, "too many open connections", retry_after=10))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        meter = self._reader.meter
        meter.start_read(len(data))
        if self._refused:
            # Read on only to learn when the client ends the connection.
            if meter.count_discarded():
                self.transport.close()
            return
        self._reader.feed(data)
        if self._reader.stopped:
            # Refused, or a WebSocket's from now on.
            return
        is_too_large = meter.end_read()
        if self.transport.is_closing():
            return
        if is_too_large:
            self.refuse(Refused(Code.HEADERS_TOO_LARGE, HEADERS_TOO_LARGE))
        elif self._header_timer is None and (meter.in_head or self._is_answered):
            # What begins no request, and the rest of one that has its response, does not keep a connection open.
            self._start_header_timer()
        if self._pipeline:
            self._pipelined += len(data)
            if self._pipelined > MAX_PIPELINED_BYTES:
                self.pause_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._writable:
            self._writable.clear()
        self._write_timer = timers().call_later(WRITE_TIMEOUT, self._on_write_timeout)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable:
            self._writable.set()
        self._stop_write_timer()

    def connection_lost(self, error: Exception | None) -> None:
        self._state.connections.discard(self)
        for cycle in (self._running, *(waiting for waiting, _ in self._pipeline)):
            if cycle:
                cycle.disconnect()
        if error is None:
            # The client has ended its half.
            self.transport.close()
        self.resume_writing()
        self._release()

    def shutdown(self) -> None:
        """End the connection, behind the responses to what was asked: the server stops."""
        if self._newest is None or self._is_answered:
            self.transport.close()
        else:
            self._newest.keep_alive = False

    # What the reader calls

    @property
    def takes_handshakes(self) -> bool:
        """Behind a request that is still to be answered, no handshake is taken."""
        kind = self._config.ws_protocol_class
        return self._is_answered and isinstance(kind, type) and issubclass(kind, WebSocketProtocol)

    def on_head_end(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def on_request(self, method: bytes, version: str, *, keep_alive: bool) -> None:
        """Raises ValueError, which ends the parsing, for a target that is none, and for too many requests."""
        if len(self._pipeline) >= MAX_PIPELINED_REQUESTS:
            self._limits.log_cut("too_many_ahead")
            self.transport.close()
            raise ValueError("too many requests before their responses")
        scope, expects = self._scope(method, version), self._reader.expects_continue
        self._enqueue(
            RequestCycle(self, scope, keep_alive=keep_alive, expects_continue=expects), self._config.loaded_app
        )

    def on_request_body(self, data: bytes) -> None:
        if self._newest:
            self._newest.feed_body(data)

    def on_request_end(self) -> None:
        if self._newest:
            self._newest.end_body()

    def on_handshake(self, rest: bytes) -> None:
        """Raises ValueError for a target that is none."""
        scope = self._scope(b"GET", "1.1")
        # The handler of this connection from now on: this one holds no room, no timer, and no reference to itself.
        self._release()
        self._state.connections.discard(self)
        kind: Any = self._config.ws_protocol_class
        protocol: WebSocketProtocol = kind(self._config, self._state, self._app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        if self.write_paused:
            # By responses before it.
            protocol.pause_writing()
        protocol.start_handshake(scope)
        if rest:
            protocol.data_received(rest)

    # What a cycle calls

    @property
    def default_headers(self) -> Sequence[Field]:
        return self._state.default_headers

    async def drain(self) -> None:
        if self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()

    def on_response_complete(self) -> None:
        self._state.total_requests += 1
        if self.transport.is_closing():
            return
        self.resume_reading()
        if self._pipeline:
            self._start(*self._pipeline.pop(0))
            return
        self._pipelined = 0
        self._answered_at = self._loop.time()
        if self._peers:
            self._limits.mark_idle(self, self._peers)
        if self._idle_timer is None:
            self._idle_timer = timers().call_later(self._config.timeout_keep_alive, self._on_idle_timeout)

    # What the connection limits call

    def evict(self) -> None:
        self._leave_room()
        if self.write_paused:
            # A close would wait for what the client has not taken.
            self.transport.abort()
        else:
            self.transport.close()

    def _scope(self, method: bytes, version: str) -> Scope:
        """ASGI 3.0's connection scope. Raises ValueError for a target that is none."""
        target, root = self._reader.target, self._config.root_path
        if target.startswith(b"/") and b"#" not in target:
            raw_path, _, query = target.partition(b"?")
        else:
            parsed = httptools.parse_url(target)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._server,
            "client": self._address,
            "scheme": self._scheme,
            "method": method.decode("ascii"),
            "root_path": root,
            "path": root + (unquote(path) if "%" in path else path),
            "raw_path": root.encode("ascii") + raw_path if root else raw_path,
            "query_string": query,
            "headers": self._reader.fields,
            "state": self._app_state.copy(),
        }

    def _enqueue(self, cycle: RequestCycle, app: ASGIApp) -> None:
        """Call the application once all that was asked before is answered."""
        was_answered = self._is_answered
        self._newest = cycle
        if was_answered:
            self._start(cycle, app)
        else:
            self._pipeline.append((cycle, app))

    def _start(self, cycle: RequestCycle, app: ASGIApp) -> None:
        self._running = cycle
        if self._peers:
            self._limits.mark_busy(self, self._peers)
        task = self._loop.create_task(cycle.run(app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    @property
    def _is_answered(self) -> bool:
        """All that was asked."""
        return self._newest is None or self._newest.response_complete

    # What ends a connection

    def _start_header_timer(self) -> None:
        self._header_timer = timers().call_later(HEAD_TIMEOUT, self._on_header_timeout)

    def _on_header_timeout(self) -> None:
        self._header_timer = None
        if not self._is_answered:
            # A client that waits for a response may be late with its next request.
            self._start_header_timer()
        elif self._reader.meter.in_head:
            self.refuse(Refused(Code.REQUEST_TIMEOUT, f"headers have to be here within {HEAD_TIMEOUT:.0f} seconds"))
        else:
            self.transport.close()

    def _on_idle_timeout(self) -> None:
        self._idle_timer = None
        left = self._answered_at + self._config.timeout_keep_alive - self._loop.time()
        if left > 0:
            self._idle_timer = timers().call_later(left, self._on_idle_timeout)
        elif self._is_answered and not self._header_timer:
            self.transport.close()

    def _on_write_timeout(self) -> None:
        self._write_timer = None
        self._limits.log_cut("not_reading")
        self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _release(self) -> None:
        """Give up timers and room, and all that refers to this connection."""
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None
        self._stop_write_timer()
        self._leave_room()
        self._reader.stop()
        self._running = self._newest = None
        self._pipeline.clear()

    def _leave_room(self) -> None:
        """No room is taken any more by an HTTP connection."""
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._peers:
            self._limits.release(self, self._address[0] if self._address else None, self._peers)
            self._peers = None

    def refuse(self, refused: Refused) -> None:
        """Answer the newest request with this, behind the responses to those before it, and end the connection."""
        if self.transport.is_closing() or self._refused:
            return
        self._limits.count_cut(refused.code.value)
        newest = self._newest
        is_of_newest = not self._reader.meter.in_head and newest is not None and newest.more_body
        if self._is_answered:
            if self._reader.meter.in_head:
                self._write_refusal(refused)
            # Else it is the rest of one that has its response.
            self.transport.close()
        elif is_of_newest and newest is self._running:
            if newest and not newest.response_started:
                self._write_refusal(refused)
            # Else it would be part of the response that is on its way.
            self.transport.close()
        else:
            self._refused = True
            if is_of_newest:
                self._pipeline.pop()
            scope = {"type": "http", "method": "GET", "path": "", "query_string": b"", "headers": []}
            self._enqueue(RequestCycle(self, scope, keep_alive=False, expects_continue=False), self._problem(refused))

    def _problem(self, refused: Refused) -> Response:
        answer = problem(refused)
        for name, value in self._safe_headers.items():
            answer.headers.setdefault(name, value)
        answer.headers["Connection"] = ", ".join(sorted({"close", answer.headers.get("Connection", "close")}))
        return answer

    def _write_refusal(self, refused: Refused) -> None:
        answer = self._problem(refused)
        head, *_ = serialize_head(answer.status_code, [*self.default_headers, *answer.raw_headers], keep_alive=False)
        self.transport.write(head + bytes(answer.body))
