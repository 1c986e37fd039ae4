"""The pages of the authorization endpoint, drawn here so that who asks is on them before any script has run."""

from html import escape
from string import Template
from urllib.parse import quote, urlsplit

from starlette.responses import HTMLResponse, Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import Unanswerable
from pairing_ws.oauth.consent import Question
from pairing_ws.oauth.redirects import shown_host
from pairing_ws.web.gate import content_security_policy
from pairing_ws.web.pages import STATIC
from pairing_ws.web.problems import SHAPES
from pairing_ws.web.refusal_log import refusals
from pairing_ws.web.request.context import RequestContext

LEADS_ELSEWHERE = (
    "This link leads somewhere else",
    "It would send you on to an address that does not belong to the application. Somebody may have tampered with it. Do"
    " not go on.",
)
# What a person reads whom an application has sent here in a way that can't be answered: a heading and a sentence.
WORDS = {
    "malformed": ("This link is broken", "The application sent you here with a link that can't be read."),
    "no_client": ("This link is incomplete", "It does not say which application sent you here."),
    "unknown_client": (
        "This application is not known here",
        "It is not registered with this server, or was removed. Nobody was logged in to it.",
    ),
    "no_redirect": ("This link is incomplete", "It does not say where you came from."),
    "foreign_redirect": LEADS_ELSEWHERE,
    "foreign_return": LEADS_ELSEWHERE,
    "other_client": ("This link is broken", "It was made for another application than the one that sent you here."),
}
ADVICE = "Go back to the application and start again from there. If this comes again, tell the people who run it."
LATER = {
    Code.RATE_LIMITED: ("Too many tries", "There were too many tries from your network in a short time."),
    Code.UNAVAILABLE: ("Just a moment", "The server can't answer right now. Nothing is lost."),
}


def answered(response: Response) -> Response:
    """A popup keeps the window that opened it (HTML Standard, section 7.1.3), which waits for what comes of it."""
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    return response


def page(request: RequestContext, question: Question) -> Response:
    """Where the person logs in and says yes or no."""
    client = question.client
    logo = _logo_origin(client.logo_uri)
    text = Template((STATIC / "authorize.html").read_text()).substitute(
        root=_root(request),
        client=escape(client.name),
        host=escape(shown_host(question.redirect_uri)),
        logo=f'<img src="{escape(client.logo_uri)}" alt="" width="48" height="48">' if client.logo_uri and logo else "",
        started=escape(question.started),
    )
    policy = content_security_policy(request.services.settings.public_url, images=logo)
    return answered(HTMLResponse(text, headers={"Content-Security-Policy": policy}))


def unanswerable(request: RequestContext, error: Unanswerable) -> Response:
    refusals.note(Code.AUTHORIZATION_INVALID, 400)
    title, text = WORDS[error.reason]
    return _refusal(request, 400, title, f"{text} {ADVICE}", f"For the people who run it: {error.description}.")


def refused(request: RequestContext, error: Refused) -> Response:
    status = SHAPES[error.code].status
    refusals.note(error.code, status)
    title, text = LATER[error.code]
    response = _refusal(request, status, title, f"{text} Load this page again in {error.retry_after or 1} seconds.", "")
    response.headers["Retry-After"] = str(error.retry_after or 1)
    return response


def _refusal(request: RequestContext, status: int, title: str, text: str, hint: str) -> Response:
    document = Template((STATIC / "refused.html").read_text()).substitute(
        root=_root(request),
        title=escape(title),
        text=escape(text),
        more=f'<p class="hint">{escape(hint)}</p>' if hint else "",
    )
    return answered(HTMLResponse(document, status))


def _root(request: RequestContext) -> str:
    return quote(request.scope.get("root_path", ""))


def _logo_origin(uri: str | None) -> str:
    """What the policy lets images come from; "" if the logo can't be shown."""
    parts = urlsplit(uri or "")
    plain = parts.netloc and not set(parts.netloc) & set(" ;,'\"@")
    return f"https://{parts.netloc}" if parts.scheme == "https" and plain else ""
