"""How WebSocket frames come and go: uvicorn's protocol, made safe against clients that don't read."""

from asyncio import TimerHandle
from asyncio.transports import BaseTransport
from collections.abc import Sequence

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import Protocol

_OFFERS = frozenset({b"connection", b"upgrade"})


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Costs a bounded amount of memory per client, and ends with each that has taken nothing for `patience` seconds."""

    patience = 40.0
    _cut_off: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        # Paused, then, is whoever has not taken all.
        self.transport.set_write_buffer_limits(high=0)

    def greet(self, path: str, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the handshake, a GET of HTTP/1.1 without a body, as it has been read. uvicorn has it spelt out and read
        once more, line by line: a tenth of a connect."""
        # Past the handshake, for what comes now are frames.
        self.conn.parser = Protocol.parse(self.conn)
        next(self.conn.parser)
        # Whatever else was offered beside it: the library wants this to be all.
        headers = Headers({"Connection": "Upgrade", "Upgrade": "websocket"})
        for name, value in fields:
            if name not in _OFFERS:
                headers[name.decode("ascii")] = value.decode("latin-1")
        self.handle_connect(Request(path, headers))

    def start_keepalive(self) -> None:
        super().start_keepalive()
        # The handshake is over, and a browser's headers are most of what a waiting socket would keep.
        self.request.headers.clear()
        self.response.headers.clear()
        self.scope = {}  # type: ignore[typeddict-item]

    def pause_writing(self) -> None:
        super().pause_writing()
        # Every sender waits for it, and even a close would, for as long as its machine says that it is alive.
        self._cut_off = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def handle_cont(self, event: Frame) -> None:
        # One that is empty adds nothing to the length that is limited: there is no end to how many of them fit.
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                # uvicorn would log a stranger's mistake as an error of its own, with a traceback.
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # uvicorn reads on, and every pong would stay in memory. Only the latest ping needs one (RFC 6455, 5.5.3).
            self.conn.data_to_send()

    def _stop_waiting(self) -> None:
        if self._cut_off:
            self._cut_off.cancel()
            self._cut_off = None
