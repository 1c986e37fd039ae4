"""What comes before the end of a request's headers: it is bounded, whatever a client sends and however."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from pairing_ws.transport.request_limits import MAX_HEAD_BYTES
from tests.support.client import Api
from tests.support.embedded import PLAIN_UVICORN, Embedded, embedded
from tests.support.raw import upgrade
from tests.support.servers import Server

pytestmark = pytest.mark.security(25)

START = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


async def ask(server: Server | Embedded, parts: Iterable[bytes]) -> bytes:
    """All that is said to these, sent one by one, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(20):
            answer = asyncio.create_task(reader.read(-1))
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
            return await answer
    except ConnectionError:
        # Hung up while there was more to come, of which the server then says that nobody takes it.
        return b""
    finally:
        writer.transport.abort()


def padded(size: int, fields: int = 1) -> bytes:
    """A request whose fields, all together, are so many bytes, and which asks for the end of the connection."""
    names = [b"x-%d" % number for number in range(fields)]
    known = sum(map(len, (b"/healthz", b"host", b"localhost", b"connection", b"close", *names)))
    share, rest = divmod(size - known, fields)
    lines = [b"%s: %s\r\n" % (name, b"a" * (share + (rest if name == names[0] else 0))) for name in names]
    return b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + b"".join(lines) + b"\r\n"


@pytest.mark.parametrize("fields", [1, 8, 2000])
async def test_headers_of_32_kib_are_read_and_larger_ones_are_refused(server: Server, fields: int) -> None:
    assert (await ask(server, [padded(MAX_HEAD_BYTES, fields)])).startswith(b"HTTP/1.1 200 ")
    refused = await ask(server, [padded(MAX_HEAD_BYTES + 1, fields)])
    assert refused.startswith(b"HTTP/1.1 431 ")
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "headers_too_large"


@pytest.mark.parametrize("options", [{}, PLAIN_UVICORN], ids=["uvicorn_options", "plain uvicorn"])
async def test_an_application_that_mounts_this_one_gets_the_limits_by_uvicorn_options_alone(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    def mounted(app: ASGIApp) -> ASGIApp:
        return Starlette(routes=[Mount("/", app)])

    with embedded(tmp_path, wrap=mounted, options=options) as server:
        # In one read: of what is closed on unread data, the kernel would drop the answer.
        answer = await ask(server, [padded(MAX_HEAD_BYTES + 1000)])
    assert answer.startswith(b"HTTP/1.1 200 " if options else b"HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [b"GET /", START + b"X-Long: ", START + b"x"])
async def test_a_head_without_end_is_cut_off_and_delays_nobody(server: Server, api: Api, start: bytes) -> None:
    endless = asyncio.create_task(ask(server, [start, *[b"a" * 65_536] * 1000]))
    async with asyncio.timeout(20):
        for _ in range(20):
            assert (await api.http.get(f"{server.url}/healthz")).status_code == 200
        await endless


async def test_a_socket_with_large_headers_is_refused_before_the_upgrade(server: Server, api: Api) -> None:
    device = await api.new_pairing()
    assert b" 431 " in await ask(server, [upgrade(server, device.id, {"X-Large": "a" * MAX_HEAD_BYTES})])


async def test_a_head_without_end_behind_a_waiting_call_spoils_no_answer(server: Server, api: Api) -> None:
    device = await api.new_pairing()
    waiting = f"GET /api/v1/pairings/{device.id}?since=1&wait=1 HTTP/1.1\r\nHost: localhost\r\nPairing-Secret: "
    call = waiting.encode() + device.pairing["secret"].encode() + b"\r\n\r\n"
    answer = await ask(server, [call + START + b"X-Long: ", *[b"a" * 16_384] * 20])
    # The refusal comes behind the whole answer, if the client is still there to read either.
    if answer:
        first, *refusal = answer.split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200 ")
        assert json.loads(first.partition(b"\r\n\r\n")[2])["id"] == device.id
        assert [each[:4] for each in refusal] in ([], [b"431 "])


async def test_many_calls_on_one_connection_are_not_added_up(server: Server) -> None:
    call = START + b"X-Long: " + b"a" * 10_000 + b"\r\n\r\n"
    answer = await ask(server, [*[call] * 20, START + b"Connection: close\r\n\r\n"])
    assert answer.count(b"HTTP/1.1 200 ") == 21


# Fields behind a chunked body, which the parser takes for headers


CHUNKED = b"Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"


async def test_fields_behind_the_body_are_no_headers(server: Server) -> None:
    device = b"X-Device-Code: trailer\r\nX-Device-Name: Trailer\r\n"
    close = b"Connection: close\r\n"
    call = b"POST /api/v1/pairings HTTP/1.1\r\n"
    before = await ask(server, [call + device + close + CHUNKED + b"0\r\n\r\n"])
    behind = await ask(server, [call + close + CHUNKED + b"0\r\n" + device + b"\r\n"])
    assert before.startswith(b"HTTP/1.1 201 ")
    assert behind.startswith(b"HTTP/1.1 400 ")
    assert b"device_headers_required" in behind


@pytest.mark.parametrize("field", [b"X-Field: a\r\n" * 5000, b"a" * 65_536], ids=["fields", "one field"])
async def test_fields_behind_the_body_come_to_an_end(server: Server, api: Api, field: bytes) -> None:
    sent = 0

    def fields() -> Iterator[bytes]:
        nonlocal sent
        yield b"GET /healthz HTTP/1.1\r\n" + CHUNKED + b"0\r\nX-Long: a"
        while sent < 100_000_000:
            sent += len(field)
            yield field

    answer = await ask(server, fields())
    assert answer.count(b"HTTP/1.1 ") <= 1
    # Most of it in the buffers of both ends.
    assert sent < 20_000_000
    assert (await api.http.get(f"{server.url}/healthz")).status_code == 200


async def test_a_body_in_the_smallest_chunks_is_taken(server: Server) -> None:
    body = b'{"qr": "none"}'.ljust(16_000)
    head = b"POST /api/v1/pairings HTTP/1.1\r\nX-Device-Code: c\r\nX-Device-Name: c\r\nConnection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    answer = await ask(server, [head + CHUNKED, *(chunks[at : at + 9000] for at in range(0, len(chunks), 9000))])
    assert answer.startswith(b"HTTP/1.1 201 ")


async def test_many_calls_at_once_are_all_answered_though_the_last_one_is_torn(server: Server) -> None:
    call = START + b"X-Long: " + b"a" * 900 + b"\r\n\r\n"
    last = START + b"Connection: close\r\n\r\n"
    answer = await ask(server, [call * 300 + last[:-5], last[-5:]])
    assert answer.count(b"HTTP/1.1 200 ") == 301
