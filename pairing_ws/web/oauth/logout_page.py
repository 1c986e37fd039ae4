"""The page of the logout endpoint, drawn here with what the request says; what the person does, its script does."""

from html import escape
from string import Template
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from pairing_ws.oauth.logout import Ask
from pairing_ws.oauth.redirects import shown_host
from pairing_ws.web.oauth.authorize_page import answered
from pairing_ws.web.pages import STATIC
from pairing_ws.web.request.context import RequestContext


def page(request: RequestContext, ask: Ask) -> Response:
    """Where the person says whether this browser is to be logged out."""
    text = Template((STATIC / "logout.html").read_text()).substitute(
        root=quote(request.scope.get("root_path", "")),
        client=escape(ask.client.name if ask.client else ""),
        ended="yes" if ask.ended else "",
        to=escape(ask.to or ""),
        host=escape(shown_host(ask.to) if ask.to else ""),
    )
    return answered(HTMLResponse(text))
