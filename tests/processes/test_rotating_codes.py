"""A picture that rotates, where two processes share a Redis: one has the setting, the other does not have it yet."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import Pair, at, refusal
from tests.support.client import Api, Phone, code_after, code_of, device_headers
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, running

SECRET = {"Pairing-Secret": "a-secret-of-its-own-0123456789"}


@pytest.fixture(scope="module")
def unequal_servers(folder: Path, redis_server: RedisServer) -> Iterator[tuple[Server, Server]]:
    shared = {"REDIS_URL": redis_server.url, **NO_LIMITS}
    with (
        running(folder, **shared, PAIRING_QR_ROTATE_SECONDS="5") as one,
        running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other,
    ):
        yield one, other


@pytest.fixture
async def pair(unequal_servers: tuple[Server, Server]) -> AsyncIterator[Pair]:
    """Process one rotates."""
    async with Api(unequal_servers[0].url) as one, Api(unequal_servers[1].url) as two:
        yield Pair(one, two, unequal_servers)


@pytest.fixture
async def phone(pair: Pair) -> Phone:
    return await fresh_phone(pair.one, pair.servers[0].folder)


def record_of(redis_server: RedisServer, pairing_id: str) -> dict[str, Any]:
    with redis_server.client() as redis:
        return dict(json.loads(redis.hget(f"pairing:{{{pairing_id}}}", "record")))


def make_older(redis_server: RedisServer, pairing_id: str, seconds: int) -> None:
    """As if the pairing had been created earlier: Redis's own clock can't be moved."""
    record = record_of(redis_server, pairing_id)
    record["created_at"] -= seconds * 1000
    with redis_server.client() as redis:
        redis.hset(f"pairing:{{{pairing_id}}}", "record", json.dumps(record))


@pytest.mark.mitigation("6.1.2")
async def test_either_process_takes_what_is_shown_and_refuses_what_was(
    pair: Pair, phone: Phone, redis_server: RedisServer
) -> None:
    for api in (pair.one, pair.two):
        device = await pair.one.new_pairing()
        make_older(redis_server, device.id, 60)
        elapsed = (await at(api, device).poll()).json()["elapsedMs"]
        assert elapsed >= 60_000
        path = f"{api.url}/api/v1/pairings/{device.id}/claim"
        stale = await api.http.post(path, json={"code": code_of(device.pairing)}, headers=phone.headers)
        assert refusal(stale) == (404, "not_found")
        early = {"code": code_after(device.pairing, elapsed / 1000 + 20)}
        assert refusal(await api.http.post(path, json=early, headers=phone.headers)) == (404, "not_found")
        present = {"code": code_after(device.pairing, elapsed / 1000)}
        assert (await api.http.post(path, json=present, headers=phone.headers)).status_code == 200
        assert (await phone.approve(device.id)).status_code == 200
        assert (await device.log_in()).status_code == 200


async def test_a_code_that_one_process_kept_claims_at_the_other(
    pair: Pair, phone: Phone, redis_server: RedisServer
) -> None:
    shown = await phone.show_code()
    kept = await pair.one.http.post(f"/pairings/{shown['id']}/keep", json={"code": code_of(shown)}, headers=SECRET)
    make_older(redis_server, shown["id"], 30)
    claim = f"/pairings/{shown['id']}/claim"
    for body, status in (({"code": code_of(shown)}, 404), ({"code": kept.json()["code"]}, 200)):
        answer = await pair.two.http.post(claim, json=body, headers=device_headers() | SECRET)
        assert answer.status_code == status


async def test_without_the_setting_the_record_and_the_wire_are_what_they_were(
    pair: Pair, phone: Phone, redis_server: RedisServer
) -> None:
    device = await pair.two.new_pairing()
    assert "rotate_ms" not in record_of(redis_server, device.id)
    assert device.pairing["qr"].keys() == {"text"}
    assert "elapsedMs" not in device.pairing
    # Nor does the process that rotates by now expect anything else of it.
    make_older(redis_server, device.id, 60)
    assert (await phone.claim(device.pairing)).status_code == 200
    assert "elapsedMs" not in (await at(pair.one, device).poll()).json()


@pytest.mark.security(17, 21)
async def test_neither_seed_nor_code_is_in_redis_or_in_a_log(
    pair: Pair, phone: Phone, redis_server: RedisServer
) -> None:
    device = await pair.one.new_pairing()
    await phone.claim(device.pairing)
    seed = device.pairing["qr"]["rotate"]["seed"]
    with redis_server.client() as redis:
        keys = [key for key in redis.scan_iter() if redis.type(key) == b"hash"]
        content = b"".join(value for key in keys for value in redis.hgetall(key).values())
    content += b"".join(server.process.log.read_bytes() for server in pair.servers)
    assert device.id.encode() in content
    for value in (seed.encode(), base64.urlsafe_b64decode(seed + "="), code_of(device.pairing)[1:].encode()):
        assert value not in content
        assert value.hex().encode() not in content
