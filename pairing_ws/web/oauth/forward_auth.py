"""Forward auth: a proxy asks about each request to a protected host (nginx's `auth_request`, Traefik's `forwardAuth`,
Caddy's `forward_auth`), and passes `/.pairing/` of that host on to us, where a browser begins and ends a login.

No answer is for pages of another origin (CORS), and each depends on a host that only a named proxy can name.
"""

from html import escape
from string import Template
from urllib.parse import parse_qs, quote, urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from pairing_ws.accounts.ports import Account
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import MAX_QUERY
from pairing_ws.oauth.errors import Error, OAuthError
from pairing_ws.oauth.forward_auth import NotEntered
from pairing_ws.oauth.protected_hosts import LOGIN_PATH, LOGOUT_PATH, ProtectedHost
from pairing_ws.web.gate import content_security_policy
from pairing_ws.web.oauth.errors import oauth_error
from pairing_ws.web.pages import STATIC
from pairing_ws.web.problems import SHAPES
from pairing_ws.web.refusal_log import refusals
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import (
    FORWARD_COOKIE,
    begun_secrets,
    drop_forward_mark,
    forward_marks,
    set_begun_secret,
    set_forward_mark,
)
from pairing_ws.web.request.forwarded import Forwarded, forwarded

# As it stands in a header: printable ASCII but for "%", by which the rest is written, and the "," between groups.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "").replace(",", "")
# What a person reads who comes back without a login: a heading and a sentence.
WORDS = {
    "malformed": ("This link is broken", "It is none that a login leads back to."),
    "other_browser": ("The login was not finished", "It was begun in another browser, or this one keeps no cookies."),
    "denied": ("Nothing was shared", "You were not logged in here."),
    "failed": ("The login was not finished", "It was refused, and nobody was logged in."),
    "stale": ("The login was not finished", "Too much time has passed, or this page was loaded again."),
    "not_allowed": ("This is not for your account", "You are logged in, but your account may not open this site."),
}
LATER = ("Just a moment", "The server can't answer right now. Nothing is lost: load this page again.")


async def check(request: RequestContext) -> Response:
    """Whether a request to a protected host may pass, and whose it is."""
    asked, host = _asked(request)
    account = await request.services.forward_auth.account(host, forward_marks(request.headers))
    if account and host.lets_in(account.profile.groups):
        return Response(status_code=204, headers=_identity(account))
    if _is_navigation(request, asked):
        to = f"{host.origin}{LOGIN_PATH}?{urlencode({'to': asked.uri or '/'})}"
        # nginx takes no redirect from here: its configuration makes one of this.
        return _unauthenticated(to) if asked.wants_401 else RedirectResponse(to, 302)
    if account:
        raise OAuthError(Error.ACCESS_DENIED, "the account may not open this host", status=403)
    return _unauthenticated()


async def log_in(request: RequestContext) -> Response:
    """Begin a login at a protected host: the browser goes on to the page with the QR code."""
    _, host = _asked(request)
    query = request.scope["query_string"].decode("latin-1")
    given = parse_qs(query, max_num_fields=1).get("to", []) if len(query) <= MAX_QUERY and "&" not in query else []
    services = request.services
    begun = services.forward_auth.begin(host, given[0] if given else "/", begun_secrets(request.headers))
    response = RedirectResponse(f"{services.settings.public_url}/oauth/authorize?{begun.query}", 303)
    set_begun_secret(response, begun.secret)
    return response


async def enter(request: RequestContext) -> Response:
    """End the login at a protected host: the browser comes back with a code, and gets its cookie there."""
    _, host = _asked(request)
    services = request.services
    query = request.scope["query_string"].decode("latin-1")
    try:
        entered = await services.forward_auth.enter(host, query, begun_secrets(request.headers), request.ip)
    except NotEntered as error:
        status = 403 if error.reason == "not_allowed" else 400
        refusals.note(Error.ACCESS_DENIED, status)
        return _page(request, host, status, *WORDS[error.reason], f"For the people who run it: {error}.")
    except Refused as refused:
        if refused.code not in (Code.RATE_LIMITED, Code.UNAVAILABLE):
            raise
        refusals.note(refused.code, SHAPES[refused.code].status)
        later = _page(request, host, SHAPES[refused.code].status, *LATER, "")
        later.headers["Retry-After"] = str(refused.retry_after or 1)
        return later
    response = RedirectResponse(host.origin + entered.to, 303)
    set_forward_mark(response, entered.mark, services.settings)
    return response


