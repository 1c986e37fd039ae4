"""The line to PostgreSQL: which URLs lead there, what stops the start, and what a fault on the way costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import migrate
from pairing_ws.adapters.sql.postgresql import POOL_SIZE, PostgresqlDatabase
from pairing_ws.adapters.sql.tables import devices, users
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.core.errors import Refused, Unavailable
from tests.support.postgres import PostgresServer, execute
from tests.support.proxy import FaultProxy
from tests.support.redis_kinds import make_certificates
from tests.support.servers import clean_environment, eventually, free_port, run_cli

PASSWORD = "p@ss/w#rd?"
# What a call may take, whatever hangs; double of what it does, for this machine is shared.
BOUND = 10.0


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """One that speaks TLS, asks one of its users for a password, and may be stopped."""
    server = PostgresServer()
    try:
        make_certificates(server.folder)
        server.give("server.key", "server.crt")
        (server.folder / "data" / "pg_hba.conf").write_text(
            "host all pairing 127.0.0.1/32 scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n"
        )
        for statement in (
            f"ALTER SYSTEM SET ssl_cert_file = '{server.folder}/server.crt'",
            f"ALTER SYSTEM SET ssl_key_file = '{server.folder}/server.key'",
            "ALTER SYSTEM SET ssl = on",
            f"CREATE ROLE pairing LOGIN PASSWORD '{PASSWORD}'",
            "CREATE ROLE lonely LOGIN CONNECTION LIMIT 1",
            "SELECT pg_reload_conf()",
        ):
            execute(server.url("postgres"), statement)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def url(own: PostgresServer) -> str:
    return own.database()


@pytest.fixture(scope="module")
def line(own: PostgresServer) -> Iterator[FaultProxy]:
    with FaultProxy(own.port) as proxy:
        yield proxy


def opened(url: str) -> PostgresqlDatabase:
    return PostgresqlDatabase(DatabaseAddress.parse(url))


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[SqlAccounts]:
    database = opened(url)
    try:
        yield SqlAccounts(database)
    finally:
        await database.close()


def name_in(url: str) -> str:
    return urlsplit(url).path[1:]


def through(line: FaultProxy, own: PostgresServer, url: str) -> str:
    return url.replace(f":{own.port}/", f":{line.port}/")


async def make_account(url: str, name: str) -> None:
    """A user of that name with a device, both with an id that is the name as well."""
    texts = {"name": name, "os": "", "app_version": "", "last_ip": ""}
    database = opened(url)
    async with database.engine.begin() as connection:
        await connection.execute(users.insert().values(id=name, username=name, display_name=name, created_at=0))
        await connection.execute(devices.insert().values(id=name, user_id=name, created_at=0, last_seen_at=0, **texts))
    await database.close()


def of(name: str, table: sa.Table) -> sa.Select[Any]:
    """A statement that takes the row of that name and holds it until its transaction ends."""
    return sa.select(table).where(table.c.id == name).with_for_update()


@asynccontextmanager
async def somebody_else(url: str) -> AsyncIterator[AsyncConnection]:
    database = opened(url)
    async with database.engine.connect() as connection:
        yield connection
    await database.close()


async def comes_to(wanted: bool, call: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BOUND):
        while True:
            if await call() is wanted:
                return
            await asyncio.sleep(0.05)


async def refused(call: Awaitable[object]) -> bool:
    """Whether it was told to come back; any other error is one."""
    try:
        await call
    except Unavailable:
        return True
    return False


# URLs


@pytest.mark.parametrize(
    "form",
    [
        "postgres://postgres@127.0.0.1:{port}/{name}",
        "postgresql+asyncpg://postgres@localhost:{port}/{name}?sslmode=require",
        "postgresql://postgres@localhost:{port}/{name}?sslmode=verify-full&sslrootcert={folder}/authority.crt",
        "postgresql://pairing:{password}@127.0.0.1:{port}/{name}",
        "postgresql:///{name}?host={folder}&port={port}&user=postgres",
        "postgresql://postgres@{socket}:{port}/{name}",
        "postgresql://postgres@127.0.0.1:{dead},127.0.0.1:{port}/{name}?target_session_attrs=primary",
        "postgresql://postgres@/{name}?host=127.0.0.1,127.0.0.1&port={dead},{port}",
        "postgres://postgres@127.0.0.1:{port}/{name}?connect_timeout=3&keepalives=1&channel_binding=prefer"
        "&application_name=mine&options=-c%20search_path%3Dpublic",
    ],
)
async def test_each_form_of_url_leads_there(own: PostgresServer, url: str, form: str) -> None:
    texts = {"folder": own.folder, "socket": quote(str(own.folder), safe=""), "password": quote(PASSWORD, safe="")}
    async with store_at(form.format(port=own.port, dead=free_port(), name=name_in(url), **texts)) as store:
        await store.ping()


async def test_what_the_url_sets_in_a_session_stands_against_our_own(url: str) -> None:
    database = opened(f"{url}&lock_timeout=7s&application_name=mine")
    async with database.engine.connect() as connection:
        shown = [
            (await connection.execute(sa.text(f"SHOW {name}"))).scalar_one()
            for name in ("lock_timeout", "application_name", "idle_in_transaction_session_timeout")
        ]
    await database.close()
    assert shown == ["7s", "mine", "10s"]


async def test_a_host_that_is_silent_leaves_the_next_one_its_time_and_is_asked_last_from_then_on(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    async with store_at(url.replace("@", f"@127.0.0.1:{line.port},")) as store:
        line.black_hole()
        await store.ping()
        opened = line.opened
        await asyncio.gather(*(store.ping() for _ in range(5)))
        line.heal()
        assert line.opened == opened


# What stops the start


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("postgresql://pairing:wrong-{secret}@127.0.0.1:{port}/{name}", "password authentication failed"),
        ("postgresql://postgres:{secret}@127.0.0.1:{port}/nowhere", 'database "nowhere" does not exist'),
        ("postgresql://nobody:{secret}@127.0.0.1:{port}/{name}", 'role "nobody" does not exist'),
        ("postgresql://postgres:{secret}@127.0.0.1:{dead}/{name}", "Connect call failed"),
        ("postgresql://postgres:{secret}@no..where:{port}/{name}", "idna"),
        (
            "postgresql://postgres:{secret}@localhost:{port}/{name}?sslmode=verify-full&sslrootcert=/no.crt",
            "No such file",
        ),
        (
            "postgresql://postgres:{secret}@localhost:{port}/{name}?sslmode=verify-full&sslrootcert={other}",
            "certificate",
        ),
        ("postgresql://postgres:{secret}@127.0.0.1:{port}/{name}?speed=high", 'parameter "speed"'),
        ("postgresql://postgres:{secret}@127.0.0.1:{port}/{name}?target_session_attrs=standby", "None of the hosts"),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_in_one_line_that_names_it_and_no_password(
    own: PostgresServer, url: str, tmp_path: Path, form: str, words: str
) -> None:
    other = make_certificates(tmp_path)
    wrong = form.format(
        port=own.port, dead=free_port(), name=name_in(url), folder="/nowhere", other=other, secret="hunter2"
    )
    with pytest.raises(Refused) as caught:
        await migrate(wrong)
    told = caught.value.detail
    assert told.startswith("DATABASE_URL can't be used: ")
    assert words in told
    assert "hunter2" not in told
    assert "\n" not in told
    async with store_at(wrong) as store:
        assert await refused(store.ping())


async def test_a_database_that_can_not_hold_every_name_is_refused(own: PostgresServer) -> None:
    latin = own.empty_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(Refused, match="LATIN1") as caught:
        await migrate(own.url(latin))
    assert "UTF8" in caught.value.detail


async def test_of_many_that_migrate_at_once_each_finds_the_newest_schema(own: PostgresServer) -> None:
    empty = own.url(own.empty_database())
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(migrate(empty) for _ in range(6)))
    async with store_at(empty) as store:
        assert await SqlUsers(store.database).accounts() == []


def test_the_command_line_works_on_it_and_tells_what_is_wrong_in_one_line(own: PostgresServer, tmp_path: Path) -> None:
    def run(url: str, *words: str) -> tuple[int, str, str]:
        done = run_cli(*words, folder=tmp_path, env=clean_environment() | {"DATABASE_URL": url})
        return done.returncode, done.stdout, done.stderr

    fresh = own.url(own.empty_database())
    code, out, err = run(fresh, "db", "upgrade")
    # It has just made signing keys on this disk, which may not last where the database is elsewhere.
    assert (code, out, "keys.made_here" in err) == (0, "The database is up to date.\n", True)
    assert run(fresh, "db", "upgrade") == (0, "The database is up to date.\n", "")
    code, out, err = run(fresh, "doctor")
    assert (code, "ok       database" in out) == (0, True), out + err
    wrong = fresh.replace("postgres@", "pairing:hunter2@")
    code, out, err = run(wrong, "db", "upgrade")
    assert (code, out) == (1, "")
    assert err == (
        'pairing-ws: DATABASE_URL can\'t be used: password authentication failed for user "pairing" (unavailable)\n'
    )


# Faults


async def test_a_line_that_falls_silent_costs_one_call_its_patience_and_not_one_per_connection(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    async with store_at(through(line, own, url)) as store:
        await asyncio.gather(*(store.ping() for _ in range(POOL_SIZE)))
        line.freeze()
        start = time.monotonic()
        assert await refused(store.ping())
        assert time.monotonic() - start < BOUND
        for _ in range(POOL_SIZE + 5):
            await store.ping()
        line.heal()


async def test_more_calls_than_connections_all_end_in_time_when_the_line_is_a_black_hole(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    async with store_at(through(line, own, url)) as store:
        await store.ping()
        line.black_hole()
        start = time.monotonic()
        assert all(await asyncio.gather(*(refused(store.ping()) for _ in range(3 * POOL_SIZE))))
        assert time.monotonic() - start < BOUND
        line.heal()
        await asyncio.gather(*(store.ping() for _ in range(POOL_SIZE)))
        line.black_hole()
        start = time.monotonic()
    # Nor does the end wait for each of them.
    assert time.monotonic() - start < BOUND
    line.heal()


async def test_a_line_so_slow_that_each_answer_comes_but_all_together_take_too_long_ends_in_time_as_well(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    await make_account(url, "slow")
    async with store_at(through(line, own, url)) as store:
        await SqlUsers(store.database).lock("slow", None)
        line.delay(1)
        start = time.monotonic()
        assert await refused(SqlUsers(store.database).lock("slow", 1))
        assert time.monotonic() - start < BOUND
        line.delay(0)


async def test_connections_that_a_restart_closed_are_replaced_before_anybody_fails(
    own: PostgresServer, url: str
) -> None:
    async with store_at(url) as store:
        await asyncio.gather(*(store.ping() for _ in range(10)))
        await asyncio.to_thread(own.stop)
        await asyncio.to_thread(own.start)
        await asyncio.gather(*(store.ping() for _ in range(10)))


async def test_a_server_that_takes_no_more_connections_is_unavailable_until_it_does(url: str) -> None:
    lonely = url.replace("postgres@", "lonely@")
    async with store_at(lonely) as other:
        async with store_at(lonely) as store:
            await store.ping()
            assert await refused(other.ping())
        await comes_to(False, lambda: refused(other.ping()))


async def test_who_waits_too_long_for_an_account_is_told_to_come_back(url: str) -> None:
    await make_account(url, "held")
    async with store_at(f"{url}&lock_timeout=100ms") as store, somebody_else(url) as third:
        await third.execute(of("held", users))
        assert await refused(SqlUsers(store.database).lock("held", 1))
        await third.rollback()
        assert await SqlUsers(store.database).lock("held", 1)


async def test_a_process_that_hangs_with_an_account_in_its_hands_loses_it(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    await make_account(url, "dropped")
    # Long enough for a call to wait for the lock and be refused.
    short = through(line, own, f"{url}&idle_in_transaction_session_timeout=2s")
    async with store_at(short) as hanging, store_at(f"{url}&lock_timeout=100ms") as store:
        await store.ping()
        line.hold_back(b"COMMIT;")
        commit = asyncio.create_task(refused(SqlUsers(hanging.database).lock("dropped", 1)))
        await eventually(line.caught.is_set, "its commit")
        assert await refused(SqlUsers(store.database).lock("dropped", 2))
        await comes_to(False, lambda: refused(SqlUsers(store.database).lock("dropped", 2)))
        line.heal()
        assert await commit
        assert [
            each.locked_at for each, _ in await SqlUsers(store.database).accounts() if each.username == "dropped"
        ] == [2]


async def test_a_deadlock_with_somebody_else_is_an_answer_to_come_back(
    own: PostgresServer, line: FaultProxy, url: str
) -> None:
    await make_account(url, "both")
    quick = through(line, own, f"{url}&deadlock_timeout=50ms")
    renamed = Activity(user_id="both", at=0, event="device.renamed")
    async with store_at(quick) as store, somebody_else(f"{url}&deadlock_timeout=30s&lock_timeout=0") as third:
        line.hold_back(b"UPDATE devices")
        renaming = asyncio.create_task(refused(store.rename("both", "both", "New", renamed)))
        await eventually(line.caught.is_set, "it to have the account")
        await third.execute(of("both", devices))
        waiting = asyncio.create_task(third.execute(of("both", users)))
        await asyncio.sleep(0.1)
        line.heal()
        assert await renaming
        await waiting
        await third.rollback()
        assert await store.rename("both", "both", "New", renamed)


async def test_a_connection_that_the_operator_ends_costs_its_own_call_alone(url: str) -> None:
    await make_account(url, "ended")
    waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with store_at(url) as store, somebody_else(url) as third:
        await asyncio.gather(*(store.ping() for _ in range(5)))
        await third.execute(of("ended", users))
        waiting = asyncio.create_task(refused(SqlUsers(store.database).lock("ended", 1)))

        async def ended() -> bool:
            return bool((await third.execute(sa.text(f"SELECT pg_terminate_backend(pid) {waits}"))).scalar())

        await comes_to(True, ended)
        assert await waiting
        await third.rollback()
        await asyncio.gather(*(store.ping() for _ in range(5)))
        assert await SqlUsers(store.database).lock("ended", 2)


async def test_a_primary_that_has_become_a_standby_is_left_for_the_new_one(url: str) -> None:
    await make_account(url, "written")

    async def demote(mode: str) -> None:
        for statement in (f"ALTER SYSTEM SET default_transaction_read_only = {mode}", "SELECT pg_reload_conf()"):
            await asyncio.to_thread(execute, f"{url}&default_transaction_read_only=off", statement)

    database = opened(url)
    connected: list[object] = []
    sa.event.listen(database.engine.sync_engine, "connect", lambda connection, _: connected.append(connection))
    store = SqlAccounts(database)
    await asyncio.gather(*(store.ping() for _ in range(5)))
    before = len(connected)
    await demote("on")
    try:
        await comes_to(True, lambda: refused(SqlUsers(store.database).lock("written", 1)))
    finally:
        await demote("off")
    await comes_to(False, lambda: refused(SqlUsers(store.database).lock("written", 1)))
    await asyncio.gather(*(store.ping() for _ in range(5)))
    # All of them are new.
    assert len(connected) >= before + 5
    await database.close()
