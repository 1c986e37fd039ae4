"""How OAuth's errors look on the wire (RFC 6749, section 5.2; RFC 6750, section 3; RFC 9449, section 7.1), and how the
refusals that every call can meet look there."""

import re
from collections.abc import Mapping

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import Error, OAuthError
from pairing_ws.web.problems import problem
from pairing_ws.web.refusal_log import refusals
from pairing_ws.web.responses import JsonResponse

# RFC 6749, section 5.2. What it leaves out would need an escape in `WWW-Authenticate`.
_UNFIT = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]+")
_WORDS: Mapping[Code, Error] = {
    Code.UNAVAILABLE: Error.TEMPORARILY_UNAVAILABLE,
    Code.RATE_LIMITED: Error.TEMPORARILY_UNAVAILABLE,
    Code.INTERNAL: Error.SERVER_ERROR,
}
# RFC 6749, section 5.1.
NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


def oauth_error(error: OAuthError) -> Response:
    refusals.note(error.error, error.status)
    headers = {}
    if error.challenge:
        headers["WWW-Authenticate"] = challenge(error)
    if error.nonce:
        headers["DPoP-Nonce"] = error.nonce
    return _answer(error.error, error.description, error.status, headers)


def oauth_refusal(refused: Refused) -> Response:
    """With the status and headers that it has everywhere."""
    usual = problem(refused)
    kept = {name: value for name, value in usual.headers.items() if not name.startswith("content-")}
    return _answer(_WORDS.get(refused.code, Error.INVALID_REQUEST), refused.detail, usual.status_code, kept)


def challenge(error: OAuthError) -> str:
    """RFC 6750, section 3: who brought no token is told the scheme, and no error."""
    scheme = "Bearer" if error.challenge == "none" else error.challenge
    parts = ['realm="OAuth"']
    if error.challenge != "none":
        parts += [f'error="{error.error}"', f'error_description="{_fit(error.description)}"']
    own = f"{scheme} {', '.join(parts)}"
    if scheme == "DPoP":
        return f'{own}, algs="ES256"'
    return own if scheme == "Basic" else f'{own}, DPoP algs="ES256"'


def _answer(error: str, description: str, status: int, headers: Mapping[str, str]) -> Response:
    body = {"error": str(error), "error_description": _fit(description)}
    own = ((name.lower().encode(), value.encode()) for name, value in headers.items())
    return JsonResponse(body, status, *NO_STORE, *own)


def _fit(description: str) -> str:
    return _UNFIT.sub(" ", description)
