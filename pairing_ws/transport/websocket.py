"""WebSockets on `websockets`' Sans-I/O protocol: from an accepted handshake to calls of an ASGI application.

HttpProtocol reads the handshake, so that the Sans-I/O protocol begins in the state OPEN and sees frames alone.
"""

import asyncio
import logging
from collections import deque
from enum import Enum, auto
from typing import Any

from starlette.types import ASGIApp, Message, Scope
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from pairing_ws.core.timing_wheel import Timer, timers
from pairing_ws.transport.handshake import accepting_response, refusing_response, websocket_scope
from pairing_ws.transport.response_head import Field

log = logging.getLogger("uvicorn.error")

# For the client to answer a close frame.
CLOSE_TIMEOUT = 10.0


class ClientDisconnected(OSError):
    """What ASGI has `send` raise once the connection has ended."""


class Phase(Enum):
    # The application has not answered the handshake yet,
    CONNECTING = auto()
    # or is about to by an HTTP response.
    DENYING = auto()
    OPEN = auto()
    # The application has closed the socket, or refused the handshake.
    CLOSING = auto()
    # The client, or the server itself, has ended it.
    ENDED = auto()


class WebSocketProtocol(asyncio.Protocol):
    """Costs a bounded amount of memory per client, and ends each that takes nothing for `write_timeout` seconds, or
    answers no ping.

    What one waiting socket costs is what this class keeps: no queue, no event, and nothing of its handshake.
    """

    __slots__ = (
        "__weakref__", "_accept_key", "_app_state", "_config", "_denial", "_disconnect", "_early", "_frames",
        "_is_text", "_messages", "_parts", "_phase", "_read_paused", "_receiver", "_state", "_timer", "_transport",
        "_writable", "_write_timer",
    )  # fmt: skip

    write_timeout = 40.0

    _transport: asyncio.Transport

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._phase = Phase.CONNECTING
        self._accept_key = b""
        self._frames = ServerProtocol(state=State.OPEN, max_size=config.ws_max_size, logger=log)
        # Frames that came before the handshake's end.
        self._early = b""
        self._denial: tuple[Message, list[bytes]] | None = None
        # To be received, and the future of an application that waits; at the end, what it receives ever after.
        self._messages: deque[Message] | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._disconnect: Message | None = None
        # The message of which not all fragments are here, and its kind.
        self._parts: list[bytes] | None = None
        self._is_text = False
        self._read_paused = False
        # Made, and cleared, when the client has not taken all.
        self._writable: asyncio.Event | None = None
        # Of the next ping, of the pong to it, or of the client's close frame.
        self._timer: Timer | None = None
        self._write_timer: Timer | None = None

    # What the event loop and HttpProtocol call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        # Paused, then, is each client that has not taken all.
        self._transport.set_write_buffer_limits(high=0)
        self._state.connections.add(self)  # type: ignore[arg-type]

    def start_handshake(self, scope: Scope) -> None:
        """Call the application. `scope` is that of an HTTP request that `upgrade` has found to be a handshake."""
        scope, self._accept_key = websocket_scope(scope)
        self._put({"type": "websocket.connect"})
        task = asyncio.get_running_loop().create_task(self._run(self._config.loaded_app, scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def data_received(self, data: bytes) -> None:
        if self._phase is not Phase.OPEN and self._is_connecting:
            self._early += data
            if len(self._early) > self._config.ws_max_size:
                self._pause_reading()
            return
        if self._transport.is_closing():
            return
        frames = self._frames
        frames.receive_data(data)
        is_valid = all(self._handle(event) for event in frames.events_received() if isinstance(event, Frame))
        if not is_valid and frames.state is State.OPEN:
            frames.fail(1007)
        has_failed = not is_valid or frames.parser_exc is not None
        output = b"".join(frames.data_to_send())
        # Pongs to a client that takes nothing would stay in memory. Only the latest ping needs one (RFC 6455, 5.5.3).
        if output and (self._write_timer is None or has_failed or frames.close_rcvd):
            self._transport.write(output)
        if has_failed or frames.close_rcvd:
            close = frames.close_sent if has_failed else frames.close_rcvd
            self._end(close.code if close else 1006, close.reason if close else "")
            self._transport.close()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.Event()
        self._writable.clear()
        # Every sender waits for the client, and even a close would, for as long as its machine says that it is alive.
        self._write_timer = timers().call_later(self.write_timeout, self._transport.abort)

    def resume_writing(self) -> None:
        if self._writable:
            self._writable.set()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def connection_lost(self, error: Exception | None) -> None:
        self._state.connections.discard(self)
        self._end(1006 if self._is_connecting else 1005)
        self._phase = Phase.ENDED
        self._early = b""
        self._stop_timer()
        self.resume_writing()
        # The library's parser is a generator that refers to its owner, and so does the traceback of what ended it. As
        # garbage that only a collection finds, they took 1.4 KiB of each socket that had waited for long.
        self._frames.parser.close()
        self._frames.parser_exc = None
        if error is None:
            self._transport.close()

    def shutdown(self) -> None:
        """The server stops: tell the client to come back (1012)."""
        if self._phase is Phase.OPEN:
            self._close(1012, Phase.ENDED)
        self._fail_handshake()
        self._stop_timer()
        self._transport.close()

    # Frames

    def _handle(self, frame: Frame) -> bool:
        """False for a text that is none."""
        if frame.opcode is Opcode.PONG:
            self._on_pong()
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text, self._parts = frame.opcode is Opcode.TEXT, []
        elif frame.opcode is not Opcode.CONT:
            # websockets answers a ping, and keeps a close.
            return True
        # One that is empty adds nothing to the length that is limited: any number of them would fit.
        if frame.data and self._parts is not None:
            self._parts.append(bytes(frame.data))
        return self._end_message() if frame.fin else True

    def _end_message(self) -> bool:
        """Hand the message over, which is whole. False for a text that is none."""
        data, self._parts = b"".join(self._parts or ()), None
        if self._phase is not Phase.OPEN:
            # The application has closed the socket.
            return True
        if self._is_text:
            try:
                self._put({"type": "websocket.receive", "text": data.decode()})
            except UnicodeDecodeError:
                return False
        else:
            self._put({"type": "websocket.receive", "bytes": data})
        self._pause_reading()
        return True

    # Keepalive: a client whose machine is gone ends no connection

    def _start_ping_timer(self) -> None:
        if self._config.ws_ping_interval:
            self._timer = timers().call_later(self._config.ws_ping_interval, self._ping)

    def _ping(self) -> None:
        self._timer = None
        if self._phase is not Phase.OPEN or self._transport.is_closing():
            return
        self._frames.send_ping(b"")
        self._flush()
        if self._config.ws_ping_timeout:
            self._timer = timers().call_later(self._config.ws_ping_timeout, self._on_pong_timeout)
        else:
            self._start_ping_timer()

    def _on_pong(self) -> None:
        # An unasked one (RFC 6455, section 5.5.3) says as well that the client is there.
        if self._phase is Phase.OPEN and self._config.ws_ping_timeout:
            self._stop_timer()
            self._start_ping_timer()

    def _on_pong_timeout(self) -> None:
        self._timer = None
        if self._phase is Phase.OPEN and not self._transport.is_closing():
            self._close(1011, Phase.ENDED, "keepalive ping timeout")
            self._transport.close()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # What the application calls

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        call = app(scope, self.receive, self.send)
        # Most of what a waiting socket would keep are its browser's headers.
        del scope
        try:
            result: Any = await call  # type: ignore[func-returns-value]
        except ClientDisconnected:
            pass
        except BaseException:
            log.exception("Exception in ASGI application")
            self._fail_handshake()
        else:
            if self._is_connecting:
                log.error("ASGI callable returned without completing handshake.")
                self._fail_handshake()
            elif result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
        if self._phase is not Phase.CLOSING or self._timer is None:
            self._transport.close()

    async def receive(self) -> Message:
        """Raises RuntimeError if another task receives: messages would go to either."""
        if self._receiver:
            raise RuntimeError("another task receives from this WebSocket")
        while not self._messages:
            if self._disconnect:
                return self._disconnect
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._messages.popleft()
        if not self._messages:
            self._messages = None
            if not self._is_connecting:
                self._resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """Raises ClientDisconnected once the connection has ended, and RuntimeError for a message out of order."""
        if self._write_timer is not None and self._writable:
            await self._writable.wait()
        kind, phase = message["type"], self._phase
        if phase is Phase.OPEN and kind == "websocket.send":
            self._send(message)
        elif phase is Phase.CONNECTING and kind == "websocket.accept":
            self._accept(message)
        elif phase is Phase.CONNECTING and kind == "websocket.close":
            self._write_response(403, [], b"")
        elif phase is Phase.CONNECTING and kind == "websocket.http.response.start":
            self._denial = message, []
            self._phase = Phase.DENYING
        elif phase is Phase.DENYING and kind == "websocket.http.response.body" and self._denial:
            start, parts = self._denial
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._write_response(start["status"], [*start.get("headers", ())], b"".join(parts))
        elif phase is Phase.OPEN and kind == "websocket.close":
            if not self._transport.is_closing():
                self._close(message.get("code", 1000), Phase.CLOSING, message.get("reason") or "")
                self._resume_reading()
                self._timer = timers().call_later(CLOSE_TIMEOUT, self._transport.close)
        elif phase is Phase.ENDED:
            # An application that accepts too late learns of it by its next receive.
            if kind != "websocket.accept":
                raise ClientDisconnected
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}'")

    def _send(self, message: Message) -> None:
        text = message.get("text")
        try:
            if text is not None:
                self._frames.send_text(text.encode())
            else:
                self._frames.send_binary(message["bytes"])
        except InvalidState:
            raise ClientDisconnected from None
        self._flush()

    def _accept(self, message: Message) -> None:
        if self._transport.is_closing():
            return
        fields = [*self._state.default_headers, *message.get("headers", ())]
        self._transport.write(accepting_response(self._accept_key, fields, message.get("subprotocol")))
        self._phase = Phase.OPEN
        self._accept_key = b""
        self._start_ping_timer()
        self._resume_reading()
        if early := self._early:
            self._early = b""
            self.data_received(early)

    def _write_response(self, status: int, fields: list[Field], body: bytes) -> None:
        """Answer the handshake by HTTP, and end the connection."""
        if not self._transport.is_closing():
            self._transport.write(refusing_response(status, [*self._state.default_headers, *fields], body))
        self._phase = Phase.CLOSING
        self._denial = None
        self._end(1006)
        self._transport.close()

    def _fail_handshake(self) -> None:
        if self._is_connecting:
            self._write_response(500, [(b"content-type", b"text/plain")], b"Internal Server Error")

    def _close(self, code: int, phase: Phase, reason: str = "") -> None:
        """Send a close frame, unless one was sent."""
        self._stop_timer()
        self._phase = phase
        self._end(code, reason)
        if self._frames.state is State.OPEN:
            self._frames.send_close(code, reason)
            self._flush()

    def _end(self, code: int, reason: str = "") -> None:
        """From now on the application receives that the socket has ended. The first reason counts."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._wake()

    def _put(self, message: Message) -> None:
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._receiver and not self._receiver.done():
            self._receiver.set_result(None)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._frames.data_to_send()))

    @property
    def _is_connecting(self) -> bool:
        return self._phase in (Phase.CONNECTING, Phase.DENYING)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()
