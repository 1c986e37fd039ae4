"""Transactions on SQLite: short ones run on the event loop's thread and never hold it up, long ones in another; whoever
stops waiting for one finds nothing of it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from pairing_ws.accounts.ports import Activity, Invite, User
from pairing_ws.adapters.sql import (
    account_rows,
    client_store,
    grant_rows,
    grant_statements,
    passkey_store,
    statements,
    user_store,
)
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import migrate, open_database
from pairing_ws.adapters.sql.executor import Conflict, Statement
from pairing_ws.adapters.sql.sqlite import SqliteDatabase
from pairing_ws.adapters.sql.tables import metadata
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.core.errors import Unavailable

NOTE = Activity(user_id="alice", at=0, event="noted")
Call = Callable[[SqlAccounts], Coroutine[Any, Any, object]]
# The modules with statements.
ASKING = (statements, account_rows, user_store, passkey_store, client_store, grant_rows, grant_statements)
CALLS: dict[str, Call] = {
    "several statements": lambda store: store.note(NOTE),
    "one statement": lambda store: store.forget_sealed("its", "key", ()),
    "many rows": lambda store: SqlUsers(store.database).delete_user("alice", 1),
}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    file = tmp_path / "pairing.db"
    await migrate(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "INSERT INTO users (id, username, display_name, created_at, compared_name)"
            " VALUES ('alice', 'alice', 'Alice', 0, 'alice')"
        )
        database.execute(
            "INSERT INTO devices VALUES ('it', 'alice', 'It', '', '', 0, 0, '', NULL, NULL, NULL, NULL, '')"
        )
        database.execute(
            "INSERT INTO sessions"
            " (id, user_id, device_id, origin, created_at, idle_until, ends_at, family_hash, refresh_hash, retired,"
            " sealed, sealed_until, verified_at)"
            " VALUES ('its', 'alice', 'it', '', 0, 9, 9, '', 'key', '', 'sealed', 9, 0)"
        )
    return file


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SqlAccounts]:
    database = open_database(f"sqlite:///{file}")
    yield SqlAccounts(database)
    await database.close()


@pytest.fixture
def somebody_else(file: Path) -> Iterator[sqlite3.Connection]:
    """Has the database for itself until it commits."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def written(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT event FROM activity UNION SELECT sealed FROM sessions").fetchall()


async def lets_others_run(call: Awaitable[object]) -> bool:
    """Whether the event loop had a turn before that was done."""
    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    await call
    return bool(turns)


@pytest.mark.security(29)
@pytest.mark.parametrize("head", ["several statements", "many rows"])
@pytest.mark.parametrize("call", CALLS)
async def test_who_gives_up_waiting_in_the_line_has_written_nothing(
    store: SqlAccounts, file: Path, somebody_else: sqlite3.Connection, head: str, call: str
) -> None:
    # The first one waits for somebody else, and the second one for the first.
    first = asyncio.create_task(CALLS[head](store))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(CALLS[call](store))
    await asyncio.sleep(0.05)
    for each in (first, second):
        each.cancel()
    await asyncio.sleep(0.05)
    somebody_else.execute("COMMIT")
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert second.cancelled()
    assert written(file) == [("sealed",)]
    # And whoever comes after them is served.
    await store.note(NOTE)
    assert written(file) == [("noted",), ("sealed",)]


@pytest.mark.security(29)
async def test_a_single_statement_whose_caller_gives_up_writes_nothing_on_whichever_thread_it_waits(
    store: SqlAccounts, file: Path
) -> None:
    # One of these many writes the WAL back first, for which it goes to another thread.
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        for _ in range(100):
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(store.forget_sealed("its", "key", ()))
            for _ in range(20):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.sleep(0)
            other.execute("COMMIT")
            await asyncio.wait([write])
            assert write.cancelled()
    assert written(file) == [("sealed",)]


@pytest.mark.security(29)
async def test_reading_waits_for_no_writer(store: SqlAccounts, file: Path, somebody_else: sqlite3.Connection) -> None:
    writing = asyncio.create_task(store.note(NOTE))
    assert [each.user.id for each in await SqlUsers(store.database).accounts()] == ["alice"]
    assert not await lets_others_run(store.devices("alice", 0))
    assert not writing.done()
    somebody_else.execute("COMMIT")
    await writing
    assert written(file) == [("noted",), ("sealed",)]


async def test_the_loop_goes_on_while_a_writer_waits_for_another_process(
    store: SqlAccounts, file: Path, somebody_else: sqlite3.Connection
) -> None:
    loop_went_on = threading.Event()

    def commit() -> None:
        loop_went_on.wait(2)
        somebody_else.execute("COMMIT")

    with ThreadPoolExecutor(1) as thread:
        thread.submit(commit)
        asyncio.get_running_loop().call_soon(loop_went_on.set)
        assert await lets_others_run(store.note(NOTE))
    assert written(file) == [("noted",), ("sealed",)]


async def test_who_comes_later_overtakes_nobody_who_waits(
    store: SqlAccounts, file: Path, somebody_else: sqlite3.Connection
) -> None:
    waiting = []
    for event in ("first", "second"):
        line = Activity(user_id="alice", at=0, event=event)
        waiting.append(asyncio.create_task(store.note(line)))
        await asyncio.sleep(0.05)
    # It is free from now on, though neither knows.
    somebody_else.execute("COMMIT")
    await store.note(Activity(user_id="alice", at=0, event="third"))
    await asyncio.gather(*waiting)
    assert [each.event for each in await store.activity("alice", 9)] == ["third", "second", "first"]


