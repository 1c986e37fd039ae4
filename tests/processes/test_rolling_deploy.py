"""Both processes are replaced, one after the other, while 500 devices wait, are approved and log in."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx2
import pytest
import websockets

from tests.processes.conftest import Pair, at
from tests.support.client import Api, NewDevice, told
from tests.support.servers import Server, eventually

DEVICES = 500
APPROVERS = 10
# Approvals per second; each is followed by its login.
RATE = 50
# Of a client: less than the contract's 10 s for the process, more than one restart.
TRIES_FOR = 30.0


class Clients:
    """What a client does that knows of several processes: it goes to the next one, after a while of its own choice."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self._apis = (pair.one, pair.two)
        self._random = random.Random(seed)
        self.retried: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()

    async def ask(self, call: Callable[[Api], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """The first answer that is one. Nobody to be found, a broken connection and 503 are none."""
        end = time.monotonic() + TRIES_FOR
        api = self._random.choice(self._apis)
        while True:
            try:
                answer = await call(api)
                if answer.status_code != 503:
                    return answer
                self.retried["503"] += 1
            except httpx2.TransportError as error:
                self.retried[type(error).__name__] += 1
            assert time.monotonic() < end
            await asyncio.sleep(self._random.uniform(0.05, 0.3))
            api = self._other(api)

    async def hear_of_approval(self, device: NewDevice, listening: asyncio.Semaphore) -> None:
        end = time.monotonic() + TRIES_FOR
        api = self._random.choice(self._apis)
        while True:
            assert time.monotonic() < end
            try:
                async with at(api, device).socket() as connection:
                    while (status := (await told(connection))["status"]) != "approved":
                        assert status in ("pending", "scanned")
                        listening.release()
                    return
            except websockets.ConnectionClosed:
                self.closed[connection.close_code or 0] += 1
            except (OSError, websockets.InvalidMessage):
                # Nobody there, or gone before the upgrade.
                self.closed[0] += 1
            await asyncio.sleep(self._random.uniform(0.05, 0.5))
            api = self._other(api)

    def _other(self, api: Api) -> Api:
        return self._apis[api is self._apis[0]]


async def replace(server: Server) -> float:
    """Stop it as a deployment does, and start the next one in its place. How long it took to end."""
    started = time.monotonic()
    await asyncio.to_thread(server.stop)
    ended = time.monotonic()
    await asyncio.to_thread(server.start)
    return ended - started


@pytest.mark.security(28)
async def test_five_hundred_waiting_devices_all_log_in_once_while_both_processes_are_replaced(pair: Pair) -> None:
    clients = Clients(pair, 2026)
    phones = [await pair.phone("rolled") for _ in range(APPROVERS)]
    devices = [await (pair.one, pair.two)[index % 2].new_pairing() for index in range(DEVICES)]
    listening = asyncio.Semaphore(0)

    async def live(device: NewDevice) -> dict[str, str]:
        await clients.hear_of_approval(device, listening)
        answer = await clients.ask(lambda api: at(api, device).log_in())
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def let_in(index: int) -> None:
        await asyncio.sleep(index / RATE)
        phone, device = phones[index % APPROVERS], devices[index]
        for call in (lambda api: at(api, phone).claim(device.pairing), lambda api: at(api, phone).approve(device.id)):
            answer = await clients.ask(call)
            assert answer.status_code == 200, answer.text

    living = [asyncio.create_task(live(device)) for device in devices]
    async with asyncio.timeout(60):
        for _ in devices:
            await listening.acquire()
    letting_in = [asyncio.create_task(let_in(index)) for index in range(DEVICES)]
    await eventually(lambda: sum(each.done() for each in letting_in) >= DEVICES // 10, "some approvals", 60)
    took = [await replace(server) for server in pair.servers]
    async with asyncio.timeout(60):
        await asyncio.gather(*letting_in)
        keys = await asyncio.gather(*living)
    assert max(took) < 10
    # It was a deploy under load: devices were sent away in their hundreds, and no other way.
    assert clients.closed[1012] > DEVICES / 2
    assert set(clients.closed) <= {0, 1012}
    assert len({each["refreshKey"] for each in keys}) == DEVICES
    assert await pair.sessions_and_devices(phones[0]) == (DEVICES + APPROVERS, DEVICES + APPROVERS)
    assert {(await device.poll()).json()["status"] for device in devices[::25]} == {"consumed"}
