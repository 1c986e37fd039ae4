"""The sockets: handshake, first message, close codes, order of what is told, bounds. Two processes: see processes/."""

import asyncio
import json
import secrets
import signal
import socket as plain
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pairing_ws.transport.websocket import WebSocketProtocol
from tests.support.answers import assert_safe
from tests.support.client import Api, NewDevice, Phone, device_headers, socket, told, until, with_api
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS, NO_LIMITS_INSIDE
from tests.support.servers import Server, running
from tests.web.conftest import NewPhone

PROTOCOL = websockets.Subprotocol("pairing.v1")
CAP = 10.0


@asynccontextmanager
async def raw(
    server: Server | Embedded, path: str, *first: str | bytes, **options: Any
) -> AsyncIterator[websockets.ClientConnection]:
    """A socket on `path`, after sending `first` as it is."""
    options = {"subprotocols": [PROTOCOL]} | options
    async with websockets.connect(f"{server.ws_url}/api/v1{path}", **options) as connection:
        for message in first:
            await connection.send(message)
        yield connection


async def close_code(connection: websockets.ClientConnection, cap: float = CAP) -> int | None:
    """The code the server closes with; whatever it says before is dropped."""
    try:
        async with asyncio.timeout(cap):
            while True:
                await connection.recv()
    except ConnectionClosed:
        return connection.close_code


async def refused(server: Server | Embedded, path: str, **options: Any) -> tuple[int, dict[str, Any], Any]:
    with pytest.raises(InvalidStatus) as failed:
        async with raw(server, path, **options):
            pass
    response = failed.value.response
    return response.status_code, json.loads(response.body), response.headers


def auth(**credential: str) -> str:
    return json.dumps({"type": "auth", **credential})


# Handshake


@pytest.mark.security(27)
async def test_the_subprotocol_is_chosen_and_nothing_is_compressed(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    path, first = f"/pairings/{device.id}/socket", auth(secret=device.pairing["secret"])
    async with raw(server, path, first, subprotocols=["other.v1", PROTOCOL], compression="deflate") as connection:
        assert connection.subprotocol == "pairing.v1"
        assert connection.response
        assert "sec-websocket-extensions" not in connection.response.headers
        assert (await told(connection))["status"] == "pending"


async def test_a_client_that_offers_no_subprotocol_is_served_without_one(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    first = auth(secret=device.pairing["secret"])
    async with raw(server, f"/pairings/{device.id}/socket", first, subprotocols=None) as connection:
        assert connection.subprotocol is None
        assert (await told(connection))["status"] == "pending"


@pytest.mark.security(20)
@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "{own}.evil.example", "{own}0", "https://localhost:{port}", "http://localhost",
     "http://127.0.0.1:{port}", "{own}/", "http://LOCALHOST:{port}", "http://evil.example/{own}", "{own}, {own}",
     "http://localhost:{port}@evil.example", "file://", "http://xlocalhost:{port}"],
)  # fmt: skip
async def test_a_foreign_origin_is_refused_before_the_upgrade(
    api: Api, server: Server, phone: Phone, origin: str
) -> None:
    device = await api.new_pairing()
    spelt = origin.format(own=server.public_url, port=server.port)
    for path, headers in ((f"/pairings/{device.id}/socket", device.headers), ("/socket", phone.headers)):
        status, problem, answered = await refused(server, path, additional_headers=headers | {"Origin": spelt})
        assert (status, problem["code"]) == (403, "foreign_origin")
        assert answered["content-type"] == "application/problem+json"
        assert answered["cache-control"] == "no-store"
        assert_safe(answered)
    # Nor does a stranger write lines into the log.
    assert "handshake" not in server.log_text()


async def test_our_own_origin_and_none_are_let_in(api: Api, server: Server) -> None:
    for origin in (None, server.public_url):
        device = await api.new_pairing()
        path = f"/pairings/{device.id}/socket"
        async with raw(server, path, auth(secret=device.pairing["secret"]), origin=origin) as connection:
            assert (await told(connection))["status"] == "pending"


