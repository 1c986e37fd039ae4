"""Redis fails under the servers: closed rather than open, sockets that stay, and the truth once it is back.

Every test breaks a Redis of its own.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import websockets

from tests.processes.conftest import at, end_in, ready, refusal
from tests.support.answers import assert_safe
from tests.support.client import Api, device_headers, socket, told, until, with_api
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, eventually, running

UNAVAILABLE = (503, "unavailable")


@asynccontextmanager
async def on_own_redis(folder: Path, *options: str, **settings: str) -> AsyncIterator[tuple[Server, Api, RedisServer]]:
    redis = RedisServer(folder, *options)
    try:
        async with with_api(running(folder, **({"REDIS_URL": redis.url} | NO_LIMITS | settings))) as (server, api):
            yield server, api, redis
    finally:
        redis.stop()


@pytest.mark.security(26)
async def test_without_redis_every_call_that_needs_it_says_when_to_come_back(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        phone, other_phone = await fresh_phone(api, tmp_path), await fresh_phone(api, tmp_path)
        device, other = await api.new_pairing(), await api.new_pairing()
        await phone.claim(device.pairing)
        redis.stop()
        answers = await asyncio.gather(
            api.http.post("/pairings", headers=device_headers()),
            phone.post("/pairings"),
            phone.claim(other.pairing),
            phone.post("/pairings/claim", {"userCode": other.pairing["userCode"]}),
            device.poll(),
            device.poll("?since=2&wait=1"),
            phone.get(f"/pairings/{device.id}"),
            phone.approve(device.id),
            phone.deny(device.id),
            device.log_in(),
            api.http.delete(f"/pairings/{device.id}", headers=device.headers),
            api.http.get(f"{server.url}/readyz"),
        )
        for answer in answers:
            assert refusal(answer) == UNAVAILABLE
            assert int(answer.headers["retry-after"]) > 0
        # What does not need it goes on, logging out in particular.
        assert (await api.http.delete("/sessions/current", headers=other_phone.headers)).status_code == 204
        assert (await api.http.get(f"{server.url}/healthz")).status_code == 200
        assert (await phone.get("/devices")).status_code == 200
        protocols = [websockets.Subprotocol("pairing.v1")]
        url = f"{server.ws_url}/api/v1/pairings/{device.id}/socket"
        async with websockets.connect(url, subprotocols=protocols, additional_headers=device.headers) as connection:
            async with asyncio.timeout(20):
                message = json.loads(await connection.recv())
                await connection.wait_closed()
            assert message["type"] == "retry"
            assert message["retryAfter"] > 0
            assert connection.close_code == 1013
        redis.start()
        await ready(api)
        assert refusal(await device.poll()) == (404, "not_found")
        fresh = await api.new_pairing()
        async with fresh.socket() as connection:
            await told(connection)
            assert (await phone.claim(fresh.pairing)).status_code == 200
            async with asyncio.timeout(20):
                assert (await told(connection))["status"] == "scanned"


@pytest.mark.security(26)
@pytest.mark.mitigation("6.1.11")
async def test_rate_limits_without_redis_are_closed_not_open(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    async with with_api(running(tmp_path, REDIS_URL=redis.url)) as (_, api):
        phone = await fresh_phone(api, tmp_path)
        redis.stop()
        body = {"refreshKey": phone.keys["refreshKey"]}
        answer = await api.http.post("/sessions/refresh", json=body)
        assert refusal(answer) == UNAVAILABLE
        assert int(answer.headers["retry-after"]) > 0
        redis.start()
        for _ in range(200):
            if (answer := await api.http.post("/sessions/refresh", json=body)).status_code == 200:
                break
            await asyncio.sleep(0.05)
        assert answer.status_code == 200
    redis.stop()


@pytest.mark.security(26)
async def test_a_device_that_is_logged_out_while_redis_hangs_is_out_and_so_is_what_it_approved(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (_, api, redis):
        phone, keeper = [await fresh_phone(api, tmp_path, "alice") for _ in range(2)]
        device = await api.new_pairing()
        await phone.claim(device.pairing)
        assert (await phone.approve(device.id)).status_code == 200
        redis.pause()
        async with asyncio.timeout(7):
            gone = await api.http.delete(f"/devices/{phone.keys['device']['id']}", headers=keeper.headers)
        assert gone.status_code == 204
        assert refusal(await phone.get("/me")) == (401, "unauthenticated")
        redis.resume()
        await ready(api)
        assert refusal(await device.log_in()) == (403, "pairing_denied")


async def test_a_process_ends_in_time_though_redis_hangs(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        device = await api.new_pairing()
        async with device.socket() as connection:
            await told(connection)
            redis.pause()
            asking = [asyncio.create_task(device.poll(query)) for query in ("", "?since=1&wait=30")]
            # And the one that asks.
            await eventually(lambda: server.gauge("pairing_connections_open") == 3, "both calls")
            async with asyncio.timeout(10):
                await asyncio.to_thread(server.stop)
            assert connection.close_code == 1012
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {503}
        redis.resume()


@pytest.mark.security(9)
async def test_sockets_stay_open_while_redis_is_away_and_learn_that_it_forgot_them(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        phone = await fresh_phone(api, tmp_path)
        devices = [await api.new_pairing() for _ in range(5)]
        shown = await phone.show_code()
        async with (
            devices[0].socket() as one,
            devices[1].socket() as two,
            socket(server.ws_url, shown["id"], authKey=phone.keys["authKey"]) as three,
        ):
            connections = (one, two, three)
            await asyncio.gather(*(told(connection) for connection in connections))
            redis.stop()
            await ready(api, status=503)
            assert all(connection.close_code is None for connection in connections)
            assert all(await asyncio.gather(*(_pong(connection) for connection in connections)))
            redis.start()
            async with asyncio.timeout(30):
                await asyncio.gather(*(connection.wait_closed() for connection in connections))
            assert {connection.close_code for connection in connections} == {4404}


async def _pong(connection: websockets.ClientConnection) -> bool:
    async with asyncio.timeout(10):
        await (await connection.ping())
    return True


@pytest.mark.security(9)
async def test_sockets_learn_the_truth_when_redis_comes_back_with_its_memory(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        phone = await fresh_phone(api, tmp_path)
        kept, changed = await api.new_pairing(), await api.new_pairing()
        await phone.claim(changed.pairing)
        elsewhere = running(tmp_path, REDIS_URL=redis.url, **NO_LIMITS, PAIRING_PUBLIC_URL=server.public_url)
        async with (
            with_api(elsewhere) as (_, there),
            kept.socket() as one,
            changed.socket() as two,
        ):
            await asyncio.gather(told(one), told(two))
            redis.pause()
            redis_is_back = asyncio.Event()

            async def decide() -> int:
                await redis_is_back.wait()
                for _ in range(100):
                    answer = await at(there, phone).approve(changed.id)
                    if answer.status_code == 200:
                        return 200
                    await asyncio.sleep(0.1)
                return answer.status_code

            deciding = asyncio.create_task(decide())
            # Longer than any of its links is patient: they are given up and made anew.
            await asyncio.sleep(3.5)
            assert one.close_code is None
            assert two.close_code is None
            redis.resume()
            redis_is_back.set()
            async with asyncio.timeout(30):
                assert (await told(two))["status"] == "approved"
                assert await deciding == 200
            assert (await phone.claim(kept.pairing)).status_code == 200
            async with asyncio.timeout(20):
                assert (await told(one))["status"] == "scanned"


async def test_sockets_outlive_a_redis_that_restarts_with_what_it_wrote_to_disk(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as (_, api, redis):
        phone = await fresh_phone(api, tmp_path)
        devices = [await api.new_pairing() for _ in range(4)]
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(device.socket()) for device in devices]
            for connection in connections:
                await told(connection)
            asking = []
            for device in devices[:2]:
                await phone.claim(device.pairing)
                # Killed with the approval under way: it was made, or it was not, and nothing else.
                asking.append(asyncio.create_task(phone.approve(device.id)))
            await asyncio.sleep(0)
            redis.stop()
            outcomes = {answer.status_code for answer in await asyncio.gather(*asking)}
            assert outcomes <= {200, 503}
            assert refusal(await devices[3].poll()) == UNAVAILABLE
            redis.start()
            await ready(api)
            for device, connection in zip(devices[:2], connections, strict=False):
                assert (await phone.approve(device.id)).json()["version"] == 3
                async with asyncio.timeout(20):
                    await until(connection, "approved")
                assert (await device.log_in()).status_code == 200
            assert (await phone.claim(devices[2].pairing)).status_code == 200
            async with asyncio.timeout(20):
                assert (await told(connections[2]))["status"] == "scanned"
            untouched = (await devices[3].poll()).json()
            assert (untouched["status"], untouched["version"]) == ("pending", 1)
            assert connections[3].close_code is None


@pytest.mark.parametrize("meanwhile", ["nothing", "denied"])
async def test_a_socket_that_was_told_what_a_failover_took_back_starts_anew_and_learns_the_truth(
    tmp_path: Path, meanwhile: str
) -> None:
    async with on_own_redis(tmp_path) as (_, api, redis):
        phone, device = await fresh_phone(api, tmp_path), await api.new_pairing()
        await phone.claim(device.pairing)
        name = f"pairing:{{{device.id}}}"
        with redis.client() as own:
            before = own.dump(name)
            async with device.socket() as connection:
                await told(connection)
                await phone.approve(device.id)
                await until(connection, "approved")
                own.restore(name, 0, before, replace=True)
                if meanwhile == "denied":
                    # The same version once more, with another meaning.
                    assert (await phone.deny(device.id)).json()["version"] == 3
                own.client_kill_filter(_type="pubsub")
                async with asyncio.timeout(15):
                    await connection.wait_closed()
                assert connection.close_code == 1012
        async with device.socket() as connection:
            assert (await told(connection))["status"] == ("denied" if meanwhile == "denied" else "scanned")


@pytest.mark.security(26)
async def test_a_full_redis_refuses_what_is_new_and_loses_nothing_of_what_it_has(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path, PAIRING_LIMIT_REFRESH="60/minute") as (_, api, redis):
        phone = await fresh_phone(api, tmp_path)
        pending, scanned, approved = [await api.new_pairing() for _ in range(3)]
        for device in (scanned, approved):
            await phone.claim(device.pairing)
        await phone.approve(approved.id)
        async with scanned.socket() as connection:
            await told(connection)
            redis.command("CONFIG", "SET", "maxmemory", "1")
            body = {"refreshKey": phone.keys["refreshKey"]}
            refused = await asyncio.gather(
                api.http.post("/pairings", headers=device_headers()),
                phone.post("/pairings"),
                phone.claim(pending.pairing),
                phone.approve(scanned.id),
                approved.log_in(),
                # Closed rather than open: what can't be counted is refused.
                api.http.post("/sessions/refresh", json=body),
            )
            for answer in refused:
                assert refusal(answer) == UNAVAILABLE
                assert int(answer.headers["retry-after"]) > 0
            seen = [(await device.poll()).json() for device in (pending, scanned, approved)]
            assert [(each["status"], each["version"]) for each in seen] == [
                ("pending", 1),
                ("scanned", 2),
                ("approved", 3),
            ]
            redis.command("CONFIG", "SET", "maxmemory", "0")
            assert (await phone.claim(pending.pairing)).status_code == 200
            assert (await phone.approve(scanned.id)).status_code == 200
            async with asyncio.timeout(10):
                await until(connection, "approved")
            for device in (scanned, approved):
                assert (await device.log_in()).status_code == 200
            assert (await api.http.post("/sessions/refresh", json=body)).status_code == 200
            await api.new_pairing()


@pytest.mark.security(26)
async def test_a_redis_that_evicts_is_warned_about_at_start(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path, "--maxmemory-policy", "allkeys-lru") as (server, _, _):
        await eventually(lambda: "redis.misconfigured" in server.log_text(), "the warning")
        assert "allkeys-lru" in server.log_text()
        assert "set noeviction" in server.log_text()


@pytest.mark.security(28)
async def test_every_device_finishes_at_the_other_process_when_its_own_is_stopped(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        phone = await fresh_phone(api, tmp_path)
        elsewhere = running(tmp_path, REDIS_URL=redis.url, **NO_LIMITS, PAIRING_PUBLIC_URL=server.public_url)
        async with with_api(elsewhere) as (other, there):
            devices = [await there.new_pairing() for _ in range(20)]
            await asyncio.gather(*(phone.claim(device.pairing) for device in devices))

            async def finish(index: int) -> str:
                device = devices[index]
                async with device.socket() as connection:
                    await told(connection)
                    connected.release()
                    await connection.wait_closed()
                    assert connection.close_code == 1012
                moved = at(api, device)
                async with moved.socket() as connection:
                    while (await told(connection))["status"] != "approved":
                        pass
                return str((await moved.log_in()).json()["device"]["id"])

            connected = asyncio.Semaphore(0)
            finishing = [asyncio.create_task(finish(index)) for index in range(len(devices))]
            for _ in devices:
                await asyncio.wait_for(connected.acquire(), 20)
            stopping = asyncio.create_task(asyncio.to_thread(other.stop))
            await asyncio.gather(*(phone.approve(device.id) for device in devices))
            async with asyncio.timeout(30):
                ids = await asyncio.gather(*finishing)
            await stopping
            assert len(set(ids)) == len(devices)


@pytest.mark.security(9)
@pytest.mark.mitigation("6.1.2")
@pytest.mark.parametrize("call", ["claim", "approve", "login"])
async def test_a_process_that_was_paused_cannot_use_a_pairing_whose_time_was_over_meanwhile(
    tmp_path: Path, call: str
) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        phone, device = await fresh_phone(api, tmp_path), await api.new_pairing()
        if call != "claim":
            await phone.claim(device.pairing)
        if call == "login":
            await phone.approve(device.id)
        asks = {
            "claim": lambda: phone.claim(device.pairing),
            "approve": lambda: phone.approve(device.id),
            "login": lambda: device.log_in(),
        }
        server.process.popen.send_signal(signal.SIGSTOP)
        asking = asyncio.create_task(asks[call]())
        await asyncio.sleep(0.1)
        end_in(redis, device.id, -1)
        server.process.popen.send_signal(signal.SIGCONT)
        assert refusal(await asking) == (410, "pairing_expired")
        assert (await device.poll()).json()["status"] == "expired"


@pytest.mark.security(21, 22)
async def test_a_failure_of_the_server_itself_is_a_safe_problem_that_tells_nothing(tmp_path: Path) -> None:
    async with on_own_redis(tmp_path) as (server, api, redis):
        device, other = await api.new_pairing(), await api.new_pairing()
        with redis.client() as own:
            # What no version of ours has written.
            own.hset(f"pairing:{{{device.id}}}", "record", '{"id": "SECRET-IN-IT"')
        answer = await device.poll()
        assert refusal(answer) == (500, "internal_error")
        assert_safe(answer.headers)
        assert answer.headers["cache-control"] == "no-store"
        assert "SECRET-IN-IT" not in answer.text
        assert "Traceback" not in answer.text
        async with device.socket() as connection:
            async with asyncio.timeout(10):
                await connection.wait_closed()
            assert connection.close_code == 1011
        assert (await other.poll()).status_code == 200
        assert device.pairing["secret"] not in server.log_text()
