"""How a guard says no (RFC 6750, section 3; RFC 9449, section 7.1)."""

from starlette.exceptions import HTTPException

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import Error, OAuthError, challenge

_WORDS = {Code.INVALID_PROOF: Error.INVALID_DPOP_PROOF, Code.USE_DPOP_NONCE: Error.USE_DPOP_NONCE}


class Denied(HTTPException):
    """400, 401, 403 or, while the keys or a store are away, 503. Starlette and FastAPI answer with it by themselves;
    others take `status_code`, `detail` (for people, without a secret) and `headers`. `error` is the RFCs' word."""

    def __init__(self, error: str, status_code: int, detail: str, headers: dict[str, str]) -> None:
        super().__init__(status_code, detail, headers)
        self.error = error


def denied(error: OAuthError) -> Denied:
    headers = {"WWW-Authenticate": challenge(error)} if error.challenge else {}
    if error.nonce:
        headers["DPoP-Nonce"] = error.nonce
    return Denied(error.error, error.status, error.description, headers)


def denied_by_story(refused: Refused, scheme: str) -> Denied:
    """By what the stories themselves refuse: a session that has ended, a proof, a store that is away."""
    if refused.code is Code.UNAVAILABLE:
        headers = {"Retry-After": str(refused.retry_after)}
        return Denied(Error.TEMPORARILY_UNAVAILABLE, 503, refused.detail, headers)
    if refused.code in _WORDS:
        nonce = refused.extra.get("nonce")
        return denied(OAuthError(_WORDS[refused.code], refused.detail, status=401, challenge="DPoP", nonce=nonce))
    return denied(invalid_token(refused.detail, scheme))


def no_token() -> OAuthError:
    return OAuthError(Error.INVALID_TOKEN, "an access token is needed", status=401, challenge="none")


def invalid_token(description: str, scheme: str) -> OAuthError:
    return OAuthError(Error.INVALID_TOKEN, description, status=401, challenge=scheme)


def several_tokens() -> OAuthError:
    return OAuthError(Error.INVALID_REQUEST, "more than one access token at once", challenge="Bearer")


def insufficient_scope(scope: str, scheme: str) -> OAuthError:
    return OAuthError(
        Error.INSUFFICIENT_SCOPE, f"the token needs the scope {scope}", status=403, challenge=scheme, scope=scope
    )
