"""The call by which a page fetches its keys, once its person has come back from the provider."""

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import upstream_cookie
from pairing_ws.web.responses import key_pair
from pairing_ws.web.wire.requests import UpstreamRequest


async def log_in_by_provider(request: RequestContext) -> Response:
    """Log in by the provider from which this browser has just come back, as its cookie says."""
    wanted = await read_body(request, UpstreamRequest)
    if request.services.upstream is None:
        raise Refused(Code.NOT_FOUND, "people log in with no other provider here")
    if request.auth_key is not None:
        raise Refused(Code.BAD_REQUEST, "this device is logged in already; log out first")
    request.demand_own_origin()
    device = request.device(wanted.device_key)
    cookie = upstream_cookie(request.headers, request.services.settings)
    given = await request.services.upstream.log_in(cookie, device, request.prove)
    return key_pair(given, request.services, cookie=wanted.keys == "cookie")
