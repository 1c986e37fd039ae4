"""What every request passes on its way in, and every answer on its way out: calls, pages and sockets' handshakes alike.

Requests that are nobody's are refused here, whatever they ask for; answers get the headers that make them safe, and
those by which pages of allowed origins may read them (CORS); all are counted.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import Scope

from pairing_ws.config.settings import Settings
from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.http import MAX_BODY, Fields, too_large

# Answered under any name: load balancers ask by address.
ANY_HOST = frozenset({"/healthz", "/readyz"})
# Of a path, in characters. Ours are shorter, and looking for a file takes time that grows with the square of it.
MAX_PATH = 1024
# Python reads no number of thousands of digits, and says so by an error.
MAX_DIGITS = 18
# By the route, not the path: what strangers can choose makes no new counter.
REQUESTS = Counter("pairing_requests", "Answered HTTP requests", ["method", "route", "status"])
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
CORS_METHODS = "GET, HEAD, POST, PATCH, DELETE"
EXPOSED = "DPoP-Nonce, ETag, Location, Retry-After, WWW-Authenticate"
PREFLIGHT_SECONDS = 600
# Names of headers, as a preflight lists them.
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}(, ?[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}){0,63}")
# By these, proxies say where a request comes from: no page has a say in it.
_OF_PROXIES = re.compile(r"(?:^|, ?)(?:forwarded|via|x-real-ip|x-forwarded-[^,]*)(?:,|$)", re.IGNORECASE)


def security_headers(settings: Settings) -> dict[str, str]:
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


class RequestGate:
    def __init__(self, settings: Settings) -> None:
        self._safe = [(name.lower().encode(), value.encode()) for name, value in security_headers(settings).items()]
        self._names = frozenset(name for name, _ in self._safe)
        self._readable_by = {
            origin: [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", EXPOSED.encode()),
            ]
            for origin in settings.allowed_origins
        }
        # On this machine or a private network people use several names for it.
        public = urlsplit(settings.public_url)
        self._host = public.netloc if settings.has_public_address else None
        self._default_port = ":443" if public.scheme == "https" else ":80"

    def refusal(self, scope: Scope, path: str, fields: Fields) -> Refused | None:
        """Why nobody is served like that, if it is so; `path` as `path_of` gives it."""
        if len(path) > MAX_PATH or not _is_exact(scope, path):
            return not_found()
        # Whatever is announced, it is counted as it is read; this spares the reading.
        announced = fields.first(b"content-length").lstrip("0")
        if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > MAX_BODY):
            return too_large()
        if self._host and path not in ANY_HOST and self._host_of(fields) != self._host:
            return Refused(Code.MISDIRECTED, "this host is not served here")
        return None

    def preflight(self, fields: Fields) -> Response | None:
        """The answer to a browser's question before a request across origins (Fetch standard); None if it is none.

        No cookie counts across origins, so any header is harmless but those of proxies. Raises Refused.
        """
        wanted = fields.first(b"access-control-request-method")
        if fields.origin is None or not wanted:
            return None
        if fields.origin not in self._readable_by:
            raise Refused(Code.FOREIGN_ORIGIN, "pages of this origin are not let in by PAIRING_ALLOWED_ORIGINS")
        if wanted not in METHODS:
            raise Refused(Code.METHOD_NOT_ALLOWED, f"no call has another method than {CORS_METHODS}")
        names = ", ".join(fields.all(b"access-control-request-headers"))
        if names and (_OF_PROXIES.search(names) or not _HEADER_NAMES.fullmatch(names)):
            raise Refused(Code.BAD_REQUEST, "these headers are none that a page can send")
        headers = {"Access-Control-Allow-Methods": CORS_METHODS, "Access-Control-Max-Age": str(PREFLIGHT_SECONDS)}
        if names:
            headers["Access-Control-Allow-Headers"] = names
        return Response(status_code=204, headers=headers)

    def complete(self, headers: list[tuple[bytes, bytes]], fields: Fields) -> list[tuple[bytes, bytes]]:
        """With those of every answer among them; an answer's own win."""
        own = [name for name, _ in headers if name in self._names]
        safe = [each for each in self._safe if each[0] not in own] if own else self._safe
        origin = fields.origin
        readable = self._readable_by.get(origin, ()) if origin is not None else ()
        return [*headers, *safe, (b"vary", b"Origin"), *readable]

    def safe(self, response: Response, fields: Fields) -> Response:
        response.raw_headers = self.complete(response.raw_headers, fields)
        return response

    def _host_of(self, fields: Fields) -> str:
        """Without the port that needs no mention, and as a name without the dot of the root (RFC 3986, 3.2.2)."""
        values = fields.all(b"host")
        return values[0].lower().removesuffix(self._default_port).removesuffix(".") if len(values) == 1 else ""


def not_found() -> Refused:
    return Refused(Code.NOT_FOUND, "no such path")


def _is_exact(scope: Scope, path: str) -> bool:
    """Whether the path came as it stands here. Ours need no percent-encoding: what has some is another path, though
    it is the same once decoded."""
    raw = scope.get("raw_path")
    return path.isascii() and path.isprintable() and (raw is None or raw.endswith(path.encode()))


def count(method: str, route: str, status: int) -> None:
    _counter(method if method in METHODS else "other", route, status).inc()


# The library's own look-up takes 3 µs.
_counter = lru_cache(maxsize=None)(REQUESTS.labels)


def path_of(scope: Scope) -> str:
    """As this application sees it, wherever it is mounted."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