async def leave(request: RequestContext) -> Response:
    """Log out: the browser goes to the page that asks whether it is to be logged out of everything."""
    _, host = _asked(request)
    query = urlencode({"client_id": host.client_id, "post_logout_redirect_uri": f"{host.origin}/"})
    response = RedirectResponse(f"{request.services.settings.public_url}/oauth/logout?{query}", 303)
    if request.headers.first(b"sec-fetch-site") in ("same-origin", "none"):
        # By the application's own link: who comes back at once, logged out, must not be known here for 2 s more. From
        # another site it would only cost somebody the form that they are writing.
        drop_forward_mark(response)
    return response


def _asked(request: RequestContext) -> tuple[Forwarded, ProtectedHost]:
    """Raises OAuthError, by which a proxy keeps the request out, unless a named proxy names a protected host."""
    asked = forwarded(request)
    host = request.services.forward_auth.hosts.find(asked.host) if asked else None
    if asked is None or host is None:
        raise OAuthError(Error.ACCESS_DENIED, "no named proxy asks for a protected host", status=403)
    return asked, host


def _is_navigation(request: RequestContext, asked: Forwarded) -> bool:
    """Whether a person waits for a page in a tab of their own: anything else can't show them the way to log in."""
    headers = request.headers
    if asked.method not in ("GET", "HEAD") or headers.first(b"x-requested-with"):
        return False
    if mode := headers.first(b"sec-fetch-mode"):
        return mode == "navigate" and headers.first(b"sec-fetch-dest") in ("", "document")
    # Browsers that do not say, and all of them over plain http but to this machine.
    return "text/html" in headers.first(b"accept")


def _unauthenticated(location: str = "") -> Response:
    """RFC 9110, section 15.5.2, wants a challenge; no scheme is registered for cookies."""
    response = oauth_error(OAuthError(Error.LOGIN_REQUIRED, "nobody is logged in at this host", status=401))
    response.headers["WWW-Authenticate"] = f'Cookie cookie-name="{FORWARD_COOKIE}"'
    if location:
        response.headers["Location"] = location
    return response


def _identity(account: Account) -> dict[str, str]:
    """All three, so that a proxy has something to put in the place of what its client wrote there."""
    profile = account.profile
    return {
        "Remote-User": _plain(account.user.username),
        # No header says whether an address is the person's own.
        "Remote-Email": _plain(profile.email or "") if profile.email_verified else "",
        "Remote-Groups": ",".join(map(_plain, profile.groups)),
    }


def _plain(value: str) -> str:
    """Two values are never written alike."""
    return quote(value, safe=_PLAIN)


def _page(request: RequestContext, host: ProtectedHost, status: int, title: str, text: str, hint: str) -> HTMLResponse:
    """Shown at the protected host, which has none of our files."""
    settings = request.services.settings
    buttons = f'<div class="row"><a class="button primary" href="{escape(host.origin)}/">Try again</a>'
    if status == 403:
        buttons += f' <a class="button secondary" href="{escape(host.origin + LOGOUT_PATH)}">Log out</a>'
    hint = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    text = Template((STATIC / "refused.html").read_text()).substitute(
        root=escape(settings.public_url), title=escape(title), text=escape(text), more=f"{buttons}</div>{hint}"
    )
    origin = settings.public_origin
    policy = content_security_policy(settings.public_url, images=origin, style=origin)
    return HTMLResponse(text, status, headers={"Content-Security-Policy": policy})
