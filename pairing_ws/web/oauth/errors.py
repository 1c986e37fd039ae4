"""How OAuth's errors look on the wire (RFC 6749, section 5.2; RFC 6750, section 3; RFC 9449, section 7.1), and how the
refusals that every call can meet look there."""

from collections.abc import Mapping

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import Error, OAuthError, challenge, fit
from pairing_ws.web.problems import problem
from pairing_ws.web.refusal_log import refusals
from pairing_ws.web.responses import JsonResponse

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


def _answer(error: str, description: str, status: int, headers: Mapping[str, str]) -> Response:
    body = {"error": str(error), "error_description": fit(description)}
    own = ((name.lower().encode(), value.encode()) for name, value in headers.items())
    return JsonResponse(body, status, *NO_STORE, *own)
