"""Two processes on each kind of Redis that people run: both flows, the races, and a failover in the middle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from pairing_ws.pairing.ports import pairing_channel
from tests.processes.conftest import Pair, at, refusal
from tests.processes.races import claims_at_once, decisions_at_once, logins_at_once
from tests.support.client import Api, NewDevice, Phone, told, until
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.redis_kinds import KINDS, Cluster, Kind, running_kind
from tests.support.servers import Server, running

# What a failover may take, Sentinel's or the Cluster's own patience included.
BACK_WITHIN = 40.0


# With fewer callers than on one Redis: what may differ is whether a script is one step.
RACES: dict[str, Callable[[Pair], Coroutine[None, None, None]]] = {
    "claims": lambda pair: claims_at_once(pair, accounts=16, rounds=2),
    "decisions": lambda pair: decisions_at_once(pair, rounds=4),
    "logins": lambda pair: logins_at_once(pair, callers=40),
}


@pytest.fixture(scope="module", params=KINDS)
def servers_on_each_kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_kinds: Callable[[str], Kind]
) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp(request.param)
    # Limits stay on, but out of reach: they count in the same Redis.
    shared = {"REDIS_URL": redis_kinds(request.param).url, **NO_LIMITS, "PAIRING_LIMIT_CLAIM": "100000/minute"}
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other


@pytest.fixture
async def pair(servers_on_each_kind: tuple[Server, Server]) -> AsyncIterator[Pair]:
    async with Api(servers_on_each_kind[0].url) as one, Api(servers_on_each_kind[1].url) as two:
        yield Pair(one, two, servers_on_each_kind)


@pytest.mark.parametrize("race", RACES)
async def test_a_race_ends_on_every_kind_as_on_one_redis(pair: Pair, race: str) -> None:
    await RACES[race](pair)


async def test_both_directions_work_across_two_processes(pair: Pair) -> None:
    phone = await pair.phone()
    device = await pair.one.new_pairing()
    async with device.socket(pair.servers[1].ws_url) as connection:
        assert (await told(connection))["status"] == "pending"
        assert (await at(pair.two, phone).claim(device.pairing)).status_code == 200
        await until(connection, "scanned")
        waiting = asyncio.create_task(device.poll("?since=2&wait=20"))
        assert (await phone.approve(device.id)).status_code == 200
        await until(connection, "approved")
        assert (await waiting).json()["status"] == "approved"
        assert (await at(pair.two, device).log_in()).status_code == 200
        await until(connection, "consumed")
    shown = await phone.show_code()
    joined = await pair.two.join(shown)
    async with joined.socket() as connection:
        assert (await at(pair.two, phone).approve(joined.id)).status_code == 200
        await until(connection, "approved")
    assert (await at(pair.one, joined).log_in()).status_code == 200
    typed = await pair.one.new_pairing()
    claimed = await at(pair.two, phone).post("/pairings/claim", {"userCode": typed.pairing["userCode"]})
    assert claimed.status_code == 200
    assert (await pair.two.http.delete(f"/pairings/{typed.id}", headers=typed.headers)).status_code == 204
    assert (await typed.poll()).json()["status"] == "cancelled"


@asynccontextmanager
async def own_pair(kind: Kind, folder: Path) -> AsyncIterator[Pair]:
    """Two servers on a Redis that may be hurt."""
    shared = {"REDIS_URL": kind.url, **NO_LIMITS}
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        async with Api(one.url) as here, Api(other.url) as there:
            yield Pair(here, there, (one, other))


async def in_time(call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Ask again as long as the server says so, as a client does."""
    async with asyncio.timeout(BACK_WITHIN):
        while (answer := await call()).status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            await asyncio.sleep(0.2)
    return answer


@pytest.mark.parametrize("name", ["sentinel", "cluster"])
async def test_a_failover_in_the_middle_loses_no_pairing_and_gives_each_device_one_session(
    tmp_path: Path, name: str
) -> None:
    with running_kind(name, tmp_path) as kind:
        async with own_pair(kind, tmp_path) as pair, AsyncExitStack() as sockets:
            phone = await pair.phone()
            apis = (pair.one, pair.two)
            devices: list[NewDevice] = [await apis[index % 2].new_pairing() for index in range(24)]
            await asyncio.gather(*(phone.claim(device.pairing) for device in devices))
            connections = [await sockets.enter_async_context(device.socket()) for device in devices]
            await asyncio.gather(*(told(each) for each in connections))
            # A replica has what its master has written once it answers this.
            failing = asyncio.create_task(asyncio.to_thread(kind.fail_over))

            async def finish(index: int) -> str:
                device = devices[index]
                # Spread over the failover: some before, some while nobody is master, some after.
                await asyncio.sleep(index * 0.15)
                approver = at(apis[index % 2], phone)
                assert (await in_time(lambda: approver.approve(device.id))).status_code == 200
                async with asyncio.timeout(BACK_WITHIN):
                    await until(connections[index], "approved")
                answer = await in_time(device.log_in)
                assert answer.status_code == 200
                assert (await in_time(device.log_in)).json()["refreshKey"] == answer.json()["refreshKey"]
                return str(answer.json()["device"]["id"])

            ids = await asyncio.gather(*(finish(index) for index in range(len(devices))))
            await failing
            assert len(set(ids)) == len(devices)
            listed = (await phone.get("/devices")).json()["devices"]
            assert {each["id"] for each in listed} == {*ids, phone.keys["device"]["id"]}
            # And it goes on as before, new sockets included.
            fresh = await pair.two.new_pairing()
            async with fresh.socket() as connection:
                await told(connection)
                assert (await in_time(lambda: phone.claim(fresh.pairing))).status_code == 200
                async with asyncio.timeout(BACK_WITHIN):
                    await until(connection, "scanned")


