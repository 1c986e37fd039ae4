"""Two servers whose clocks differ by up to a minute, or are set while they run, behave as one."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.processes.conftest import Pair, at, refusal
from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone, invite_in
from tests.support.host import HOST, STEP_UP, word
from tests.support.keys import BoundDevice
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer
from tests.support.skewed import SkewedServer

pytestmark = pytest.mark.security(37)


@contextmanager
def skewed(folder: Path, redis_url: str, *ahead: float, **settings: str) -> Iterator[list[SkewedServer]]:
    """One server per difference, on one Redis and one SQLite file, under one public address."""
    key = folder / "host.pem"
    key.write_bytes(HOST.as_pem(private=False))
    shared = {
        "REDIS_URL": redis_url,
        **NO_LIMITS,
        "PAIRING_HOST_KEY_FILE": str(key),
        "PAIRING_VERIFY": "never",
        "PAIRING_QUARANTINE_SECONDS": "0",
        **settings,
    }
    with ExitStack() as stack:
        servers: list[SkewedServer] = []
        for each in ahead:
            same = {"PAIRING_PUBLIC_URL": servers[0].public_url} if servers else {}
            servers.append(SkewedServer(folder, each, **shared, **same))
            stack.callback(servers[-1].stop)
        yield servers


@pytest.fixture(scope="module", params=[2, 30, 59])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[tuple[SkewedServer, SkewedServer]]:
    folder = tmp_path_factory.mktemp("clocks")
    with skewed(folder, redis_server.url, 0, request.param, PAIRING_STEP_UP_SECONDS="300") as (slow, fast):
        yield slow, fast


@pytest.fixture
async def pair(servers: tuple[SkewedServer, SkewedServer]) -> AsyncIterator[Pair]:
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        yield Pair(one, two, servers)


@pytest.fixture
async def phone(pair: Pair) -> Phone:
    """Logged in at the server whose clock is right."""
    return await pair.phone()


@pytest.fixture
async def fast_phone(pair: Pair) -> Phone:
    """Logged in at the one that is ahead."""
    return await fresh_phone(pair.two, pair.servers[1].folder)


@pytest.fixture(params=["slow", "fast"])
async def either(request: pytest.FixtureRequest, phone: Phone, fast_phone: Phone) -> Phone:
    return phone if request.param == "slow" else fast_phone


async def refresh(phone: Phone, api: Api, refresh_key: str = "") -> Any:
    return await api.http.post("/sessions/refresh", json={"refreshKey": refresh_key or phone.keys["refreshKey"]})


async def test_keys_of_either_server_are_good_at_both_and_so_are_renewed_ones(pair: Pair, either: Phone) -> None:
    for renewing in (pair.one, pair.two, pair.one):
        for api in (pair.one, pair.two):
            assert (await at(api, either).get("/me")).status_code == 200
        answer = await refresh(either, renewing)
        assert answer.status_code == 200, answer.text
        either = Phone(renewing, answer.json())


async def test_account_sockets_open_at_both_with_keys_of_either(pair: Pair, either: Phone) -> None:
    for server in pair.servers:
        async with websockets.connect(f"{server.ws_url}/api/v1/socket") as socket:
            await socket.send(json.dumps({"type": "auth", "authKey": either.keys["authKey"]}))
            # It is told of what happens, so it was let in. What happens before is not told.
            telling, name, others = asyncio.create_task(socket.recv()), f"Renamed at {server.port}", []
            while not telling.done():
                username = either.keys["user"]["username"]
                others.append(await fresh_phone(pair.one, pair.servers[0].folder, username, name=name))
                await asyncio.wait([telling], timeout=0.2)
            message = json.loads(await telling)
            assert (message["type"], message["device"]["name"]) == ("device.added", name)
            for other in others:
                await other.api.http.delete("/sessions/current", headers=other.headers)


async def test_a_device_is_let_in_across_both_and_its_login_can_be_repeated_at_the_other(
    pair: Pair, either: Phone
) -> None:
    for asked, other in ((pair.one, pair.two), (pair.two, pair.one)):
        device = await other.new_pairing()
        assert (await at(asked, either).claim(device.pairing)).status_code == 200
        assert (await at(asked, either).approve(device.id)).status_code == 200
        first = await at(asked, device).log_in()
        again = await at(other, device).log_in()
        assert (first.status_code, again.status_code) == (200, 200), again.text
        assert first.json()["refreshKey"] == again.json()["refreshKey"]


async def test_a_lost_refresh_is_repeated_at_the_other_server_and_a_late_double_is_no_theft(
    pair: Pair, either: Phone
) -> None:
    for first, other in ((pair.one, pair.two), (pair.two, pair.one)):
        lost = (await refresh(either, first)).json()
        repeated = await refresh(either, other)
        assert repeated.json()["refreshKey"] == lost["refreshKey"]
        used = Phone(other, repeated.json())
        assert (await used.get("/me")).status_code == 200
        for api in (first, other):
            assert refusal(await refresh(either, api)) == (409, "already_refreshed")
        assert (await at(first, used).get("/me")).status_code == 200
        either = used


async def test_the_first_use_of_renewed_keys_is_seen_where_the_session_is_known_already(
    pair: Pair, either: Phone
) -> None:
    for renewing, using in ((pair.one, pair.two), (pair.two, pair.one)):
        # Known there now, as it was before the refresh.
        assert (await at(using, either).get("/me")).status_code == 200
        new = Phone(using, (await refresh(either, renewing)).json())
        assert (await new.get("/me")).status_code == 200
        assert refusal(await refresh(either, renewing)) == (409, "already_refreshed")
        either = new


async def test_a_key_bound_device_proves_its_key_at_both(pair: Pair) -> None:
    for accepting, other in ((0, 1), (1, 0)):
        apis = (pair.one, pair.two)
        server = pair.servers[accepting]
        device = BoundDevice(apis[accepting], server.public_url)
        await device.accept(await invite_in(server.folder, f"bound-{time.monotonic_ns()}"))
        there = replace(device, api=apis[other])
        assert (await device.get("/me")).status_code == 200
        # With the nonce of the one at the other.
        proof = device.proof("GET", "/me", device.auth_key)
        assert (await there.send("GET", "/me", proof=proof, key=device.auth_key)).status_code == 200
        assert (await there.refresh()).status_code == 200


async def test_a_step_up_at_either_server_counts_at_both(pair: Pair, phone: Phone) -> None:
    for proving, other in ((pair.one, pair.two), (pair.two, pair.one)):
        asking = await other.new_pairing()
        await phone.claim(asking.pairing)
        await phone.approve(asking.id)
        guest = Phone(proving, (await asking.log_in()).json())
        third = await proving.new_pairing()
        await guest.claim(third.pairing)
        assert refusal(await guest.approve(third.id)) == (403, "step_up_required")
        said = word(replace(guest, api=pair.one))
        assert (await guest.post(STEP_UP, {"hostToken": said})).status_code == 200
        assert (await at(other, guest).approve(third.id)).status_code == 200


async def test_a_device_that_was_let_in_at_one_server_is_in_quarantine_at_the_other(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with skewed(tmp_path, redis_server.url, 0, 59, PAIRING_QUARANTINE_SECONDS="3600") as servers:
        async with Api(servers[0].url) as one, Api(servers[1].url) as two:
            phone = await fresh_phone(one, servers[0].folder, "alice")
            for first, other in ((one, two), (two, one)):
                device = await first.new_pairing()
                await at(first, phone).claim(device.pairing)
                await at(first, phone).approve(device.id)
                new = Phone(other, (await device.log_in()).json())
                assert refusal(await new.post("/pairings", {"qr": "none"})) == (403, "device_quarantined")


async def test_the_hosts_word_from_a_clock_ahead_gives_no_longer_proof_and_counts_once(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with skewed(tmp_path, redis_server.url, 0, PAIRING_STEP_UP_SECONDS="3") as [server]:
        async with Api(server.url) as api:
            phone = await fresh_phone(api, server.folder, "alice")
            asking = await api.new_pairing()
            await phone.claim(asking.pairing)
            ahead = int(time.time()) + 55
            said = word(replace(phone, api=replace_host(api, server)), auth_time=ahead, exp=ahead + 60)
            answer = await phone.post(STEP_UP, {"hostToken": said})
            assert answer.status_code == 200
            assert answer.json()["expiresIn"] <= 3
            server.set_clock(4)
            assert refusal(await phone.approve(asking.id)) == (403, "step_up_required")
            # Still in the future, and used: it is worth nothing more.
            assert refusal(await phone.post(STEP_UP, {"hostToken": said})) == (403, "step_up_refused")


def replace_host(api: Api, server: SkewedServer) -> Api:
    """For `word`, which takes the audience from the client's address."""
    return Api(server.public_url.replace("localhost", "127.0.0.1"))


