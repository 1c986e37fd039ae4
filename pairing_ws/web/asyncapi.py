"""`/asyncapi.json`: both sockets, their messages and their close codes as AsyncAPI 3.0."""

from typing import Any
from urllib.parse import urlsplit

from pairing_ws import __version__
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.openapi import schemas
from pairing_ws.web.paths import API
from pairing_ws.web.sockets.sockets import SUBPROTOCOL
from pairing_ws.web.wire.base import Json as Message
from pairing_ws.web.wire.messages import (
    AppMessage,
    AuthMessage,
    DeviceMessage,
    NonceMessage,
    PairingMessage,
    PasskeyMessage,
    RetryMessage,
)

Json = dict[str, Any]

# From the client, in each channel's first message; then what the server sends, by channel.
SENT: dict[str, tuple[type[Message], ...]] = {
    "pairing": (PairingMessage, RetryMessage, NonceMessage),
    "account": (DeviceMessage, PasskeyMessage, AppMessage, RetryMessage, NonceMessage),
}
EXAMPLES: dict[type[Message], Json] = {
    AuthMessage: {"type": "auth", "secret": "hCvLr2_8vQ0m4yXbHc9pPzQ1kT7sWnEd"},
    RetryMessage: {"type": "retry", "retryAfter": 2},
    NonceMessage: {"type": "nonce", "nonce": "3q2-7wAAAZY1lM1R"},
}


def asyncapi(public_url: str) -> Json:
    """The document, for the server at that address."""
    public = urlsplit(public_url)
    types: dict[type[Message], None] = dict.fromkeys([AuthMessage, *SENT["pairing"], *SENT["account"]])
    closes = "\n".join(f"- {code}: {code.meaning} (come back: {code.come_back})" for code in CloseCode)
    channels: Json = {
        "pairing": {
            "address": f"{API}/pairings/{{id}}/socket",
            "title": "one pairing",
            "description": f"The pairing at once, and again at each change. Close codes:\n{closes}",
            "parameters": {"id": {"description": "the pairing's id"}},
        },
        "account": {
            "address": f"{API}/socket",
            "title": "one account",
            "description": f"Which devices, passkeys and apps of the account came and went. Close codes:\n{closes}",
        },
    }
    operations: Json = {}
    for name, channel in channels.items():
        sent = [kind.__name__ for kind in SENT[name]]
        channel["messages"] = {
            each: {"$ref": f"#/components/messages/{each}"} for each in (AuthMessage.__name__, *sent)
        }
        channel["bindings"] = {"ws": {"method": "GET"}}
        operations[f"authenticate_{name}"] = _operation(
            "receive", name, [AuthMessage.__name__], "The client's first message says who it is."
        )
        operations[f"tell_{name}"] = _operation("send", name, sent, "The server tells what is, and what changes.")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pairing_ws sockets",
            "version": __version__,
            "description": f"Subprotocol `{SUBPROTOCOL}`. The client authenticates with its first message, within 5 s,"
            " or with the headers of its handshake. What it sends later is ignored. The server pings every 20 s.",
        },
        "servers": {
            "public": {
                "host": public.netloc,
                "pathname": public.path or "/",
                "protocol": "wss" if public.scheme == "https" else "ws",
                "description": "this server, as people see it (`PAIRING_PUBLIC_URL`)",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": {kind.__name__: _message(kind) for kind in types}, "schemas": schemas(types)},
    }


def _operation(action: str, channel: str, messages: list[str], summary: str) -> Json:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{each}"} for each in messages],
    }


def _message(kind: type[Message]) -> Json:
    message: Json = {
        "summary": " ".join((kind.__doc__ or "").split()),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }
    if kind in EXAMPLES:
        message["examples"] = [{"payload": EXAMPLES[kind]}]
    return message
