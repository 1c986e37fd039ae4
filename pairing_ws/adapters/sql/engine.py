"""How the database is reached and brought up to date. What is asked of it stands in `statements.py`."""

import asyncio
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pairing_ws.adapters.sql.tables import metadata, revisions
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.core.errors import Code, Refused, Unavailable

# At most so many connections to PostgreSQL in each process.
POOL_SIZE = 20
# How long a whole transaction may take, the wait for a connection included; what hangs longer is told to come back.
# Less than the 5 s that calls under way are given when the process is stopped.
TRANSACTION_SECONDS = 4.5
# One answer, and one connection: shorter, so that it is the connection that is given up, and all like it.
_COMMAND_SECONDS = 3.5
# Each of several hosts gets less: the one after it has to get its turn.
_CONNECT_SECONDS, _CONNECT_SECONDS_EACH = 3.5, 1.5
# A connection that a firewall forgot looks alive: none gets old enough to be forgotten.
_RECYCLE_SECONDS = 240
_CLOSE_SECONDS = 2.0
# What the server itself does: a wait for a lock ends before the line is given up; a process that hangs with a lock in
# its hands (stopped, or behind a dead line) loses it.
_SESSION = {
    "application_name": "pairing_ws",
    "lock_timeout": "2500ms",
    "idle_in_transaction_session_timeout": "10s",
}
# "Cannot execute … in a read-only transaction": a primary that has become a standby.
_READ_ONLY = "25006"
# When the WAL is carried over into the database is up to who writes, see `transactions.py`.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=0")
# 10 s in all, as for every other lock.
_WAL_TRIES, _WAL_PAUSE = 500, 0.02
# The WAL of a few logins.
_ROOM_BYTES = 1024 * 1024
# Any number that no other program on the same PostgreSQL uses for its advisory lock.
_MIGRATION_LOCK = 7_239_471
_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"


def open_database(url: str) -> AsyncEngine:
    """Nothing is connected yet."""
    address = DatabaseAddress.parse(url)
    return _open_sqlite(address) if address.file else _open_postgresql(address)


def _open_sqlite(address: DatabaseAddress) -> AsyncEngine:
    engine = create_async_engine(
        address.url,
        hide_parameters=True,
        # For the log.
        execution_options={"server": address.name},
        pool_size=5,
        max_overflow=0,
        pool_timeout=10,
        # Whoever takes a connection ends its transaction; making sure of it is one more trip to its thread.
        pool_reset_on_return=None,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None
        # An empty file becomes a WAL database under a lock that SQLite does not wait for, as for all others.
        for _ in range(_WAL_TRIES):
            try:
                _set(connection, "busy_timeout=10000", *_PRAGMAS)
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
            else:
                return
            connection.run_async(lambda _: asyncio.sleep(_WAL_PAUSE))
        _set(connection, *_PRAGMAS)

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that reads and then writes loses an update or fails; see SQLite's "BEGIN IMMEDIATE".
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def open_sqlite(engine: AsyncEngine) -> sqlite3.Connection:
    """One more connection to the engine's file, for the event loop's own thread: it waits for nobody."""
    [file], options = engine.dialect.create_connect_args(engine.url)
    # Another thread's loop may be the next one to use it, though never two at a time.
    own = {"timeout": 0, "isolation_level": None, "check_same_thread": False}
    connection: sqlite3.Connection = sqlite3.connect(file, **{**options, **own})
    try:
        _set(connection, *_PRAGMAS)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_locked(error: sqlite3.OperationalError) -> bool:
    """Whether another process has the file just now."""
    # Its lower byte is the kind. Those of Python's own making have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _set(connection: Any, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _open_postgresql(address: DatabaseAddress) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(address),
        hide_parameters=True,
        execution_options={"server": address.name},
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=TRANSACTION_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
        # Whatever the server's own default: the transactions are written for this one.
        isolation_level="READ COMMITTED",
    )

    # Kept here, for the pool tells nobody which of its connections nobody uses.
    idle: set[Any] = set()

    @sa.event.listens_for(engine.sync_engine, "checkin")
    def _on_checkin(_: object, record: Any) -> None:
        idle.add(record)

    @sa.event.listens_for(engine.sync_engine, "checkout")
    def _on_checkout(_: object, record: Any, __: object) -> None:
        idle.discard(record)
        # Costs nothing, unlike asking the server: what a restart closed is replaced before anybody fails with it.
        if record.driver_connection.is_closed():
            raise DisconnectionError

    @sa.event.listens_for(engine.sync_engine, "handle_error")
    def _on_error(context: sa.engine.ExceptionContext) -> None:
        error, connection = context.original_exception, context.connection
        if connection is None or connection.invalidated:
            return
        hangs = isinstance(error, TimeoutError)
        if hangs or isinstance(error, asyncio.CancelledError):
            context.is_disconnect = True
            # Else it would be closed politely, which takes two seconds more of who has waited long enough.
            _terminate(connection.connection)
        if hangs or getattr(error, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True
            # Those made before are most likely no better, and each would cost somebody the same wait.
            for record in idle:
                _terminate(record)

    return engine


def _terminate(connection: Any) -> None:
    if connection.driver_connection is not None:
        connection.driver_connection.terminate()


def connector(
    address: DatabaseAddress, command_seconds: float | None = _COMMAND_SECONDS
) -> Callable[[], Awaitable[Any]]:
    """How to make one more connection of the driver's own to PostgreSQL."""
    # Not needed with SQLite: 15 ms of a start.
    import asyncpg

    # The driver reads the URL as libpq does, but one dead host would use up the time of all.
    hosts: list[tuple[str | None, int | None]] = list(address.hosts) or [(None, None)]
    settings = {name: value for name, value in _SESSION.items() if name not in address.options}

    async def connect() -> Any:
        failure: Exception | None = None
        for host, port in tuple(hosts):
            try:
                connection = await asyncpg.connect(
                    address.url,
                    host=host,
                    port=port,
                    timeout=_CONNECT_SECONDS_EACH if len(hosts) > 1 else _CONNECT_SECONDS,
                    command_timeout=command_seconds,
                    server_settings=settings,
                )
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched) as error:
                failure = error
            except ValueError as error:
                # A file or an option that can't be used; the URL itself has been looked at before.
                raise ConnectionError(str(error)) from error
            else:
                # The next one asks here first.
                hosts.sort(key=lambda each: each != (host, port))
                return connection
        assert failure is not None
        raise failure

    return connect