@pytest.mark.parametrize("jump", [3600, -3600, 59, -59])
async def test_a_clock_that_jumps_logs_nobody_out_and_hides_no_revocation(
    tmp_path: Path, redis_server: RedisServer, jump: int
) -> None:
    with skewed(tmp_path, redis_server.url, 0, 0.5) as (jumping, other):
        async with Api(jumping.url) as here, Api(other.url) as there:
            phone = await fresh_phone(here, jumping.folder, "alice")
            second = await fresh_phone(there, jumping.folder, "alice")
            assert (await at(here, second).get("/me")).status_code == 200
            jumping.set_clock(jump)
            # A client that meets a 401 renews and tries again.
            if (await phone.get("/me")).status_code == 401:
                phone = Phone(here, (await refresh(phone, here)).json())
            assert (await phone.get("/me")).status_code == 200
            # As of a moment ago, this process knows the second device's session.
            if (await at(here, second).get("/me")).status_code == 401:
                second = Phone(there, (await refresh(second, here)).json())
                assert (await at(here, second).get("/me")).status_code == 200
            ended = await at(there, second).api.http.delete("/sessions/current", headers=second.headers)
            if ended.status_code == 401:
                renewed = Phone(there, (await refresh(second, there)).json())
                await renewed.api.http.delete("/sessions/current", headers=renewed.headers)
            end = time.monotonic() + 5
            while (await at(here, second).get("/me")).status_code == 200:
                assert time.monotonic() < end, "a session that has ended is still served"
                await asyncio.sleep(0.05)
