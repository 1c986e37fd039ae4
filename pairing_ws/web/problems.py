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
    """`status` is HTTP's. `title` and `when` are for people: what it means, and when it happens. `close` is the close
    code of a socket that is refused so."""

    status: int
    title: str
    when: str
    close: CloseCode = CloseCode.NOT_FOUND


SHAPES: Mapping[Code, Shape] = {
    Code.BAD_REQUEST: Shape(
        400,
        "The request is malformed",
        "body, query, header or message is not what it has to be, or contradicts itself; `detail` says which",
        CloseCode.BAD_REQUEST,
    ),
    Code.DOUBLED_COOKIE: Shape(
        400,
        "Two sessions' cookies came at once",
        "two refreshKey cookies came at once, and nobody can say which is the account's own; both are deleted",
        CloseCode.BAD_REQUEST,
    ),
    Code.DEVICE_HEADERS_REQUIRED: Shape(
        400,
        "Device headers are missing",
        "a new device has to introduce itself, with `X-Device-Code` and `X-Device-Name`",
        CloseCode.BAD_REQUEST,
    ),
    Code.UNAUTHENTICATED: Shape(
        401,
        "No valid credential",
        "the credential is missing, unknown, expired or ended; `reason` says why a session ended",
        CloseCode.UNAUTHENTICATED,
    ),
    Code.INVALID_PROOF: Shape(
        401,
        "The proof of the device's key is missing or wrong",
        "the DPoP proof of a key-bound device is missing, used before, or for another request or key",
        CloseCode.UNAUTHENTICATED,
    ),
    Code.USE_DPOP_NONCE: Shape(
        401,
        "The proof needs a nonce of this server",
        "the DPoP proof has no nonce of this server, or an old one; try again with the new one",
        CloseCode.UNAUTHENTICATED,
    ),
    Code.NUMBER_REQUIRED: Shape(
        403, "The verification number is needed", "the approver shows a number, and the login has to send it"
    ),
    Code.NUMBER_MISMATCH: Shape(
        403, "The verification number is wrong", "the number is another one; the third wrong one ends the pairing"
    ),
    Code.PAIRING_DENIED: Shape(403, "The pairing was denied", "the approver refused, or three wrong numbers came"),
    Code.DEVICE_QUARANTINED: Shape(
        403,
        "This device is too new for that",
        "the device logged in so recently that it may not do that yet; `Retry-After` says from when on",
    ),
    Code.NETWORK_REFUSED: Shape(
        403,
        "The devices have to share a network",
        "`PAIRING_NETWORK_POLICY=deny`, and the two devices are not known to share a network",
    ),
    Code.ACCOUNT_LOCKED: Shape(
        403, "The account is locked", "the operator has locked the account", CloseCode.UNAUTHENTICATED
    ),
    Code.LOGIN_REFUSED: Shape(
        403,
        "The application refused the login",
        "the host application (`PAIRING_LOGIN_HOOK_URL`) is against it, for what `detail` says; pairing or invite stay"
        " as they were",
    ),
    Code.STEP_UP_REQUIRED: Shape(
        403,
        "A recent proof of who is there is needed",
        "the session needs a proof that a person is there; `methods` and `maxAge` say which",
    ),
    Code.STEP_UP_REFUSED: Shape(
        403, "That does not prove who is there", "the proof is for another challenge, account or key, or too old"
    ),
    Code.PASSKEY_REFUSED: Shape(
        403, "The passkey can't be used", "the authenticator's answer does not fit, or the passkey is known already"
    ),
    Code.FOREIGN_ORIGIN: Shape(
        403,
        "This origin is not allowed",
        "`Origin` is none of `PAIRING_ALLOWED_ORIGINS`, which sockets, preflights and the cookie need",
    ),
    Code.NOT_FOUND: Shape(
        404, "Not found", "unknown, foreign, long over, or a wrong code or secret: all alike; for a path: there is none"
    ),
    Code.METHOD_NOT_ALLOWED: Shape(405, "Method not allowed", "the path has other methods; `Allow` names them"),
    Code.NOT_SCANNED: Shape(
        409, "Nobody has scanned the code yet", "approval before the other device has claimed the pairing"
    ),
    Code.NOT_APPROVED: Shape(409, "Nobody has approved yet", "login before the approval"),
    Code.ALREADY_CLAIMED: Shape(409, "Another device has claimed this pairing", "another device was first"),
    Code.WRONG_DIRECTION: Shape(
        409,
        "The code is for the other kind of device",
        "the call is for the other party; `initiator` says which device shows the code",
    ),
    Code.SAME_DEVICE: Shape(409, "The code was shown by this very device", "a device can't let itself in"),
    Code.CLIENT_PAIRING: Shape(
        409,
        "This pairing lets an application in",
        "the login of a device authorization (RFC 8628): its device asks `/oauth/token`",
    ),
    Code.INVALID_STATE: Shape(409, "The pairing has ended", "the pairing has ended; `pairingStatus` says how"),
    Code.PAIRING_CONSUMED: Shape(
        409, "The pairing has been used", "the login happened, and its answer can't be repeated any more"
    ),
    Code.DEVICE_CHANGED: Shape(
        409, "This is another device", "the device code or key is another one than at the claim"
    ),
    Code.DEVICE_LIMIT: Shape(
        409, "The account has too many devices", "the account has `PAIRING_LIMIT_DEVICES` devices; log one out first"
    ),
    Code.USER_EXISTS: Shape(409, "There is such an account", "another account has this id, or this name"),
    Code.ALREADY_ENROLLED: Shape(
        409,
        "That has logged a device in already",
        "an `Idempotency-Key` came again for another device, or so late that its answer can't be repeated",
    ),
    Code.PASSKEY_LIMIT: Shape(
        409, "The account has too many passkeys", "the account has as many passkeys as it can have; remove one first"
    ),
    Code.ALREADY_REFRESHED: Shape(
        409,
        "The key was exchanged, and its successor is in use",
        "the refreshKey was exchanged, and the new one is in use; another tab may hold it",
    ),
    Code.AUTHORIZATION_INVALID: Shape(
        404,
        "Nobody may be sent an answer",
        "the authorization request names no registered client, or no redirect URI of that client",
    ),
    Code.AUTHORIZATION_STALE: Shape(
        409,
        "The authorization request is too old",
        "more than 30 minutes lie between the request and the decision, or `started` is another request's",
    ),
    Code.INVITE_USED: Shape(409, "The invite has been used", "somebody has logged in with the invite"),
    Code.INVITE_EXPIRED: Shape(410, "The invite has expired", "its 15 minutes are over"),
    Code.UPSTREAM_LOGIN_OVER: Shape(
        410, "The login with the provider is over", "its two minutes are over, or somebody has logged in with it"
    ),
    Code.PAIRING_CANCELLED: Shape(410, "The pairing was cancelled", "its creator took it back"),
    Code.PAIRING_EXPIRED: Shape(410, "The pairing has expired", "its time is over"),
    Code.REQUEST_TIMEOUT: Shape(
        408, "The request came too slowly", "the body was not complete within 10 s; the connection is closed"
    ),
    Code.TOO_LARGE: Shape(413, "The request is too large", "the body has more than 16 KiB"),
    Code.HEADERS_TOO_LARGE: Shape(
        431, "The headers are too large", "the headers have more than 32 KiB; the connection is closed"
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: Shape(
        415, "The body has to be JSON", "there is a body, and its `Content-Type` is not `application/json`"
    ),
    Code.MISDIRECTED: Shape(421, "This host is not served here", "`Host` is another one than `PAIRING_PUBLIC_URL`'s"),
    Code.UPGRADE_REQUIRED: Shape(
        426, "Sockets are opened here", "a socket's path was asked for without `Upgrade: websocket`"
    ),
    Code.RATE_LIMITED: Shape(
        429, "Too many requests", "too many of them; try again after `Retry-After` seconds", CloseCode.OVERLOADED
    ),
    Code.UNAVAILABLE: Shape(
        503,
        "Temporarily unavailable",
        "a store does not answer, or the server is full or ends; try again after `Retry-After` seconds",
        CloseCode.OVERLOADED,
    ),
    Code.INTERNAL: Shape(
        500, "Internal error", "a defect of the server; nothing is known to have changed", CloseCode.INTERNAL_ERROR
    ),
}


_ALGS, _INVALID = 'algs="ES256"', 'error="invalid_token"'
# RFC 9110, section 11.6.1: a 401 names its schemes. RFC 9449, section 7.1: a bad proof names what is wrong with it.
# Without what came: `challenge` says it more exactly.
CHALLENGES: Mapping[Code, str] = {
    Code.UNAUTHENTICATED: f"Bearer, DPoP {_ALGS}",
    Code.INVALID_PROOF: f'DPoP error="invalid_dpop_proof", {_ALGS}',
    Code.USE_DPOP_NONCE: f'DPoP error="use_dpop_nonce", {_ALGS}',
}


def challenge(authorization: str, *, bearer_alone: bool) -> str:
    """What a 401 `unauthenticated` asks for, and that the token which came is none (RFC 6750, section 3.1; RFC 9449,
    section 7.1). `authorization` is the header as it came, "" without one; `bearer_alone`: no proofs are taken."""
    scheme, _, token = authorization.partition(" ")
    came = scheme.lower() if token.strip() else ""
    bearer = f"Bearer {_INVALID}" if came == "bearer" else "Bearer"
    dpop = f"DPoP {_INVALID}, {_ALGS}" if came == "dpop" else f"DPoP {_ALGS}"
    return bearer if bearer_alone else f"{bearer}, {dpop}"


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
