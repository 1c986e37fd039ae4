"""What the application is told of a request: the same as by uvicorn's own protocol, which ours does not ask for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pairing_ws.transport.connection_limits import ConnectionLimits
from pairing_ws.transport.http1 import HttpProtocol
from tests.support.transport import Transport

Kind = Callable[[uvicorn.Config, ServerState, dict[str, Any]], asyncio.Protocol]


def ours(*given: Any) -> HttpProtocol:
    return HttpProtocol(ConnectionLimits(), {}, *given)


async def told(kind: Kind, sent: bytes, root_path: str) -> tuple[list[Any], list[bytes]]:
    """What the application was told, each call's scope and body, and what went back."""
    calls = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append((dict(scope), await receive()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, log_config=None, server_header=False, date_header=False, root_path=root_path)
    config.load()
    state, transport = ServerState(), Transport()
    protocol = kind(config, state, {"some": "state"})
    protocol.connection_made(transport)  # type: ignore[arg-type]
    protocol.data_received(sent)
    while state.tasks:
        await asyncio.wait(state.tasks)
    protocol.connection_lost(ConnectionResetError())
    return calls, transport.written


def get(target: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target


@pytest.mark.parametrize("root_path", ["", "/mounted"])
@pytest.mark.parametrize(
    "sent",
    [
        get(b"/"),
        get(b"/a/b?c=d&e=%20"),
        get(b"/a?"),
        get(b"/a?b?c"),
        get(b"//a//b"),
        get(b"/a%2Fb%20c%C3%A4"),
        get(b"/a%zz"),
        get(b"/a#b"),
        get(b"/a?b#c"),
        get(b"http://x:80/a/b?c"),
        get(b"/a\xc3\xa4"),
        get(b"?a"),
        get(b""),
        get(b"/?"),
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.0\r\n\r\n",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get(b"/b"),
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + get(b"/b"),
        b"GET /a HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\nX-TWO:\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + get(b"/b") + get(b"/c"),
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" + b"hello",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nEXPECT: 100-Continue\r\n\r\n" + b"hello",
        b"PROPFIND /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_the_application_is_told_of_a_request_what_uvicorn_tells(sent: bytes, root_path: str) -> None:
    calls, said = await told(ours, sent, root_path)
    theirs, wanted = await told(HttpToolsProtocol, sent, root_path)
    assert calls == theirs
    if wanted and wanted[0].startswith(b"HTTP/1.1 400 "):
        # Ours is a problem document.
        assert said[0].startswith(b"HTTP/1.1 400 ")
    else:
        assert b"".join(said) == b"".join(wanted)


async def test_what_uvicorn_refuses_and_rfc_9112_allows_is_served() -> None:
    for target, query in ((b"http://x", b""), (b"http://x?c", b"c")):
        ((scope, _),), _ = await told(ours, get(target), "")
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/", b"/", query)
