"""One HTTP request and its response, as an ASGI application sees them (ASGI 3.0, HTTP message format 2.3)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Scope

from pairing_ws.transport.response_head import Field, serialize_head

# Public, and where uvicorn's users look: the messages are uvicorn's as well.
log = logging.getLogger("uvicorn.error")

# Of a body that the application has not received yet, before reading pauses.
MAX_BUFFERED_BODY = 64 * 1024
_FAILED: Message = {
    "type": "http.response.start",
    "status": 500,
    "headers": [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"21"),
        (b"connection", b"close"),
    ],
}


class Connection(Protocol):
    """What a cycle needs of the connection that it is on."""

    transport: asyncio.Transport
    write_paused: bool

    @property
    def default_headers(self) -> Sequence[Field]: ...

    async def drain(self) -> None:
        """Return once the client has taken what was written, or the connection has ended."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def on_response_complete(self) -> None: ...


class RequestCycle:
    """A response that is whole leaves in one write: two are two system calls here, two packets, and two wake-ups
    there. That is a sixth of a poll."""

    __slots__ = (
        "_body", "_changed", "_connection", "_expects_continue", "_left", "_start", "_wakeup", "disconnected",
        "keep_alive", "more_body", "response_complete", "response_started", "scope",
    )  # fmt: skip

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self._connection = connection
        self.scope = scope
        # Whether the connection stays open behind the response.
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False
        # The response's head, until something of its body is there.
        self._start: Message | None = None
        # Bytes of the response's body that are still to come; None if it is chunked.
        self._left: int | None = 0
        # There is something to receive. The event is made for an application that waits: most never do.
        self._changed = False
        self._wakeup: asyncio.Event | None = None

    async def run(self, app: ASGIApp) -> None:
        """Call the application, and answer in its place if it fails."""
        try:
            result: Any = await app(self.scope, self.receive, self.send)  # type: ignore[func-returns-value]
        except BaseException as error:
            log.error("Exception in ASGI application", exc_info=error)
            await self._fail()
        else:
            if result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
                self._connection.transport.close()
            elif not self.response_complete and not self.disconnected:
                log.error("ASGI callable returned without completing response.")
                await self._fail()

    async def _fail(self) -> None:
        if self.response_started:
            self._connection.transport.close()
        else:
            self._start = _FAILED
            await self.send({"type": "http.response.body", "body": b"Internal Server Error"})

    # What the connection tells

    def feed_body(self, data: bytes) -> None:
        if self.response_complete:
            return
        if self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        else:
            self._body = data
        if len(self._body) > MAX_BUFFERED_BODY:
            self._connection.pause_reading()
        self._wake()

    def end_body(self) -> None:
        self.more_body = False
        self._wake()

    def disconnect(self) -> None:
        """The client has ended the connection."""
        if not self.response_complete:
            self.disconnected = True
            self._wake()

    def _wake(self) -> None:
        self._changed = True
        if self._wakeup:
            self._wakeup.set()

    # What the application calls

    async def receive(self) -> Message:
        connection = self._connection
        if self._expects_continue:
            self._expects_continue = False
            if not connection.transport.is_closing():
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.disconnected and not self.response_complete:
            connection.resume_reading()
            if self._changed:
                self._changed = False
                body, self._body = bytes(self._body), b""
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            if self._wakeup is None:
                self._wakeup = asyncio.Event()
            self._wakeup.clear()
            await self._wakeup.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Holds the head back until the first part of the body: together they are one write.

        Raises RuntimeError for a message out of order, an impossible header, or a body of another length than its
        Content-Length.
        """
        kind = message["type"]
        if kind == "http.response.start" and self._start is None and not self.response_started:
            self._start = message
            return
        connection = self._connection
        if connection.write_paused and not self.disconnected:
            await connection.drain()
        if connection.transport.is_closing():
            self.disconnected = True
        if self.disconnected:
            return
        if kind != "http.response.body" or (self._start is None and not self.response_started):
            raise RuntimeError(f"Unexpected ASGI message '{kind}'")
        if self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        self._write(message.get("body", b""), more=message.get("more_body", False))

    def _write(self, body: bytes, *, more: bool) -> None:
        connection, head = self._connection, b""
        if self._start is not None:
            head = self._serialize_head(self._start)
        data = self._frame(body, more=more)
        if head:
            self._start = None
            self.response_started = True
            self._expects_continue = False
            if more:
                connection.transport.write(head)
            else:
                data = head + data
        if data:
            connection.transport.write(data)
        if not more:
            self.response_complete = True
            self._wake()
            if not self.keep_alive:
                connection.transport.close()
            connection.on_response_complete()

    def _serialize_head(self, start: Message) -> bytes:
        status = start["status"]
        fields = [*self._connection.default_headers, *start.get("headers", ())]
        has_body = self.scope["method"] != "HEAD" and status not in (204, 304)
        data, self._left, self.keep_alive = serialize_head(
            status, fields, keep_alive=self.keep_alive, has_body=has_body
        )
        return data

    def _frame(self, body: bytes, *, more: bool) -> bytes:
        """A part of the body as it goes over the wire."""
        if self.scope["method"] == "HEAD":
            return b""
        if self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        self._left -= len(body)
        if self._left < 0:
            raise RuntimeError("Response content longer than Content-Length")
        if self._left and not more:
            raise RuntimeError("Response content shorter than Content-Length")
        return body
