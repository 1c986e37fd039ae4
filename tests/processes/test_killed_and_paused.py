"""A process is killed without warning, or stands still for a while: nothing is lost, nothing stale is written."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
import websockets

from tests.processes.conftest import Linked, Pair, at, refusal, watched
from tests.support.client import Api, NewDevice, Phone, device_headers, told, until
from tests.support.servers import RedisServer, Server

GONE = (httpx2.TransportError, websockets.ConnectionClosed, OSError)


async def wherever(pair: Pair, call: Callable[[Api], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Asked of process one, and of the other one when it has not answered: what a client or its proxy does."""
    try:
        answer = await call(pair.one)
        if answer.status_code != 503:
            return answer
    except GONE:
        pass
    return await call(pair.two)


async def approval_told(pair: Pair, device: NewDevice, listening: asyncio.Semaphore) -> None:
    """By its socket at process one, and when that breaks, by one at the other."""
    try:
        async with device.socket() as connection:
            await told(connection)
            listening.release()
            await until(connection, "approved")
            return
    except GONE:
        listening.release()
    async with at(pair.two, device).socket() as connection:
        await until(connection, "approved")


async def polled(pair: Pair, device: NewDevice, listening: asyncio.Semaphore) -> None:
    seen = 1
    while True:
        listening.release()
        query = f"?since={seen}&wait=20"
        pairing = (await wherever(pair, lambda api, query=query: at(api, device).poll(query))).json()  # type: ignore[misc]
        if pairing["status"] == "approved":
            return
        seen = pairing["version"]


@pytest.mark.parametrize("after", [0.04, 0.15])
async def test_a_process_that_is_killed_under_way_costs_nobody_a_login_and_nothing_is_half_written(
    pair: Pair, after: float
) -> None:
    phone, rng = await pair.phone(), random.Random(after)
    others = [await pair.phone() for _ in range(10)]
    devices = [await pair.one.new_pairing() for _ in range(60)]
    listening = asyncio.Semaphore(0)

    async def approve(device: NewDevice) -> None:
        await asyncio.sleep(rng.uniform(0, 0.2))
        answer = await wherever(pair, lambda api: at(api, phone).claim(device.pairing))
        assert answer.status_code == 200, answer.text
        answer = await wherever(pair, lambda api: at(api, phone).approve(device.id))
        assert answer.status_code == 200, answer.text

    async def live(index: int) -> httpx2.Response:
        device = devices[index]
        await (polled if index % 4 == 0 else approval_told)(pair, device, listening)
        return await wherever(pair, lambda api: at(api, device).log_in())

    async def refresh(other: Phone) -> None:
        await asyncio.sleep(rng.uniform(0, 0.2))
        body = {"refreshKey": other.keys["refreshKey"]}
        answer = await wherever(pair, lambda api: api.http.post("/sessions/refresh", json=body))
        assert answer.status_code == 200, answer.text
        other.keys = answer.json()

    async def create() -> None:
        await asyncio.sleep(rng.uniform(0, 0.2))
        answer = await wherever(pair, lambda api: api.http.post("/pairings", headers=device_headers()))
        assert answer.status_code == 201, answer.text

    living = [asyncio.create_task(live(index)) for index in range(len(devices))]
    async with asyncio.timeout(20):
        for _ in devices:
            await listening.acquire()
    under_way = [*(approve(device) for device in devices), *map(refresh, others), *(create() for _ in range(10))]
    calling = [asyncio.create_task(each) for each in under_way]
    await asyncio.sleep(after)
    pair.servers[0].stop(signal.SIGKILL)
    async with asyncio.timeout(30):
        await asyncio.gather(*calling)
        answers = await asyncio.gather(*living)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == len(devices)
    assert await pair.sessions_and_devices(phone) == (1 + len(devices), 1 + len(devices))
    pair.servers[0].start()
    mine = (await phone.get("/devices")).json()["devices"]
    assert len(mine) == 1 + len(devices)
    for keys, owner in [*((answer.json(), phone) for answer in answers[:5]), *((each.keys, each) for each in others)]:
        me = await pair.one.http.get("/me", headers={"Auth-Key": keys["authKey"]})
        assert me.json()["user"] == owner.keys["user"]


@pytest.mark.security(7)
async def test_a_process_that_is_killed_between_the_swap_and_the_keys_leaves_the_login_to_the_other(
    linked: Linked,
) -> None:
    phone, device = await linked.phone(), await linked.one.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    linked.link.lose_answer_to(b'"status":"consumed"', silently=True)
    under_way = asyncio.create_task(device.log_in())
    assert await asyncio.to_thread(linked.link.caught.wait, 10)
    linked.servers[0].stop(signal.SIGKILL)
    with pytest.raises(httpx2.TransportError):
        await under_way
    assert await linked.sessions_and_devices(phone) == (1, 1)
    assert (await at(linked.two, device).log_in()).status_code == 200
    assert await linked.sessions_and_devices(phone) == (2, 2)
    linked.servers[0].start()


@asynccontextmanager
async def paused(server: Server) -> AsyncIterator[None]:
    server.process.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.popen.send_signal(signal.SIGCONT)


