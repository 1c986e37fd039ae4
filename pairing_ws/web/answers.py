"""How HTTP answers leave: uvicorn's protocol, made to write each at once."""

from asyncio import AbstractEventLoop
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]

    def handle_websocket_upgrade(self) -> None:
        # A socket's frames are whole, and wait for nothing.
        self.transport = self.transport.transport  # type: ignore[attr-defined]
        super().handle_websocket_upgrade()
