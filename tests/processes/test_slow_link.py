"""The line to Redis is slow, silent or half dead for one of two processes: nothing is missed, nothing hangs."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from tests.processes.conftest import Linked, at, ready, refusal, watched
from tests.support.client import NewDevice, Phone, device_headers, told, until
from tests.support.servers import RedisServer

# Each way, hence 300 ms for a command.
SLOW = 0.15
UNAVAILABLE = (503, "unavailable")
# The contract's: told within 10 s of a link's death; devices and both servers share a small machine here.
TOLD_WITHIN = 15.0


async def claimed(linked: Linked, phone: Phone, count: int) -> list[NewDevice]:
    """Devices at process one whose pairing is one consent away."""
    devices = [await linked.two.new_pairing() for _ in range(count)]
    await asyncio.gather(*(at(linked.two, phone).claim(device.pairing) for device in devices))
    return [at(linked.one, device) for device in devices]


@asynccontextmanager
async def waiting(devices: list[NewDevice]) -> AsyncIterator[list[asyncio.Task[float]]]:
    """The devices' sockets, told of `scanned`; each task ends with the time at which it is told of `approved`."""
    async with AsyncExitStack() as stack:
        connections = await asyncio.gather(*(stack.enter_async_context(device.socket()) for device in devices))
        assert {(await told(connection))["status"] for connection in connections} == {"scanned"}

        async def approved(connection: object) -> float:
            await until(connection, "approved")  # type: ignore[arg-type]
            return time.monotonic()

        yield [asyncio.create_task(approved(connection)) for connection in connections]


async def approve_all(linked: Linked, phone: Phone, devices: list[NewDevice]) -> float:
    """At process two. The time at which all were approved."""
    answers = await asyncio.gather(*(at(linked.two, phone).approve(device.id) for device in devices))
    assert {answer.status_code for answer in answers} == {200}
    return time.monotonic()


async def test_the_whole_story_holds_when_every_command_takes_300_ms(linked: Linked) -> None:
    phone = await linked.phone()
    linked.link.delay(SLOW)

    async def scanned_by_a() -> httpx2.Response:
        device = await linked.one.new_pairing()
        async with device.socket() as connection:
            assert (await told(connection))["status"] == "pending"
            assert (await phone.claim(device.pairing)).status_code == 200
            await until(connection, "scanned")
            assert (await phone.approve(device.id)).status_code == 200
            await until(connection, "approved")
            answer = await device.log_in()
            await until(connection, "consumed")
            return answer

    async def scanned_by_b() -> httpx2.Response:
        device = await linked.one.join(await phone.show_code())
        polling = asyncio.create_task(device.poll("?since=2&wait=20"))
        assert (await phone.approve(device.id)).status_code == 200
        assert (await polling).json()["status"] == "approved"
        return await device.log_in()

    async def typed() -> httpx2.Response:
        device = await linked.one.new_pairing()
        claimed = await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
        assert claimed.status_code == 200
        number = (await phone.approve(device.id)).json()["number"]
        assert refusal(await device.log_in())[1] == "number_required"
        return await device.log_in({"number": number})

    async def taken_back() -> httpx2.Response:
        device = await linked.one.new_pairing()
        return await linked.one.http.delete(f"/pairings/{device.id}", headers=device.headers)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(scanned_by_a(), scanned_by_b(), typed(), taken_back())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 204]
    body = {"refreshKey": answers[0].json()["refreshKey"]}
    assert (await linked.one.http.post("/sessions/refresh", json=body)).status_code == 200


async def test_two_hundred_sockets_behind_a_slow_line_are_all_told(linked: Linked) -> None:
    phone = await linked.phone()
    devices = await claimed(linked, phone, 200)
    linked.link.delay(SLOW)
    async with waiting(devices) as tellings:
        approved_at = await approve_all(linked, phone, devices)
        async with asyncio.timeout(TOLD_WITHIN):
            told_at = await asyncio.gather(*tellings)
    assert max(told_at) - approved_at < TOLD_WITHIN


async def test_sockets_that_come_and_go_while_confirmations_lag_miss_nothing(linked: Linked) -> None:
    """Subscriptions arrive later than what is read: who reads before the confirmation would never hear of a change."""
    phone, rng = await linked.phone(), random.Random(1)
    devices = await claimed(linked, phone, 60)
    linked.link.delay(SLOW, "pubsub")

    async def watch(device: NewDevice) -> float:
        """Come and go, then stay, and be approved the moment that the state has been read."""
        for _ in range(rng.randrange(2, 5)):
            async with device.socket():
                await asyncio.sleep(rng.uniform(0, 3 * SLOW))
            await asyncio.sleep(rng.uniform(0, 3 * SLOW))
        async with device.socket() as connection:
            await told(connection)
            await approve_all(linked, phone, [device])
            approved_at = time.monotonic()
            await until(connection, "approved")
            return time.monotonic() - approved_at

    async with asyncio.timeout(60):
        delays = await asyncio.gather(*(watch(device) for device in devices))
    # The sweep wakes each channel every 25 s: what was missed would show as seconds.
    assert max(delays) < 3.0


