"""An end is an end, in every process: time against those who decide, and whatever is asked of a finished pairing."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from tests.processes.conftest import Linked, Pair, at, end_in, refusal
from tests.support.client import Api, NewDevice, Phone, code_of, device_headers, socket
from tests.support.servers import RedisServer

CALLS = 60
# One process's way to Redis, so that time passes between what it reads and what it writes.
WAY = 0.01
# Milliseconds from the callers' start to the deadline: enough for all of them, too late for all, and between.
OFFSETS = (2000, 0, 10, 15, 20, 25, 30, 35, 40, 50, -1)


@pytest.mark.security(4, 9)
@pytest.mark.parametrize("calls", [("approve",), ("deny", "cancel"), ("approve", "deny", "cancel")])
async def test_time_against_those_who_decide_has_one_winner_that_both_processes_see(
    linked: Linked, redis_server: RedisServer, calls: tuple[str, ...]
) -> None:
    phone, apis = await linked.phone(), (linked.one, linked.two)
    for api in apis:
        assert (await at(api, phone).get("/me")).is_success
    linked.link.delay(WAY)
    ends = []
    for offset in OFFSETS:
        device = await linked.two.new_pairing()
        await at(linked.two, phone).claim(device.pairing)
        end_in(redis_server, device.id, offset)
        watching = [asyncio.create_task(watch(device)) for _ in range(4)]

        async def call(index: int, offset: int = offset, device: NewDevice = device) -> httpx2.Response:
            # The near process's turn comes when time is over, unless the other one was first.
            await asyncio.sleep(index % 2 * (max(0, offset) % 2000 + 5) / 1000)
            return await decide(apis[index % 2], calls[index // 2 % len(calls)], phone, device)

        answers = await asyncio.gather(*map(call, range(CALLS)))
        seen = {(await at(api, device).poll()).json()["status"] for api in apis}
        assert len(seen) == 1
        ends.append(seen.pop())
        for each in watching:
            each.cancel()
        told = set().union(*await asyncio.gather(*watching))
        # Whoever was told of an end was told the truth.
        assert told & {"denied", "cancelled", "expired"} <= {ends[-1]}
        won = Counter(calls[index // 2 % len(calls)] for index, answer in enumerate(answers) if answer.is_success)
        if ends[-1] == "expired":
            assert not won
            assert {refusal(answer) for answer in answers} == {(410, "pairing_expired")}
        else:
            assert won[{"approved": "approve", "denied": "deny", "cancelled": "cancel"}[ends[-1]]]
        for api in apis:
            again = await asyncio.gather(*(decide(api, call, phone, device) for call in calls if call not in won))
            assert not [answer for answer in again if answer.is_success and ends[-1] != "approved"]
    assert ends[0] != "expired"
    assert ends[-1] == "expired"


async def watch(device: NewDevice) -> set[str]:
    """Every status that it is told until it is stopped."""
    seen: set[str] = set()
    with suppress(asyncio.CancelledError):
        while True:
            seen.add((await device.poll()).json()["status"])
    return seen


async def decide(api: Api, call: str, phone: Phone, device: NewDevice) -> httpx2.Response:
    if call == "cancel":
        return await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
    return await api.http.post(f"/pairings/{device.id}/{call}", headers=phone.headers)


@pytest.mark.security(6)
@pytest.mark.parametrize("end", ["denied", "cancelled", "expired", "consumed"])
async def test_nothing_that_is_asked_of_a_finished_pairing_touches_it(
    pair: Pair, redis_server: RedisServer, end: str
) -> None:
    phone, device = await pair.phone(), await pair.one.new_pairing()
    await phone.claim(device.pairing)
    if end in ("denied", "cancelled"):
        assert (await decide(pair.one, {"denied": "deny", "cancelled": "cancel"}[end], phone, device)).is_success
    elif end == "expired":
        end_in(redis_server, device.id, -1)
    else:
        await phone.approve(device.id)
        keys = (await device.log_in()).json()
        assert (await Phone(pair.one, keys).get("/me")).status_code == 200
    before, left = stored(redis_server, device)

    for api in (pair.one, pair.two):
        there, own = at(api, device), at(api, phone)
        path, code = f"/pairings/{device.id}", {"code": code_of(device.pairing)}
        assert (await there.poll()).json()["status"] == end
        assert (await there.poll("?since=9&wait=1")).json()["status"] == end
        for query in ("", "?since=0&wait=1"):
            assert (await own.get(path + query)).json()["status"] == end
        for credential in ({"secret": device.pairing["secret"]}, {"authKey": phone.keys["authKey"]}):
            async with socket(api.url.replace("http", "ws"), device.id, **credential) as connection:
                with suppress(ConnectionClosed):
                    while True:
                        assert f'"status":"{end}"' in str(await connection.recv())
        for _ in range(2):
            await own.claim(device.pairing)
            await api.http.post(f"{path}/claim", json=code, headers=device_headers())
            await own.deny(device.id, {"report": True})
            await own.approve(device.id)
            await api.http.delete(path, headers=device.headers)
            assert not (await there.log_in({"number": "000"})).is_success

    assert stored(redis_server, device)[0] == before
    assert stored(redis_server, device)[1] <= left


def stored(redis: RedisServer, device: NewDevice) -> tuple[Any, int]:
    """All that Redis keeps of it, and for how long."""
    with redis.client() as own:
        return own.hgetall(f"pairing:{{{device.id}}}"), own.pttl(f"pairing:{{{device.id}}}")


@pytest.mark.security(2, 10)
async def test_silence_is_denial(pair: Pair, redis_server: RedisServer) -> None:
    phone, device = await pair.phone(), await pair.one.new_pairing()
    await phone.claim(device.pairing)
    end_in(redis_server, device.id, -1)
    for api in (pair.one, pair.two):
        assert refusal(await at(api, device).log_in()) == (410, "pairing_expired")
        assert refusal(await at(api, phone).approve(device.id)) == (410, "pairing_expired")
    assert await pair.sessions_and_devices(phone) == (1, 1)
