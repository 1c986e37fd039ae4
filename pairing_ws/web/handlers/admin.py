"""How a call of `/api/v1/admin` is let in and written into the audit log, and what such calls read alike."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.problems import SHAPES
from pairing_ws.web.request.context import RequestContext

# What the line of the audit log says of a call beside what all say.
Facts = dict[str, str | None]
Handler = Callable[[RequestContext], Awaitable[Response]]
MAX_IDEMPOTENCY_KEY = 255


def by_operator(handler: Callable[[RequestContext, Facts], Awaitable[Response]]) -> Handler:
    """The handler of a call that an admin key opens. Nothing else of the request is read before the key is known."""

    @wraps(handler)
    async def call(request: RequestContext) -> Response:
        keys = request.services.admin_keys
        key = await keys.admit(_admin_key(request), request.ip)
        facts: Facts = {}
        status = SHAPES[Code.INTERNAL].status
        try:
            if request.headers.all(b"auth-key") or request.headers.all(b"pairing-secret"):
                raise Refused(Code.BAD_REQUEST, "a credential of a device beside the admin key; send one")
            response = await handler(request, facts)
            status = response.status_code
        except Refused as refused:
            status = SHAPES[refused.code].status
            raise
        finally:
            keys.called(key, handler.__name__, status, request.ip, facts)
        return response

    return call


def _admin_key(request: RequestContext) -> str | None:
    """From `Authorization: Bearer` alone (RFC 6750, section 2.1): no browser sends that by itself."""
    given = request.headers.all(b"authorization")
    if len(given) > 1:
        raise unauthenticated()
    scheme, _, key = given[0].partition(" ") if given else ("", "", "")
    return key.strip() if scheme.lower() == "bearer" else None


def idempotency_key(request: RequestContext) -> str | None:
    """`Idempotency-Key`, with or without the quotes of a structured field; None if there is none."""
    given = request.headers.all(b"idempotency-key")
    if not given:
        return None
    key = given[0]
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if len(given) > 1 or not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not (key.isascii() and key.isprintable()):
        raise Refused(
            Code.BAD_REQUEST, f"an Idempotency-Key is one of 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
        )
    return key


def named(changes: msgspec.Struct) -> dict[str, Any]:
    """The members that the body has."""
    members = {name: getattr(changes, name) for name in changes.__struct_fields__}
    return {name: value for name, value in members.items() if value is not UNSET}
