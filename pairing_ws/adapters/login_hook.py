"""Asks the host application about a login: a signed request to the one address that the operator has named."""

import asyncio
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from pairing_ws.accounts.login_hook import RESERVED_CLAIMS, Login, Said
from pairing_ws.accounts.ports import User
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.core.clock import Clock, iso
from pairing_ws.core.errors import Unavailable
from pairing_ws.core.json_reader import read_json
from pairing_ws.core.labels import label

if TYPE_CHECKING:
    from pairing_ws.adapters.posting import Poster

log = structlog.get_logger()

# From the look-up of the name to the last byte of the answer.
TIMEOUT_SECONDS = 2.0
MAX_ANSWER = 32_768
# As JSON without spaces. An authKey is sent with each call, and no longer one than this makes it is taken back.
MAX_CLAIMS = 1_024
MAX_HOST = 16_384
# What is compressed may be of any size.
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


class _Unusable(ValueError):
    """The answer can't be used. The text says why, to the operator alone, and quotes no value."""


class HttpLoginHook:
    """See `accounts.login_hook.LoginHook`. Has to be entered. What goes wrong is in the log, as `login_hook.failed`."""

    _poster: "Poster"

    def __init__(self, url: str, signatures: WebhookSignatures, targets: Targets, clock: Clock) -> None:
        self.url = url
        self._signatures = signatures
        self._targets = targets
        self._clock = clock

    async def __aenter__(self) -> "HttpLoginHook":
        # Not before, for commands need none of it: 100 ms of a start.
        posting = await asyncio.to_thread(import_module, "pairing_ws.adapters.posting")
        self._poster = posting.Poster(self._targets, TIMEOUT_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._poster.aclose()

    async def __call__(self, login: Login, user: User, session_id: str) -> Said:
        now = self._clock()
        body = msgspec.json.encode(_request(login, user, session_id, now))
        headers = HEADERS | self._signatures.headers(f"login_{session_id}", now, body)
        try:
            answer = await self._poster.exchange(self.url, body, headers, MAX_ANSWER)
            return _said(answer.status, answer.content, session_id)
        except (OSError, ForbiddenTarget, _Unusable) as error:
            log.warning("login_hook.failed", account=user.id, session=session_id, cause=str(error))
            raise Unavailable("the application") from error


def _request(login: Login, user: User, session_id: str, now: int) -> dict[str, Any]:
    device, approver = login.device, login.approver
    data = {
        "how": login.how,
        "user": {"id": user.id, "username": user.username, "displayName": user.display_name},
        "device": {"id": login.device_id, "name": device.name, "os": device.os, "appVersion": device.app_version},
        "session": {"id": session_id, "jkt": device.key_thumbprint or None},
        "network": {"ip": device.ip, "userAgent": device.user_agent},
        "approvedBy": approver
        and {"deviceId": approver.device_id, "sessionId": approver.session_id, "ip": approver.ip},
    }
    return {"type": "login.requested", "timestamp": iso(now), "data": data}


def _said(status: int, answer: bytes, session_id: str) -> Said:
    if status == 204:
        return Said(session_id)
    if status == 403:
        # Whatever else it says: most frameworks have a page of their own for it.
        return Said(session_id, refusal=_reason_in(answer))
    if status != 200:
        raise _Unusable(f"it answered {status}")
    document = _parsed(answer)
    if not isinstance(document, dict) or not document.keys() <= {"claims", "host", "refuse"}:
        raise _Unusable("its answer is no JSON object of claims, host and refuse")
    if "refuse" in document:
        if len(document) > 1:
            raise _Unusable("its answer refuses, and adds something as well")
        return Said(session_id, refusal=_reason(document["refuse"]))
    return Said(session_id, _claims(document.get("claims")), _host(document.get("host")))


def _parsed(answer: bytes) -> Any:
    try:
        return read_json(answer)
    except ValueError as error:
        raise _Unusable(f"its answer is {error}") from None


def _reason_in(answer: bytes) -> str:
    try:
        return _reason(_parsed(answer)["refuse"])
    except (_Unusable, LookupError, TypeError):
        return ""


def _reason(refuse: Any) -> str:
    if not isinstance(refuse, dict) or not isinstance(refuse.get("reason", ""), str):
        raise _Unusable("refuse is no object with a reason")
    return label(refuse.get("reason", ""))


def _claims(claims: Any) -> bytes:
    if not claims:
        if claims not in (None, {}):
            raise _Unusable("claims is no object")
        return b""
    if not isinstance(claims, dict):
        raise _Unusable("claims is no object")
    if ours := sorted(RESERVED_CLAIMS & claims.keys()):
        raise _Unusable(f"the claim {ours[0]} is this server's")
    return _bounded("claims", claims, MAX_CLAIMS)


def _host(host: Any) -> bytes:
    return b"" if host is None else _bounded("host", host, MAX_HOST)


def _bounded(name: str, value: Any, most: int) -> bytes:
    # In ASCII, as the token will have it.
    written = json.dumps(value, separators=(",", ":")).encode()
    if len(written) > most:
        raise _Unusable(f"{name} has more than {most} bytes")
    return written
