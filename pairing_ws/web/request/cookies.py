"""The refreshKey's cookie: reading it, setting it, and taking away what others have planted under its name."""

import re
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from pairing_ws.config.settings import Settings
from pairing_ws.core.network import parse
from pairing_ws.web.paths import API
from pairing_ws.web.request.headers import RequestHeaders

REFRESH_COOKIE = "pairing_refresh"
_REFRESH_COOKIES = re.compile(rf"(?:^|;)[ \t]*{REFRESH_COOKIE}[ \t]*=([^;]*)")


def refresh_cookies(headers: RequestHeaders) -> tuple[str, ...]:
    """The values under our cookie's name, each once: a neighbour below our domain may have planted another."""
    # Not by the standard library, which reads a quoted value in time that grows with the square of its length.
    found = (each for value in headers.all(b"cookie") for each in _REFRESH_COOKIES.findall(value))
    return tuple(dict.fromkeys(_unquoted(each.strip()) for each in found))


def set_refresh_cookie(response: Response, refresh_key: str, settings: Settings) -> None:
    """Put the key where scripts can't read it and few calls receive it."""
    response.set_cookie(REFRESH_COOKIE, refresh_key, max_age=settings.refresh_key_seconds, **_attributes(settings))


def drop_refresh_cookie(response: Response, settings: Settings) -> None:
    response.delete_cookie(REFRESH_COOKIE, **_attributes(settings))


def drop_planted_cookies(response: Response, call: str, settings: Settings) -> None:
    """Take away what may be planted under our cookie's name for this call below `/api/v1/sessions`.

    A browser drops a cookie only for its exact domain and path, and tells neither: so this names every pair there can
    be.
    """
    steps = f"{_path(settings)}/{call}".split("/")[1:]
    starts = ["/" + "/".join(steps[:count]) for count in range(len(steps) + 1)]
    paths = dict.fromkeys(path for start in starts for path in (start, start.rstrip("/") + "/"))
    names = settings.public_host.split(".") if parse(settings.public_host) is None else []
    domains = ("", *(f"; Domain={'.'.join(names[count:])}" for count in range(len(names) - 1)))
    response.raw_headers += [
        (b"set-cookie", f"{REFRESH_COOKIE}=; Max-Age=0; Path={path}{domain}".encode())
        for domain in domains
        for path in paths
    ]


def _unquoted(value: str) -> str:
    """RFC 6265 lets a value stand in quotes; a key has nothing in it that would have to be escaped."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _path(settings: Settings) -> str:
    return f"{urlsplit(settings.public_url).path}{API}/sessions"


def _attributes(settings: Settings) -> dict[str, Any]:
    return {"path": _path(settings), "secure": settings.secure_cookies, "httponly": True, "samesite": "strict"}
