"""What clients can hold of a running server: connections, calls that wait, sockets, subscriptions. All of it ends."""

import asyncio
import json
import logging
import resource
import secrets
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
import websockets

from tests.support.client import Api, NewDevice, socket, told, with_api
from tests.support.embedded import PLAIN_UVICORN, Embedded, embedded
from tests.support.limits import NO_LIMITS, NO_LIMITS_INSIDE
from tests.support.raw import raw
from tests.support.servers import RedisServer, Server, eventually, running
from tests.web.conftest import NewPhone

pytestmark = pytest.mark.security(34)

HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[..., Awaitable[Stream]]


@pytest.fixture(scope="module", params=["serve", "plain uvicorn"])
def on_redis(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Server | Embedded]:
    folder = tmp_path_factory.mktemp("on-redis")
    if request.param == "serve":
        with running(folder, REDIS_URL=redis_server.url, **NO_LIMITS) as server:
            yield server
    else:
        with embedded(
            folder, options=PLAIN_UVICORN, redis_url=redis_server.url, demo=True, **NO_LIMITS_INSIDE
        ) as inside:
            yield inside


def watchers(redis_server: RedisServer, device: NewDevice) -> int:
    with redis_server.client() as own:
        return int(own.pubsub_numsub(f"pairing:{{{device.id}}}")[0][1])


# Long polls


@pytest.mark.parametrize("by_reset", [False, True], ids=["closed", "reset"])
async def test_a_long_poll_ends_with_its_client(
    on_redis: Server | Embedded, redis_server: RedisServer, by_reset: bool
) -> None:
    async with Api(on_redis.url) as api:
        device = await api.new_pairing()
        poll = raw(on_redis, "GET", f"/pairings/{device.id}?since=1&wait=30", device.headers)  # type: ignore[arg-type]
        writers = []
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", on_redis.port)
            writer.write(poll)
            writers.append(writer)
        await eventually(lambda: watchers(redis_server, device) == 1, "a subscription of theirs")
        for writer in writers:
            if by_reset:
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        # A poll would take 30 s.
        await eventually(lambda: watchers(redis_server, device) == 0, "the end of the subscription")


async def test_a_long_poll_between_other_calls_on_its_connection_ends_with_its_client(
    server: Server, redis_server: RedisServer, tmp_path: Path
) -> None:
    with running(tmp_path, REDIS_URL=redis_server.url, **NO_LIMITS) as own:
        async with Api(own.url) as api:
            device = await api.new_pairing()
            poll = raw(own, "GET", f"/pairings/{device.id}?since=1&wait=30", device.headers)
            for calls in (HEALTHZ + poll, poll + HEALTHZ, HEALTHZ * 3 + poll * 3 + HEALTHZ * 3):
                _, writer = await asyncio.open_connection("127.0.0.1", own.port)
                writer.write(calls)
                await eventually(lambda: watchers(redis_server, device) == 1, "its subscription")
                writer.transport.abort()
                await eventually(lambda: watchers(redis_server, device) == 0, "the end of its subscription")
        assert "Traceback" not in own.log_text()


async def test_a_long_poll_whose_client_stays_is_answered_as_ever(
    on_redis: Server | Embedded, redis_server: RedisServer
) -> None:
    async with Api(on_redis.url) as api:
        device = await api.new_pairing()
        waiting = [asyncio.create_task(device.poll("?since=1&wait=30")) for _ in range(50)]
        await eventually(lambda: watchers(redis_server, device) == 1, "their subscription")
        await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert {answer.json()["status"] for answer in answers} == {"cancelled"}


# Sockets


async def test_a_socket_that_is_turned_away_costs_no_subscription(
    on_redis: Server | Embedded, redis_server: RedisServer
) -> None:
    def subscribed() -> int:
        with redis_server.client() as own:
            stats = own.info("commandstats")
        return sum(stats.get(f"cmdstat_{verb}", {}).get("calls", 0) for verb in ("subscribe", "ssubscribe"))

    async with Api(on_redis.url) as api:
        device = await api.new_pairing()
        before = subscribed()
        for pairing_id, secret in ((secrets.token_urlsafe(16), "x" * 32), (device.id, "x" * 32)):
            async with socket(on_redis.ws_url, pairing_id, secret=secret) as connection:
                with pytest.raises(websockets.ConnectionClosed):
                    await asyncio.wait_for(connection.recv(), 10)
                assert connection.close_code == 4404
        assert subscribed() == before
        async with device.socket() as connection:
            await told(connection)
            assert subscribed() > before


@pytest.mark.security(27)
async def test_sixty_account_sockets_of_one_device_at_once_leave_five(server: Server, new_phone: NewPhone) -> None:
    phone = await new_phone()
    async with AsyncExitStack() as stack:

        async def connect() -> websockets.ClientConnection:
            uri = f"{server.ws_url}/api/v1/socket"
            return await stack.enter_async_context(websockets.connect(uri, additional_headers=phone.headers))

        connections = await asyncio.gather(*(connect() for _ in range(60)))
        await eventually(
            lambda: sum(connection.close_code is None for connection in connections) == 5, "the end of all but five"
        )
        ended = [connection.close_code for connection in connections if connection.close_code is not None]
        assert ended == [4409] * 55
        # And the five are told.
        await phone.api.http.patch("/devices/" + phone.keys["device"]["id"], json={"name": "x"}, headers=phone.headers)
        assert [each.close_code for each in connections].count(None) == 5


