"""One WebSocket right on ASGI. What a waiting device costs stands in this folder: no layer is in between."""

from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pairing_ws.core.timing_wheel import Timeout
from pairing_ws.web.close_codes import CloseCode

REFUSED_SECONDS = 1.0


class Disconnected(Exception):
    """The client, or this side's own close, has ended the socket."""


class Connection:
    """Every method but `close` raises Disconnected once the socket has ended."""

    __slots__ = ("_ended", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._ended = False

    async def accept(self, subprotocol: str | None) -> None:
        # "websocket.connect", which comes first.
        await self._receive()
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def deny(self, scope: Scope, response: Response) -> None:
        """Answer the handshake with this in place of the upgrade; a server that can't do it says 403."""
        self._ended = True
        if "websocket.http.response" in scope.get("extensions", {}):
            await response(scope, self._receive, self._send)
            # uvicorn logs an error for each application that returns before its connection has ended, and strangers can
            # open many. Up to three messages come until then: connect, refused, lost. Other servers may send none.
            with suppress(TimeoutError), Timeout(REFUSED_SECONDS):
                for _ in range(3):
                    await self._receive()
        else:
            await self._send({"type": "websocket.close"})

    async def receive_text(self) -> str:
        """The next message; "" for one that is no text."""
        received = await self._receive()
        if received["type"] == "websocket.disconnect":
            self._ended = True
            raise Disconnected
        return str(received.get("text") or "")

    async def until_disconnected(self) -> None:
        """Receive and drop messages: uvicorn reads on only while the application receives, and would answer no
        pings."""
        receive = self._receive
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._ended = True

    async def send(self, text: str) -> None:
        await self._send_or_raise({"type": "websocket.send", "text": text})

    async def close(self, code: CloseCode, reason: str) -> None:
        """Never raises: it may have ended already."""
        if not self._ended:
            self._ended = True
            with suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.close", "code": int(code), "reason": reason})

    async def _send_or_raise(self, message: Message) -> None:
        if self._ended:
            raise Disconnected
        try:
            await self._send(message)
        except (OSError, RuntimeError):
            # uvicorn raises these where the client is gone, and where it has closed the socket by itself.
            self._ended = True
            raise Disconnected from None
