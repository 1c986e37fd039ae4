"""Two processes and one host application that is asked about logins: once for each, whoever calls whom."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.processes.conftest import Pair, at
from tests.processes.races import approved
from tests.support.client import Api
from tests.support.hook import SECRET, Hook, hook_server
from tests.support.limits import NO_LIMITS
from tests.support.postgres import Postgres
from tests.support.servers import RedisServer, Server, eventually, free_port, running

Asking = tuple[int, tuple[Server, Server]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def asking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Asking]:
    """Two servers, and the port at which they ask."""
    port, folder = free_port(), tmp_path_factory.mktemp("asking")
    settings = {
        "PAIRING_LOGIN_HOOK_URL": f"http://127.0.0.1:{port}/hook",
        "PAIRING_LOGIN_HOOK_SECRET": SECRET,
        "PAIRING_ALLOW_PRIVATE_TARGETS": "true",
        "REDIS_URL": redis_server.url,
        **NO_LIMITS,
    }
    postgres: Postgres | None = None
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres_server")
        settings["DATABASE_URL"] = postgres.database()
    with running(folder, **settings) as one, running(folder, PAIRING_PUBLIC_URL=one.public_url, **settings) as two:
        yield port, (one, two)
    if postgres:
        postgres.drop(settings["DATABASE_URL"])


@pytest.fixture
async def hook(asking: Asking) -> AsyncIterator[Hook]:
    async with hook_server(asking[0]) as found:
        yield found


@pytest.fixture
async def pair(asking: Asking) -> AsyncIterator[Pair]:
    servers = asking[1]
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        yield Pair(one, two, servers)


@pytest.mark.security(51)
async def test_of_a_hundred_logins_at_once_in_two_processes_one_is_asked_about(pair: Pair, hook: Hook) -> None:
    phone = await pair.phone()
    device = await approved(pair, phone)
    hook.asked.clear()
    hook.says(claims={"plan": "gold"}, host={"token": "t"})
    hook.held = asyncio.Event()
    apis = (pair.one, pair.two)
    logins = [asyncio.create_task(at(apis[number % 2], device).log_in()) for number in range(100)]
    await eventually(lambda: hook.asked, "a question")
    hook.held.set()
    answers = await asyncio.gather(*logins)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["authKey"] for answer in answers}) == 1
    assert [answer.json()["host"] for answer in answers] == [{"token": "t"}] * 100
    assert len(hook.asked) == 1
    assert await pair.sessions_and_devices(phone) == (2, 2)


@pytest.mark.security(51)
async def test_of_a_hundred_logins_that_are_refused_one_is_asked_about(pair: Pair, hook: Hook) -> None:
    phone = await pair.phone()
    device = await approved(pair, phone)
    hook.asked.clear()
    hook.says(refuse={"reason": "No"})
    apis = (pair.one, pair.two)
    answers = await asyncio.gather(*(at(apis[number % 2], device).log_in() for number in range(100)))
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "login_refused")}
    assert len(hook.asked) == 1
    assert await pair.sessions_and_devices(phone) == (1, 1)


@pytest.mark.security(51)
async def test_a_process_that_is_killed_while_it_asks_costs_no_login(pair: Pair, hook: Hook) -> None:
    phone = await pair.phone()
    device = await approved(pair, phone)
    hook.asked.clear()
    hook.ids.clear()
    hook.held = asyncio.Event()
    lost = asyncio.create_task(device.log_in())
    await eventually(lambda: hook.asked, "a question")
    pair.servers[0].stop(signal.SIGKILL)
    with pytest.raises(httpx2.TransportError):
        await lost
    pair.servers[0].start()
    hook.held.set()
    answer = await at(pair.two, device).log_in()
    assert answer.status_code == 200, answer.text
    assert len(hook.ids) == 2
    assert len(set(hook.ids)) == 1
