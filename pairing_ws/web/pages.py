"""The pages and their files. Opening one changes nothing; whatever they do, they do through the API."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pairing_ws.config import is_local

# Beside the package in a checkout, inside it once installed.
_PACKAGE = Path(__file__).parent.parent
STATIC = next(folder for folder in (_PACKAGE / "static", _PACKAGE.parent / "static") if folder.is_dir())

PAGES = {
    "/": "index.html",
    "/phone": "phone.html",
    "/devices": "devices.html",
    "/pair/{id}": "land.html",
    "/join/{id}": "land.html",
}
# Only the page that scans may use the camera.
CAMERA = {"Permissions-Policy": "camera=(self), microphone=(), geolocation=()"}
# Also: no part of a file is to be had (see `as_a_whole`).
REVALIDATE = {"Cache-Control": "no-cache", "Accept-Ranges": "none"}


def as_a_whole(scope: Scope) -> Scope:
    """Without `Range`: a hundred of them, each of one byte, cost thirty times as much as the whole file, and a server
    may pass it over (RFC 9110, section 14.2)."""
    return {**scope, "headers": [field for field in scope["headers"] if field[0] != b"range"]}


class Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATE)
        return response


def routes(public_url: str) -> list[BaseRoute]:
    return [
        *(Route(path, _page(file, public_url), methods=["GET"]) for path, file in PAGES.items()),
        Mount("/static", Files(directory=STATIC)),
    ]


def _page(file: str, public_url: str) -> Callable[[Request], Awaitable[Response]]:
    headers = REVALIDATE | (CAMERA if file == "phone.html" else {})
    public = urlsplit(public_url)

    async def endpoint(request: Request) -> Response:
        # Under another of this machine's names neither Origin nor cookie nor the codes would fit.
        if request.headers.get("host", public.netloc).lower() != public.netloc and is_local(public.hostname or ""):
            return RedirectResponse(f"{public.scheme}://{public.netloc}{quote(request.url.path)}")
        return FileResponse(STATIC / file, headers=headers, media_type="text/html")

    return endpoint