async def test_a_file_that_nobody_else_may_even_read_is_waited_for(store: SqlAccounts, file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("UPDATE users SET created_at = 1")
        calls = [asyncio.create_task(call) for call in (store.ping(), store.note(NOTE), store.devices("alice", 0))]
        await asyncio.sleep(0.05)
        assert not any(each.done() for each in calls)
    await asyncio.gather(*calls)
    assert written(file) == [("noted",), ("sealed",)]


async def test_a_migration_waits_for_another_one_beyond_the_patience_of_a_call(
    file: Path, somebody_else: sqlite3.Connection
) -> None:
    address = DatabaseAddress.parse(f"sqlite:///{file}")
    with pytest.raises(OperationalError, match="locked"):
        await SqliteDatabase(address, lock_seconds=0).run(lambda _: None)
    waits = asyncio.create_task(SqliteDatabase(address, patient=True, lock_seconds=0).run(lambda _: "done"))
    await asyncio.wait([waits], timeout=0.1)
    assert not waits.done()
    somebody_else.execute("COMMIT")
    assert await waits == "done"


async def test_what_may_take_long_leaves_the_loop_to_others_and_what_is_short_takes_no_detour(
    store: SqlAccounts,
) -> None:
    assert not await lets_others_run(store.ping())
    assert not await lets_others_run(store.note(NOTE))
    assert not await lets_others_run(store.forget_sealed("its", "key", ()))
    line = Activity(user_id="alice", at=0, event="devices.revoked_others")
    for long in (
        store.tidy(0),
        store.descendants("alice"),
        SqlUsers(store.database).accounts(),
        store.drop_push_token("address"),
        store.revoke("alice", "it", 0, line, by="it", descendants=True, passkeys=True),
        store.revoke_others("alice", "it", 0, line),
        SqlUsers(store.database).delete_user("alice", 1),
    ):
        assert await lets_others_run(long)


def test_whole_tables_are_looked_through_by_those_alone_that_may_take_long(file: Path) -> None:
    def scans(statement: Statement) -> bool:
        steps = database.execute(
            f"EXPLAIN QUERY PLAN {statement.for_sqlite.text}", statement.for_sqlite.constants
        ).fetchall()
        return any(step.startswith(f"SCAN {table}") for *_, step in steps for table in metadata.tables)

    found = [each for module in ASKING for each in vars(module).values()]
    asked = {each for each in found if isinstance(each, Statement)}
    with closing(sqlite3.connect(file)) as database:
        assert {each for each in asked if scans(each)} == {
            account_rows.ACCOUNTS,
            client_store.ALL,
            statements.DROP_PUSH,
        }
        sweeps = (*statements.SWEEPS, *grant_statements.SWEEPS)
        # Only the questions asked at logins are found by an index, for each login leaves one.
        assert [each for each in sweeps if not scans(each)] == [
            each for each in sweeps if "DELETE FROM login_questions" in each.for_sqlite.text
        ]


async def test_the_wal_stops_growing_and_never_at_the_loops_expense(store: SqlAccounts, file: Path) -> None:
    async def size_after(writers: int) -> int:
        detours = sum([await lets_others_run(store.note(NOTE)) for _ in range(writers)])
        assert writers // 200 <= detours <= writers // 50
        return file.with_name("pairing.db-wal").stat().st_size

    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        # Who still reads what was there before all this keeps it from being carried over.
        unbounded = await size_after(2500)
    bounded = await size_after(400)
    assert bounded < 1.1 * unbounded
    assert await size_after(800) == bounded


async def test_what_fails_leaves_nothing_and_harms_nobody_after_it(store: SqlAccounts, file: Path) -> None:
    def invite(name: str) -> tuple[Invite, User]:
        user = User(id=name, username=name, display_name=name, created_at=0, locked_at=None)
        return Invite(code_hash="code", user_id=name, expires_at=1, used_at=None), user

    await SqlUsers(store.database).add_invite(*invite("bob"))
    with pytest.raises(Conflict):
        await SqlUsers(store.database).add_invite(*invite("carol"))
    with closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE activity RENAME TO away")
        with pytest.raises(Unavailable):
            await store.rename("alice", "it", "New", NOTE)
        assert database.execute("SELECT name FROM devices").fetchall() == [("It",)]
    assert [each.user.id for each in await SqlUsers(store.database).accounts()] == ["alice", "bob"]
    assert await SqlUsers(store.database).lock("alice", 1)


async def test_a_database_that_can_not_be_opened_is_tried_again_by_the_next_one(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "later"
    database = open_database(f"sqlite:///{folder / 'pairing.db'}")
    store = SqlAccounts(database)

    async def opens() -> bool:
        calls = (
            store.ping(),
            SqlUsers(store.database).lock("alice", 0),
            SqlUsers(store.database).accounts(),
            store.ping(),
        )
        return not any(isinstance(each, Exception) for each in await asyncio.gather(*calls, return_exceptions=True))

    assert not await opens()
    folder.mkdir()
    await migrate(f"sqlite:///{folder / 'pairing.db'}")
    assert await opens()
    await database.close()
    assert [each.name for each in folder.iterdir()] == ["pairing.db"]
    assert await opens()
    await database.close()


def test_one_event_loop_after_another_can_use_it(file: Path) -> None:
    database = open_database(f"sqlite:///{file}")
    store = SqlAccounts(database)

    async def use() -> None:
        await asyncio.gather(*(call(store) for call in (*CALLS.values(), SqlAccounts.ping) for _ in range(3)))

    asyncio.run(use())
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, use()).result()
    asyncio.run(database.close())
    asyncio.run(use())
    asyncio.run(database.close())
