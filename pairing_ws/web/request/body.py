"""The body of a request: how much of it is read, for how long, and as what."""

import codecs

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.timing_wheel import Timeout
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.strict_json import BodyT, decode

MAX_BODY = 16 * 1024
# From when the body is first asked for to its end. A proxy's own limit often starts again with each byte.
BODY_SECONDS = 10.0


async def read_body(request: RequestContext, kind: type[BodyT]) -> BodyT:
    """What the client sent as JSON, as `kind`; an absent body is an empty object.

    Raises BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE and what `read_raw` raises.
    """
    raw = await read_raw(request)
    # RFC 8259, section 8.1: a byte order mark may be there, and says nothing.
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw:
        if request.headers.first(b"content-length").strip("0") and request.headers.raw(b"upgrade"):
            # uvicorn's own protocol, below an application that mounts this one, takes it for another protocol's.
            raise Refused(Code.BAD_REQUEST, "the body got lost behind an Upgrade that is not taken; send none")
        return decode(b"{}", kind)
    media_type = request.headers.first(b"content-type").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")
    return decode(raw, kind)


async def read_raw(request: RequestContext) -> bytes:
    """Raises TOO_LARGE and REQUEST_TIMEOUT, and ClientDisconnect."""
    try:
        with Timeout(BODY_SECONDS):
            return await _received(request.receive)
    except TimeoutError:
        raise Refused(Code.REQUEST_TIMEOUT, f"the body has to be here within {BODY_SECONDS:.0f} seconds") from None


async def _received(receive: Receive) -> bytes:
    """Starlette's `Request.body` takes twice as long, and has no limit."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise too_large()
        more = message.get("more_body", False)
    return b"".join(parts)


def too_large() -> Refused:
    return Refused(Code.TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
