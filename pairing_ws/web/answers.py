"""How HTTP comes and goes: uvicorn's protocol, with an end to every head of a request, and each answer in one write."""

from asyncio import AbstractEventLoop, TimerHandle
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pairing_ws.errors import Code, Refused
from pairing_ws.web.errors import problem

# nginx takes four buffers of 8 KiB as well.
MAX_HEAD = 32 * 1024
# 16 KiB of body in chunks of one byte, and some trailers.
MAX_BESIDE = 128 * 1024
# To the end of a request's headers, from its first byte, and for the first request from the connection.
HEAD_SECONDS = 10.0


class Joined:
    """A transport that joins head and body: uvicorn writes them one after the other, and each would be a system call
    here, a packet, and a wake-up there. Of a poll it saves a tenth."""

    def __init__(self, transport: Any, loop: AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
            self.transport.write(data)
        else:
            self._held = data
            # Whatever nothing follows.
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        held, self._held = self._held, b""
        # Who reset the connection in between gets nothing.
        if held and not self.transport.is_closing():
            self.transport.write(held)

    def close(self) -> None:
        self.flush()
        self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """Costs a bounded amount of memory and time per client, whatever it sends beside bodies, which the application
    bounds. httptools and uvicorn bound nothing, and a field costs time that grows with the square of its size.

    A request is its head, its body, and what else comes before the next one's head: chunk sizes, trailers, nonsense.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._in_head = True
        # In bytes: what has come of this head in earlier reads, and of this request beside head and body.
        self._earlier = self._beside = 0
        # Of the present read.
        self._size = self._of_bodies = 0
        self._begun = False
        self._upgraded = False
        self._late: TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._end_slow)

    def data_received(self, data: bytes) -> None:
        self._size, self._of_bodies, self._begun = len(data), 0, False
        super().data_received(data)
        if self._upgraded or self.transport.is_closing():
            return
        if self._in_head and not self._begun:
            self._earlier += len(data)
        elif not self._begun:
            self._beside += len(data) - self._of_bodies
        if self._earlier > MAX_HEAD or self._beside > MAX_BESIDE:
            self._refuse_large()
        elif self._late is None and (self._in_head or (self._answered and self.timeout_keep_alive_task is None)):
            # Any read ends uvicorn's own timer, and not every one brings the head of a request that has an end.
            self._late = self.loop.call_later(HEAD_SECONDS, self._end_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._begun = True
        self._earlier = self._beside = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields behind the body are no headers, and no proxy has looked at them (RFC 9110, section 6.5.1).
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
        # Only then there can be so many.
        if self._earlier or self._size > MAX_HEAD:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD:
                self._refuse_large()
                # Ends the parsing: of what follows, nothing is a request.
                raise ValueError("too large")
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._of_bodies += len(body)
        super().on_body(body)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._late:
            self._late.cancel()

    def handle_websocket_upgrade(self) -> None:
        # A socket's frames are whole, and wait for nothing.
        self.transport = self.transport.transport  # type: ignore[attr-defined]
        self._upgraded = True
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    @property
    def _answered(self) -> bool:
        """Whether there is an answer to all that was asked."""
        return self.cycle is None or self.cycle.response_complete

    def _end_slow(self) -> None:
        self._late = None
        if not self._answered:
            # Whoever waits for an answer may be late with what he asks next.
            self._late = self.loop.call_later(HEAD_SECONDS, self._end_slow)
        elif self._in_head:
            self._refuse(Refused(Code.REQUEST_TIMEOUT, f"headers have to be here within {HEAD_SECONDS:.0f} seconds"))
        else:
            self.transport.close()

    def _refuse_large(self) -> None:
        self._refuse(Refused(Code.HEADERS_TOO_LARGE, f"all headers together have at most {MAX_HEAD} bytes"))

    def _refuse(self, refused: Refused) -> None:
        # In the middle of an answer to what was asked before, or behind the one to this, another would be part of it.
        if self._answered and self._in_head and not self.transport.is_closing():
            answer = problem(refused)
            head = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
            lines = [b"%s: %s\r\n" % field for field in head]
            self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
