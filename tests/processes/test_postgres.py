"""PostgreSQL fails under two processes: what needs it says when to come back, the rest goes on, nothing is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
import pytest

from tests.processes.conftest import Pair, at, ready, refusal
from tests.support.client import Api, Phone, device_headers, socket, told, until
from tests.support.embedded import invite_in
from tests.support.limits import NO_LIMITS
from tests.support.postgres import PostgresServer
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer, Server, eventually, running

UNAVAILABLE = (503, "unavailable")
# What a call may take while PostgreSQL hangs; it takes half of it where nothing else runs.
BOUND = 10.0


@dataclass
class OnOwn(Pair):
    """Two processes on a PostgreSQL of their own, and what comes between it and the first of them."""

    postgres: PostgresServer
    line: FaultProxy
    turned_away: int = 0

    async def insist(self, call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """As a client does: again, until it is told something else than to come back."""
        async with asyncio.timeout(40):
            while True:
                answer = await call()
                if answer.status_code < 500:
                    return answer
                assert_come_back(answer)
                self.turned_away += 1
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def on_own(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[tuple[PostgresServer, FaultProxy, tuple[Server, Server]]]:
    postgres, folder = PostgresServer(), tmp_path_factory.mktemp("own")
    try:
        url, shared = postgres.database(), {"REDIS_URL": redis_server.url, **NO_LIMITS}
        with FaultProxy(postgres.port) as line:
            through = url.replace(f":{postgres.port}/", f":{line.port}/")
            with (
                running(folder, DATABASE_URL=through, **shared) as one,
                running(folder, DATABASE_URL=url, PAIRING_PUBLIC_URL=one.public_url, **shared) as two,
            ):
                yield postgres, line, (one, two)
    finally:
        postgres.close()


@pytest.fixture
async def own(on_own: tuple[PostgresServer, FaultProxy, tuple[Server, Server]]) -> AsyncIterator[OnOwn]:
    postgres, line, servers = on_own
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        yield OnOwn(one, two, servers, postgres, line)
        line.heal()
        await asyncio.to_thread(postgres.come_back)
        for api in (one, two):
            await ready(api)


def assert_come_back(answer: httpx2.Response) -> None:
    assert refusal(answer) == UNAVAILABLE, answer.text
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.security(30)
async def test_logins_and_refreshes_come_through_its_restarts_each_once(own: OnOwn) -> None:
    phone, apis = await own.phone(), (own.one, own.two)
    asked = 0

    async def refresh_often(phone: Phone) -> Phone:
        nonlocal asked
        key = phone.keys["refreshKey"]
        while not done.is_set():
            api = apis[asked % 2]
            answer = await own.insist(
                lambda api=api, key=key: api.http.post("/sessions/refresh", json={"refreshKey": key})  # type: ignore[misc]
            )
            assert answer.status_code == 200, answer.text
            phone.keys = answer.json()
            key, asked = phone.keys["refreshKey"], asked + 1
        return phone

    async def let_in(number: int) -> httpx2.Response:
        api, other = apis[number % 2], apis[number // 2 % 2]
        await asyncio.sleep(number * 0.04)
        device = await api.new_pairing()
        assert (await own.insist(lambda: at(other, phone).claim(device.pairing))).status_code == 200
        assert (await own.insist(lambda: at(other, phone).approve(device.id))).status_code == 200
        return await own.insist(at(other, device).log_in)

    done = asyncio.Event()
    refreshing = [asyncio.create_task(refresh_often(await own.phone())) for _ in range(4)]
    logins = [asyncio.create_task(let_in(number)) for number in range(60)]
    for _ in range(3):
        before = asked
        await eventually(lambda before=before: asked >= before + 8, "some work in between", 30)
        await asyncio.to_thread(own.postgres.stop)
        before = own.turned_away
        await eventually(lambda before=before: own.turned_away > before, "one who is turned away")
        await asyncio.to_thread(own.postgres.start)
    answers = await asyncio.gather(*logins)
    done.set()
    assert own.turned_away
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == 60
    assert await own.sessions_and_devices(phone) == (61, 61)
    for each in await asyncio.gather(*refreshing):
        assert (await each.get("/me")).status_code == 200
        assert await own.sessions_and_devices(each) == (1, 1)


@pytest.mark.security(30)
async def test_while_it_is_gone_what_needs_it_says_so_and_the_new_device_goes_on(own: OnOwn) -> None:
    phone, there = await own.phone(), at(own.two, await own.phone())
    scanned, approved, shown = await own.one.new_pairing(), await own.one.new_pairing(), await phone.show_code()
    for device in (scanned, approved):
        assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.approve(approved.id)).status_code == 200
    fresh = await own.one.new_pairing()
    code = await invite_in(own.servers[0].folder, "later", database_url=own.database_url)
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(scanned.socket())
        theirs = socket(own.servers[0].ws_url, shown["id"], authKey=phone.keys["authKey"])
        sockets = (mine, await stack.enter_async_context(theirs))
        await asyncio.gather(*(told(each) for each in sockets))
        await asyncio.to_thread(own.postgres.stop)
        # The session is known for two seconds more, and not to the other process.
        needing: tuple[Callable[[], Awaitable[httpx2.Response]], ...] = (
            approved.log_in,
            lambda: own.one.http.post("/invites/accept", json={"code": code}, headers=device_headers()),
            lambda: own.one.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]}),
            lambda: phone.get("/devices"),
            lambda: phone.get("/activity"),
            lambda: phone.post("/devices/revoke-others"),
            lambda: own.two.http.delete("/sessions/current", headers=there.headers),
            lambda: at(own.two, phone).claim(fresh.pairing),
            lambda: at(own.two, phone).approve(scanned.id),
            lambda: own.one.http.get(f"{own.one.url}/readyz"),
        )
        for answer in await asyncio.gather(*(call() for call in needing)):
            assert_come_back(answer)
        async with socket(own.servers[1].ws_url, shown["id"], authKey=there.keys["authKey"]) as unknown:
            await unknown.wait_closed()
            assert unknown.close_code == 1013
        # Create, poll, socket, scan, cancel: nobody is asked who that is.
        other = await own.one.new_pairing()
        assert (await other.poll()).json()["status"] == "pending"
        async with at(own.two, other).socket() as connection:
            assert (await told(connection))["status"] == "pending"
        joined = await own.two.join(shown)
        assert (await joined.poll()).json()["status"] == "scanned"
        assert (await own.two.http.delete(f"/pairings/{other.id}", headers=other.headers)).status_code == 204
        assert (await own.one.http.get(f"{own.one.url}/healthz")).status_code == 200
        await asyncio.to_thread(own.postgres.start)
        assert (await own.insist(approved.log_in)).status_code == 200
        # The sockets have stayed, and have missed nothing.
        async with asyncio.timeout(BOUND):
            assert (await told(sockets[1]))["status"] == "scanned"
            assert (await own.insist(lambda: phone.approve(scanned.id))).status_code == 200
            assert (await told(sockets[0]))["status"] == "approved"
    assert (await own.insist(needing[1])).status_code == 200


async def test_while_it_hangs_nobody_waits_long_and_afterwards_everything_goes_on(own: OnOwn) -> None:
    phone, device = await own.phone(), await own.one.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    theirs = socket(own.servers[0].ws_url, device.id, authKey=phone.keys["authKey"])
    async with device.socket() as waiting, theirs as showing:
        await asyncio.gather(told(waiting), told(showing))
        own.postgres.pause()
        start = time.monotonic()
        keys = {"refreshKey": phone.keys["refreshKey"]}
        answers = asyncio.gather(
            *(api.http.post("/sessions/refresh", json=keys) for api in (own.one, own.two) for _ in range(30))
        )
        while not answers.done():
            assert (await own.one.new_pairing()).pairing["status"] == "pending"
            await asyncio.sleep(0.2)
        for answer in await answers:
            assert_come_back(answer)
        assert time.monotonic() - start < BOUND
        own.postgres.resume()
        assert (await own.insist(lambda: phone.approve(device.id))).status_code == 200
        async with asyncio.timeout(BOUND):
            await asyncio.gather(until(waiting, "approved"), until(showing, "approved"))
    assert (await device.log_in()).status_code == 200
    assert await own.sessions_and_devices(phone) == (2, 2)


@pytest.mark.parametrize("silently", [False, True], ids=["reset", "silent"])
async def test_a_commit_whose_answer_is_lost_is_repeated_not_doubled(own: OnOwn, silently: bool) -> None:
    phone, device = await own.phone(), await own.one.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.approve(device.id)).status_code == 200
    own.line.lose_answer_to(b"COMMIT;", silently=silently)
    assert_come_back(await device.log_in())
    assert own.line.caught.is_set()
    assert await own.sessions_and_devices(phone) == (2, 2)
    keys = (await at(own.two, device).log_in()).json()
    assert (await device.log_in()).json()["refreshKey"] == keys["refreshKey"]
    own.line.lose_answer_to(b"COMMIT;")
    body = {"refreshKey": keys["refreshKey"]}
    assert_come_back(await own.one.http.post("/sessions/refresh", json=body))
    assert own.line.caught.is_set()
    renewed = await asyncio.gather(*(api.http.post("/sessions/refresh", json=body) for api in (own.one, own.two)))
    assert len({answer.json()["refreshKey"] for answer in renewed}) == 1
    me = await own.two.http.get("/me", headers={"Auth-Key": renewed[0].json()["authKey"]})
    assert me.json()["user"] == phone.keys["user"]
    assert await own.sessions_and_devices(phone) == (2, 2)


@pytest.mark.parametrize("text", ["\\u0000", "a\\u0000b", "\\ud800", "\\udfff\\ud800", "\\uffff", "x" * 20_000])
async def test_text_that_it_can_not_hold_is_cleaned_or_refused_and_never_reaches_it(own: OnOwn, text: str) -> None:
    phone, as_json = await own.phone(), {"Content-Type": "application/json"}
    me = phone.keys["device"]["id"]
    quoted = text.encode().decode("unicode_escape").encode("utf-8", "surrogatepass")[:200]
    encoded = "".join(f"%{byte:02X}" for byte in quoted)
    calls = [
        ("PATCH", f"/devices/{me}", f'{{"name": "{text}"}}', phone.headers),
        ("PATCH", f"/devices/{me}", f'{{"pushToken": "{text}"}}', phone.headers),
        ("PATCH", f"/devices/{encoded}", '{"name": "New"}', phone.headers),
        ("DELETE", f"/devices/{encoded}", None, phone.headers),
        ("DELETE", f"/devices/{encoded}?descendants=true", None, phone.headers),
        ("POST", "/invites/accept", f'{{"code": "{text}"}}', device_headers()),
        ("POST", "/sessions/refresh", f'{{"refreshKey": "{text}"}}', {}),
        ("GET", f"/pairings/{encoded}", None, phone.headers),
        ("POST", "/pairings", None, device_headers() | {"X-Device-Name": encoded, "X-Os-Device": encoded}),
        ("POST", "/pairings", None, {"X-Device-Code": encoded, "X-Device-Name": "B"}),
    ]
    for method, path, body, headers in calls:
        answer = await own.one.http.request(method, path, content=body, headers=headers | (as_json if body else {}))
        assert answer.status_code < 500, (method, path, answer.text)