@pytest.mark.security(27)
@pytest.mark.mitigation("6.1.11")
async def test_sockets_are_limited_per_address_before_the_upgrade(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_sockets=3)) as (server, api), AsyncExitStack() as stack:
        device = await api.new_pairing()
        for _ in range(3):
            held = await stack.enter_async_context(raw(server, f"/pairings/{device.id}/socket"))
        status, problem, headers = await refused(server, "/socket")
        assert (status, problem["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) > 0
        await held.close()
        for _ in range(100):
            try:
                await stack.enter_async_context(raw(server, "/socket"))
                break
            except InvalidStatus:
                await asyncio.sleep(0.02)
        else:
            raise AssertionError("a closed socket left no room")


@pytest.mark.security(27)
async def test_sockets_are_limited_in_total_whatever_their_addresses(tmp_path: Path) -> None:
    options: dict[str, Any] = {"limit_sockets": 2, "limit_all_sockets": 3, "trusted_proxies": ("127.0.0.1",)}
    with embedded(tmp_path, demo=True, **options) as server:
        async with AsyncExitStack() as stack:
            for address in ("9.9.9.1", "9.9.9.1", "9.9.9.2"):
                headers = {"X-Forwarded-For": address}
                await stack.enter_async_context(raw(server, "/socket", additional_headers=headers))
            own = await refused(server, "/socket", additional_headers={"X-Forwarded-For": "9.9.9.1"})
            other = await refused(server, "/socket", additional_headers={"X-Forwarded-For": "9.9.9.3"})
            assert [(status, problem["code"]) for status, problem, _ in (own, other)] == [
                (429, "rate_limited"),
                (503, "unavailable"),
            ]
            assert int(other[2]["retry-after"]) > 0


# First message

BAD_FIRST: dict[str, str | bytes] = {
    "not JSON": "hello",
    "empty": "",
    "an array": "[]",
    "null": "null",
    "another type": '{"type": "hello"}',
    "no type": '{"secret": "x"}',
    "secret of a wrong type": '{"type": "auth", "secret": 1}',
    "both credentials": '{"type": "auth", "secret": "x", "authKey": "y"}',
    "binary": b'{"type": "auth", "secret": "x"}',
    "binary nonsense": b"\xff\x00",
    "deep": "[" * 4000,
    "lone surrogate": '{"type": "auth", "secret": "\\ud800"}',
    "long secret": json.dumps({"type": "auth", "secret": "x" * 3000}),
}


@pytest.mark.security(25)
@pytest.mark.parametrize("kind", BAD_FIRST)
async def test_a_malformed_first_message_closes_with_4400(api: Api, server: Server, kind: str) -> None:
    device = await api.new_pairing()
    for path in (f"/pairings/{device.id}/socket", "/socket"):
        async with raw(server, path, BAD_FIRST[kind]) as connection:
            assert await close_code(connection) == 4400


async def test_a_missing_or_invalid_credential_closes_with_4401(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    pairing, account = f"/pairings/{device.id}/socket", "/socket"
    secret = auth(secret=device.pairing["secret"])
    for path, first in [
        (pairing, auth()), (account, auth()), (pairing, auth(authKey="x")), (account, auth(authKey="a.b.c")),
        (account, auth(authKey=phone.keys["refreshKey"])), (account, secret),
    ]:  # fmt: skip
        async with raw(server, path, first) as connection:
            assert await close_code(connection) == 4401, (path, first)
    async with raw(server, account, additional_headers={"Auth-Key": "x"}) as connection:
        assert await close_code(connection) == 4401
    both = device.headers | phone.headers
    async with raw(server, pairing, additional_headers=both) as connection:
        assert await close_code(connection) == 4400


async def test_an_expired_key_closes_with_4401(clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone) -> None:
    phone = await clocked_phone()
    clocked.clock.advance(700)
    async with raw(clocked, "/socket", auth(authKey=phone.keys["authKey"])) as connection:
        assert await close_code(connection) == 4401


@pytest.mark.security(27)
async def test_silence_is_cut_off_with_4401_on_both_sockets(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    async with raw(server, f"/pairings/{device.id}/socket") as one, raw(server, "/socket") as two:
        codes = await asyncio.gather(close_code(one, 30), close_code(two, 30))
    assert list(codes) == [4401, 4401]


@pytest.mark.security(1, 8)
async def test_a_stranger_cannot_tell_a_foreign_pairing_from_none(api: Api, server: Server, phone: Phone) -> None:
    device, other = await api.new_pairing(), await api.new_pairing()
    reasons = set()
    for pairing_id, first in [
        (device.id, auth(secret=other.pairing["secret"])), (device.id, auth(secret="x")), (device.id, auth(secret="")),
        (secrets.token_urlsafe(16), auth(secret=device.pairing["secret"])),
        (device.id, auth(authKey=phone.keys["authKey"])), ("%00", auth(secret="x")), ("x" * 3000, auth(secret="x")),
    ]:  # fmt: skip
        async with raw(server, f"/pairings/{pairing_id}/socket", first) as connection:
            assert await close_code(connection) == 4404
            reasons.add(connection.close_reason)
    assert len(reasons) == 1


@pytest.mark.parametrize("path", ["/pairings%2F{id}/socket", "/pairings/{id}/socket%0a", "/pairings/{id}/%73ocket",
                                  "/socket%0a", "/s%6fcket", "/pairings//{id}/socket"])  # fmt: skip
async def test_a_socket_has_its_path_to_the_letter(api: Api, server: Server, path: str) -> None:
    device = await api.new_pairing()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await raw(server, path.replace("{id}", device.id), additional_headers=device.headers).__aenter__()
    assert refused.value.response.status_code == 404


async def test_a_first_message_may_begin_with_a_byte_order_mark(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    first = "\ufeff" + json.dumps({"type": "auth", "secret": device.pairing["secret"]})
    async with raw(server, f"/pairings/{device.id}/socket") as connection:
        await connection.send(first)
        assert (await told(connection))["status"] == "pending"


async def test_a_credential_in_a_header_needs_no_first_message(api: Api, server: Server, phone: Phone) -> None:
    device, shown = await api.new_pairing(), await phone.show_code()
    bearer = {"Authorization": f"Bearer {phone.keys['authKey']}"}
    for path, headers in [
        (f"/pairings/{device.id}/socket", device.headers),
        (f"/pairings/{shown['id']}/socket", phone.headers),
        (f"/pairings/{shown['id']}/socket", bearer),
    ]:
        async with raw(server, path, additional_headers=headers) as connection:
            assert (await told(connection))["status"] == "pending"


@pytest.mark.security(21)
async def test_a_cookie_or_query_string_is_no_credential(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    secret = device.pairing["secret"]
    path = f"/pairings/{device.id}/socket?secret={secret}"
    async with raw(server, path, auth(), additional_headers={"Cookie": f"secret={secret}"}) as connection:
        assert await close_code(connection) == 4401


# What is told


async def test_the_snapshot_comes_first_and_versions_only_grow(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    async with device.socket() as connection:
        snapshot = await told(connection)
        assert (snapshot["status"], snapshot["version"]) == ("scanned", 2)
        assert snapshot == (await device.poll()).json() | {"expiresIn": snapshot["expiresIn"]}
        # Repetitions of what is done already are no news.
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        await phone.approve(device.id)
        assert (await told(connection))["version"] == 3
        await device.log_in()
        assert (await told(connection))["version"] == 4
        assert await close_code(connection) == 1000


async def test_a_wake_without_a_change_is_no_news(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    async with socket(server.ws_url, device.id, authKey=phone.keys["authKey"]) as watching:
        assert (await told(watching))["version"] == 2
        # Sockets that come and go, and changes to the account, wake this one too.
        for _ in range(5):
            async with device.socket() as coming:
                await told(coming)
        invited = await fresh_phone(api, server.folder, phone.keys["user"]["username"])
        await api.http.delete("/sessions/current", headers=invited.headers)
        await phone.approve(device.id)
        assert (await told(watching))["version"] == 3


@pytest.mark.parametrize("end", ["denied", "cancelled", "consumed"])
async def test_a_final_state_is_delivered_then_closed_with_1000_to_both_and_to_who_comes_late(
    api: Api, server: Server, phone: Phone, end: str
) -> None:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    async with device.socket() as b, socket(server.ws_url, device.id, authKey=phone.keys["authKey"]) as a:
        if end == "denied":
            await phone.deny(device.id)
        elif end == "cancelled":
            await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
        else:
            await phone.approve(device.id)
            await device.log_in()
        for connection in (a, b):
            seen = await until(connection, end)
            assert ("newDevice" in seen) is (connection is a)
            assert await close_code(connection) == 1000
    async with device.socket() as late:
        assert (await told(late))["status"] == end
        assert await close_code(late) == 1000


async def test_later_messages_of_the_client_are_ignored(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    async with device.socket() as connection:
        await told(connection)
        for junk in ("{", "", auth(secret="other"), b"\x00\xff", json.dumps({"type": "approve"}), "x" * 4000):
            await connection.send(junk)
        assert (await (await connection.ping())) is not None
        await phone.claim(device.pairing)
        assert (await told(connection))["status"] == "scanned"


async def test_the_server_tells_of_expiry_when_the_time_has_come(clocked: Embedded, clocked_api: Api) -> None:
    device = await clocked_api.new_pairing()
    clocked.clock.advance(119.3)
    async with device.socket() as connection:
        assert (await told(connection))["status"] == "pending"
        async with asyncio.timeout(CAP):
            ended = await told(connection)
        assert (ended["status"], ended["version"], ended["expiresIn"]) == ("expired", 2, 0)
        assert await close_code(connection) == 1000


async def test_an_extended_pairing_is_not_told_expired_at_its_old_time(
    clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    phone, device = await clocked_phone(), await clocked_api.new_pairing()
    clocked.clock.advance(119)
    async with device.socket() as connection:
        await told(connection)
        await phone.claim(device.pairing)
        assert (await told(connection))["status"] == "scanned"
        await asyncio.sleep(1.2)
        await phone.approve(device.id)
        assert (await told(connection))["status"] == "approved"


# Who else listens


@pytest.mark.security(27)
async def test_the_newest_socket_of_a_new_device_takes_over(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    async with device.socket() as first:
        await told(first)
        async with device.socket() as second:
            await told(second)
            assert await close_code(first) == 4409
            async with device.socket() as third:
                await told(third)
                assert await close_code(second) == 4409
                await phone.claim(device.pairing)
                assert (await told(third))["status"] == "scanned"


async def test_other_holders_and_strangers_take_nothing_over(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    async with device.socket() as mine:
        await told(mine)
        async with (
            socket(server.ws_url, device.id, authKey=phone.keys["authKey"]) as one,
            socket(server.ws_url, device.id, authKey=phone.keys["authKey"]) as two,
            raw(server, f"/pairings/{device.id}/socket", auth(secret="x" * 22)) as stranger,
        ):
            await asyncio.gather(told(one), told(two))
            assert await close_code(stranger) == 4404
            await phone.approve(device.id)
            for connection in (mine, one, two):
                assert (await told(connection))["status"] == "approved"


async def test_fifty_sockets_of_one_device_at_once_leave_one(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    path = f"/pairings/{device.id}/socket"
    async with AsyncExitStack() as stack:
        connections = await asyncio.gather(
            *(stack.enter_async_context(raw(server, path, additional_headers=device.headers)) for _ in range(50))
        )
        ends = [asyncio.create_task(close_code(each, 30)) for each in connections]
        for _ in range(1000):
            if sum(task.done() for task in ends) == 49:
                break
            await asyncio.sleep(0.01)
        assert [task.result() for task in ends if task.done()] == [4409] * 49
        await phone.claim(device.pairing)
        await phone.deny(device.id)
        codes = await asyncio.gather(*ends)
    assert sorted(code or 0 for code in codes) == [1000] + [4409] * 49


async def test_of_six_account_sockets_of_one_device_the_oldest_goes(api: Api, server: Server, phone: Phone) -> None:
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(raw(server, "/socket", additional_headers=phone.headers)) for _ in range(6)
        ]
        ends = [asyncio.create_task(close_code(each, 30)) for each in connections]
        async with asyncio.timeout(CAP):
            done, rest = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [4409]
        assert len(rest) == 5
        # Ended by its own hand, the session takes the other five along.
        await api.http.delete("/sessions/current", headers=phone.headers)
        assert await asyncio.gather(*rest) == [4401] * 5


async def test_an_account_socket_outlives_its_key_but_not_its_session(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, **NO_LIMITS_INSIDE)) as (server, api):
        owner = await fresh_phone(api, tmp_path, "long-lived", server.clock)
        async with raw(server, "/socket", additional_headers=owner.headers) as connection:
            renewed = await api.http.post("/sessions/refresh", json={"refreshKey": owner.keys["refreshKey"]})
            server.clock.advance(650)
            fresh = await api.http.post("/sessions/refresh", json={"refreshKey": renewed.json()["refreshKey"]})
            newest = Phone(api, fresh.json())
            device = await api.new_pairing()
            await newest.claim(device.pairing)
            await newest.approve(device.id)
            await device.log_in()
            async with asyncio.timeout(CAP):
                assert json.loads(await connection.recv())["type"] == "device.added"
            await api.http.delete("/sessions/current", headers=newest.headers)
            assert await close_code(connection) == 4401


# Bounds


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


# The end of the server


async def test_sigterm_answers_long_polls_with_what_is_known(tmp_path: Path) -> None:
    async with with_api(running(tmp_path, **NO_LIMITS)) as (server, api):
        device = await api.new_pairing()
        polls = [asyncio.create_task(device.poll("?since=1&wait=30")) for _ in range(5)]
        async with device.socket() as connection:
            # The server has read this much; the polls before it are under way.
            await told(connection)
            stopping = asyncio.create_task(asyncio.to_thread(server.process.stop, signal.SIGTERM, 10.0))
            answers = await asyncio.gather(*polls)
        assert {(answer.status_code, answer.json()["version"]) for answer in answers} == {(200, 1)}
        await stopping


@pytest.mark.security(28)
async def test_sigterm_closes_sockets_with_1012_and_ends_within_ten_seconds(tmp_path: Path) -> None:
    async with with_api(running(tmp_path, **NO_LIMITS)) as (server, api), AsyncExitStack() as stack:
        owner = await fresh_phone(api, tmp_path)
        devices: list[NewDevice] = [await api.new_pairing(device_headers()) for _ in range(20)]
        connections = [await stack.enter_async_context(device.socket()) for device in devices]
        await asyncio.gather(*(told(connection) for connection in connections))
        account = await stack.enter_async_context(raw(server, "/socket", additional_headers=owner.headers))
        silent = await stack.enter_async_context(raw(server, "/socket"))
        stopping = asyncio.create_task(asyncio.to_thread(server.process.stop, signal.SIGTERM, 10.0))
        for connection in (*connections, account, silent):
            assert await close_code(connection) == 1012
        assert await stopping in (0, -signal.SIGTERM)
