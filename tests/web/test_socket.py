"""The sockets: what is told in which order, who else listens, the end. Two processes: see processes/."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.client import Api, NewDevice, Phone, device_headers, socket, told, until, with_api
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS, NO_LIMITS_INSIDE
from tests.support.servers import Server, running
from tests.support.sockets import CAP, auth, close_code, raw
from tests.web.conftest import NewPhone

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