async def test_a_pub_sub_link_that_dies_without_a_word_is_noticed_and_made_up_for(
    linked: Linked, redis_server: RedisServer
) -> None:
    phone = await linked.phone()
    devices = await claimed(linked, phone, 30)
    polled = await claimed(linked, phone, 10)
    async with waiting(devices) as tellings:
        polls = [asyncio.create_task(device.poll("?since=2&wait=30")) for device in polled]
        await watched(redis_server, polled)
        linked.link.freeze("pubsub")
        await approve_all(linked, phone, devices + polled)
        async with asyncio.timeout(TOLD_WITHIN):
            await asyncio.gather(*tellings)
            answers = await asyncio.gather(*polls)
    assert {answer.json()["status"] for answer in answers} == {"approved"}


@pytest.mark.parametrize("fault", ["refused", "black hole"])
async def test_without_a_pub_sub_link_polls_go_on_and_waiting_sockets_learn_the_truth(
    linked: Linked, fault: str
) -> None:
    phone = await linked.phone()
    devices = await claimed(linked, phone, 20)
    polled = await claimed(linked, phone, 5)
    async with waiting(devices) as tellings:
        if fault == "refused":
            linked.link.refuse("pubsub")
            linked.link.cut("pubsub")
        else:
            linked.link.black_hole("pubsub")
        polls = [asyncio.create_task(device.poll("?since=2&wait=30")) for device in polled]
        approved_at = await approve_all(linked, phone, devices + polled)
        fresh = await linked.one.new_pairing()
        assert (await phone.claim(fresh.pairing)).status_code == 200
        async with asyncio.timeout(TOLD_WITHIN):
            # A new socket would be deaf, and is sent elsewhere.
            async with fresh.socket() as connection:
                assert json.loads(await connection.recv())["type"] == "retry"
                await connection.wait_closed()
                assert connection.close_code == 1013
            # A long poll that can't be woken is a slow poll.
            assert {answer.json()["status"] for answer in await asyncio.gather(*polls)} == {"approved"}
        assert (await polled[0].log_in()).status_code == 200
        assert (await phone.approve(fresh.id)).status_code == 200
        if fault == "refused":
            linked.link.accept()
        # Else there is only the sweep, which re-reads every watched pairing at least every 30 s.
        async with asyncio.timeout(35):
            assert max(await asyncio.gather(*tellings)) - approved_at < 30
    linked.link.heal()
    async with asyncio.timeout(TOLD_WITHIN), fresh.socket() as connection:
        await until(connection, "approved")


async def test_command_links_that_die_without_a_word_are_replaced(linked: Linked) -> None:
    """A firewall has forgotten them: whoever meets one is told 503 in time, and finds a new one by repeating."""
    phone = await linked.phone()
    devices = await claimed(linked, phone, 40)
    await asyncio.gather(*(device.poll() for device in devices))
    linked.link.freeze("commands")

    async def approve(device: NewDevice) -> int:
        for tries in range(1, 4):
            async with asyncio.timeout(6):
                answer = await phone.approve(device.id)
            if answer.status_code == 200:
                return tries
            assert refusal(answer) == UNAVAILABLE
        raise AssertionError("three times in vain")

    assert max(await asyncio.gather(*(approve(device) for device in devices))) > 1
    assert {(await device.poll()).json()["status"] for device in devices} == {"approved"}


async def test_commands_into_a_black_hole_are_503s_within_seconds_and_all_works_by_itself_afterwards(
    linked: Linked,
) -> None:
    phone = await linked.phone()
    devices = await claimed(linked, phone, 20)
    other = (await claimed(linked, phone, 1))[0]
    spare = await linked.two.new_pairing()
    assert (await phone.get("/me")).status_code == 200
    async with waiting(devices) as tellings:
        linked.link.black_hole()
        started = time.monotonic()
        answers: list[httpx2.Response] = await asyncio.gather(
            linked.one.http.post("/pairings", headers=device_headers()),
            phone.post("/pairings"),
            phone.claim(spare.pairing),
            phone.approve(other.id),
            phone.deny(other.id),
            other.poll(),
            other.poll("?since=2&wait=30"),
            other.log_in(),
            linked.one.http.get(f"{linked.one.url}/readyz"),
            *(device.poll() for device in devices * 5),
        )
        # Many at once, more than there are connections: a full pool must not add its wait to Redis's.
        assert time.monotonic() - started < 7
        for answer in answers:
            assert refusal(answer) == UNAVAILABLE
            assert int(answer.headers["retry-after"]) > 0
        assert (await phone.get("/me")).status_code == 200
        await approve_all(linked, phone, devices)
        linked.link.heal()
        await ready(linked.one)
        async with asyncio.timeout(TOLD_WITHIN):
            await asyncio.gather(*tellings)
    assert (await devices[0].log_in()).status_code == 200
