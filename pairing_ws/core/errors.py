"""Every refusal a client can meet. Both stories raise them; `web/problems.py` alone knows their form on the wire."""

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """The stable machine words of the contract. A word is never reused for another meaning."""

    BAD_REQUEST = "bad_request"
    DOUBLED_COOKIE = "doubled_cookie"
    DEVICE_HEADERS_REQUIRED = "device_headers_required"
    UNAUTHENTICATED = "unauthenticated"
    INVALID_PROOF = "invalid_proof"
    USE_DPOP_NONCE = "use_dpop_nonce"
    NUMBER_REQUIRED = "number_required"
    NUMBER_MISMATCH = "number_mismatch"
    PAIRING_DENIED = "pairing_denied"
    DEVICE_QUARANTINED = "device_quarantined"
    NETWORK_REFUSED = "network_refused"
    ACCOUNT_LOCKED = "account_locked"
    LOGIN_REFUSED = "login_refused"
    STEP_UP_REQUIRED = "step_up_required"
    STEP_UP_REFUSED = "step_up_refused"
    PASSKEY_REFUSED = "passkey_refused"
    FOREIGN_ORIGIN = "foreign_origin"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_SCANNED = "not_scanned"
    NOT_APPROVED = "not_approved"
    ALREADY_CLAIMED = "already_claimed"
    WRONG_DIRECTION = "wrong_direction"
    SAME_DEVICE = "same_device"
    CLIENT_PAIRING = "client_pairing"
    INVALID_STATE = "invalid_state"
    PAIRING_CONSUMED = "pairing_consumed"
    DEVICE_CHANGED = "device_changed"
    DEVICE_LIMIT = "device_limit"
    USER_EXISTS = "user_exists"
    ALREADY_ENROLLED = "already_enrolled"
    PASSKEY_LIMIT = "passkey_limit"
    ALREADY_REFRESHED = "already_refreshed"
    AUTHORIZATION_INVALID = "authorization_invalid"
    AUTHORIZATION_STALE = "authorization_stale"
    INVITE_USED = "invite_used"
    INVITE_EXPIRED = "invite_expired"
    UPSTREAM_LOGIN_OVER = "upstream_login_over"
    PAIRING_CANCELLED = "pairing_cancelled"
    PAIRING_EXPIRED = "pairing_expired"
    REQUEST_TIMEOUT = "request_timeout"
    TOO_LARGE = "too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    MISDIRECTED = "misdirected_request"
    UPGRADE_REQUIRED = "upgrade_required"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal_error"


class Refused(Exception):
    """A request was understood and refused; nothing was changed.

    `detail` is for people and holds no secret; `retry_after` is in seconds; `extra` are members of the problem
    document beside the standard ones, in the wire's spelling.
    """

    def __init__(self, code: Code, detail: str = "", *, retry_after: int | None = None, **extra: Any) -> None:
        super().__init__(code.value, detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra


class Unavailable(Refused):
    """A store or the bus did not answer. Adapters raise it in place of their driver's errors."""

    def __init__(self, what: str, retry_after: int = 2) -> None:
        super().__init__(Code.UNAVAILABLE, f"{what} does not answer; try again", retry_after=retry_after)
