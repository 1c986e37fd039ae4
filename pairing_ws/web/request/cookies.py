"""The cookies: reading and setting them, and taking away what others have planted under the refreshKey's name."""

import re
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from pairing_ws.config.settings import Settings
from pairing_ws.core.network import parse
from pairing_ws.web.paths import API
from pairing_ws.web.request.headers import RequestHeaders

REFRESH_COOKIE = "pairing_refresh"
# No neighbour can plant one with the prefix, by which somebody would be logged in to applications as another person.
LOGIN_COOKIE = "pairing_login"
SECURE_LOGIN_COOKIE = f"__Host-{LOGIN_COOKIE}"
# At hosts that forward auth protects: what stands for the login there, and what a login there was begun with. No
# neighbour can plant one, and both are for https or this machine alone.
FORWARD_COOKIE = "__Host-pairing_forward"
BEGUN_COOKIE = "__Host-pairing_begun"
# A person may leave the QR page open for a while; longer than a request lasts there.
BEGUN_SECONDS = 3600
# Of a login with another provider that is under way, sealed (`upstream/login.py`).
UPSTREAM_COOKIE = "pairing_upstream"
SECURE_UPSTREAM_COOKIE = f"__Host-{UPSTREAM_COOKIE}"


def refresh_cookies(headers: RequestHeaders) -> tuple[str, ...]:
    return _values(headers, REFRESH_COOKIE)


def login_marks(headers: RequestHeaders, settings: Settings) -> tuple[str, ...]:
    """See `oauth.browser_login.BrowserLogins.mark`."""
    return _values(headers, SECURE_LOGIN_COOKIE if settings.secure_cookies else LOGIN_COOKIE)


def upstream_cookie(headers: RequestHeaders, settings: Settings) -> str:
    """ "" if there is none, or several: then nobody can say which is this server's own."""
    found = _values(headers, SECURE_UPSTREAM_COOKIE if settings.secure_cookies else UPSTREAM_COOKIE)
    return found[0] if len(found) == 1 else ""


def set_upstream_cookie(response: Response, value: str, settings: Settings, seconds: int) -> None:
    """It comes back with the navigation by which the provider sends the browser back. "" takes it away."""
    secure = settings.secure_cookies
    response.set_cookie(
        SECURE_UPSTREAM_COOKIE if secure else UPSTREAM_COOKIE,
        value,
        max_age=seconds if value else 0,
        path="/" if secure else urlsplit(settings.public_url).path or "/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _values(headers: RequestHeaders, name: str) -> tuple[str, ...]:
    """The values under our cookie's name, each once: a neighbour below our domain may have planted another."""
    # Not by the standard library, which reads a quoted value in time that grows with the square of its length.
    pattern = re.compile(rf"(?:^|;)[ \t]*{name}[ \t]*=([^;]*)")
    found = (each for value in headers.all(b"cookie") for each in pattern.findall(value))
    return tuple(dict.fromkeys(_unquoted(each.strip()) for each in found))


def set_login_mark(response: Response, mark: str, settings: Settings) -> None:
    """It comes back with a navigation from another site, but for a POST. With the prefix it has to be for every path;
    elsewhere it is for the authorization endpoint."""
    secure = settings.secure_cookies
    response.set_cookie(
        SECURE_LOGIN_COOKIE if secure else LOGIN_COOKIE,
        mark,
        max_age=settings.refresh_key_seconds,
        path="/" if secure else f"{urlsplit(settings.public_url).path}/oauth",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def forward_marks(headers: RequestHeaders) -> tuple[str, ...]:
    """See `oauth.forward_auth.ForwardAuth.account`."""
    return _values(headers, FORWARD_COOKIE)


def begun_secrets(headers: RequestHeaders) -> tuple[str, ...]:
    """See `oauth.forward_auth.ForwardAuth.begin`."""
    return _values(headers, BEGUN_COOKIE)


def set_forward_mark(response: Response, mark: str, settings: Settings) -> None:
    _set_at_host(response, FORWARD_COOKIE, mark, settings.refresh_key_seconds)


def drop_forward_mark(response: Response) -> None:
    _set_at_host(response, FORWARD_COOKIE, "", 0)


def set_begun_secret(response: Response, secret: str) -> None:
    _set_at_host(response, BEGUN_COOKIE, secret, BEGUN_SECONDS)


def _set_at_host(response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


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
