"""The authorization endpoint: a browser comes with a request, and leaves with a redirect or gets a page.

Its answers are for navigations alone: no page reads them (CORS) or frames them.
"""

from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import MAX_QUERY, Unanswerable
from pairing_ws.oauth.consent import Redirect
from pairing_ws.web.oauth import authorize_page
from pairing_ws.web.pages import is_other_name
from pairing_ws.web.request.body import read_raw
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import login_marks

FORM = "application/x-www-form-urlencoded"


async def authorize(request: RequestContext) -> Response:
    """Log in for an application (OpenID Connect Core, section 3.1.2)."""
    return await _answered(request, request.scope["query_string"].decode("latin-1"))


async def authorize_by_form(request: RequestContext) -> Response:
    """The same for a request that comes as a form. The browser is sent on to `authorize`: it then brings its cookie,
    and can load the page again."""
    raw = await read_raw(request)
    kind = request.headers.first(b"content-type").partition(";")[0].strip().lower()
    try:
        fields = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict") if len(raw) <= MAX_QUERY else []
    except ValueError:
        fields = []
    query = urlencode(fields)
    if kind != FORM or not fields or len(query) > MAX_QUERY:
        return authorize_page.unanswerable(request, Unanswerable("malformed"))
    return _redirect(f"{request.services.settings.public_url}/oauth/authorize?{query}")


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
        return _redirect(answer.to)
    if is_other_name(request.headers.first(b"host").lower(), urlsplit(settings.public_url)):
        # There neither its login nor its codes would fit.
        return _redirect(f"{settings.public_url}/oauth/authorize?{query}")
    return authorize_page.page(request, answer)


def _redirect(to: str) -> Response:
    """303: never again as a POST (RFC 9700, section 4.12)."""
    return authorize_page.answered(RedirectResponse(to, 303))
