"""One WebSocket right on ASGI. What a waiting device costs stands here and in `socket.py`: no layer is in between."""

from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pairing_ws.core.timing_wheel import Within
from pairing_ws.web.close_codes import CloseCode

REFUSED_SECONDS = 1.0


class Gone(Exception):
    """The client, or this side's own close, has ended the socket."""


class Connection:
    """Raises Gone from whatever is asked of it once it has ended."""

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
            # uvicorn logs an error for each that returns before the connection has ended, and strangers can make many.
            # It says so once more than there are reasons: connect, refused, lost. Others may not.
            with suppress(TimeoutError):
                async with Within(REFUSED_SECONDS):
                    for _ in range(3):
                        await self._receive()
        else:
            await self._send({"type": "websocket.close"})

    async def text(self) -> str:
        """The next message; "" for one that is no text."""
        received = await self._receive()
        if received["type"] == "websocket.disconnect":
            self._ended = True
            raise Gone
        return str(received.get("text") or "")

    async def until_gone(self) -> None:
        """Messages are taken and dropped: uvicorn reads on only while somebody receives, and pings would go
        unanswered."""
        receive = self._receive
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._ended = True

    async def send(self, text: str) -> None:
        await self._tell({"type": "websocket.send", "text": text})

    async def close(self, code: CloseCode, reason: str) -> None:
        """Never raises: it may have ended already."""
        if not self._ended:
            self._ended = True
            with suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.close", "code": int(code), "reason": reason})

    async def _tell(self, message: Message) -> None:
        if self._ended:
            raise Gone
        try:
            await self._send(message)
        except (OSError, RuntimeError):
            # uvicorn's words for a client that has gone, and for a close of its own that nobody was told of.
            self._ended = True
            raise Gone from None
