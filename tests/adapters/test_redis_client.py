"""Commands on their way to the right server: redirections, orders kept, patience bounded."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient, Script
from pairing_ws.adapters.redis.cluster import slot_of
from pairing_ws.adapters.redis.errors import RedisError, ReplyError
from pairing_ws.adapters.redis.pipeline import COMMAND_TIMEOUT, PendingCommand, PipelinedConnection
from tests.support.client import Api, device_headers
from tests.support.proxy import FaultProxy
from tests.support.redis_kinds import PASSWORD, Cluster, Kind, Node, bus_port, running_kind
from tests.support.servers import RedisServer, running, wait_for


@pytest.fixture
def key(redis_server: RedisServer) -> Iterator[str]:
    """Of one test alone; other tests look at every key of the run's Redis."""
    name = secrets.token_hex(8)
    yield name
    redis_server.command("DEL", name)


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[RedisClient]:
    topology = topology_at(url)
    client = RedisClient(topology)
    yield client
    await client.aclose()
    await topology.aclose()


async def test_a_key_that_moves_is_followed_while_it_does_and_afterwards(redis_kinds: Callable[[str], Kind]) -> None:
    cluster = cast(Cluster, redis_kinds("cluster"))
    key = f"moving:{secrets.token_hex(8)}"
    async with client_of(cluster.url) as client:
        await client.execute(key, "SET", key, "before")
        with cluster.moving_slot(key):
            assert await client.execute(key, "GET", key) == b"before"
            assert await asyncio.gather(*(client.execute(key, "APPEND", key, "!") for _ in range(3))) == [7, 8, 9]
        # Each command is refused by the old home, and sent once more.
        assert await asyncio.gather(*(client.execute(key, "APPEND", key, "?") for _ in range(3))) == [10, 11, 12]


async def test_who_serves_a_key_that_has_moved_is_remembered(redis_kinds: Callable[[str], Kind]) -> None:
    cluster = cast(Cluster, redis_kinds("cluster"))
    key = f"moved:{secrets.token_hex(8)}"
    topology = topology_at(cluster.url)
    client = RedisClient(topology)
    await client.execute(key, "SET", key, "x")
    before = topology.node_for_key(key)
    with cluster.moving_slot(key):
        pass
    async with asyncio.timeout(10):
        # Whom a look asks may not have heard of it at once.
        while topology.node_for_key(key) == before:
            assert await client.execute(key, "GET", key) == b"x"
    await client.aclose()
    await topology.aclose()


async def test_a_command_that_another_server_has_kept_costs_no_others_their_answers(
    redis_server: RedisServer, key: str
) -> None:
    losses: list[Exception] = []
    topology = topology_at(redis_server.url)
    line = PipelinedConnection(lambda: topology.connect(""), lambda _: None, losses.append)
    kept, younger = PendingCommand(key, ("BLPOP", key, "0.5")), PendingCommand(key, ("ECHO", "x"))
    kept.deadline -= COMMAND_TIMEOUT - 0.1
    for each in (kept, younger):
        line.execute(each)
    with pytest.raises(TimeoutError):
        await kept.answer
    assert await younger.answer == b"x"
    assert not losses
    await line.aclose()
    await topology.aclose()


async def test_commands_of_one_tick_for_one_key_are_executed_in_order(redis_server: RedisServer, key: str) -> None:
    async with client_of(redis_server.url) as client:
        answers = await asyncio.gather(*(client.execute(key, "RPUSH", key, index) for index in range(200)))
        assert answers == list(range(1, 201))
        assert await client.execute(key, "LRANGE", key, 0, -1) == [str(index).encode() for index in range(200)]


async def test_one_command_that_redis_refuses_harms_none_of_its_tick(redis_server: RedisServer, key: str) -> None:
    async with client_of(redis_server.url) as client:
        asked = [client.execute(key, *words) for words in (("SET", key, "x"), ("HGET", key, "y"), ("GET", key))]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[::2] == [b"OK", b"x"]
        assert isinstance(answers[1], ReplyError)


async def test_however_many_ask_of_a_slow_server_they_share_one_connection_and_all_are_answered(
    redis_server: RedisServer,
) -> None:
    with FaultProxy(redis_server.port) as link:
        link.delay(0.05)
        async with client_of(f"redis://127.0.0.1:{link.port}/0") as client:
            asked = []
            for index in range(2000):
                asked.append(client.execute("", "ECHO", str(index)))
                if index % 10 == 0:
                    await asyncio.sleep(0)
            assert [int(each) for each in await asyncio.gather(*asked)] == list(range(2000))
        assert link.opened == 1


