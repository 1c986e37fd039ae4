"""How a database gets its schema: by the migrations that it has not had, which are all of them when it is empty."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from structlog.testing import capture_logs

from pairing_ws.accounts.ports import Profile
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import migrate, newest_revision, open_database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.tables import metadata, revisions
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.core.errors import Refused
from tests.support.postgres import Postgres

T = TypeVar("T")
DatabaseMaker = Callable[[str], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseMaker:
    """The URL of a new database without anything in it."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return lambda _: server.url(server.empty_database())


async def run(url: str, work: Callable[[sa.Connection], T]) -> T:
    database = open_database(url)
    try:
        return await database.run(work)
    finally:
        await database.close()


def revisions_of(connection: sa.Connection) -> Sequence[str]:
    return connection.execute(sa.select(revisions.c.version_num)).scalars().all()


def upgrade(connection: sa.Connection, revision: str) -> None:
    settings = Config()
    settings.set_main_option("script_location", "pairing_ws.adapters.sql:migrations")
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


def schema(connection: sa.Connection) -> dict[str, Any]:
    """All but the order of columns, which migrations can't choose."""
    found = sa.inspect(connection)
    return {
        table: {
            "columns": sorted(str({**each, "type": str(each["type"])}) for each in found.get_columns(table)),
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(str(each) for each in found.get_foreign_keys(table)),
            "unique": sorted(str(each) for each in found.get_unique_constraints(table)),
            "checked": sorted(str(each) for each in found.get_check_constraints(table)),
            "indexes": sorted(str(each) for each in found.get_indexes(table)),
        }
        for table in found.get_table_names()
    }


async def test_the_migrations_make_the_tables_that_the_code_knows_down_to_the_names(empty: DatabaseMaker) -> None:
    migrated, declared = empty("one"), empty("other")
    await migrate(migrated)
    await run(declared, metadata.create_all)
    wanted = await run(declared, schema)
    assert await run(migrated, schema) == wanted
    assert await run(migrated, revisions_of) == [newest_revision()]
    assert set(wanted) == set(metadata.tables)


async def test_a_database_of_an_older_version_gets_what_is_new_and_keeps_what_it_has(empty: DatabaseMaker) -> None:
    url, fresh = empty("old"), empty("fresh")
    await migrate(fresh)
    alice = sa.text("INSERT INTO users (id, username, display_name, created_at) VALUES ('1', 'alice', 'Alice', 7)")
    await run(url, lambda connection: upgrade(connection, "0001"))
    await run(url, lambda connection: connection.execute(alice))
    await asyncio.gather(*(migrate(url) for _ in range(3)))
    assert await run(url, schema) == await run(fresh, schema)
    names = sa.text("SELECT username FROM users")
    assert await run(url, lambda connection: connection.execute(names).scalars().all()) == ["alice"]


async def test_accounts_whose_names_differ_in_case_alone_all_stay_and_are_named(empty: DatabaseMaker) -> None:
    url = empty("alike")
    names = ["Alice", "alice", "bob", "ALICE"]

    def before(connection: sa.Connection) -> None:
        upgrade(connection, "0005")
        statement = "INSERT INTO users (id, username, display_name, created_at) VALUES (:id, :name, :name, :at)"
        for at, name in enumerate(names):
            connection.execute(sa.text(statement), {"id": f"id-{name}", "name": name, "at": at})

    await run(url, before)
    with capture_logs() as logs:
        await migrate(url)
    assert [each["names"] for each in logs if each["event"] == "accounts.names_alike"] == [["Alice", "alice", "ALICE"]]
    database = open_database(url)
    store = SqlUsers(database)
    try:
        assert sorted(each.user.username for each in await store.accounts()) == sorted(names)
        # Each is still to be had by its own name, and none by a name that could be several's.
        for name in names:
            locked = await store.lock(name, 7)
            assert locked is not None
            assert locked.user.id == f"id-{name}"
        with pytest.raises(Refused, match="several accounts have that name, write it as one of them: 'ALICE', 'Alice'"):
            await store.lock("aLiCe", None)
        assert (await store.lock("BOB", None)) is not None
        # The name is still one name for new accounts.
        await store.delete_user("Alice", 8)
        with pytest.raises(Refused, match="several accounts"):
            await store.delete_user("Alice", 8)
        await store.delete_user("ALICE", 8)
        left = await store.lock("Alice", None)
        assert left is not None
        assert left.user.id == "id-alice"
    finally:
        await database.close()


async def test_accounts_from_before_there_were_applications_tell_them_nothing(empty: DatabaseMaker) -> None:
    url = empty("before")

    def before(connection: sa.Connection) -> None:
        upgrade(connection, "0009")
        values = "('1', 'alice', 'Alice', 7, 'alice', 0)"
        columns = "(id, username, display_name, created_at, compared_name, namesake)"
        connection.execute(sa.text(f"INSERT INTO users {columns} VALUES {values}"))

    await run(url, before)
    await migrate(url)
    database = open_database(url)
    try:
        account = await SqlGrants(database).account("1")
        assert account
        assert (account.user.username, account.profile) == ("alice", Profile())
        assert await SqlClients(database).all() == []
    finally:
        await database.close()


async def test_lines_from_before_the_feed_are_in_it_and_so_are_those_that_an_older_server_still_writes(
    empty: DatabaseMaker,
) -> None:
    url = empty("feed")
    alice = "INSERT INTO users (id, username, display_name, created_at) VALUES ('1', 'alice', 'Alice', 7)"
    line = sa.text("INSERT INTO activity (user_id, at, event) VALUES ('1', :at, 'noted')")

    def before(connection: sa.Connection) -> None:
        upgrade(connection, "0012")
        connection.execute(sa.text(alice))
        for at in (3, 2, 1):
            connection.execute(line, {"at": at})

    await run(url, before)
    await migrate(url)
    for at in (6, 5):
        await run(url, lambda connection, at=at: connection.execute(line, {"at": at}))  # type: ignore[misc]
    database = open_database(url)
    try:
        found = await SqlUsers(database).lines_after(0, 100)
        assert [each.line.at for each in found] == [3, 2, 1, 6, 5]
        assert [each.line.at for each in await SqlUsers(database).lines_after(found[2].seq, 1)] == [6]
    finally:
        await database.close()


def test_the_newest_migration_is_known_by_its_files_name() -> None:
    settings = Config()
    settings.set_main_option("script_location", "pairing_ws.adapters.sql:migrations")
    assert newest_revision() == ScriptDirectory.from_config(settings).get_current_head()


async def test_of_many_that_start_on_an_empty_database_one_makes_the_schema(empty: DatabaseMaker) -> None:
    url = empty("shared")
    await asyncio.gather(*(migrate(url) for _ in range(8)))
    assert await run(url, revisions_of) == [newest_revision()]


async def test_a_database_of_a_newer_version_is_left_alone_with_one_clear_line(empty: DatabaseMaker) -> None:
    url = empty("newer")
    await migrate(url)
    await run(url, lambda connection: connection.execute(revisions.update().values(version_num="9999")))
    with pytest.raises(Refused, match="a newer version has made it"):
        await migrate(url)
