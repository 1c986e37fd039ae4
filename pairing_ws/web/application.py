"""The ASGI application that `create_app` returns."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from pairing_ws.web.api import Api
from pairing_ws.web.call import Call
from pairing_ws.web.request import request_id
from pairing_ws.web.request.request_id import RequestId
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.sockets import Sockets


class Application(Starlette):
    """Starlette for pages, mounting and lifespan. Calls and sockets go past it: each of its layers costs time, and
    would hold a frame for each socket that waits."""

    def __init__(self, sockets: Sockets, calls: Sequence[Call], services: Services, **options: Any) -> None:
        super().__init__(**options)
        self._proxies = services.proxies
        self._sockets = sockets
        self._api = Api(calls, services, super().__call__)

    def lifespan(self, host: Starlette) -> AbstractAsyncContextManager[Any]:
        """What `host`, an application that mounts this one, gives its own constructor: `lifespan=login.lifespan`."""
        return self.router.lifespan_context(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id.current.set(RequestId(scope, self._proxies))
        if scope["type"] == "websocket":
            waits = self._sockets(scope, receive, send)
            # What the handshake said is to go as soon as nobody needs it.
            del scope
            await waits
        elif scope["type"] == "http":
            await self._api(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
