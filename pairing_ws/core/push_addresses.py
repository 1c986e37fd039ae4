"""Push addresses: the one text by which a device says where messages reach it, and what its form tells. Pure.

Three forms, told apart by how they begin:

- `{…}`: a Web Push subscription, as a browser's `PushSubscription.toJSON()` writes it;
- `fid:…`: a Firebase installation id (FCM HTTP v1, `message.fid`);
- all else: a registration token of FCM (`message.token`, which Google calls deprecated).
"""

import base64
import re
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from pairing_ws.core.json_depth import is_deep

MAX_ADDRESS = 4096
# As it is kept, and as it may be given: JSON may have white space (RFC 8259, section 2).
ADDRESS = re.compile(r"[\x21-\x7e]{1,4096}")
GIVEN = re.compile(r"[\t\n\r ]*\{[\t\n\r\x20-\x7e]*|[\x21-\x7e]+")
FID_PREFIX = "fid:"
# They have 22 characters of base64url today.
_FID = re.compile(r"fid:[A-Za-z0-9_-]{16,64}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")
# Of P-256 (FIPS 186-5): y² = x³ - 3x + b modulo p.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_POINT_BYTES = 65
_AUTH_BYTES = 16


class Kind(StrEnum):
    """By which service an address is reached, as it is stored beside it."""

    FCM_TOKEN = "fcm-token"  # noqa: S105
    FCM_FID = "fcm-fid"
    WEB_PUSH = "web-push"


class Subscription(NamedTuple):
    """A Web Push subscription (RFC 8030, RFC 8291): where to post, and what to encrypt for. `p256dh` is an uncompressed
    point of P-256 (65 bytes), `auth` has 16 bytes."""

    endpoint: str
    p256dh: bytes
    auth: bytes


class _Keys(msgspec.Struct):
    p256dh: str
    auth: str


class _Json(msgspec.Struct):
    endpoint: str
    keys: _Keys


def kind_of(address: str) -> Kind:
    """By the form alone: the address may be none."""
    if address.startswith("{"):
        return Kind.WEB_PUSH
    return Kind.FCM_FID if address.startswith(FID_PREFIX) else Kind.FCM_TOKEN


def checked(text: str, *, plain_http: bool = False) -> str:
    """The address as it is kept: of a subscription nothing but what is needed, always written alike, without white
    space. `plain_http`: its endpoint needs no TLS. Raises ValueError, whose text says what is wrong and repeats nothing
    of the address."""
    if len(text) > MAX_ADDRESS or not GIVEN.fullmatch(text):
        raise ValueError(
            f"a push address has to be at most {MAX_ADDRESS} printable ASCII characters, with spaces in the JSON of a"
            " Web Push subscription alone"
        )
    text = text.lstrip("\t\n\r ")
    kind = kind_of(text)
    if kind is Kind.FCM_FID and not _FID.fullmatch(text):
        raise ValueError("after fid: a Firebase installation id has to follow, 16 to 64 letters of base64url")
    if kind is not Kind.WEB_PUSH:
        return text
    found = subscription_of(text)
    parts = urlsplit(found.endpoint)
    if parts.scheme != "https" and not (plain_http and parts.scheme == "http"):
        raise ValueError("a push subscription's endpoint has to be an https address")
    keys = {"auth": _encoded(found.auth), "p256dh": _encoded(found.p256dh)}
    return msgspec.json.encode({"endpoint": found.endpoint, "keys": keys}).decode()


def subscription_of(address: str) -> Subscription:
    """Raises ValueError, as `checked` does."""
    raw = address.encode()
    try:
        if is_deep(raw):
            raise ValueError
        given = msgspec.json.decode(raw, type=_Json)
    except (msgspec.DecodeError, ValueError):
        raise ValueError("a push subscription has to be JSON: endpoint, and keys with p256dh and auth") from None
    try:
        parts = urlsplit(given.endpoint)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.fragment or not ADDRESS.fullmatch(given.endpoint):
        raise ValueError("a push subscription's endpoint has to be an https address without user and fragment")
    p256dh, auth = _decoded(given.keys.p256dh), _decoded(given.keys.auth)
    if len(p256dh) != _POINT_BYTES or not _is_on_curve(p256dh):
        raise ValueError("p256dh has to be a public key on P-256, uncompressed, in base64url")
    if len(auth) != _AUTH_BYTES:
        raise ValueError("auth has to be 16 bytes in base64url")
    return Subscription(given.endpoint, p256dh, auth)


def _is_on_curve(point: bytes) -> bool:
    x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
    return point[0] == 4 and x < _P and y < _P and (y * y - x * x * x + 3 * x - _B) % _P == 0


def _decoded(text: str) -> bytes:
    """b"" for what is no base64url, which has the length of nothing."""
    if not _BASE64URL.fullmatch(text):
        return b""
    bare = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except ValueError:
        return b""


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
