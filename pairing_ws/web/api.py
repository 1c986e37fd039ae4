"""The one way of every HTTP request: calls are found in the table and answered here, all else is a page.

Not Starlette's layers: for a call they cost more than the call itself.
"""

import asyncio
import re
from collections.abc import Awaitable, Container, Sequence
from functools import lru_cache

import structlog
from prometheus_client import Counter
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import OAuthError
from pairing_ws.web import pages
from pairing_ws.web.call import ADMIN, Call
from pairing_ws.web.gate import RequestGate, not_found
from pairing_ws.web.oauth.errors import oauth_error, oauth_refusal
from pairing_ws.web.paths import OAUTH, path_of
from pairing_ws.web.problems import challenge, problem
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.headers import RequestHeaders
from pairing_ws.web.services import Services

log = structlog.get_logger()

# Where a path has its id: /api/v1/pairings/{id}/claim, /api/v1/admin/users/{id}/lock.
ID, ADMINS_ID = 4, 5
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# By the route, not the path: what strangers can choose makes no new counter.
REQUESTS = Counter("pairing_requests", "Answered HTTP requests", ["method", "route", "status"])
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
# The route of a request whose path is none of ours.
NO_ROUTE = "none"
# The library's own look-up takes 3 µs.
_counter = lru_cache(maxsize=None)(REQUESTS.labels)


class Api:
    """An ASGI application for HTTP. `other_pages` is asked for what is no call."""

    def __init__(self, calls: Sequence[Call], services: Services, other_pages: ASGIApp) -> None:
        self._services = services
        self._pages = other_pages
        self._gate = RequestGate(services.settings)
        self._paths: dict[str, dict[str, Call]] = {}
        # Routes whose answers no page of another origin may read.
        self._unreadable = {call.path for call in calls if not call.cors}
        for call in calls:
            assert "{" not in call.path or _place_of_id(parts := call.path.split("/")) == parts.index("{id}"), call.path
            self._paths.setdefault(call.path, {})[call.method] = call

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path, headers = path_of(scope), RequestHeaders(scope)
        if path in self._paths or path == "/api" or path.startswith(("/api/", OAUTH)):
            return self._call(path, RequestContext(scope, receive, headers, self._services), send)
        return self._page(path, headers, pages.scope_of_page(scope), receive, send)

    async def _call(self, path: str, request: RequestContext, send: Send) -> None:
        method, route, cors = request.scope["method"], NO_ROUTE, True
        origins: Container[str] = ()
        call: Call | None = None
        try:
            if refused := self._gate.refusal(request.scope, path, request.headers):
                raise refused
            route, calls = self._calls_at(path, request.scope)
            cors = route not in self._unreadable
            call = calls.get(method) or (calls.get("GET") if method == "HEAD" else None)
            if request.headers.origin is not None:
                origins = await self._other_origins(calls)
            if call:
                response = await self._answer(call, request)
            else:
                response = await self._without_call(method, calls, request, origins, readable=cors)
        except Refused as refusal:
            response = _refused(path, refusal)
            if call and refusal.code is Code.UNAUTHENTICATED:
                authorization = next(iter(request.headers.all(b"authorization")), "")
                response.headers["WWW-Authenticate"] = challenge(authorization, bearer_alone=ADMIN in call.proofs)
        except OAuthError as error:
            response = oauth_error(error)
            if request.has_key and error.nonce is None:
                response.headers["DPoP-Nonce"] = self._services.proofs.nonce()
        except ClientDisconnect:
            # There is nobody to answer.
            return
        except Exception:
            log.exception("call.failed", call=route)
            response = _refused(path, failure())
        count(method, route, response.status_code)
        headers = self._gate.add_security_headers(response.raw_headers, request.headers, origins, cors=cors)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})

    def _calls_at(self, path: str, scope: Scope) -> tuple[str, dict[str, Call]]:
        """The path as the table has it, and its calls by method; none if it is not there."""
        if path not in self._paths:
            parts = path.split("/")
            place = _place_of_id(parts)
            if len(parts) > place and _ID.fullmatch(parts[place]):
                scope["path_params"] = {"id": parts[place]}
                parts[place] = "{id}"
                path = "/".join(parts)
        calls = self._paths.get(path)
        return (path, calls) if calls else (NO_ROUTE, {})

    async def _answer(self, call: Call, request: RequestContext) -> Response:
        try:
            response = await call.handler(request)
        except asyncio.CancelledError:
            if not self._services.drain.begun:
                raise
            # The process ends, and its grace was not enough; uvicorn would say 500.
            raise Refused(Code.UNAVAILABLE, "the server ends; ask again", retry_after=1) from None
        if request.has_key:
            # For its next proof (RFC 9449, section 8.2): it then need not be refused first.
            response.headers["DPoP-Nonce"] = self._services.proofs.nonce()
        return response

    async def _other_origins(self, calls: dict[str, Call]) -> Container[str]:
        """Those that may read the answers of this path beside those that may read all."""
        for call in calls.values():
            if call.origins:
                return await call.origins(self._services)
        return ()

    async def _without_call(
        self, method: str, calls: dict[str, Call], request: RequestContext, origins: Container[str], *, readable: bool
    ) -> Response:
        # Readable also where the path is unknown: the page that asks can then read the 404.
        if method == "OPTIONS" and readable and (answer := self._gate.cors.preflight(request.headers, origins)):
            return answer
        if not calls:
            raise not_found()
        allow = ", ".join([*sorted(calls), *(["HEAD"] if "GET" in calls else []), "OPTIONS"])
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allow})
        response = _refused(path_of(request.scope), Refused(Code.METHOD_NOT_ALLOWED, f"this path has {allow}"))
        response.headers["Allow"] = allow
        return response

    async def _page(self, path: str, headers: RequestHeaders, scope: Scope, receive: Receive, send: Send) -> None:
        origins = pages.readable_by(path)

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._gate.add_security_headers(message.get("headers", []), headers, origins)
                count(scope["method"], getattr(scope.get("route"), "path", NO_ROUTE), message["status"])
            await send(message)

        page: ASGIApp | None = None
        try:
            if refused := self._gate.refusal(scope, path, headers):
                raise refused
            if scope["method"] == "OPTIONS":
                page = self._gate.cors.preflight(headers, origins)
        except Refused as refusal:
            elsewhere = refusal.code is Code.MISDIRECTED
            page = pages.refusal(refusal, scope, self._services.settings.public_url if elsewhere else None)
        try:
            await (page or self._pages)(scope, receive, send_completed)
        except Exception:
            # Starlette has answered 500, by `pages.failed`, and raises what it was.
            log.exception("page.failed", page=getattr(scope.get("route"), "path", NO_ROUTE))


def _place_of_id(parts: Sequence[str]) -> int:
    """In a path that was split at its slashes."""
    return ADMINS_ID if parts[3:4] == ["admin"] else ID


def _refused(path: str, refused: Refused) -> Response:
    """OAuth has a form of its own for what it refuses."""
    return oauth_refusal(refused) if path.startswith(OAUTH) else problem(refused)


def failure() -> Refused:
    return Refused(Code.INTERNAL, "the server failed; nothing is known to have changed")


def count(method: str, route: str, status: int) -> None:
    _counter(method if method in METHODS else "other", route, status).inc()
