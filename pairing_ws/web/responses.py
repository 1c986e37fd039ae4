"""Answers of calls: a wire type as JSON, and the pair of keys with or without its cookie."""

import asyncio
from importlib import import_module
from typing import Any

import msgspec
from starlette.responses import Response

from pairing_ws.accounts.types import LoggedIn
from pairing_ws.web.request.cookies import set_refresh_cookie
from pairing_ws.web.services import Services
from pairing_ws.web.wire import views


class JsonResponse(Response):
    """A wire type as JSON. Starlette's own `__init__` takes 4 µs to find out what is known here."""

    def __init__(self, content: Any, status_code: int = 200, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = status_code
        self.background = None
        self.body = msgspec.json.encode(content)
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *headers,
        ]


def key_pair(given: LoggedIn, services: Services, *, cookie: bool) -> Response:
    """The pair of keys; with `cookie`, the refreshKey goes into the cookie and not into the body."""
    response = JsonResponse(views.keys(given, with_refresh_key=not cookie))
    if cookie:
        set_refresh_cookie(response, given.key_pair.refresh_key, services.settings)
    return response


async def qr_picture(text: str, kind: str) -> dict[str, str]:
    """The members of `wire.pairings.Qr` for "svg" or "png"; nothing for "none"."""
    if kind == "none":
        return {}
    # Not needed before the first picture: 20 ms of a start.
    qr = await asyncio.to_thread(import_module, "pairing_ws.web.qr")
    return {kind: await asyncio.to_thread(qr.draw, text, kind)}
