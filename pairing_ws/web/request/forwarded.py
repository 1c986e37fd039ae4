"""What a named proxy says of the request that it asks about or passes on. Anybody else's word counts for nothing."""

from typing import NamedTuple

from pairing_ws.web.request.context import RequestContext


class Forwarded(NamedTuple):
    """`host` is as the browser sent it; `uri` is path and query, "" if nobody has said so. `wants_401` says that the
    proxy takes no redirect for an answer, as nginx's `auth_request`."""

    host: str
    uri: str
    method: str
    wants_401: bool


def forwarded(request: RequestContext) -> Forwarded | None:
    """None unless a named proxy has named exactly one host.

    Proxies set `X-Forwarded-Host` (Traefik, Caddy) or `X-Original-URL` (nginx), and pass the other one on as their
    client wrote it: so where both are, they have to agree.
    """
    if not request.by_named_proxy:
        return None
    headers = request.headers
    urls = [_split(each) for each in headers.all(b"x-original-url")]
    named = {*headers.all(b"x-forwarded-host"), *(host for host, _ in urls)}
    if len(named) != 1 or len(urls) > 1:
        return None
    uri = urls[0][1] if urls else headers.first(b"x-forwarded-uri")
    method = headers.first(b"x-original-method") or headers.first(b"x-forwarded-method") or "GET"
    return Forwarded(named.pop(), uri, method, bool(urls))


def _split(url: str) -> tuple[str, str]:
    """Host, and path with query."""
    authority, slash, rest = url.partition("://")[2].partition("/")
    return authority, slash + rest
