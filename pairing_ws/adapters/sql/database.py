"""Which database `DATABASE_URL` names, and whether its schema and its user's rights are what this version needs."""

import os
import socket
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.tables import metadata, revisions
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.core.errors import Code, Refused, Unavailable

# The space that the WAL of a few logins takes.
_MIN_FREE_BYTES = 1024 * 1024
# Any number that no other program on the same PostgreSQL uses for its advisory lock.
_MIGRATION_LOCK = 7_239_471
_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"


def open_database(url: str) -> Database:
    """The database of that URL. Nothing is connected yet."""
    return _open(DatabaseAddress.parse(url))


def _open(address: DatabaseAddress, *, patient: bool = False) -> Database:
    # Only one of the two is needed; PostgreSQL's is 40 ms of a start.
    if address.file:
        from pairing_ws.adapters.sql.sqlite import SqliteDatabase

        return SqliteDatabase(address, patient=patient)
    from pairing_ws.adapters.sql.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(address, patient=patient)


async def migrate(url: str) -> None:
    """Bring the schema up to date, in one transaction under a lock: of many processes one works, the others wait.

    Raises Refused, whose text names the setting and quotes the driver.
    """
    await _with_database(url, _migrate, patient=True)


async def check_database(url: str) -> None:
    """Return if `migrate` could do its work and the disk has space. Changes nothing. Raises Refused as `migrate` does,
    and Unavailable."""
    await _with_database(url, _check)
    require_disk_space(url)


async def _with_database(url: str, work: Any, *, patient: bool = False) -> None:
    address = DatabaseAddress.parse(url)
    database = _open(address, patient=patient)
    try:
        await database.run(work)
    except (SQLAlchemyError, OSError) as error:
        # A connection that fails quotes no parameters.
        raise _unusable(_words(error, address)) from error
    finally:
        await database.close()


async def is_up_to_date(database: Database) -> bool:
    """Whether nothing is left to be migrated. Raises SQLAlchemyError or OSError."""
    return await database.run(_revision) == newest_revision()


def require_disk_space(url: str) -> None:
    """Raises Unavailable if SQLite's disk is full or read-only: it could still be read, but not written."""
    file = DatabaseAddress.parse(url).file
    if file is not None:
        disk = os.statvfs(file.absolute().parent)
        if disk.f_bavail * disk.f_frsize < _MIN_FREE_BYTES or disk.f_flag & os.ST_RDONLY:
            raise Unavailable("the disk of the database")


def newest_revision() -> str:
    """The revision of a database that is up to date: the newest migration's file is named after it."""
    return max(each.name for each in _MIGRATIONS.glob("[0-9]*.py")).partition("_")[0]


def _migrate(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Other processes' migrations, and our own of large tables, take as long as they take.
        for name in ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout"):
            connection.execute(sa.select(sa.func.set_config(name, "0", True)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    if _check(connection) == newest_revision():
        return
    # Most starts have nothing to migrate, and need not load this: 120 ms.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", "pairing_ws.adapters.sql:migrations")
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _revision(connection: sa.Connection) -> str | None:
    """The revision of the schema; None where there is none."""
    if not sa.inspect(connection).has_table(revisions.name):
        return None
    return max(connection.execute(sa.select(revisions.c.version_num)).scalars(), default=None)


def _check(connection: sa.Connection) -> str | None:
    """The revision of the schema, None where there is none. Raises Refused if this version could not migrate the
    database, or a login could not use it."""
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        _check_server(connection)
        if sa.inspect(connection).has_table(revisions.name) and not _has_privilege(connection, "SELECT", revisions):
            _require_create(connection)
    found = _revision(connection)
    if (found or "") > newest_revision():
        raise _unusable(f"a newer version has made it ({found}; this one knows {newest_revision()})")
    if postgresql and found != newest_revision():
        _require_create(connection)
    elif postgresql:
        for table in metadata.sorted_tables:
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                if not _has_privilege(connection, right, table):
                    raise _unusable(f"its user has no right to {right} in {table.name}: GRANT it, or make it the owner")
    return found


def _check_server(connection: sa.Connection) -> None:
    encoding = _scalar(connection, sa.func.current_setting("server_encoding"))
    if encoding != "UTF8":
        # It would refuse the names of devices.
        raise _unusable(f"the database's encoding is {encoding}, and has to be UTF8")
    if _scalar(connection, sa.func.current_setting("transaction_read_only")) == "on":
        raise _unusable("it takes no writes: it is a standby, or its user's transactions are read-only")


def _require_create(connection: sa.Connection) -> None:
    if not _scalar(connection, sa.func.has_schema_privilege(sa.func.current_schema(), "CREATE")):
        raise _unusable("its user may not make tables: make it the owner, or GRANT CREATE ON SCHEMA")


def _has_privilege(connection: sa.Connection, right: str, table: sa.Table) -> bool:
    return bool(_scalar(connection, sa.func.has_table_privilege(table.name, right)))


def _scalar(connection: sa.Connection, expression: Any) -> Any:
    return connection.execute(sa.select(expression)).scalar_one()


def _unusable(reason: str) -> Refused:
    return Refused(Code.UNAVAILABLE, f"DATABASE_URL can't be used: {reason}")


def _words(error: Exception, address: DatabaseAddress) -> str:
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    text = next(iter(str(cause).splitlines()), "") or f"no answer ({type(cause).__name__})"
    # A name that can't be resolved is not named by the driver.
    return f"{address.name}: {text}" if isinstance(cause, socket.gaierror) else text
