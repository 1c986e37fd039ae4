"""Clients that go away in the middle of anything, or don't read: nothing is half done, and nobody else notices."""

import asyncio
import random
import socket as sockets
import struct
from contextlib import suppress

import pytest

from tests.processes.conftest import Pair, at
from tests.support.client import NewDevice, code_of, device_headers, told, until
from tests.support.raw import raw, upgrade
from tests.support.servers import RedisServer, Server, eventually

ABORTED = 500
CHOSEN_SECRET = "c2VjcmV0LW9mLW15LW93bi1jaG9pY2U"


async def abort(server: Server, request: bytes, after: float, *, by_reset: bool) -> None:
    """Send it, and go away after that many seconds: with FIN, or with RST as a client that crashed."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        # Some never get to send all of it.
        writer.write(request if after else request[: len(request) // 2])
        await writer.drain()
        await asyncio.sleep(after)
        if by_reset:
            own = writer.get_extra_info("socket")
            own.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        writer.transport.abort()


def redis_connections(redis_server: RedisServer) -> int:
    with redis_server.client() as own:
        return len(own.client_list())


@pytest.mark.security(29)
async def test_five_hundred_calls_aborted_at_any_moment_leave_nothing_half_done_and_no_foreign_answer(
    pair: Pair, redis_server: RedisServer
) -> None:
    phone, rng = await pair.phone(), random.Random(29)
    servers, apis = pair.servers, (pair.one, pair.two)
    aborting = True

    async def watch(device: NewDevice) -> int:
        """Somebody else, all the while: whatever is answered, it has to be about its own pairing."""
        answers = 0
        while aborting:
            for api in apis:
                pairing = (await at(api, device).poll()).json()
                assert (pairing["id"], pairing["status"], pairing["version"]) == (device.id, "pending", 1)
                answers += 1
        return answers

    async def cut_off(request: bytes) -> None:
        moment = rng.choice((0, rng.uniform(0, 0.004), rng.uniform(0, 0.03)))
        await abort(rng.choice(servers), request, moment, by_reset=rng.random() < 0.5)

    async def spoil(index: int) -> None:
        """One device's way to its keys, with every request of it aborted once, and then made properly."""
        await cut_off(raw(servers[0], "POST", "/pairings", device_headers() | {"Pairing-Secret": CHOSEN_SECRET}))
        device = await apis[index % 2].new_pairing()
        path, own, keys = f"/pairings/{device.id}", device.headers, phone.headers
        await cut_off(raw(servers[0], "GET", f"{path}?since=1&wait=2", own))
        await cut_off(upgrade(servers[0], device.id, own))
        await cut_off(raw(servers[0], "GET", path, own))
        assert (await device.poll()).status_code == 200
        await cut_off(raw(servers[0], "POST", f"{path}/claim", keys, {"code": code_of(device.pairing)}))
        assert (await phone.claim(device.pairing)).status_code == 200
        await cut_off(raw(servers[0], "POST", f"{path}/approve", keys))
        approved = await phone.approve(device.id)
        assert approved.status_code == 200
        # Asked for where the address of a client that had gone could not be observed any more.
        number = {"number": approved.json()["number"]} if "number" in approved.json() else {}
        await cut_off(raw(servers[0], "POST", f"{path}/login", own, number))
        assert (await device.log_in(number)).status_code == 200
        await cut_off(raw(servers[0], "GET", "/devices", keys))

    others = [await apis[index % 2].new_pairing() for index in range(6)]
    watching = [asyncio.create_task(watch(device)) for device in others]
    # Eight requests each.
    rounds = ABORTED // 8 + 1
    for start in range(0, rounds, 16):
        await asyncio.gather(*(spoil(index) for index in range(start, min(start + 16, rounds))))
    aborting = False
    assert min(await asyncio.gather(*watching)) > 10
    assert await pair.sessions_and_devices(phone) == (1 + rounds, 1 + rounds)
    assert len((await phone.get("/devices")).json()["devices"]) == 1 + rounds
    # No pool has leaked: many calls at once are served, by as many connections as ever.
    answers = await asyncio.gather(*(at(apis[index % 2], others[index % 6]).poll() for index in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert redis_connections(redis_server) < 2 * (32 + 4)
    async with others[0].socket() as connection:
        await told(connection)
        await phone.claim(others[0].pairing)
        await until(connection, "scanned")
    for server in servers:
        assert "Traceback" not in server.log_text()


@pytest.mark.security(29)
async def test_what_was_aborted_is_forgotten(pair: Pair, redis_server: RedisServer) -> None:
    """Sockets and long polls whose clients are gone must not be watched for ever."""
    device = await pair.one.new_pairing()
    for _ in range(40):
        await abort(pair.servers[0], upgrade(pair.servers[0], device.id, device.headers), 0.02, by_reset=True)
        poll = raw(pair.servers[0], "GET", f"/pairings/{device.id}?since=1&wait=1", device.headers)
        await abort(pair.servers[0], poll, 0.01, by_reset=True)
    with redis_server.client() as own:
        await eventually(
            lambda: own.pubsub_numsub(f"pairing:{{{device.id}}}")[0][1] == 0, "the end of its subscription"
        )
    metrics = (await pair.one.http.get(f"{pair.one.url}/metrics")).text
    assert "pairing_sockets_open 0.0" in metrics


@pytest.mark.security(25)
async def test_a_socket_that_asks_and_does_not_read_costs_little_memory(pair: Pair) -> None:
    device = await pair.one.new_pairing()
    before = pair.servers[0].memory()
    with sockets.socket() as deaf:
        # What it does not take piles up at the server.
        deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 1024)
        deaf.connect(("127.0.0.1", pair.servers[0].port))
        deaf.sendall(upgrade(pair.servers[0], device.id, device.headers))
        assert deaf.recv(12) == b"HTTP/1.1 101"
        await flood(deaf)
        assert (await device.poll()).status_code == 200
        assert pair.servers[0].memory() - before < 16


async def flood(connection: sockets.socket) -> None:
    """32 MiB of pings, or as many as are taken within 5 s: each asks for an answer of the same size."""
    ping = bytes([0x89, 0x80 | 125]) + bytes(4) + bytes(125)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(5):
            for _ in range(512):
                await loop.sock_sendall(connection, ping * 500)
