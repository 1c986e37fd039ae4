"""The authorization endpoint: a browser comes with a request, and leaves with a redirect or gets a page.

Its answers are for navigations alone: no page reads them (CORS) or frames them.
"""

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import MAX_QUERY, Unanswerable
from pairing_ws.oauth.consent import Redirect
from pairing_ws.web.oauth import authorize_page
from pairing_ws.web.oauth.navigation import came_by_other_name, query_in_form, see_other
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import login_marks


async def authorize(request: RequestContext) -> Response:
    """Log in for an application (OpenID Connect Core, section 3.1.2)."""
    return await _answered(request, request.scope["query_string"].decode("latin-1"))


async def authorize_by_form(request: RequestContext) -> Response:
    """The same for a request that comes as a form. The browser is sent on to `authorize`: it then brings its cookie,
    and can load the page again."""
    query = await query_in_form(request)
    if not query or len(query) > MAX_QUERY:
        return authorize_page.unanswerable(request, Unanswerable("malformed"))
    return see_other(f"{request.services.settings.public_url}/oauth/authorize?{query}")


async def _answered(request: RequestContext, query: str) -> Response:
    settings = request.services.settings
    try:
        answer = await request.services.authorizations.begin(query, login_marks(request.headers, settings), request.ip)
    except Unanswerable as error:
        return authorize_page.unanswerable(request, error)
    except Refused as refused:
        if refused.code not in (Code.RATE_LIMITED, Code.UNAVAILABLE):
            raise
        return authorize_page.refused(request, refused)
    if isinstance(answer, Redirect):
        return see_other(answer.to)
    if came_by_other_name(request):
        # There neither its login nor its codes would fit.
        return see_other(f"{settings.public_url}/oauth/authorize?{query}")
    return authorize_page.page(request, answer)
