"""Every error that a client of OAuth can meet, by the RFCs' words, and the challenge that goes with it. The story
raises them; `web/oauth/errors.py` knows the form of their answers."""

import re
from enum import StrEnum

# RFC 6749, section 5.2. What it leaves out would need an escape in `WWW-Authenticate`.
_UNFIT = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]+")


class Error(StrEnum):
    """Values of `error`: RFC 6749 (sections 4.1.2.1 and 5.2), 6750, 7009, 8628, 8693, 9449; OpenID Connect Core
    (3.1.2.6)."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a word of RFC 6750
    INSUFFICIENT_SCOPE = "insufficient_scope"
    AUTHORIZATION_PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    ACCESS_DENIED = "access_denied"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a word of RFC 8628
    INVALID_DPOP_PROOF = "invalid_dpop_proof"
    USE_DPOP_NONCE = "use_dpop_nonce"
    SERVER_ERROR = "server_error"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"
    UNSUPPORTED_RESPONSE_TYPE = "unsupported_response_type"
    LOGIN_REQUIRED = "login_required"
    CONSENT_REQUIRED = "consent_required"
    REQUEST_NOT_SUPPORTED = "request_not_supported"
    REQUEST_URI_NOT_SUPPORTED = "request_uri_not_supported"
    REGISTRATION_NOT_SUPPORTED = "registration_not_supported"


class OAuthError(Exception):
    """A request was refused; nothing was changed, unless its raiser says so.

    `error` is the stable word, one of `Error` or an extension's. `description` is for people, in printable ASCII
    without quotes and backslashes (RFC 6749, section 5.2), and holds no secret. `challenge` is a scheme of
    `WWW-Authenticate`, where the caller tried to authenticate by it, or should; `nonce` is what the next DPoP proof has
    to hold; `scope` is what a token would have needed.
    """

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        challenge: str = "",
        nonce: str | None = None,
        scope: str = "",
    ) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.status = status
        self.challenge = challenge
        self.nonce = nonce
        self.scope = scope


def invalid_request(description: str) -> OAuthError:
    return OAuthError(Error.INVALID_REQUEST, description)


def invalid_grant(description: str) -> OAuthError:
    return OAuthError(Error.INVALID_GRANT, description)


def invalid_client(description: str) -> OAuthError:
    """Always 401: RFC 6749 demands it of who came by `Authorization`, and lets others have it."""
    return OAuthError(Error.INVALID_CLIENT, description, status=401, challenge="Basic")


def challenge(error: OAuthError) -> str:
    """`WWW-Authenticate` (RFC 6750, section 3; RFC 9449, section 7.1): who brought no token is told the scheme, and no
    error."""
    scheme = "Bearer" if error.challenge == "none" else error.challenge
    parts = ['realm="OAuth"']
    if error.challenge != "none":
        parts += [f'error="{error.error}"', f'error_description="{fit(error.description)}"']
    if error.scope:
        parts.append(f'scope="{error.scope}"')
    own = f"{scheme} {', '.join(parts)}"
    if scheme == "DPoP":
        return f'{own}, algs="ES256"'
    return own if scheme == "Basic" else f'{own}, DPoP algs="ES256"'


def fit(description: str) -> str:
    return _UNFIT.sub(" ", description)
