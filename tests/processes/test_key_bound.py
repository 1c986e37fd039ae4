"""Key-bound devices over two processes: a proof counts once in all of them, and a session is bound in all of them."""

import asyncio
import secrets
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes.conftest import ON_EACH_DATABASE, Pair, ready, refusal
from tests.support.client import device_headers, with_api
from tests.support.embedded import invite_in
from tests.support.keys import BoundDevice, payload
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, running


async def accepted(pair: Pair) -> BoundDevice:
    code = await invite_in(pair.servers[0].folder, f"user-{secrets.token_hex(6)}", database_url=pair.database_url)
    return await BoundDevice(pair.one, pair.servers[0].public_url).accept(code)


@pytest.mark.mitigation("6.1.12")
@ON_EACH_DATABASE
async def test_a_session_is_bound_at_every_process_and_stays_so_when_it_is_renewed(pair: Pair) -> None:
    phone = await pair.phone()
    b = BoundDevice(pair.one, pair.servers[0].public_url)
    made = await b.send("POST", "/pairings", json={"qr": "none", "deviceKey": b.key.jwk}, headers=device_headers())
    pairing = made.json()
    await phone.claim(pairing)
    await phone.approve(pairing["id"])
    there = replace(b, api=pair.two)
    path, secret = f"/pairings/{pairing['id']}/login", {"Pairing-Secret": pairing["secret"]}
    assert refusal(await there.send("POST", path, headers=secret)) == (401, "invalid_proof")
    answers = await asyncio.gather(
        *(
            device.send("POST", path, proof=b.proof("POST", path), headers=secret)
            for device in (b, there)
            for _ in range(25)
        )
    )
    # Each with a proof of its own: a login may be repeated, and happens once.
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == 1
    b.keys = there.keys = answers[0].json()
    assert payload(b.auth_key)["cnf"] == {"jkt": b.key.jkt}
    assert await pair.sessions_and_devices(phone) == (2, 2)
    for device in (b, there):
        assert (await device.get("/me")).json()["session"]["jkt"] == b.key.jkt
        assert refusal(await device.send("GET", "/me", key=b.auth_key)) == (401, "invalid_proof")
    unproved = await there.send("POST", "/sessions/refresh", json={"refreshKey": b.keys["refreshKey"]})
    assert refusal(unproved) == (401, "invalid_proof")
    renewed = (await there.refresh()).json()
    assert payload(renewed["authKey"])["cnf"] == {"jkt": b.key.jkt}
    b.keys = renewed
    assert (await b.get("/me")).status_code == 200


@pytest.mark.security(15)
@pytest.mark.mitigation("6.1.12")
async def test_of_fifty_callers_with_one_proof_one_is_let_in(pair: Pair) -> None:
    b = await accepted(pair)
    for _ in range(4):
        await b.get("/me")
        proof, headers = b.proof("GET", "/me", b.auth_key), {"Auth-Key": b.auth_key}
        answers = await asyncio.gather(
            *((pair.one, pair.two)[index % 2].http.get("/me", headers=headers | {"DPoP": proof}) for index in range(50))
        )
        assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 49}
        assert {refusal(answer) for answer in answers if answer.status_code == 401} == {(401, "invalid_proof")}


@pytest.mark.security(14, 15)
async def test_of_fifty_refreshes_with_one_proof_one_gets_keys_and_the_session_lives_on(pair: Pair) -> None:
    b = await accepted(pair)
    proof, body = b.proof("POST", "/sessions/refresh"), {"refreshKey": b.keys["refreshKey"]}
    answers = await asyncio.gather(
        *(
            (pair.one, pair.two)[index % 2].http.post("/sessions/refresh", json=body, headers={"DPoP": proof})
            for index in range(50)
        )
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 49}
    b.keys = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (await b.get("/me")).status_code == 200


@pytest.mark.security(26)
async def test_without_redis_a_key_bound_device_can_read_and_revoke_and_nothing_more(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        async with with_api(running(tmp_path, REDIS_URL=redis.url, **NO_LIMITS)) as (server, api):
            name = f"user-{secrets.token_hex(6)}"
            b, lost = [
                await BoundDevice(api, server.public_url).accept(await invite_in(tmp_path, name)) for _ in range(2)
            ]
            keys = redis.client().keys("proof:*")
            assert keys
            assert all(redis.client().pttl(key) > 0 for key in keys)
            redis.stop()
            for path, body in (
                ("/sessions/refresh", {"refreshKey": b.keys["refreshKey"]}),
                ("/devices/revoke-others", {}),
            ):
                refused = await b.ask("POST", path, json=body, key=b.auth_key)
                assert refusal(refused) == (503, "unavailable")
                assert int(refused.headers["retry-after"]) > 0
            assert len((await b.get("/devices")).json()["devices"]) == 2
            path = f"/devices/{lost.keys['device']['id']}"
            assert (await b.ask("DELETE", path, key=b.auth_key)).status_code == 204
            assert refusal(await lost.get("/me")) == (401, "unauthenticated")
            assert refusal(await b.send("GET", "/me", key=b.auth_key)) == (401, "invalid_proof")
            redis.start()
            await ready(api)
            assert (await b.refresh()).status_code == 200
    finally:
        redis.stop()
