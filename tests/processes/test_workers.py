"""`serve --workers 3` behaves as one server: metrics that add up, workers that die or hang and are replaced, and an end
that is clean whatever state they are in."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.processes.conftest import watched
from tests.support.client import Api, NewDevice, told, until, with_api
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, clean_environment, eventually, run_cli, running, wait_for

WORKERS = 3


@pytest.fixture(scope="module")
def settings(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # A parent that is killed can't remove what its workers counted in.
    scratch = str(tmp_path_factory.mktemp("metrics"))
    return {"REDIS_URL": redis_server.url, "WEB_CONCURRENCY": str(WORKERS), "TMPDIR": scratch, **NO_LIMITS}


@pytest.fixture(scope="module")
def crew(folder: Path, settings: dict[str, Any]) -> Iterator[Server]:
    with running(folder, **settings) as server:
        yield server


@pytest.fixture
async def api(crew: Server) -> AsyncIterator[Api]:
    await complete(crew)
    async with each_call_anew(crew) as client:
        yield client


def each_call_anew(server: Server) -> Api:
    """Each call on a connection of its own, so that the kernel chooses a worker for each."""
    client = Api(server.url)
    limits = httpx2.Limits(max_keepalive_connections=0)
    client.http = httpx2.AsyncClient(base_url=f"{server.url}/api/v1", timeout=30, limits=limits, verify=False)
    return client


def workers(server: Server) -> set[int]:
    parent = server.process.popen.pid
    found = set()
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(OSError):
            # Beside them there is Python's own keeper of shared resources.
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


async def metrics(server: Server) -> dict[str, float]:
    async with each_call_anew(server) as client:
        text = (await client.http.get(f"{server.url}/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(pairing_\S+) (\S+)$", text, re.M)}


async def in_time(check: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    async with asyncio.timeout(within):
        while True:
            # A connection may just have been given to one that is killed.
            with suppress(httpx2.TransportError):
                if await check():
                    return
            await asyncio.sleep(0.1)


async def complete(server: Server) -> None:
    """Wait until all workers serve."""

    async def so() -> bool:
        return (await metrics(server)).get("pairing_workers") == WORKERS == len(workers(server))

    await in_time(so)


async def everywhere(server: Server) -> list[dict[str, float]]:
    """What many scrapes see: whichever worker answers, it is asked."""
    return await asyncio.gather(*(metrics(server) for _ in range(12)))


async def gone(*pids: int) -> None:
    def alive(pid: int) -> bool:
        try:
            # A zombie is dead.
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    await eventually(lambda: not any(map(alive, pids)), "the end of the workers", 30)


@asynccontextmanager
async def sockets(devices: list[NewDevice]) -> AsyncIterator[list[websockets.ClientConnection]]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(device.socket()) for device in devices]
        for each in opened:
            await told(each)
        yield opened


async def finish(api: Api, folder: Path, devices: list[NewDevice]) -> None:
    """Each device opens a socket with the secret it has, is approved, is told and logs in."""
    phone = await fresh_phone(api, folder)

    async def one(device: NewDevice) -> None:
        here = NewDevice(api, device.pairing, device.device)
        async with here.socket() as waiting:
            await told(waiting)
            assert (await phone.claim(device.pairing)).status_code == 200
            assert (await phone.approve(device.id)).status_code == 200
            await until(waiting, "approved")
        assert (await here.log_in()).status_code == 200

    await asyncio.gather(*(one(device) for device in devices))


async def test_metrics_add_up_whichever_worker_is_asked(crew: Server, api: Api) -> None:
    before = await metrics(crew)
    async with sockets(await asyncio.gather(*(api.new_pairing() for _ in range(30)))):
        created = 'pairing_events_total{event="create"}'
        answered = 'pairing_requests_total{method="POST",route="/api/v1/pairings",status="201"}'
        for seen in await everywhere(crew):
            assert seen["pairing_sockets_open"] == 30
            assert seen["pairing_workers"] == WORKERS
            assert seen[created] == before.get(created, 0) + 30
            assert seen[answered] == before.get(answered, 0) + 30


def test_metrics_are_told_while_a_worker_is_making_its_file(crew: Server) -> None:
    file = next(Path(crew.env["TMPDIR"]).glob("pairing-metrics-*")) / "counter_0.db"
    file.touch()
    remove = threading.Timer(0.1, file.unlink)
    remove.start()
    assert asyncio.run(metrics(crew))["pairing_workers"] == WORKERS
    remove.join()


async def test_routes_are_counted_and_not_the_paths_that_strangers_choose(crew: Server, api: Api) -> None:
    for path in ("/secret-path", "/api/v1/pairings/nobodys"):
        await api.http.request("BREW", f"{crew.url}{path}")
        await api.http.get(f"{crew.url}{path}")
    names = [name for name in await metrics(crew) if name.startswith("pairing_requests_total")]
    assert not [name for name in names if "secret-path" in name or "nobodys" in name or "BREW" in name]
    assert 'pairing_requests_total{method="GET",route="none",status="404"}' in names
    assert 'pairing_requests_total{method="GET",route="/api/v1/pairings/{id}",status="401"}' in names


async def test_a_killed_worker_is_replaced_and_its_devices_finish_elsewhere(crew: Server, api: Api) -> None:
    devices = await asyncio.gather(*(api.new_pairing() for _ in range(30)))
    async with sockets(devices) as connections:
        before, old = await metrics(crew), workers(crew)
        victim = min(old)
        os.kill(victim, signal.SIGKILL)

        async def noticed() -> bool:
            return (await metrics(crew))["pairing_sockets_open"] < 30

        await in_time(noticed)
        await complete(crew)
        left = [each for each in connections if each.close_code is None]
        # Neither none nor all: the kernel spreads connections over the workers.
        assert 0 < len(left) < 30
        assert {each.close_code for each in connections} == {None, 1006}
        for seen in await everywhere(crew):
            assert seen["pairing_sockets_open"] == len(left)
            assert all(seen[name] >= value for name, value in before.items() if "_total" in name)
            assert seen['pairing_events_total{event="create"}'] == before['pairing_events_total{event="create"}']
        assert workers(crew) & old == old - {victim}
        lost = [device for device, each in zip(devices, connections, strict=True) if each not in left]
        await finish(api, crew.folder, lost)


async def test_on_sighup_every_worker_is_replaced_and_no_call_fails(crew: Server, api: Api) -> None:
    device = await api.new_pairing()
    async with sockets([device]) as (waiting,):
        old, most, answers = workers(crew), 0, set()
        crew.process.popen.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while workers(crew) & old:
                answers.add((await device.poll()).status_code)
                most = max(most, len(workers(crew)))
        assert answers == {200}
        # One more than usual at the most, or a machine that is just large enough would not do.
        assert most == WORKERS + 1
        await eventually(lambda: waiting.close_code == 1012, "the old worker's farewell")
    await complete(crew)
    await finish(api, crew.folder, [device])


async def test_what_keeps_a_new_worker_from_starting_leaves_the_others_alone(crew: Server, api: Api) -> None:
    file = crew.folder / "pairing-keys.json"
    kept = file.with_suffix(".kept")
    file.rename(kept)
    file.touch(0o600)
    try:
        os.kill(min(workers(crew)), signal.SIGKILL)
        await eventually(lambda: crew.log_text().count("KeyFileError") > 1, "two attempts", 20)
        assert (await api.http.get(f"{crew.url}/readyz")).status_code == 200
    finally:
        kept.rename(file)
    await complete(crew)


async def test_the_port_of_a_running_server_is_refused_and_not_shared(crew: Server, settings: dict[str, Any]) -> None:
    done = await asyncio.to_thread(
        run_cli, "serve", "--port", str(crew.port), folder=crew.folder, env=clean_environment() | crew.env
    )
    assert done.returncode != 0
    assert "in use" in done.stderr


@pytest.mark.security(28)
async def test_sigterm_ends_all_workers_within_10_seconds_and_every_device_finishes_later(
    crew: Server, api: Api, redis_server: RedisServer
) -> None:
    devices = await asyncio.gather(*(api.new_pairing() for _ in range(30)))
    polled = await asyncio.gather(*(api.new_pairing() for _ in range(30)))
    async with sockets(devices) as connections:
        polls = [asyncio.create_task(device.poll("?since=1&wait=30")) for device in polled]
        await watched(redis_server, polled)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(crew.stop) == 0
        assert [(await poll).json()["status"] for poll in polls] == ["pending"] * 30
        await eventually(lambda: all(each.close_code for each in connections), "the farewells")
        assert {each.close_code for each in connections} == {1012}
    await asyncio.to_thread(crew.start)
    await finish(api, crew.folder, [*devices, *polled])


async def test_a_worker_that_hangs_is_replaced_and_holds_up_no_end(
    crew: Server, tmp_path: Path, settings: dict[str, Any]
) -> None:
    await complete(crew)
    stopped, old = min(workers(crew)), workers(crew)
    os.kill(stopped, signal.SIGSTOP)
    with running(tmp_path, **settings) as other:
        await complete(other)
        # Both at the same time, because each takes its time.
        os.kill(min(workers(other)), signal.SIGSTOP)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(other.stop) == 0
    await gone(stopped)
    await complete(crew)
    assert workers(crew) & old == old - {stopped}


async def test_workers_do_not_outlive_a_killed_parent(crew: Server, api: Api) -> None:
    device = await api.new_pairing()
    async with sockets([device]) as (waiting,):
        orphans = workers(crew)
        crew.process.popen.kill()
        crew.process.popen.wait()
        await gone(*orphans)
        assert waiting.close_code == 1012
    await asyncio.to_thread(crew.start)
    await finish(api, crew.folder, [device])


def test_a_thread_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    hangs = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    (tmp_path / "sitecustomize.py").write_text(hangs)
    with running(tmp_path, PYTHONPATH=f"{tmp_path}:{clean_environment()['PYTHONPATH']}") as server:
        assert server.stop() == 0


async def test_one_process_that_is_told_to_reload_leaves_in_order(tmp_path: Path) -> None:
    async with with_api(running(tmp_path, **NO_LIMITS)) as (server, api):
        device = await api.new_pairing()
        async with device.socket() as connection:
            await told(connection)
            assert await asyncio.to_thread(server.stop, signal.SIGHUP) == 0
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_process_ends_as_cleanly_as_many(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as server:
        wait_for(lambda: httpx2.get(f"{server.url}/metrics").text.count("pairing_workers 1.0") == 1, "its count")
        assert server.stop(number) == 0
