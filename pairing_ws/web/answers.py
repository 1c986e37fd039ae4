"""How HTTP comes and goes: uvicorn's protocol, with an end to every head of a request, and each answer in one write."""

from asyncio import AbstractEventLoop, TimerHandle
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pairing_ws.errors import Code, Refused
from pairing_ws.web.errors import problem

# nginx takes four buffers of 8 KiB as well.
MAX_HEAD = 32 * 1024
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
        if self._held:
            held, self._held = self._held, b""
            self.transport.write(held)

    def close(self) -> None:
        self.flush()
        self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """Costs a bounded amount of memory and time per client, whatever comes before the end of a request's headers: their
    parser takes time that grows with the square of a field's size."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._chunk = self._earlier = 0
        self._in_head = True
        self._late: TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._refuse_slow)

    def data_received(self, data: bytes) -> None:
        self._chunk = len(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._earlier += len(data)
            if self._earlier > MAX_HEAD:
                self._refuse_large()
            elif self._late is None:
                self._late = self.loop.call_later(HEAD_SECONDS, self._refuse_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._earlier = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._late:
            self._late.cancel()
            self._late = None
        # Only then there can be so many.
        if self._earlier or self._chunk > MAX_HEAD:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD:
                self._refuse_large()
                # Ends the parsing: of what follows, nothing is a request.
                raise ValueError("too large")
        super().on_headers_complete()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._late:
            self._late.cancel()

    def handle_websocket_upgrade(self) -> None:
        # A socket's frames are whole, and wait for nothing.
        self.transport = self.transport.transport  # type: ignore[attr-defined]
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse_large(self) -> None:
        self._refuse(Refused(Code.HEADERS_TOO_LARGE, f"all headers together have at most {MAX_HEAD} bytes"))

    def _refuse_slow(self) -> None:
        self._refuse(Refused(Code.REQUEST_TIMEOUT, f"headers have to be here within {HEAD_SECONDS:.0f} seconds"))

    def _refuse(self, refused: Refused) -> None:
        # In the middle of an answer to what was asked before, another one would be a part of it.
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            answer = problem(refused)
            head = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
            lines = [b"%s: %s\r\n" % field for field in head]
            self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
