"""The pages and their files. Opening one changes nothing; whatever they do, they do through the API."""

import re
from collections.abc import Awaitable, Callable, Container
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import SplitResult, quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pairing_ws.config.addresses import is_local
from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.cors import EveryOrigin
from pairing_ws.web.gate import content_security_policy
from pairing_ws.web.problems import SHAPES, problem
from pairing_ws.web.request.headers import RequestHeaders

# Beside the package in a checkout, inside it once installed.
_PACKAGE = Path(__file__).parent.parent
STATIC = next(folder for folder in (_PACKAGE / "static", _PACKAGE.parent / "static") if folder.is_dir())

PAGES = {
    "/": "index.html",
    "/phone": "phone.html",
    "/link": "link.html",
    "/devices": "devices.html",
    "/pair/{id}": "land.html",
    "/join/{id}": "land.html",
}
# Where an application may ask or is listed, whose logo is wherever its operator has it.
SHOWS_LOGOS = frozenset({"phone.html", "link.html", "devices.html"})
# Where a new device logs in: it is told of the provider that people may log in with too.
LOGS_IN = frozenset({"index.html", "land.html"})
# Only the page that scans may use the camera.
CAMERA = {"Permissions-Policy": "camera=(self), microphone=(), geolocation=()"}
# Also: no part of a file is to be had (see `scope_of_page`).
REVALIDATE = {"Cache-Control": "no-cache", "Accept-Ranges": "none"}


# The client's modules, which a page of any origin may load: what they may do there is decided by the calls.
CLIENT = "/static/client/"


def readable_by(path: str) -> Container[str]:
    """The origins that may read what is there, beside those of `PAIRING_ALLOWED_ORIGINS`."""
    return EveryOrigin() if path.startswith(CLIENT) else ()


# Where this application is mounted: Starlette changes `root_path` with each mount, ours for the files included.
ROOT = "pairing_ws.root"


def scope_of_page(scope: Scope) -> Scope:
    """For Starlette to change, with `ROOT`, and without `Range`: a hundred of them, each of one byte, cost thirty times
    as much as the whole file, and a server may pass it over (RFC 9110, section 14.2)."""
    headers = [field for field in scope["headers"] if field[0] != b"range"]
    return {**scope, "headers": headers, "route": None, ROOT: scope.get("root_path", "")}


class Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        if not scope["path"].endswith(f"/static/{path}"):
            # Starlette has tidied it, and would serve a file under many names.
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATE)
        return response


def routes(public_url: str, provider: str = "") -> list[BaseRoute]:
    """`provider`: what the one is called that people may log in with too."""
    return [
        *(Route(path, _page(file, public_url, provider), methods=["GET"]) for path, file in PAGES.items()),
        Mount("/static", Files(directory=STATIC)),
    ]


def _page(file: str, public_url: str, provider: str) -> Callable[[Request], Awaitable[Response]]:
    headers = REVALIDATE | (CAMERA if file == "phone.html" else {})
    if file in SHOWS_LOGOS:
        headers |= {"Content-Security-Policy": content_security_policy(public_url, images="https:")}
    public = urlsplit(public_url)
    told = None
    if provider and file in LOGS_IN:
        text = (STATIC / file).read_text()
        told = text.replace("<body>", f'<body data-provider="{escape(provider)}">')

    async def endpoint(request: Request) -> Response:
        if is_other_name(request.headers.get("host", public.netloc).lower(), public):
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{public.scheme}://{public.netloc}{quote(request.url.path)}{query}")
        if told is not None:
            return HTMLResponse(told, headers=headers)
        return FileResponse(STATIC / file, headers=headers, media_type="text/html")

    return endpoint


def is_other_name(host: str, public: SplitResult) -> bool:
    """Whether a page is asked for under another name of this machine, or with the dot of the root: neither Origin nor
    cookie nor the codes would fit there."""
    return host != public.netloc and (is_local(public.hostname or "") or host.partition(":")[0].endswith("."))


# What a person reads who is refused a page: a heading and a sentence.
WORDS = {
    Code.NOT_FOUND: ("There is no page here", "The address may be mistyped, or a link was cut off on its way."),
    Code.METHOD_NOT_ALLOWED: ("That can't be done here", "This page can be opened, and nothing else."),
    Code.MISDIRECTED: ("This site has another address", "Nothing is served under the one that you came by."),
    Code.INTERNAL: ("Something went wrong here", "Nothing is known to have changed. Please try again in a moment."),
}
OTHERWISE = ("That can't be done", "The request is none that this page takes.")
LINKS = {
    "/": "Log in this device",
    "/phone": "Let another device in",
    "/link": "Connect a device or a program",
    "/devices": "See your devices",
}
# Of `Accept`, in characters and in kinds.
MAX_ACCEPT = 1024
_QUALITY = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


async def refused_by_framework(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such page, wrong method."""
    assert isinstance(error, HTTPException)
    codes = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
    response = refusal(Refused(codes.get(error.status_code, Code.BAD_REQUEST), str(error.detail)), request.scope)
    if allow := (error.headers or {}).get("Allow"):
        # From a set, in whatever order.
        response.headers["Allow"] = ", ".join(sorted(allow.split(", ")))
    return response


async def failed(request: Request, _: Exception) -> Response:
    return refusal(Refused(Code.INTERNAL, "the server failed; nothing is known to have changed"), request.scope)


def refusal(refused: Refused, scope: Scope, root: str | None = None) -> Response:
    """A page for people, a problem document for programs: whichever is asked for. Links lead to pages below `root`, the
    path that this application is mounted at unless it is given."""
    if _asks_for_a_page(RequestHeaders(scope).first(b"accept")):
        page = _drawn(refused.code, scope, quote(scope[ROOT]) if root is None else root)
        response: Response = HTMLResponse(page, SHAPES[refused.code].status)
    else:
        response = problem(refused)
    response.headers["Vary"] = "Accept"
    return response


def _asks_for_a_page(accept: str) -> bool:
    """Whether HTML is named, and wanted at least as much as JSON is (RFC 9110, section 12.5.1)."""
    wanted = {"html": 0.0, "json": 0.0}
    for each in accept[:MAX_ACCEPT].lower().split(","):
        kind, _, parameters = each.strip().partition(";")
        found = _QUALITY.search(parameters)
        for name in wanted:
            if kind.strip().endswith(name):
                wanted[name] = max(wanted[name], float(found[1]) if found else 1.0)
    return wanted["html"] > 0 and wanted["html"] >= wanted["json"]


def _drawn(code: Code, scope: Scope, root: str) -> str:
    title, text = WORDS.get(code, OTHERWISE)
    meant = _meant(str(scope["path"]).removeprefix(scope[ROOT]))
    links = sorted(LINKS.items(), key=lambda item: item[0] != meant)
    buttons = "\n        ".join(
        f'  <a class="button {"secondary" if index else "primary"}" href="{root}{page}">{escape(words)}</a>'
        for index, (page, words) in enumerate(links)
    )
    return Template((STATIC / "refused.html").read_text()).substitute(
        root=root,
        title=escape(title),
        text=escape(text),
        more=f'<div class="row">\n        {buttons}\n        </div>',
    )


def _meant(path: str) -> str:
    """Which page it may have been, by what comes first."""
    first = re.match("/*([A-Za-z]*)", path)
    page = f"/{first[1].lower()}" if first else "/"
    return page if page in LINKS else "/"
