"""What the log says of topology that are away: cause and address, no password, once, and once when it is over."""

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from pairing_ws.adapters.outages import Outages, cause_in_sql
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.pubsub import RedisBus
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.core.errors import Unavailable
from tests.support.postgres import Postgres
from tests.support.redis_kinds import PASSWORD, Kind
from tests.support.servers import RedisServer, eventually, free_port

Logs = list[MutableMapping[str, Any]]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as captured:
        yield captured


def of(logs: Logs, event: str) -> Logs:
    return [line for line in logs if line["event"] == event]


async def ask(url: str, times: int = 3) -> None:
    client = RedisClient(topology_at(url))
    for _ in range(times):
        with pytest.raises((Exception, TimeoutError)):
            await client.execute("key", "GET", "key")
    await client.aclose()
    await client._topology.aclose()


async def test_a_redis_that_refuses_connections_is_named_with_its_address_once(logs: Logs) -> None:
    port = free_port()
    await ask(f"redis://:hunter2@127.0.0.1:{port}/0")
    [line] = of(logs, "redis.failed")
    assert line["server"] == f"127.0.0.1:{port}"
    assert "refused" in line["cause"]
    assert "hunter2" not in str(logs)


async def test_a_name_that_nobody_knows_is_named(logs: Logs) -> None:
    await ask("redis://nowhere.invalid:6379")
    [line] = of(logs, "redis.failed")
    assert line["server"] == "nowhere.invalid:6379"
    assert "nowhere.invalid" in line["cause"]
    assert "not known" in line["cause"]


async def test_a_wrong_password_and_an_untrusted_certificate_of_redis_are_told_apart(
    logs: Logs, redis_kinds: Callable[[str], Kind]
) -> None:
    url = redis_kinds("tls").url
    authority = url.partition("?")[2]
    address = url.rpartition("@")[2].partition("/")[0]
    await ask(f"rediss://pairing:wrong-hunter2@{address}/0?{authority}")
    await ask(url.partition("?")[0])
    first, second = of(logs, "redis.failed")
    assert (first["server"], second["server"]) == (address, address)
    assert "invalid username-password pair" in first["cause"]
    assert "certificate verify failed" in second["cause"]
    assert "hunter2" not in str(logs)
    assert PASSWORD not in str(logs)


async def test_sentinels_and_a_cluster_that_are_away_are_named_each_with_its_cause(logs: Logs) -> None:
    one, two = free_port(), free_port()
    await ask(f"redis+sentinel://127.0.0.1:{one},127.0.0.1:{two}/mymaster", times=2)
    await ask(f"redis+cluster://127.0.0.1:{one}", times=2)
    sentinels, cluster = of(logs, "redis.lost")
    assert sentinels["server"] == f"127.0.0.1:{one},127.0.0.1:{two}"
    assert all(f"127.0.0.1:{port}" in sentinels["cause"] for port in (one, two))
    assert "refused" in sentinels["cause"]
    assert cluster["server"] == f"127.0.0.1:{one}"


async def test_when_redis_is_back_the_log_says_so_of_commands_and_of_the_link(logs: Logs, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    topology = topology_at(redis.url)
    client = RedisClient(topology)
    async with RedisBus(topology, client) as bus, bus.watch(["channel"], lambda _: None):
        await client.execute("key", "GET", "key")
        redis.stop()
        for _ in range(3):
            with pytest.raises((Exception, TimeoutError)):
                await client.execute("key", "GET", "key")
        await eventually(lambda: of(logs, "bus.link_lost"), "the link's loss")
        redis.start()
        await client.execute("key", "GET", "key")
        await eventually(lambda: of(logs, "bus.link_back"), "the link's return")
    redis.stop()
    server = f"127.0.0.1:{redis.port}"
    for lost, back in (("redis.failed", "redis.back"), ("bus.link_lost", "bus.link_back")):
        assert {line["server"] for line in of(logs, lost)} == {server}
        [over] = of(logs, back)
        assert over["server"] == server
        assert over["after_seconds"] >= 0
    # Of whatever kinds, no line is there twice.
    causes = [line["cause"] for line in of(logs, "redis.failed")]
    assert len(causes) == len(set(causes))


async def read(url: str, times: int = 3) -> None:
    database = open_database(url)
    store = SqlAccounts(database)
    try:
        for _ in range(times):
            with pytest.raises(Unavailable):
                await SqlUsers(store.database).accounts()
    finally:
        await database.close()


async def test_a_postgresql_that_is_away_and_one_that_refuses_a_login_are_named_with_the_cause(
    logs: Logs, postgres_server: Postgres
) -> None:
    port = free_port()
    await read(f"postgresql://ada:hunter2@127.0.0.1:{port}/pairing")
    [line] = of(logs, "sql.failed")
    assert line["server"] == f"127.0.0.1:{port}"
    assert "refused" in line["cause"]
    await read("postgresql://ada:hunter2@nowhere.invalid/pairing")
    assert "not known" in of(logs, "sql.failed")[1]["cause"]
    assert of(logs, "sql.failed")[1]["server"] == "nowhere.invalid:5432"
    missing = sa.make_url(postgres_server.database()).set(database="missing").render_as_string(hide_password=False)
    await read(missing)
    assert 'database "missing" does not exist' in of(logs, "sql.failed")[2]["cause"]
    assert "hunter2" not in str(logs)


async def test_a_sqlite_file_that_cannot_be_opened_is_named_and_so_is_its_return(logs: Logs, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    url = f"sqlite:///{folder / 'pairing.db'}"
    database = open_database(url)
    store = SqlAccounts(database)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.ping()
    [line] = of(logs, "sql.failed")
    assert line["server"] == str(folder / "pairing.db")
    assert "unable to open database file" in line["cause"]
    folder.mkdir()
    await store.ping()
    assert [each["server"] for each in of(logs, "sql.back")] == [str(folder / "pairing.db")]
    await database.close()


def test_an_error_that_may_quote_what_was_asked_for_is_told_by_its_class_alone() -> None:
    class DataError(Exception):
        sqlstate = "22P02"

    assert cause_in_sql(DataError("invalid input: 'a secret'")) == "DataError 22P02"


def test_each_change_is_told_once_and_causes_that_alternate_do_not_fill_the_log() -> None:
    told: list[tuple[str, object]] = []
    now = [0.0]
    outages = Outages(lambda *lost: told.append(lost), lambda *back: told.append(back), lambda: now[0])
    outages.works("here:1")
    for number in range(1000):
        outages.failed("here:1", ("reset", "no answer")[number % 2])
    now[0] = 61.5
    outages.works("here:1")
    outages.works("here:1")
    assert told == [("here:1", "reset"), ("here:1", "no answer"), ("here:1", 61.5)]


async def test_a_certificate_that_nobody_knows_is_taken_by_settings_of_our_own_though_the_url_is_the_platforms(
    redis_kinds: Callable[[str], Kind],
) -> None:
    url, _, authority = redis_kinds("tls").url.partition("?ssl_ca_certs=")
    for topology in (topology_at(url, Path(authority)), topology_at(url, verified=False)):
        client = RedisClient(topology)
        assert await client.execute("key", "GET", "unknown") is None
        await client.aclose()
        await topology.aclose()