async def test_a_silent_server_costs_no_caller_more_than_its_patience(redis_server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    with FaultProxy(redis_server.port) as link:
        async with client_of(f"redis://127.0.0.1:{link.port}/0") as client:
            await client.execute("", "PING")
            link.black_hole()
            began = loop.time()
            asked = []
            for _ in range(100):
                asked.append(client.execute("", "PING"))
                await asyncio.sleep(0)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(each, OSError | RedisError) for each in answers), answers
            # Not one after the other: those that waited for a connection gave up with the rest.
            assert loop.time() - began < 3 * COMMAND_TIMEOUT
            link.heal()
            # What the silence held back arrives now, at nobody's.
            echoes = [client.execute("", "ECHO", str(index)) for index in range(200)]
            assert [int(each) for each in await asyncio.gather(*echoes)] == list(range(200))


async def test_a_master_that_comes_back_empty_is_asked_by_nobody(tmp_path: Path) -> None:
    def fail_over() -> None:
        # One Sentinel sleeps through it, and goes on naming the one it knew when it wakes up.
        trio.sentinels[0].pause()
        before = trio.master(trio.sentinels[1])
        trio.fail_over(trio.sentinels[1])
        wait_for(lambda: before.answers(password=PASSWORD), "the old master, without its memory")
        trio.sentinels[0].resume()

    with running_kind("sentinel", tmp_path) as trio:
        async with client_of(trio.url) as known, client_of(trio.url) as fresh:
            await known.execute("x", "SET", "x", "kept")
            assert await known.execute("x", "WAIT", 1, 5000) == 1
            await asyncio.to_thread(fail_over)
            for client in (known, fresh):
                seen: list[object] = []
                while b"kept" not in seen:
                    seen += await asyncio.gather(client.execute("x", "GET", "x"), return_exceptions=True)
                assert None not in seen


@pytest.mark.parametrize("slots", [0, 8000])
async def test_where_a_cluster_serves_no_slot_its_keys_fail_and_no_others(tmp_path: Path, slots: int) -> None:
    options = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]
    node = Node(tmp_path, *options, "--cluster-port", str(bus_port()))
    try:
        await asyncio.to_thread(wait_for, node.answers, "a node")
        with node.client() as client:
            if slots:
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, slots - 1)
                wait_for(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "its slots")
        async with client_of(f"redis+cluster://127.0.0.1:{node.port}") as client:
            names = [f"key-{index}" for index in range(40)]
            asked = [client.execute(name, "SET", name, "x") for name in names]
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*asked, return_exceptions=True)
            served = [slot_of(name) < slots for name in names]
            assert [answer == b"OK" for answer in answers] == served
            assert all(answer == b"OK" or isinstance(answer, RedisError) for answer in answers), answers
    finally:
        node.kill()


async def test_a_cluster_that_is_taken_for_a_single_server_is_found_out(redis_kinds: Callable[[str], Kind]) -> None:
    cluster = cast(Cluster, redis_kinds("cluster"))
    writes = Script("for _, key in ipairs(KEYS) do redis.call('SET', key, '', 'PX', 1000) end")
    async with client_of(cluster.url) as right, client_of(f"redis://127.0.0.1:{cluster.nodes[0].port}") as wrong:
        await right.examine(writes)
        with pytest.raises(ReplyError, match="slot"):
            await wrong.examine(writes)


async def test_what_a_server_refuses_is_said_in_the_log(tmp_path: Path, redis_server: RedisServer) -> None:
    replica = Node(tmp_path, "--replicaof", "127.0.0.1", str(redis_server.port))
    try:
        await asyncio.to_thread(wait_for, replica.answers, "a replica")
        with running(tmp_path, REDIS_URL=f"redis://127.0.0.1:{replica.port}/0") as server:
            async with Api(server.url) as api:
                made = await api.http.post("/pairings", headers=device_headers())
                assert made.status_code == 503
            assert "redis.refused" in server.log_text()
    finally:
        replica.kill()


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/main", "redis+cluster://127.0.0.1:1"])
async def test_where_nobody_tells_who_serves_what_every_command_fails_and_none_hangs(url: str, tmp_path: Path) -> None:
    async with client_of(url) as client:
        for _ in range(3):
            answers = await asyncio.gather(
                *(client.execute("x", "GET", "x") for _ in range(20)), return_exceptions=True
            )
            assert all(isinstance(each, Exception) for each in answers)
