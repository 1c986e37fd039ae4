"""A WebSocket's opening handshake (RFC 6455, section 4.2) as ASGI scope and as bytes. No I/O."""

import base64
import hashlib
from collections.abc import Sequence

from starlette.types import Scope

from pairing_ws.transport.response_head import Field, serialize_head

# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_scope(scope: Scope) -> tuple[Scope, bytes]:
    """The scope of an HTTP request that `upgrade` has found to be a handshake, made a WebSocket's, and what to answer
    its key with."""
    key, offered = b"", []
    for name, value in scope["headers"]:
        if name == b"sec-websocket-key":
            key = value
        elif name == b"sec-websocket-protocol":
            offered += [each.strip() for each in value.decode("latin-1").split(",")]
    about = {
        "type": "websocket",
        "asgi": {"version": scope["asgi"]["version"], "spec_version": "2.4"},
        "scheme": "wss" if scope["scheme"] == "https" else "ws",
        "subprotocols": offered,
        "extensions": {"websocket.http.response": {}},
    }
    changed = {**scope, **about}
    del changed["method"]
    return changed, base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def accepting_response(accept: bytes, fields: Sequence[Field], subprotocol: str | None) -> bytes:
    chosen = [(b"sec-websocket-protocol", subprotocol.encode("ascii"))] if subprotocol else []
    switching = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), *fields, *chosen]
    head = serialize_head(101, switching, keep_alive=True, has_body=False)[0]
    # No other handshake has this line: it is none to remember.
    return b"%bsec-websocket-accept: %b\r\n\r\n" % (head[:-2], accept)


def refusing_response(status: int, fields: Sequence[Field], body: bytes) -> bytes:
    has_length = any(name.lower() == b"content-length" for name, _ in fields)
    length = [] if has_length else [(b"content-length", b"%d" % len(body))]
    return serialize_head(status, [*fields, *length], keep_alive=False)[0] + body
