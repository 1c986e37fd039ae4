"""Transactions on PostgreSQL, by asyncpg in SQLAlchemy's pool: and what happens when the server does not answer.

SQLAlchemy writes the statements, once each, and asyncpg executes them: executed by SQLAlchemy, they made a whole login
take half as much CPU time again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only, greenlet_spawn

from pairing_ws.adapters.sql.executor import TRANSACTION_SECONDS, Outage, Statement, Transaction
from pairing_ws.config.database_url import DatabaseAddress

T = TypeVar("T")

# The most connections of each process.
POOL_SIZE = 20
# For one answer, and for one connection. Less than a transaction may take: the connection is given up first, and all
# idle ones with it.
_COMMAND_SECONDS = 3.5
# Each of several hosts gets less time, so that the next one gets its turn.
_CONNECT_SECONDS, _CONNECT_SECONDS_EACH = 3.5, 1.5
# A connection that a firewall has forgotten looks alive. None gets old enough to be forgotten.
_RECYCLE_SECONDS = 240
_CLOSE_SECONDS = 2.0
# Settings of the session, which the server enforces. A wait for a lock ends before the connection is given up. A
# process that hangs while it holds locks (stopped, or behind a dead line) loses them.
_SESSION = {
    "application_name": "pairing_ws",
    "lock_timeout": "2500ms",
    "idle_in_transaction_session_timeout": "10s",
}
# SQLSTATE "read_only_sql_transaction": a primary that has become a standby.
_READ_ONLY = "25006"


class PostgresqlDatabase:
    """See `executor.Database`. With `patient`, a statement may take as long as it takes, and no connection is kept."""

    def __init__(self, address: DatabaseAddress, *, patient: bool = False) -> None:
        # Kept here, for the pool does not say which of its connections are idle.
        self._idle: set[Any] = set()
        self.engine = _open_patiently(address) if patient else _open(address, self._idle)
        # The last are raised where no connection is made: the pool's own names for asyncpg's errors.
        pool: Any = self.engine.dialect.dbapi
        errors = (asyncpg.PostgresError, asyncpg.InterfaceError, pool.Error)
        self._outage = Outage(address.name, asyncpg.IntegrityConstraintViolationError, *errors)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        # A lone statement is a transaction by itself; BEGIN and COMMIT would be two more round trips.
        return await self._run(work)

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(partial(_in_transaction, work))

    long_read, long_write = read, write

    async def _run(self, work: "Callable[[_PostgresqlTransaction], T]") -> T:
        with self._outage:
            async with asyncio.timeout(TRANSACTION_SECONDS):
                return await greenlet_spawn(self._perform, work)

    def _perform(self, work: "Callable[[_PostgresqlTransaction], T]") -> T:
        """In a greenlet: a plain function waits for the driver there."""
        pooled = self.engine.sync_engine.raw_connection()
        driver: Any = pooled.driver_connection
        try:
            return work(_PostgresqlTransaction(driver))
        except BaseException as error:
            hangs = isinstance(error, TimeoutError)
            if hangs or isinstance(error, asyncio.CancelledError):
                # Else it would be closed politely, for two seconds more of a caller who has waited long enough.
                driver.terminate()
            if hangs or getattr(error, "sqlstate", None) == _READ_ONLY:
                # The idle ones are most likely no better, and each would cost another caller the same wait.
                for each in (pooled, *self._idle):
                    _terminate(each)
            raise
        finally:
            pooled.close()

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Politely, if the server still listens. An open connection can keep the process alive."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.engine.dispose()


class _PostgresqlTransaction:
    """See `executor.Transaction`."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def rows(self, statement: Statement, /, **values: Any) -> Any:
        text, arguments = _with_arguments(statement, values)
        return await_only(self.driver.fetch(text, *arguments))

    def change(self, statement: Statement, /, **values: Any) -> int:
        text, arguments = _with_arguments(statement, values)
        # "UPDATE 1", "INSERT 0 1"
        return int(await_only(self.driver.execute(text, *arguments)).rpartition(" ")[2])

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None:
        text, _ = _with_arguments(statement, values[0])
        await_only(self.driver.executemany(text, [_with_arguments(statement, each)[1] for each in values]))


def _with_arguments(statement: Statement, values: dict[str, Any]) -> tuple[str, Sequence[Any]]:
    text, names, constants = statement.for_postgresql
    return text, [*map((constants | values).__getitem__, names)]


def _in_transaction(work: Callable[[Transaction], T], transaction: _PostgresqlTransaction) -> T:
    # Whatever the server's own default: the transactions are written for this one.
    block = transaction.driver.transaction(isolation="read_committed")
    await_only(block.start())
    try:
        done = work(transaction)
    except Exception:
        if not transaction.driver.is_closed():
            await_only(block.rollback())
        raise
    await_only(block.commit())
    return done


def _open(address: DatabaseAddress, idle: set[Any]) -> AsyncEngine:
    """`idle` is to hold the connections that are."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(address),
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=TRANSACTION_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
    )

    @sa.event.listens_for(engine.sync_engine, "checkin")
    def _on_checkin(_: object, record: Any) -> None:
        idle.add(record)

    @sa.event.listens_for(engine.sync_engine, "checkout")
    def _on_checkout(_: object, record: Any, __: object) -> None:
        idle.discard(record)
        # Costs nothing, unlike asking the server: a connection that a restart closed is replaced before a call fails.
        if record.driver_connection.is_closed():
            raise DisconnectionError

    return engine


def _open_patiently(address: DatabaseAddress) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connector(address, None), hide_parameters=True, poolclass=NullPool
    )


def _terminate(connection: Any) -> None:
    if connection.driver_connection is not None:
        connection.driver_connection.terminate()


def connector(
    address: DatabaseAddress, command_seconds: float | None = _COMMAND_SECONDS
) -> Callable[[], Awaitable[Any]]:
    """A function that makes one more connection of asyncpg's, to the first host that answers.

    `command_seconds` is how long it waits for each answer; None: forever.
    """
    # asyncpg reads the URL as libpq does, but one dead host would use up the time of all.
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
                # A file or an option that can't be used; the URL itself has been checked before.
                raise ConnectionError(str(error)) from error
            else:
                # The next connection is tried here first.
                hosts.sort(key=lambda each: each != (host, port))
                return connection
        assert failure is not None
        raise failure

    return connect
