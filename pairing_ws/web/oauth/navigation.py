"""What the endpoints share that browsers are sent to: a form turned into an address, and the way on."""

from urllib.parse import quote, urlsplit

from starlette.responses import RedirectResponse, Response

from pairing_ws.web.oauth import authorize_page
from pairing_ws.web.oauth.forms import FORM
from pairing_ws.web.pages import is_other_name
from pairing_ws.web.request.body import read_raw
from pairing_ws.web.request.context import RequestContext


async def query_in_form(request: RequestContext) -> str:
    """The parameters of a form, written as a query; "" if it is none, or empty."""
    raw = await read_raw(request)
    kind = request.headers.first(b"content-type").partition(";")[0].strip().lower()
    # Both are written alike, so it is not read here: nobody has counted the request yet, and reading takes up to 10 ms.
    return quote(raw, safe="%&=+:/") if kind == FORM else ""


def came_by_other_name(request: RequestContext) -> bool:
    """See `pages.is_other_name`."""
    public = urlsplit(request.services.settings.public_url)
    return is_other_name(request.headers.first(b"host").lower(), public)


def see_other(to: str) -> Response:
    """303: never again as a POST (RFC 9700, section 4.12)."""
    return authorize_page.answered(RedirectResponse(to, 303))
