"""How WebSocket frames come and go: uvicorn's protocol, made safe against clients that don't read."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Costs a bounded amount of memory per client, and ends within a minute with each that takes nothing."""

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # uvicorn reads on, and every pong would stay in memory. Only the latest ping needs one (RFC 6455, 5.5.3).
            self.conn.data_to_send()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        # It has closed the transport, which waits for ever until all is taken; so would every sender.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
