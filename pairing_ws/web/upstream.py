"""The way of a browser to the provider and back: two navigations, each of which ends in a redirect, or in a page that
says why not. Then `/join/upstream` fetches the keys, as with an invite."""

from collections.abc import Mapping
from html import escape
from string import Template
from urllib.parse import parse_qsl, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response

from pairing_ws.core.errors import Refused
from pairing_ws.upstream.login import ARRIVED_MS, BEGUN_MS, LoginFailed, UpstreamLogin, Why
from pairing_ws.web.call import Call
from pairing_ws.web.gate import not_found
from pairing_ws.web.oauth.authorize_page import LATER
from pairing_ws.web.oauth.forms import MAX_FIELDS
from pairing_ws.web.oauth.navigation import came_by_other_name
from pairing_ws.web.pages import STATIC
from pairing_ws.web.problems import SHAPES
from pairing_ws.web.refusal_log import refusals
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import set_upstream_cookie, upstream_cookie

START, CALLBACK, DONE = "/login/upstream", "/login/upstream/callback", "/join/upstream"
# A code may have 4096 letters, and some providers send a session's state along.
MAX_QUERY = 8192
# Of an answer. Those that say why not are for the log, and may have line breaks in them: Entra ID's have.
EXACT, TOLD = frozenset({"state", "code", "iss"}), frozenset({"error", "error_description"})
# A heading, a sentence and a status. `{provider}` is what the provider is called.
WORDS = {
    Why.FOREIGN: (
        "This login was not started here",
        "It was begun in another browser or window, or too long ago. Nobody was logged in.",
        400,
    ),
    Why.USED: ("This login was used already", "Each one works once. Nobody was logged in a second time.", 409),
    Why.REFUSED: ("You were not logged in", "{provider} says that the login was refused or broken off.", 403),
    Why.AWAY: (
        "{provider} can't be reached just now",
        "Nobody was logged in. Try again in a moment; if this comes again, tell the people who run this server.",
        502,
    ),
    Why.FAILED: (
        "{provider} gave no answer that counts",
        "Nobody was logged in. Begin again from the start page; if this comes again, tell the people who run this"
        " server.",
        403,
    ),
    Why.UNKNOWN: (
        "You have no account here",
        "{provider} knows you, but no account of this server is linked to that login. Nothing was changed. Ask the"
        " people who run this server to link yours, or for an invitation.",
        403,
    ),
}


async def start(request: RequestContext) -> Response:
    """Go to the provider, to log in with it."""
    login, settings = _login(request), request.services.settings
    if came_by_other_name(request):
        # There the cookie would not come back.
        return RedirectResponse(f"{settings.public_url}{START}", 303)
    try:
        begun = await login.begin(request.ip)
    except LoginFailed as failed:
        return _failed(request, failed)
    except Refused as refused:
        return _later(request, refused)
    response = RedirectResponse(begun.url, 303)
    set_upstream_cookie(response, begun.cookie, settings, BEGUN_MS // 1000)
    return response


async def come_back(request: RequestContext) -> Response:
    """Come back from the provider, with its answer."""
    login, settings = _login(request), request.services.settings
    try:
        cookie = upstream_cookie(request.headers, settings)
        arrived = await login.finish(cookie, _answer(request), request.ip)
    except LoginFailed as failed:
        return _failed(request, failed)
    except Refused as refused:
        return _later(request, refused)
    # To our own page alone, whatever the answer says; without the answer, which would be sent on as Referer.
    response = RedirectResponse(f"{settings.public_url}{DONE}", 303)
    set_upstream_cookie(response, arrived, settings, ARRIVED_MS // 1000)
    return response


ENDPOINTS: tuple[Call, ...] = (
    Call("GET", START, start, 303, cors=False),
    Call("GET", CALLBACK, come_back, 303, cors=False),
)


def _login(request: RequestContext) -> UpstreamLogin:
    if request.services.upstream is None:
        raise not_found()
    return request.services.upstream


def _answer(request: RequestContext) -> Mapping[str, str]:
    """Its parameters that count; others are passed over, whatever they are (RFC 6749, sections 4.1.2 and 4.1.2.1).
    Raises LoginFailed for what is no answer, or has one of them twice."""
    query = request.scope["query_string"]
    if len(query) > MAX_QUERY:
        return {}
    try:
        # What has been replaced fits no state and no code. A text for people may be in any encoding.
        pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise LoginFailed(Why.FOREIGN) from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in EXACT and (name in found or not value.isprintable()):
            raise LoginFailed(Why.FOREIGN)
        if name in EXACT | TOLD:
            found[name] = value
    return {name: value for name, value in found.items() if value}


def _failed(request: RequestContext, failed: LoginFailed) -> Response:
    title, text, status = WORDS[failed.why]
    refusals.note(f"upstream_{failed.why}", status)
    provider = request.services.settings.upstream_label
    hint = f"For the people who run this server: {failed.hint}" if failed.hint else ""
    response = _page(request, status, title.format(provider=provider), text.format(provider=provider), hint)
    if failed.why is not Why.FOREIGN:
        # It is over. What another site has sent here ends no login of this browser's.
        set_upstream_cookie(response, "", request.services.settings, 0)
    return response


def _later(request: RequestContext, refused: Refused) -> Response:
    if refused.code not in LATER:
        raise refused
    status = SHAPES[refused.code].status
    refusals.note(refused.code, status)
    title, text = LATER[refused.code]
    response = _page(request, status, title, text, "")
    response.headers["Retry-After"] = str(refused.retry_after or 1)
    return response


def _page(request: RequestContext, status: int, title: str, text: str, hint: str) -> Response:
    root = quote(request.scope.get("root_path", ""))
    more = f'<p><a class="button primary" href="{root}/">To the start page</a></p>'
    document = Template((STATIC / "refused.html").read_text()).substitute(
        root=root,
        title=escape(title),
        text=escape(text),
        more=more + (f'<p class="hint">{escape(hint)}</p>' if hint else ""),
    )
    return HTMLResponse(document, status)