async def test_sockets_of_a_process_that_stood_still_are_told_what_happened_meanwhile(
    linked: Linked, redis_server: RedisServer
) -> None:
    phone = at(linked.two, await linked.phone())
    ends = ("scanned", "approved", "denied", "cancelled", "consumed")
    devices = {end: [await linked.one.new_pairing() for _ in range(4)] for end in ends}
    everybody = [device for group in devices.values() for device in group]

    async def bring_to(end: str, device: NewDevice) -> None:
        await phone.claim(device.pairing)
        if end in ("approved", "consumed"):
            await phone.approve(device.id)
        if end == "denied":
            await phone.deny(device.id)
        if end == "cancelled":
            await linked.two.http.delete(f"/pairings/{device.id}", headers=device.headers)
        if end == "consumed":
            await at(linked.two, device).log_in()

    async def first_told(device: NewDevice) -> str:
        async with device.socket() as connection:
            return str((await told(connection))["status"])

    async with AsyncExitStack() as stack:
        connections = await asyncio.gather(*(stack.enter_async_context(device.socket()) for device in everybody))
        assert {(await told(connection))["version"] for connection in connections} == {1}
        polled = await linked.one.new_pairing()
        polling = asyncio.create_task(polled.poll("?since=1&wait=30"))
        await watched(redis_server, [polled])
        # Longer than its links' patience and than the 5 s after which it checks them.
        async with paused(linked.servers[0]):
            calls = (
                linked.one.http.post("/pairings", headers=device_headers()),
                linked.one.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]}),
                at(linked.one, phone).get("/me"),
            )
            calling = [asyncio.create_task(call) for call in calls]
            connecting = asyncio.create_task(first_told(polled))
            await asyncio.gather(*(bring_to(end, device) for end in ends for device in devices[end]))
            await phone.claim(polled.pairing)
            await asyncio.sleep(6)
        # Answered late, and by what is true then.
        assert [answer.status_code for answer in await asyncio.gather(*calling)] == [201, 200, 200]
        assert (await polling).json()["status"] == await connecting == "scanned"
        wanted = [end for end in ends for _ in devices[end]]
        async with asyncio.timeout(15):
            await asyncio.gather(*(until(*each) for each in zip(connections, wanted, strict=True)))
            # The others have more to come.
            for connection, end in zip(connections, wanted, strict=True):
                if end in ("denied", "cancelled", "consumed"):
                    await connection.wait_closed()
                    assert connection.close_code == 1000


MEANWHILE = {
    ("claim", "claimed by another"): (409, "already_claimed"),
    ("claim", "cancelled"): (410, "pairing_cancelled"),
    ("approve", "denied"): (409, "invalid_state"),
    ("approve", "cancelled"): (410, "pairing_cancelled"),
    ("approve", "logged out"): (401, "unauthenticated"),
    ("login", "denied"): (403, "pairing_denied"),
    ("login", "cancelled"): (410, "pairing_cancelled"),
    ("login", "logged out"): (403, "pairing_denied"),
    ("cancel", "consumed"): (409, "invalid_state"),
    ("deny", "consumed"): (409, "invalid_state"),
}


@pytest.mark.security(6, 9)
@pytest.mark.parametrize(("call", "meanwhile"), MEANWHILE, ids=[" while ".join(each) for each in MEANWHILE])
async def test_a_process_that_stood_still_between_reading_and_writing_overwrites_nothing(
    linked: Linked, call: str, meanwhile: str
) -> None:
    """What it reads is held on its way back, then it is stopped; when it goes on, it acts on a state that is over."""
    phone, other, keeper = await linked.phone("owner"), await linked.phone(), await linked.phone("owner")
    device = await linked.one.new_pairing()
    there, phone_there = at(linked.two, device), at(linked.two, phone)
    if call != "claim":
        await phone.claim(device.pairing)
    if call in ("login", "cancel", "deny"):
        await phone.approve(device.id)

    async def cancel(device: NewDevice) -> httpx2.Response:
        return await device.api.http.delete(f"/pairings/{device.id}", headers=device.headers)

    calls: dict[str, Callable[[], Coroutine[Any, Any, httpx2.Response]]] = {
        "claim": lambda: phone.claim(device.pairing),
        "approve": lambda: phone.approve(device.id),
        "deny": lambda: phone.deny(device.id),
        "login": device.log_in,
        "cancel": lambda: cancel(device),
    }
    changes: dict[str, Callable[[], Awaitable[httpx2.Response]]] = {
        "claimed by another": lambda: at(linked.two, other).claim(device.pairing),
        "cancelled": lambda: cancel(there),
        "denied": lambda: phone_there.deny(device.id),
        "consumed": there.log_in,
        "logged out": lambda: linked.two.http.delete(f"/devices/{phone.keys['device']['id']}", headers=keeper.headers),
    }
    # Authenticated a moment ago, and with scripts that Redis knows: the pairing is all that is left to read first.
    assert (await phone.get("/me")).status_code == 200
    assert (await device.poll()).status_code == 200
    linked.link.delay_answer_to(device.id.encode())
    under_way = asyncio.create_task(calls[call]())
    assert await asyncio.to_thread(linked.link.caught.wait, 10)
    async with paused(linked.servers[0]):
        linked.link.heal()
        changed = await changes[meanwhile]()
        assert changed.is_success, changed.text
        before = (await there.poll()).json()
    assert refusal(await under_way) == MEANWHILE[call, meanwhile]
    for api in (linked.one, linked.two):
        after = (await at(api, device).poll()).json()
        assert (after["status"], after["version"]) == (before["status"], before["version"])
