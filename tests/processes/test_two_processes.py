"""Two server processes on one Redis behave as one: flows across them, take-over, revocation, changing the transport."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
import websockets

from tests.processes.conftest import Pair, at, refusal, watched
from tests.support.client import NewDevice, Phone, code_of, device_headers, socket, told, until
from tests.support.servers import RedisServer, eventually


async def test_an_approval_in_one_process_reaches_the_new_device_at_the_other(pair: Pair) -> None:
    phone, device = await pair.phone(), await pair.two.new_pairing()
    async with device.socket() as waiting:
        assert (await told(waiting))["status"] == "pending"
        assert (await phone.claim(device.pairing)).status_code == 200
        assert (await told(waiting))["status"] == "scanned"
        assert (await phone.approve(device.id)).status_code == 200
        assert (await told(waiting))["status"] == "approved"
        keys = (await at(pair.one, device).log_in()).json()
        assert (await told(waiting))["status"] == "consumed"
    for api in (pair.one, pair.two):
        me = await api.http.get("/me", headers={"Auth-Key": keys["authKey"]})
        assert me.json()["user"] == phone.keys["user"]


async def test_a_code_shown_at_one_process_is_joined_at_the_other(pair: Pair) -> None:
    phone = await pair.phone()
    shown = await phone.show_code()
    async with socket(pair.servers[0].ws_url, shown["id"], authKey=phone.keys["authKey"]) as showing:
        assert (await told(showing))["status"] == "pending"
        device = await pair.two.join(shown)
        assert (await told(showing))["newDevice"]["reported"]["name"] == "Test device"
        async with device.socket() as waiting:
            await told(waiting)
            await phone.approve(device.id)
            assert (await told(waiting))["status"] == "approved"
        await until(showing, "approved")
        keys = (await device.log_in()).json()
        assert (await until(showing, "consumed"))["newDevice"]["deviceId"] == keys["device"]["id"]


async def test_a_typed_code_works_at_either_process(pair: Pair) -> None:
    phone, device = await pair.phone(), await pair.two.new_pairing()
    claimed = await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    assert claimed.json()["id"] == device.id
    number = (await at(pair.two, phone).approve(device.id)).json()["number"]
    assert (await phone.get(f"/pairings/{device.id}")).json()["number"] == number
    assert (await at(pair.one, device).log_in({"number": number})).status_code == 200


async def test_a_long_poll_at_one_process_hears_of_the_other(pair: Pair, redis_server: RedisServer) -> None:
    phone, device = await pair.phone(), await pair.two.new_pairing()
    waiting = asyncio.create_task(device.poll("?since=1&wait=30"))
    await watched(redis_server, [device])
    await phone.claim(device.pairing)
    answer = await asyncio.wait_for(waiting, 10)
    assert answer.json()["status"] == "scanned"


@pytest.mark.security(27)
async def test_a_newer_socket_at_the_other_process_takes_over(pair: Pair) -> None:
    device = await pair.one.new_pairing()
    async with device.socket() as first:
        await told(first)
        async with at(pair.two, device).socket() as second:
            await told(second)
            async with asyncio.timeout(10):
                await first.wait_closed()
            assert first.close_code == 4409
            async with device.socket() as third:
                await told(third)
                async with asyncio.timeout(10):
                    await second.wait_closed()
                assert second.close_code == 4409


async def test_of_sockets_that_open_at_once_at_both_processes_one_stays(pair: Pair) -> None:
    async def closed(connection: websockets.ClientConnection) -> int | None:
        await connection.wait_closed()
        return connection.close_code

    for _ in range(10):
        device = await pair.one.new_pairing()
        async with AsyncExitStack() as stack:
            homes = [at(pair.one, device), at(pair.two, device)] * 3
            opened = await asyncio.gather(*(stack.enter_async_context(home.socket()) for home in homes))
            ends = [asyncio.create_task(closed(connection)) for connection in opened]
            await eventually(lambda ends=ends: sum(end.done() for end in ends) == 5, "five of six giving way")
            assert {end.result() for end in ends if end.done()} == {4409}
            stays = opened[[end.done() for end in ends].index(False)]
            await device.api.http.delete(f"/pairings/{device.id}", headers=device.headers)
            await until(stays, "cancelled")
            await asyncio.gather(*ends)


async def let_in(pair: Pair, phone: Phone) -> Phone:
    device = await pair.one.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    return Phone(pair.one, (await device.log_in()).json())


@pytest.mark.security(16)
@pytest.mark.mitigation("6.1.6")
async def test_a_revoked_devices_key_is_dead_on_both_processes_within_5_seconds(pair: Pair) -> None:
    phone = await pair.phone()
    second = await let_in(pair, phone)
    # Both have it in mind.
    for api in (pair.one, pair.two):
        assert (await at(api, second).get("/me")).status_code == 200
    gone = await pair.one.http.delete(f"/devices/{second.keys['device']['id']}", headers=phone.headers)
    assert gone.status_code == 204
    assert refusal(await second.get("/me")) == (401, "unauthenticated")
    body = {"refreshKey": second.keys["refreshKey"]}
    assert refusal(await pair.two.http.post("/sessions/refresh", json=body)) == (401, "unauthenticated")
    end = time.monotonic() + 5
    while (await at(pair.two, second).get("/me")).status_code == 200:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.mark.security(16)
async def test_a_revoked_devices_sockets_at_the_other_process_close_though_it_has_just_been_busy_there(
    pair: Pair,
) -> None:
    phone = await pair.phone()
    second = await let_in(pair, phone)
    shown = await second.show_code()
    protocols, url = [websockets.Subprotocol("pairing.v1")], pair.servers[1].ws_url
    async with (
        websockets.connect(
            f"{url}/api/v1/socket", subprotocols=protocols, additional_headers=second.headers
        ) as account,
        socket(url, shown["id"], authKey=second.keys["authKey"]) as pairing,
    ):
        await told(pairing)
        assert (await at(pair.two, second).get("/me")).status_code == 200
        await pair.one.http.delete(f"/devices/{second.keys['device']['id']}", headers=phone.headers)
        async with asyncio.timeout(5):
            await asyncio.gather(account.wait_closed(), pairing.wait_closed())
        assert (account.close_code, pairing.close_code) == (4401, 4401)


@pytest.mark.security(7)
async def test_a_locked_account_is_locked_on_both_processes(pair: Pair) -> None:
    phone = await pair.phone("locked-everywhere")
    for api in (pair.one, pair.two):
        assert (await api.http.get("/me", headers=phone.headers)).status_code == 200
    assert pair.servers[0].cli("user", "lock", "locked-everywhere").returncode == 0
    for api in (pair.one, pair.two):
        end = time.monotonic() + 5
        while (answer := await api.http.get("/me", headers=phone.headers)).status_code == 200:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert refusal(answer) == (403, "account_locked")


async def test_a_client_that_changes_between_socket_and_polling_at_two_processes_misses_nothing(pair: Pair) -> None:
    phone = await pair.phone()
    for step in range(10):
        here, there = (pair.one, pair.two) if step % 2 else (pair.two, pair.one)
        device = await here.new_pairing()
        seen = []
        async with device.socket() as connection:
            seen.append(await told(connection))
        claiming = asyncio.create_task(at(there, phone).claim(device.pairing))
        polled = (await at(there, device).poll(f"?since={seen[-1]['version']}&wait=20")).json()
        seen.append(polled)
        await claiming
        approving = asyncio.create_task(at(here, phone).approve(device.id))
        async with at(there, device).socket() as connection:
            while seen[-1]["status"] != "approved":
                async with asyncio.timeout(10):
                    message = json.loads(await connection.recv())["pairing"]
                if message["version"] > seen[-1]["version"]:
                    seen.append(message)
        await approving
        logging_in = asyncio.create_task(at(here, device).log_in())
        polled = (await device.poll(f"?since={seen[-1]['version']}&wait=20")).json()
        seen.append(polled)
        await logging_in
        assert [each["status"] for each in seen] == ["pending", "scanned", "approved", "consumed"]
        assert [each["version"] for each in seen] == [1, 2, 3, 4]


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6")
async def test_requests_are_counted_over_both_processes_and_both_tell_the_same_warning(pair: Pair) -> None:
    phone = await pair.phone()
    for number in range(6):
        here, there = (pair.one, pair.two) if number % 2 else (pair.two, pair.one)
        device = await here.new_pairing()
        claimed = (await at(there, phone).claim(device.pairing)).json()
        assert claimed.get("warnings") == (["many_requests"] if number == 5 else None)
        assert (await at(here, phone).get(f"/pairings/{device.id}")).json().get("warnings") == claimed.get("warnings")


@pytest.mark.security(3)
async def test_a_claimant_without_luck_at_the_other_process_learns_nothing(pair: Pair) -> None:
    phone, late = await pair.phone(), await pair.phone()
    device: NewDevice = await pair.one.new_pairing(device_headers(name="Private"))
    await phone.claim(device.pairing)
    answer = await at(pair.two, late).claim(device.pairing)
    assert refusal(answer) == (409, "already_claimed")
    assert "Private" not in answer.text
    wrong = await at(pair.two, late).post(f"/pairings/{device.id}/claim", {"code": code_of(device.pairing) + "x"})
    assert refusal(wrong) == (404, "not_found")