@pytest.mark.parametrize(
    "options",
    [{}, PLAIN_UVICORN, *(PLAIN_UVICORN | {"ws": each} for each in ("websockets", "websockets-sansio"))],
    ids=["ours", "plain uvicorn", "websockets", "websockets-sansio"],
)
async def test_a_refused_socket_is_no_error_of_the_server_it_is_mounted_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    with embedded(tmp_path, options=options) as server:
        for path, headers in (("/api/v1/nowhere", {}), ("/api/v1/socket", {"Origin": "http://evil.example"})):
            for _ in range(5):
                with pytest.raises(websockets.InvalidStatus) as failed:
                    await websockets.connect(server.ws_url + path, additional_headers=headers)
                answer = failed.value.response
                assert json.loads(answer.body)["status"] == answer.status_code
                assert answer.status_code in (403, 404)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


# Connections


@contextmanager
def with_descriptors(most: int, folder: Path, **settings: Any) -> Iterator[Server]:
    """A server that may have no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        # Executed: the loaded process has limits of its own.
        server = Server(folder, forked=False, **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield server
    finally:
        server.stop()


async def connect(stack: AsyncExitStack, server: Server, address: str, sent: bytes = b"") -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0))
    # Not the method alone: a stream that nobody holds ends its connection.
    stack.callback(lambda: writer.transport.abort())
    writer.write(sent)
    return reader, writer


async def answer(stack: AsyncExitStack, server: Server, address: str) -> bytes:
    """To an honest call from there; b"" if the connection ends without one."""
    reader, _ = await connect(stack, server, address, HEALTHZ)
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            return await reader.read(12)
    return b""


OK = b"HTTP/1.1 200"


def cut(metrics: str, reason: str) -> float:
    start = f'pairing_connections_cut_total{{reason="{reason}"}} '
    return next((float(line.removeprefix(start)) for line in metrics.splitlines() if line.startswith(start)), 0)


async def metrics(server: Server) -> str:
    async with Api(server.url) as api:
        return (await api.http.get(f"{server.url}/metrics")).text


@pytest.mark.parametrize(
    "idle", [b"", HEALTHZ, HEALTHZ[:20], b"\r\n"], ids=["silent", "keep-alive", "half a head", "blank"]
)
async def test_idle_connections_make_room_for_calls_below_the_descriptor_limit(tmp_path: Path, idle: bytes) -> None:
    with with_descriptors(128, tmp_path, **NO_LIMITS) as server:
        async with AsyncExitStack() as stack:
            for number in range(300):
                await connect(stack, server, f"127.0.0.{2 + number % 6}", idle)
            for address in ("127.0.0.1", "127.0.0.2", "127.0.0.9"):
                assert await answer(stack, server, address) == OK
            text = await metrics(server)
            # Some may have had the time to be too slow.
            assert cut(text, "idle") > 0
            assert cut(text, "idle") + cut(text, "request_timeout") >= 300 - 128
            assert cut(text, "all_full") == cut(text, "address_full") == 0
            held = next(line for line in text.splitlines() if line.startswith("pairing_connections_open "))
            assert float(held.split()[1]) <= 128 * 2 // 3
        # One line for all of a minute, by reason.
        assert 1 <= server.log_text().count("connections.cut") <= 4
        assert "out of system resource" not in server.log_text()
        assert "Traceback" not in server.log_text()


async def test_one_address_holds_only_its_share_and_no_other_is_shut_out(tmp_path: Path) -> None:
    async with (
        with_api(running(tmp_path, **NO_LIMITS, PAIRING_LIMIT_CONNECTIONS="20")) as (server, api),
        AsyncExitStack() as stack,
    ):
        device = await api.new_pairing()
        poll = raw(server, "GET", f"/pairings/{device.id}?since=1&wait=30", device.headers)
        greedy = [await connect(stack, server, "127.0.0.2", poll) for _ in range(20)]
        refused, _ = await connect(stack, server, "127.0.0.2")
        head, _, body = (await asyncio.wait_for(refused.read(), 10)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 10" in head
        assert b"x-frame-options: DENY" in head
        assert json.loads(body)["code"] == "unavailable"
        assert await answer(stack, server, "127.0.0.3") == OK
        assert cut(await metrics(server), "address_full") == 1
        # As soon as one ends there is room again.
        greedy[0][1].transport.abort()
        for _ in range(500):
            if await answer(stack, server, "127.0.0.2") == OK:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("a connection that ended left no room")


async def test_a_bound_of_zero_per_address_is_none_and_of_trusted_proxies_there_is_none(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "zero": {"PAIRING_LIMIT_CONNECTIONS": "0"},
        "proxy": {"PAIRING_LIMIT_CONNECTIONS": "5", "PAIRING_TRUSTED_PROXIES": "127.0.0.0/8"},
    }
    for name, settings in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        with running(folder, **NO_LIMITS, **settings) as server:
            async with AsyncExitStack() as stack:
                for _ in range(50):
                    reader, _ = await connect(stack, server, "127.0.0.2", HEALTHZ)
                    assert await reader.read(12) == OK
                assert cut(await metrics(server), "idle") == 0


async def test_sockets_leave_room_for_calls(tmp_path: Path) -> None:
    with with_descriptors(128, tmp_path, **NO_LIMITS) as server:
        async with Api(server.url) as api, AsyncExitStack() as stack:
            device = await api.new_pairing()
            uri = f"{server.ws_url}/api/v1/pairings/{device.id}/socket"
            refused = []
            for number in range(100):
                try:
                    local = (f"127.0.0.{2 + number % 6}", 0)
                    await stack.enter_async_context(websockets.connect(uri, local_addr=local))
                except websockets.InvalidStatus as error:
                    refused.append(error.response.status_code)
            assert len(refused) >= 30
            assert set(refused) <= {429, 503}
            assert await answer(stack, server, "127.0.0.9") == OK
            assert (await device.poll()).status_code == 200
