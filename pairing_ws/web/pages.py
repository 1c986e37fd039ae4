"""The pages and their files. Opening one changes nothing; whatever they do, they do through the API."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

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
REVALIDATE = {"Cache-Control": "no-cache"}


class Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATE)
        return response


def routes() -> list[BaseRoute]:
    return [
        *(Route(path, _page(file), methods=["GET"]) for path, file in PAGES.items()),
        Mount("/static", Files(directory=STATIC)),
    ]


def _page(file: str) -> Callable[[Request], Awaitable[Response]]:
    headers = REVALIDATE | (CAMERA if file == "phone.html" else {})

    async def endpoint(_: Request) -> Response:
        return FileResponse(STATIC / file, headers=headers, media_type="text/html")

    return endpoint
