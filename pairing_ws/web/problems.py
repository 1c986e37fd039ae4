"""How a refusal looks on the wire: the one table from code to HTTP status and close code, and the problem document."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.refusal_log import refusals

PROBLEM_JSON = "application/problem+json"


class Shape(NamedTuple):
    """`close` is the WebSocket close code of the same refusal."""

    status: int
    title: str
    close: CloseCode = CloseCode.NOT_FOUND


SHAPES: Mapping[Code, Shape] = {
    Code.BAD_REQUEST: Shape(400, "The request is malformed", CloseCode.BAD_REQUEST),
    Code.DOUBLED_COOKIE: Shape(400, "Two sessions' cookies came at once", CloseCode.BAD_REQUEST),
    Code.DEVICE_HEADERS_REQUIRED: Shape(400, "Device headers are missing", CloseCode.BAD_REQUEST),
    Code.UNAUTHENTICATED: Shape(401, "No valid credential", CloseCode.UNAUTHENTICATED),
    Code.INVALID_PROOF: Shape(401, "The proof of the device's key is missing or wrong", CloseCode.UNAUTHENTICATED),
    Code.USE_DPOP_NONCE: Shape(401, "The proof needs a nonce of this server", CloseCode.UNAUTHENTICATED),
    Code.NUMBER_REQUIRED: Shape(403, "The verification number is needed"),
    Code.NUMBER_MISMATCH: Shape(403, "The verification number is wrong"),
    Code.PAIRING_DENIED: Shape(403, "The pairing was denied"),
    Code.DEVICE_QUARANTINED: Shape(403, "This device is too new for that"),
    Code.NETWORK_REFUSED: Shape(403, "The devices have to share a network"),
    Code.ACCOUNT_LOCKED: Shape(403, "The account is locked", CloseCode.UNAUTHENTICATED),
    Code.STEP_UP_REQUIRED: Shape(403, "A recent proof of who is there is needed"),
    Code.STEP_UP_REFUSED: Shape(403, "That does not prove who is there"),
    Code.PASSKEY_REFUSED: Shape(403, "The passkey can't be used"),
    Code.FOREIGN_ORIGIN: Shape(403, "This origin is not allowed"),
    Code.NOT_FOUND: Shape(404, "Not found"),
    Code.METHOD_NOT_ALLOWED: Shape(405, "Method not allowed"),
    Code.NOT_SCANNED: Shape(409, "Nobody has scanned the code yet"),
    Code.NOT_APPROVED: Shape(409, "Nobody has approved yet"),
    Code.ALREADY_CLAIMED: Shape(409, "Another device has claimed this pairing"),
    Code.WRONG_DIRECTION: Shape(409, "The code is for the other kind of device"),
    Code.SAME_DEVICE: Shape(409, "The code was shown by this very device"),
    Code.INVALID_STATE: Shape(409, "The pairing has ended"),
    Code.PAIRING_CONSUMED: Shape(409, "The pairing has been used"),
    Code.DEVICE_CHANGED: Shape(409, "This is another device"),
    Code.DEVICE_LIMIT: Shape(409, "The account has too many devices"),
    Code.PASSKEY_LIMIT: Shape(409, "The account has too many passkeys"),
    Code.ALREADY_REFRESHED: Shape(409, "The key was exchanged, and its successor is in use"),
    Code.INVITE_USED: Shape(409, "The invite has been used"),
    Code.INVITE_EXPIRED: Shape(410, "The invite has expired"),
    Code.PAIRING_CANCELLED: Shape(410, "The pairing was cancelled"),
    Code.PAIRING_EXPIRED: Shape(410, "The pairing has expired"),
    Code.REQUEST_TIMEOUT: Shape(408, "The request came too slowly"),
    Code.TOO_LARGE: Shape(413, "The request is too large"),
    Code.HEADERS_TOO_LARGE: Shape(431, "The headers are too large"),
    Code.UNSUPPORTED_MEDIA_TYPE: Shape(415, "The body has to be JSON"),
    Code.MISDIRECTED: Shape(421, "This host is not served here"),
    Code.UPGRADE_REQUIRED: Shape(426, "Sockets are opened here"),
    Code.RATE_LIMITED: Shape(429, "Too many requests", CloseCode.OVERLOADED),
    Code.UNAVAILABLE: Shape(503, "Temporarily unavailable", CloseCode.OVERLOADED),
    Code.INTERNAL: Shape(500, "Internal error", CloseCode.INTERNAL_ERROR),
}


# RFC 9110, section 11.6.1: a 401 names its schemes. RFC 9449, section 7.1: a bad proof names what is wrong with it.
CHALLENGES: Mapping[Code, str] = {
    Code.UNAUTHENTICATED: 'Bearer, DPoP algs="ES256"',
    Code.INVALID_PROOF: 'DPoP error="invalid_dpop_proof", algs="ES256"',
    Code.USE_DPOP_NONCE: 'DPoP error="use_dpop_nonce", algs="ES256"',
}


class ProblemResponse(Response):
    """RFC 9457. `code` is the stable machine word; members beside the standard ones come from the refusal."""

    media_type = PROBLEM_JSON


def problem(refused: Refused) -> Response:
    shape = SHAPES[refused.code]
    refusals.note(refused.code, shape.status)
    document = {"type": "about:blank", "title": shape.title, "status": shape.status, "code": refused.code.value}
    if refused.detail:
        document["detail"] = refused.detail
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
        document["retryAfter"] = refused.retry_after
    if refused.code in CHALLENGES:
        headers["WWW-Authenticate"] = CHALLENGES[refused.code]
    if refused.code in (Code.REQUEST_TIMEOUT, Code.HEADERS_TOO_LARGE):
        # Or the rest would go on coming in.
        headers["Connection"] = "close"
    if refused.code is Code.UPGRADE_REQUIRED:
        # RFC 9110, section 15.5.22; RFC 6455, section 4.4.
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    if nonce := refused.extra.get("nonce"):
        headers["DPoP-Nonce"] = nonce
    return ProblemResponse(msgspec.json.encode(document | refused.extra), shape.status, headers)
