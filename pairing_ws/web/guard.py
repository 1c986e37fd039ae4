"""The outermost layer: hosts that are not ours are sent away, and every answer, errors included, gets safe headers and
is counted."""

from functools import lru_cache
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairing_ws.config import Settings
from pairing_ws.errors import Code, Refused
from pairing_ws.web.errors import problem
from pairing_ws.web.http import MAX_BODY, Fields, too_large

# Answered under any name: load balancers ask by address.
ANY_HOST = frozenset({"/healthz", "/readyz"})

# Python reads no number of thousands of digits, and says so by an error.
MAX_DIGITS = 18
# Of a path, in characters. Ours are shorter, and looking for a file takes time that grows with the square of it.
MAX_PATH = 1024
# By the route, not the path: what strangers can choose makes no new counter.
REQUESTS = Counter("pairing_requests", "Answered HTTP requests", ["method", "route", "status"])
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})


def safe_headers(settings: Settings) -> dict[str, str]:
    """Headers for every answer; an answer's own win. `connect-src` names the socket: not every 'self' has it."""
    public = urlsplit(settings.public_url)
    socket = f"{'wss' if public.scheme == 'https' else 'ws'}://{public.netloc}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": f"'self' {socket}",
        "media-src": "'self' blob:",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        # Browsers complain about it where it can't work.
        **({"Cross-Origin-Opener-Policy": "same-origin"} if settings.secure_cookies else {}),
    }


class Entrance:
    """Who is sent away whatever they ask for, and the headers that every answer leaves with."""

    def __init__(self, settings: Settings) -> None:
        self._safe = [(name.lower().encode(), value.encode()) for name, value in safe_headers(settings).items()]
        self._names = frozenset(name for name, _ in self._safe)
        # On this machine or a private network people use several names for it.
        public = urlsplit(settings.public_url)
        self._host = public.netloc if settings.has_public_address else None
        self._default_port = ":443" if public.scheme == "https" else ":80"

    def refusal(self, path: str, fields: Fields) -> Refused | None:
        if len(path) > MAX_PATH:
            return Refused(Code.NOT_FOUND, f"no path here has more than {MAX_PATH} characters")
        # Whatever is announced, it is counted as it is read; this spares the reading.
        announced = fields.first(b"content-length").lstrip("0")
        if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > MAX_BODY):
            return too_large()
        if self._host and self._asked(fields) != self._host and path not in ANY_HOST:
            return Refused(Code.MISDIRECTED, "this host is not served here")
        return None

    def complete(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """With the safe ones among them; an answer's own win."""
        own = [name for name, _ in headers if name in self._names]
        safe = [each for each in self._safe if each[0] not in own] if own else self._safe
        return [*headers, *safe]

    def safe(self, response: Response) -> Response:
        response.raw_headers = self.complete(response.raw_headers)
        return response

    def _asked(self, fields: Fields) -> str:
        values = fields.all(b"host")
        return values[0].lower().removesuffix(self._default_port) if len(values) == 1 else ""


class Guard:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._entrance = Entrance(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._entrance.complete(message.get("headers", []))
                count(scope["method"], getattr(scope.get("route"), "path", "none"), message["status"])
            await send(message)

        refused = self._entrance.refusal(path_of(scope), Fields(scope))
        if refused:
            await problem(refused)(scope, receive, send_safely)
        else:
            await self._app(scope, receive, send_safely)


def count(method: str, route: str, status: int) -> None:
    _counter(method if method in METHODS else "other", route, status).inc()


# The library's own look-up takes 3 µs.
_counter = lru_cache(maxsize=None)(REQUESTS.labels)


def path_of(scope: Scope) -> str:
    """As this application sees it, wherever it is mounted."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
