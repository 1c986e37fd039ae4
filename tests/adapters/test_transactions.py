"""Transactions on SQLite, which run in another thread: whoever stops waiting for one finds nothing of it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.database import close_database, migrate, open_database
from pairing_ws.adapters.sql import SqlAccounts

NOTE = Activity(user_id="alice", at=0, event="noted")
Call = Callable[[SqlAccounts], Coroutine[Any, Any, object]]
CALLS: dict[str, Call] = {
    "several statements": lambda store: store.note(NOTE),
    "one statement": lambda store: store.drop_push_token("address"),
}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    file = tmp_path / "pairing.db"
    await migrate(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO users VALUES ('alice', 'alice', 'Alice', 0, NULL)")
        database.execute(
            "INSERT INTO devices VALUES ('it', 'alice', 'It', '', '', 0, 0, '', NULL, NULL, 'fcm-token', 'address')"
        )
    return file


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SqlAccounts]:
    engine = open_database(f"sqlite:///{file}")
    yield SqlAccounts(engine)
    await close_database(engine)


@pytest.fixture
def somebody_else(file: Path) -> Iterator[sqlite3.Connection]:
    """Has the database for itself until it commits."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def written(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT event FROM activity UNION SELECT push_address FROM devices").fetchall()


@pytest.mark.security(29)
@pytest.mark.parametrize("call", CALLS)
async def test_who_gives_up_waiting_in_the_line_has_written_nothing(
    store: SqlAccounts, file: Path, somebody_else: sqlite3.Connection, call: str
) -> None:
    # The first one waits for somebody else, and the second one for the first.
    first = asyncio.create_task(store.note(NOTE))
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
    assert written(file) == [("address",)]
    # And whoever comes after them is served.
    await store.note(NOTE)
    assert written(file) == [("address",), ("noted",)]


@pytest.mark.security(29)
async def test_reading_waits_for_no_writer(store: SqlAccounts, somebody_else: sqlite3.Connection) -> None:
    writing = asyncio.create_task(store.note(NOTE))
    assert [each.id for each in await store.users()] == ["alice"]
    assert not writing.done()
    somebody_else.execute("COMMIT")
    await writing


async def test_a_database_that_can_not_be_opened_is_tried_again_by_the_next_one(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "later"
    engine = open_database(f"sqlite:///{folder / 'pairing.db'}")
    store = SqlAccounts(engine)

    async def opens() -> bool:
        return not any(
            isinstance(each, Exception)
            for each in await asyncio.gather(store.ping(), store.ping(), return_exceptions=True)
        )

    assert not await opens()
    folder.mkdir()
    assert await opens()
    await close_database(engine)