@pytest.mark.parametrize("name", ["sentinel", "cluster"])
async def test_a_master_that_was_only_silent_wakes_up_and_is_believed_by_nobody(tmp_path: Path, name: str) -> None:
    with running_kind(name, tmp_path) as kind:
        async with own_pair(kind, tmp_path) as pair:
            phone, device = await pair.phone(), await pair.one.new_pairing()
            assert (await phone.claim(device.pairing)).status_code == 200
            async with device.socket(pair.servers[1].ws_url) as connection:
                assert (await told(connection))["status"] == "scanned"
                with await asyncio.to_thread(_entered, kind.silenced(pairing_channel(device.id))):
                    assert (await in_time(lambda: phone.approve(device.id))).status_code == 200
                    assert (await in_time(at(pair.two, device).poll)).json()["status"] == "approved"
                # The old master still holds that nobody has approved.
                seen = [(await in_time(at(api, device).poll)).json() for _ in range(20) for api in (pair.one, pair.two)]
                assert {each["status"] for each in seen} == {"approved"}
                async with asyncio.timeout(BACK_WITHIN):
                    await until(connection, "approved")
                assert (await in_time(at(pair.two, device).log_in)).status_code == 200
                async with asyncio.timeout(BACK_WITHIN):
                    await until(connection, "consumed")


def _entered(manager: AbstractContextManager[None]) -> ExitStack:
    """Enter where waiting harms nobody; leaving is quick."""
    with ExitStack() as stack:
        stack.enter_context(manager)
        return stack.pop_all()


@pytest.mark.parametrize("name", ["tls", "valkey"])
async def test_a_single_server_that_restarts_without_memory_is_found_again(tmp_path: Path, name: str) -> None:
    with running_kind(name, tmp_path) as kind:
        async with own_pair(kind, tmp_path) as pair:
            phone, device = await pair.phone(), await pair.one.new_pairing()
            async with device.socket() as connection:
                await told(connection)
                kind.fail_over()
                async with asyncio.timeout(BACK_WITHIN):
                    await connection.wait_closed()
                assert connection.close_code == 4404
            assert refusal(await in_time(device.poll)) == (404, "not_found")
            fresh = await pair.two.new_pairing()
            assert (await in_time(lambda: phone.claim(fresh.pairing))).status_code == 200


async def test_a_slot_that_moves_to_another_node_takes_its_pairings_and_waiting_sockets_along(tmp_path: Path) -> None:
    cluster: Cluster
    with running_kind("cluster", tmp_path) as cluster:
        async with own_pair(cluster, tmp_path) as pair, AsyncExitStack() as sockets:
            phone = await pair.phone()
            devices = [await (pair.one, pair.two)[index % 2].new_pairing() for index in range(6)]
            connections = [await sockets.enter_async_context(device.socket()) for device in devices]
            await asyncio.gather(*(told(each) for each in connections))
            for device in devices:
                with cluster.moving_slot(pairing_channel(device.id)):
                    # Asked of its old home, which sends us to the new one for this once.
                    assert (await phone.claim(device.pairing)).status_code == 200
                # And now for good. Nobody is told to come back later.
                assert (await at(pair.two, phone).approve(device.id)).status_code == 200
                assert (await device.poll()).json()["status"] == "approved"
            # Sooner than the sweep, which would tell them as well.
            async with asyncio.timeout(15):
                await asyncio.gather(*(until(each, "approved") for each in connections))


async def test_while_one_node_of_a_cluster_is_away_pairings_on_the_others_go_on(tmp_path: Path) -> None:
    """Its own wait for the failover; nobody else's do."""
    cluster: Cluster
    with running_kind("cluster", tmp_path) as cluster:
        async with own_pair(cluster, tmp_path) as pair:
            phone: Phone = await fresh_phone(pair.one, tmp_path)
            devices = [await pair.one.new_pairing() for _ in range(30)]
            dead = cluster.masters()[0]
            on_it = [each for each in devices if cluster.master_of(pairing_channel(each.id)) is dead]
            elsewhere = [each for each in devices if each not in on_it]
            assert on_it
            assert elsewhere
            dead.pause()
            try:
                answers = await asyncio.gather(*(phone.get(f"/pairings/{each.id}") for each in elsewhere[:1]))
                assert {answer.status_code for answer in answers} == {404}
                polled = await asyncio.gather(*(each.poll() for each in elsewhere))
                assert {answer.status_code for answer in polled} == {200}
            finally:
                dead.resume()
