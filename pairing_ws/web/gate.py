"""The gate that every request passes on its way in and every answer on its way out: calls, pages and sockets'
handshakes alike. Nothing behind it is asked about a path, a host or a length that nobody is served with."""

from collections.abc import Container
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

from pairing_ws.config.settings import Settings
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.protected_hosts import CALLBACK_PATH, LOGIN_PATH, LOGOUT_PATH
from pairing_ws.web.cors import Cors
from pairing_ws.web.paths import FORWARD_AUTH
from pairing_ws.web.request.body import MAX_BODY, too_large
from pairing_ws.web.request.headers import RequestHeaders

# Answered under any host: load balancers ask by address; proxies ask about other hosts, or pass them on, and those
# calls ask for themselves who said which.
ANY_HOST = frozenset({"/healthz", "/readyz", FORWARD_AUTH, LOGIN_PATH, CALLBACK_PATH, LOGOUT_PATH})
# Of a path, in characters. Ours are shorter, and looking for a file takes time that grows with the square of it.
MAX_PATH = 1024
# Python reads no number of thousands of digits, and raises an error.
MAX_DIGITS = 18


class RequestGate:
    def __init__(self, settings: Settings) -> None:
        self.cors = Cors(settings.allowed_origins)
        self._safe_headers = [
            (name.lower().encode(), value.encode()) for name, value in security_headers(settings).items()
        ]
        self._safe_names = frozenset(name for name, _ in self._safe_headers)
        # On this machine or a private network people use several names for it.
        public = urlsplit(settings.public_url)
        self._host = public.netloc if settings.has_public_address else None
        self._default_port = ":443" if public.scheme == "https" else ":80"

    def refusal(self, scope: Scope, path: str, headers: RequestHeaders) -> Refused | None:
        """NOT_FOUND, TOO_LARGE or MISDIRECTED if the request is none of ours; `path` as `path_of` gives it."""
        if len(path) > MAX_PATH or not _is_exact(scope, path):
            return not_found()
        # A body is measured as it is read, whatever is announced; this spares the reading.
        announced = headers.first(b"content-length").lstrip("0")
        if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > MAX_BODY):
            return too_large()
        if self._host and path not in ANY_HOST and self._host_of(headers) != self._host:
            return Refused(Code.MISDIRECTED, "this host is not served here")
        return None

    def add_security_headers(
        self,
        answer: list[tuple[bytes, bytes]],
        request: RequestHeaders,
        also: Container[str] = (),
        *,
        cors: bool = True,
    ) -> list[tuple[bytes, bytes]]:
        """The answer's own raw headers, those of every answer that it lacks, and CORS's; `also` as there."""
        own = [name for name, _ in answer if name in self._safe_names]
        missing = [each for each in self._safe_headers if each[0] not in own] if own else self._safe_headers
        if not cors:
            return [*answer, *missing]
        return [*answer, *missing, (b"vary", b"Origin"), *self.cors.headers(request, also)]

    def secured(self, response: Response, request: RequestHeaders) -> Response:
        response.raw_headers = self.add_security_headers(response.raw_headers, request)
        return response

    def _host_of(self, headers: RequestHeaders) -> str:
        """Without the port that needs no mention, and as a name without the dot of the root (RFC 3986, 3.2.2)."""
        values = headers.all(b"host")
        return values[0].lower().removesuffix(self._default_port).removesuffix(".") if len(values) == 1 else ""


def not_found() -> Refused:
    return Refused(Code.NOT_FOUND, "no such path")


def _is_exact(scope: Scope, path: str) -> bool:
    """Whether the path came as it stands here. Ours need no percent-encoding: a path that has some is another one,
    though it is the same once decoded."""
    raw = scope.get("raw_path")
    return path.isascii() and path.isprintable() and (raw is None or raw.endswith(path.encode()))


def content_security_policy(public_url: str, *, images: str = "", style: str = "'self'") -> str:
    """What a page may load: its own files, and `images` from elsewhere (a source such as `https:`); its style sheet
    from elsewhere, where it is shown under another host.

    `connect-src` names the socket: not every browser's 'self' has it."""
    public = urlsplit(public_url)
    socket = f"{'wss' if public.scheme == 'https' else 'ws'}://{public.netloc}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": style,
        "img-src": f"'self' data: blob: {images}".rstrip(),
        "connect-src": f"'self' {socket}",
        "media-src": "'self' blob:",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def security_headers(settings: Settings) -> dict[str, str]:
    """Headers for every answer; an answer's own win."""
    return {
        "Content-Security-Policy": content_security_policy(settings.public_url),
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        # Browsers complain about it where it can't work.
        **({"Cross-Origin-Opener-Policy": "same-origin"} if settings.secure_cookies else {}),
    }
