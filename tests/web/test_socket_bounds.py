"""Frames that are too long or against the rules, and clients that read nothing."""

import asyncio
import socket as plain
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from pairing_ws.transport.websocket import WebSocketProtocol
from tests.support.client import Api, Phone, socket, told, with_api
from tests.support.embedded import Embedded, embedded
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.servers import Server
from tests.support.sockets import CAP, auth, close_code, raw


@pytest.mark.security(27)
@pytest.mark.parametrize("when", ["first", "later"])
async def test_a_frame_over_4_kib_closes_with_1009(api: Api, server: Server, when: str) -> None:
    device = await api.new_pairing()
    first = [] if when == "first" else [auth(secret=device.pairing["secret"])]
    async with raw(server, f"/pairings/{device.id}/socket", *first, compression=None) as connection:
        if when == "later":
            await told(connection)
        await connection.send("x" * 4097)
        assert await close_code(connection) == 1009


@pytest.mark.security(27)
async def test_a_message_over_4_kib_in_small_frames_closes_with_1009(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    async with raw(server, f"/pairings/{device.id}/socket", compression=None) as connection:
        # No frame more than needed: what arrives after the close could make the kernel forget the close frame.
        await connection.send(["x" * 1000] * 5)
        assert await close_code(connection) == 1009


def _frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    mask = b"\x00\x00\x00\x00" if masked else b""
    size = len(payload)
    bit = 0x80 if masked else 0
    length = bytes([bit | size]) if size < 126 else bytes([bit | 126]) + struct.pack("!H", size)
    return bytes([(0x80 if fin else 0) | rsv | opcode]) + length + mask + payload


BAD_FRAMES = {
    "unmasked": _frame(1, b"{}", masked=False),
    "reserved bit": _frame(1, b"{}", rsv=0x40),
    "reserved opcode": _frame(3, b""),
    "invalid UTF-8": _frame(1, b"\xff\xfe"),
    "continuation of nothing": _frame(0, b"x"),
    "long ping": _frame(9, b"x" * 126),
    "fragmented ping": _frame(9, b"x", fin=False),
    "bad close code": _frame(8, struct.pack("!H", 1005)),
    "close with half a code": _frame(8, b"\x03"),
    "two starts": _frame(1, b"a", fin=False) + _frame(1, b"b"),
    "64-bit length": b"\x81\xff" + b"\xff" * 8 + b"\x00" * 4,
    "not a frame": b"GET / HTTP/1.1\r\n\r\n",
}


def _handshake(server: Server | Embedded, path: str, **headers: str) -> plain.socket:
    connection = plain.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=CAP)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    connection.sendall(
        f"GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert b" 101 " in answer
    return connection


@pytest.mark.security(25)
@pytest.mark.parametrize("kind", BAD_FRAMES)
async def test_a_frame_against_the_rules_ends_that_socket_and_no_more(
    api: Api, server: Server, phone: Phone, kind: str
) -> None:
    device, other = await api.new_pairing(), await api.new_pairing()
    async with other.socket() as healthy:
        await told(healthy)
        with _handshake(server, f"/pairings/{device.id}/socket", Pairing_Secret=device.pairing["secret"]) as bad:
            bad.sendall(BAD_FRAMES[kind])
            received = b""
            while chunk := await asyncio.to_thread(bad.recv, 65536):
                received += chunk
        assert b"\x88" in received
        await phone.claim(other.pairing)
        assert (await told(healthy))["status"] == "scanned"
    assert (await device.poll()).status_code == 200


@pytest.mark.security(27)
async def test_a_client_that_reads_nothing_delays_nobody(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    key = phone.keys["authKey"]
    with _handshake(server, f"/pairings/{device.id}/socket", Auth_Key=key) as deaf:
        deaf.setblocking(False)
        # Each ping wants a pong, which this client never takes: soon the server has somewhere nothing fits any more.
        pings, sent = _frame(9, b"x" * 125) * 500, 0
        while sent < 8_000_000:
            try:
                sent += deaf.send(pings)
            except BlockingIOError:
                await asyncio.sleep(0.01)
                try:
                    sent += deaf.send(pings)
                except BlockingIOError:
                    break
        async with socket(server.ws_url, device.id, authKey=key) as watching, device.socket() as waiting:
            await asyncio.gather(told(watching), told(waiting))
            async with asyncio.timeout(CAP):
                await phone.approve(device.id)
                assert (await told(watching))["status"] == "approved"
                assert (await told(waiting))["status"] == "approved"
                assert (await device.log_in()).status_code == 200
                assert (await told(waiting))["status"] == "consumed"


class Impatient(WebSocketProtocol):
    write_timeout = 1.0


@pytest.mark.security(27)
async def test_a_client_that_reads_nothing_is_cut_off_in_the_end(tmp_path: Path) -> None:
    """Not merely closed: a close waits until everything has been taken, which is never."""

    async def ask_without_end(deaf: plain.socket) -> None:
        pings, rest = _frame(9, b"x" * 125) * 500, b""
        while True:
            rest = rest or pings
            with suppress(BlockingIOError):
                rest = rest[deaf.send(rest) :]
            await asyncio.sleep(0.01)

    async with with_api(embedded(tmp_path, options={"ws": Impatient}, **NO_LIMITS_INSIDE)) as (server, api):
        device = await api.new_pairing()
        with _handshake(server, f"/pairings/{device.id}/socket", Pairing_Secret=device.pairing["secret"]) as deaf:
            deaf.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(ask_without_end(deaf), CAP)


async def test_a_socket_path_asked_by_plain_http_is_no_server_error(api: Api, server: Server) -> None:
    for path in ("/socket", "/pairings/x/socket"):
        assert (await api.http.get(path)).status_code in (404, 405, 426)