async def close_database(engine: AsyncEngine) -> None:
    """Close all connections, politely if the server still listens. An open one can keep the process alive."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await engine.dispose()


async def migrate(url: str) -> None:
    """Bring the schema up to date, in one transaction under a lock: of many processes one works, the others wait.

    Raises Refused, whose text names the setting and says in the driver's words what is wrong.
    """
    address = DatabaseAddress.parse(url)
    engine = _open_sqlite(address) if address.file else _open_for_migration(address)
    try:
        async with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                await _lock_migrations(connection)
            await connection.run_sync(_upgrade, await connection.run_sync(_check))
    except (SQLAlchemyError, OSError) as error:
        # A connection that fails quotes no parameters.
        raise _unusable(_words(error, url)) from error
    finally:
        await close_database(engine)


def require_disk_space(url: str) -> None:
    """Raises Unavailable if SQLite's disk is full or can't be written to: what is there could still be read."""
    file = DatabaseAddress.parse(url).file
    if file is not None:
        disk = os.statvfs(file.absolute().parent)
        if disk.f_bavail * disk.f_frsize < _ROOM_BYTES or disk.f_flag & os.ST_RDONLY:
            raise Unavailable("the disk of the database")


async def examine(url: str) -> None:
    """Return if `migrate` could do its work. Changes nothing, and raises as it does."""
    engine = open_database(url)
    try:
        # A transaction that may write, as the server's own do, and is rolled back.
        async with engine.execution_options(writes=True).connect() as connection:
            await connection.run_sync(_check)
        require_disk_space(url)
    except (SQLAlchemyError, OSError) as error:
        raise _unusable(_words(error, url)) from error
    finally:
        await close_database(engine)


async def is_up_to_date(engine: AsyncEngine) -> bool:
    """Whether nothing is left to be migrated. Raises SQLAlchemyError or OSError."""
    async with engine.connect() as connection:
        if not await connection.run_sync(lambda own: sa.inspect(own).has_table(revisions.name)):
            return False
        return list((await connection.execute(sa.select(revisions.c.version_num))).scalars()) == [newest_revision()]


def _open_for_migration(address: DatabaseAddress) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connector(address, None), hide_parameters=True, poolclass=NullPool
    )


async def _lock_migrations(connection: Any) -> None:
    # Other processes' migrations, and our own of large tables, take as long as they take.
    for name in ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout"):
        await connection.execute(sa.select(sa.func.set_config(name, "0", True)))
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def _check(connection: sa.Connection) -> str | None:
    """The revision of the schema, None where there is none. Raises Refused if this version, or a login, could not use
    the database: for whom it starts and who only examines alike."""
    there = sa.inspect(connection).has_table(revisions.name)
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        _check_server(connection)
        there = there and (_has_privilege(connection, "SELECT", revisions) or _require_create(connection))
    found = max(connection.execute(sa.select(revisions.c.version_num)).scalars(), default="") if there else None
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


def _require_create(connection: sa.Connection) -> bool:
    """True, or Refused."""
    if not _scalar(connection, sa.func.has_schema_privilege(sa.func.current_schema(), "CREATE")):
        raise _unusable("its user may not make tables: make it the owner, or GRANT CREATE ON SCHEMA")
    return True


def _has_privilege(connection: sa.Connection, right: str, table: sa.Table) -> bool:
    return bool(_scalar(connection, sa.func.has_table_privilege(table.name, right)))


def _scalar(connection: sa.Connection, question: Any) -> Any:
    return connection.execute(sa.select(question)).scalar_one()


def newest_revision() -> str:
    """What a database is at when nothing is left to be done: its migration's file is named after it."""
    return max(each.name for each in _MIGRATIONS.glob("[0-9]*.py")).partition("_")[0]


def _upgrade(connection: sa.Connection, found: str | None) -> None:
    if found is None:
        # What the migrations come to, at once: of the first start they would take 150 ms.
        metadata.create_all(connection, checkfirst=False)
        connection.execute(revisions.insert().values(version_num=newest_revision()))
        return
    if found == newest_revision():
        return
    # Not needed by most starts, for nothing has changed: 120 ms.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", "pairing_ws.adapters.sql:migrations")
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _unusable(reason: str) -> Refused:
    return Refused(Code.UNAVAILABLE, f"DATABASE_URL can't be used: {reason}")


def _words(error: Exception, url: str) -> str:
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    text = next(iter(str(cause).splitlines()), "") or f"no answer ({type(cause).__name__})"
    # Of a name that nobody knows the driver says nothing but that.
    return f"{DatabaseAddress.parse(url).name}: {text}" if isinstance(cause, socket.gaierror) else text
