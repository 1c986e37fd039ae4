"""Requests as bytes, for clients that break off."""

import json

from tests.support.servers import Server


def raw(server: Server, method: str, path: str, headers: dict[str, str], body: object = None) -> bytes:
    """The request as bytes."""
    text = b"" if body is None else json.dumps(body).encode()
    given = {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json", "Content-Length": str(len(text))}
    lines = [f"{method} /api/v1{path} HTTP/1.1", *(f"{name}: {value}" for name, value in (given | headers).items())]
    return "\r\n".join([*lines, "", ""]).encode() + text


def upgrade(server: Server, pairing_id: str, headers: dict[str, str]) -> bytes:
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    return raw(server, "GET", f"/pairings/{pairing_id}/socket", wanted | key | headers)
