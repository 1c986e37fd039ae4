"""What a request's headers say of another protocol (RFC 9110, section 7.8): a WebSocket's handshake, or an offer that
this server does not take."""

import re
from collections.abc import Sequence

from pairing_ws.core.errors import Code, Refused
from pairing_ws.transport.request_limits import MAX_HANDSHAKE_FIELDS, MAX_SUBPROTOCOL_BYTES

Fields = Sequence[tuple[bytes, bytes]]

# Members of lists (RFC 9110, section 5.6.1), in one look: a head has room for 16,000.
_OFFERS_WEBSOCKET = re.compile(rb"(?:^|,)[ \t]*websocket[ \t]*(?:,|$)", re.IGNORECASE)
_UPGRADE = re.compile(rb"(?:^|(?<=,))[ \t]*upgrade[ \t]*(?=,|$)", re.IGNORECASE)
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_SUBPROTOCOLS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding"})


def is_handshake(method: bytes, version: str, fields: Fields) -> bool:
    """Whether it asks for a WebSocket (RFC 6455, section 4.2.1) and has no body. Names are in lower case."""
    return (
        method == b"GET"
        and version == "1.1"
        and any(name == b"upgrade" and _OFFERS_WEBSOCKET.search(value) for name, value in fields)
        and all(name not in _OF_BODIES or value == b"0" for name, value in fields)
        and sum(name == b"host" for name, _ in fields) == 1
    )


def handshake_refusal(fields: Fields) -> Refused | None:
    """What is wrong with a handshake (RFC 6455, section 4.2.1), or too much of it."""
    keys, versions, offered = [], [], []
    for name, value in fields:
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"sec-websocket-protocol":
            offered.append(value)
    if versions != [b"13"]:
        return Refused(Code.UPGRADE_REQUIRED, "of WebSockets, version 13 is spoken here")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return Refused(Code.BAD_REQUEST, "a handshake has one Sec-WebSocket-Key, of 16 bytes in base64")
    if len(fields) > MAX_HANDSHAKE_FIELDS or sum(map(len, offered)) > MAX_SUBPROTOCOL_BYTES:
        detail = (
            f"a handshake has at most {MAX_HANDSHAKE_FIELDS} headers, and {MAX_SUBPROTOCOL_BYTES} bytes of subprotocols"
        )
        return Refused(Code.BAD_REQUEST, detail)
    if not all(map(_SUBPROTOCOLS.fullmatch, offered)):
        return Refused(Code.BAD_REQUEST, "subprotocols are names with commas between them")
    return None


def without_offer(method: bytes, target: bytes, version: str, fields: Fields) -> bytes:
    """The same head without its offer of another protocol, to be parsed once more."""
    head = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in fields:
        if name == b"connection":
            value = _UPGRADE.sub(b"", value)
        if name != b"upgrade":
            head.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*head, b"\r\n"])
