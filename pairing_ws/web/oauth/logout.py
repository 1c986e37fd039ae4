"""The logout endpoint: an application sends a browser here, and gets it back (OpenID Connect RP-Initiated Logout 1.0).

Its answers are for navigations alone: no page reads them (CORS) or frames them.
"""

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import MAX_QUERY, Unanswerable
from pairing_ws.oauth.logout import Leave
from pairing_ws.web.oauth import authorize_page, logout_page
from pairing_ws.web.oauth.navigation import came_by_other_name, query_in_form, see_other
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import login_marks


async def log_out_of_application(request: RequestContext) -> Response:
    """Log out of an application, and of this browser if the person wants that."""
    query = request.scope["query_string"].decode("latin-1")
    if came_by_other_name(request):
        # There its login can't be seen.
        return see_other(_address(request, query))
    return await _answered(request, query)


async def log_out_by_form(request: RequestContext) -> Response:
    """The same for a request that comes as a form. The browser is sent on, and then brings its cookie; but no address
    holds the longest id_tokens."""
    query = await query_in_form(request)
    if len(query) <= MAX_QUERY:
        return see_other(_address(request, query))
    return await _answered(request, query)


async def _answered(request: RequestContext, query: str) -> Response:
    services = request.services
    try:
        answer = await services.logouts.begin(query, login_marks(request.headers, services.settings), request.ip)
    except Unanswerable as error:
        return authorize_page.unanswerable(request, error)
    except Refused as refused:
        if refused.code not in (Code.RATE_LIMITED, Code.UNAVAILABLE):
            raise
        return authorize_page.refused(request, refused)
    return see_other(answer.to) if isinstance(answer, Leave) else logout_page.page(request, answer)


def _address(request: RequestContext, query: str) -> str:
    return f"{request.services.settings.public_url}/oauth/logout" + (f"?{query}" if query else "")
