"""Requests across origins (CORS, in the Fetch standard): which pages may read answers, and what they may send."""

import re
from collections.abc import Container, Sequence

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.request.headers import RequestHeaders

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
ALLOW_METHODS = ", ".join(METHODS)
EXPOSED = "DPoP-Nonce, ETag, Location, Retry-After, WWW-Authenticate"
PREFLIGHT_SECONDS = 600
# Names of headers, as a preflight lists them.
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}(, ?[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}){0,63}")
# Headers by which proxies say who the client is: no page may send them.
_OF_PROXIES = re.compile(r"(?:^|, ?)(?:forwarded|via|x-real-ip|x-forwarded-[^,]*)(?:,|$)", re.IGNORECASE)


class EveryOrigin(Container[str]):
    """For what is anybody's to read."""

    def __contains__(self, origin: object) -> bool:
        return True


async def any_origin(_: object) -> Container[str]:
    """See `calls.Call.origins`."""
    return EveryOrigin()


class Cors:
    def __init__(self, allowed_origins: Sequence[str]) -> None:
        self._readable_by = {origin: _readable_by(origin) for origin in allowed_origins}

    def headers(self, request: RequestHeaders, also: Container[str] = ()) -> Sequence[tuple[bytes, bytes]]:
        """What lets the page that asks read the answer; nothing for origins that are not allowed, nor in `also`."""
        origin = request.origin
        if origin is None:
            return ()
        return self._readable_by.get(origin) or (_readable_by(origin) if origin in also else ())

    def preflight(self, request: RequestHeaders, also: Container[str] = ()) -> Response | None:
        """The answer to a browser's question before a request across origins; None if this is none.

        No cookie counts across origins, so any header is harmless but those of proxies. Raises FOREIGN_ORIGIN,
        METHOD_NOT_ALLOWED and BAD_REQUEST.
        """
        wanted = request.first(b"access-control-request-method")
        if request.origin is None or not wanted:
            return None
        if request.origin not in self._readable_by and request.origin not in also:
            raise Refused(Code.FOREIGN_ORIGIN, "pages of this origin are not let in by PAIRING_ALLOWED_ORIGINS")
        if wanted not in METHODS and wanted != "OPTIONS":
            raise Refused(Code.METHOD_NOT_ALLOWED, f"no call has another method than {ALLOW_METHODS}")
        names = ", ".join(request.all(b"access-control-request-headers"))
        if names and (_OF_PROXIES.search(names) or not _HEADER_NAMES.fullmatch(names)):
            raise Refused(Code.BAD_REQUEST, "these headers are none that a page can send")
        headers = {"Access-Control-Allow-Methods": ALLOW_METHODS, "Access-Control-Max-Age": str(PREFLIGHT_SECONDS)}
        if names:
            headers["Access-Control-Allow-Headers"] = names
        return Response(status_code=204, headers=headers)


def _readable_by(origin: str) -> Sequence[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED.encode()),
    ]
