"""What tests over several processes share: two servers on one Redis, a client of each, the same device at either."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
import sqlalchemy as sa

from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.tables import devices, sessions
from pairing_ws.pairing.ports import pairing_channel
from tests.support.client import Api, NewDevice, Phone
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.postgres import Postgres
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer, Server, eventually, running

Party = TypeVar("Party", Phone, NewDevice)


@dataclass
class Pair:
    """Two processes and a client of each. Whatever one made can be asked of the other."""

    one: Api
    two: Api
    servers: tuple[Server, Server]

    @property
    def database_url(self) -> str:
        own = f"sqlite:///{self.servers[0].folder / 'pairing.db'}"
        return self.servers[0].env.get("DATABASE_URL", own)

    async def phone(self, username: str | None = None) -> Phone:
        return await fresh_phone(self.one, self.servers[0].folder, username, database_url=self.database_url)

    async def sessions_and_devices(self, phone: Phone) -> tuple[int, int]:
        """How many the account has, as its database says, the ended ones included."""
        database = open_database(self.database_url)
        counts = [
            sa.select(sa.func.count()).where(table.c.user_id == phone.keys["user"]["id"])
            for table in (sessions, devices)
        ]
        found = await database.run(lambda connection: [connection.execute(each).scalar_one() for each in counts])
        await database.close()
        return found[0], found[1]


@pytest.fixture(scope="module")
def two_servers_on_postgres(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, postgres_server: Postgres
) -> Iterator[tuple[Server, Server]]:
    """As `two_servers`, on PostgreSQL; an account may have five devices."""
    folder, url = tmp_path_factory.mktemp("on-postgres"), postgres_server.database()
    shared = {"REDIS_URL": redis_server.url, "DATABASE_URL": url, **NO_LIMITS, "PAIRING_LIMIT_DEVICES": "5"}
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other
    postgres_server.drop(url)


# Which databases a test's `pair` is on, one after the other; without either it is on SQLite.
ON_POSTGRESQL = pytest.mark.parametrize("pair", ["two_servers_on_postgres"], indirect=True, ids=["postgresql"])
ON_EACH_DATABASE = pytest.mark.parametrize(
    "pair", ["two_servers", "two_servers_on_postgres"], indirect=True, ids=["sqlite", "postgresql"]
)


@pytest.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    servers = request.getfixturevalue(getattr(request, "param", "two_servers"))
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        try:
            yield Pair(one, two, servers)
        finally:
            revive(servers)


@dataclass
class Linked(Pair):
    """As Pair, and what comes between process one and Redis; process two has a line of its own that never fails."""

    link: FaultProxy


@pytest.fixture(scope="module")
def linked_servers(folder: Path, redis_server: RedisServer) -> Iterator[tuple[FaultProxy, tuple[Server, Server]]]:
    with FaultProxy(redis_server.port) as link:
        through = f"redis://127.0.0.1:{link.port}/0"
        with (
            running(folder, REDIS_URL=through, **NO_LIMITS) as one,
            running(folder, REDIS_URL=redis_server.url, **NO_LIMITS, PAIRING_PUBLIC_URL=one.public_url) as two,
        ):
            yield link, (one, two)


@pytest.fixture
async def linked(linked_servers: tuple[FaultProxy, tuple[Server, Server]]) -> AsyncIterator[Linked]:
    link, servers = linked_servers
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        try:
            yield Linked(one, two, servers, link)
        finally:
            link.accept()
            link.delay(0)
            link.heal()
            revive(servers)
        await ready(one)


def revive(servers: tuple[Server, Server]) -> None:
    """Start what a test that failed half-way has left dead."""
    for server in servers:
        if server.process.popen.poll() is not None:
            server.start()


async def ready(api: Api, within: float = 15.0, status: int = 200) -> None:
    """Wait until that process says it is: after a fault, until it has recovered by itself. With 503: until it has
    noticed the fault."""
    async with asyncio.timeout(within):
        while True:
            if (await api.http.get(f"{api.url}/readyz")).status_code == status:
                return
            await asyncio.sleep(0.05)


async def watched(redis: RedisServer, devices: Iterable[NewDevice]) -> None:
    """Wait until some process listens for changes of each of these pairings."""
    channels = [pairing_channel(device.id) for device in devices]
    with redis.client() as own:
        await eventually(lambda: all(count for _, count in own.pubsub_numsub(*channels)), "a subscription for each")


def at(api: Api, party: Party) -> Party:
    """The same device, talking to another process."""
    return replace(party, api=api)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def end_in(redis: RedisServer, pairing_id: str, milliseconds: int) -> None:
    """Move the pairing's deadline there instead of waiting for it."""
    name = f"pairing:{{{pairing_id}}}"
    with redis.client() as own:
        record = json.loads(own.hget(name, "record"))
        seconds, microseconds = own.time()
        record["expires_at"] = seconds * 1000 + microseconds // 1000 + milliseconds
        own.hset(name, mapping={"record": json.dumps(record), "deadline": record["expires_at"]})
