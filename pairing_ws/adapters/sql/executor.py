"""How the database is asked: each transaction is a plain function, run to its end in one go.

SQLAlchemy writes the statements, once, and keeps the connections. On PostgreSQL it also runs them. On SQLite their text
goes to the driver itself, for short ones without a trip to the driver's thread. Of a login that leaves none of 53 trips
and 0.2 ms of CPU out of 8.5; on PostgreSQL 7 statements out of 11 and at most half of 6 to 7 ms.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from importlib import import_module
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from pairing_ws.adapters.outages import Outages, cause_in_sql
from pairing_ws.adapters.sql.engine import TRANSACTION_SECONDS, is_locked, open_sqlite
from pairing_ws.core.errors import Unavailable
from pairing_ws.core.timing_wheel import Within

P = ParamSpec("P")
T = TypeVar("T")
StoreT = TypeVar("StoreT", bound="Store")

log = structlog.get_logger()

# How long to wait, in seconds, before the next try to get a file that another process has: 10 s in all, as the driver's
# connections do, but in shorter steps, for a try takes 20 µs. Writers have less, see `TRANSACTION_SECONDS`.
_PAUSES = (*(0.001,) * 10, *(0.005,) * 20, *(0.05,) * 198)
# How many write before the WAL is carried over into the database. If they are logins it has come to 1400 pages by then;
# SQLite by itself waits for 1000, but would do it in the loop's thread.
_WRITERS_PER_ROUND = 100
# More are too many: it has not begun anew for several rounds. Three busy processes made 20,000 of them in 7 s.
_WAL_PAGES = 4000


class Conflict(Exception):
    """What was to be written would stand beside what must be unique; nothing of the transaction was."""


class Statement:
    """SQL whose values come with each call. To be made at import: SQLAlchemy takes longer to write a statement than
    SQLite to answer it."""

    def __init__(self, clause: Any) -> None:
        self._clause = clause

    def for_dialect(self, dialect: str) -> Any:
        return self._clause

    @cached_property
    def for_sqlalchemy(self) -> Any:
        return self.for_dialect("postgresql")

    @cached_property
    def text(self) -> str:
        return str(self._compiled)

    @cached_property
    def bound_params(self) -> dict[str, Any]:
        """The values that do not come with a call; None for those that do."""
        return dict(self._compiled.params)

    @cached_property
    def _compiled(self) -> Any:
        dialect = import_module("sqlalchemy.dialects.sqlite").dialect(paramstyle="named")
        return self.for_dialect("sqlite").compile(dialect=dialect)


class Upsert(Statement):
    """Insert a row, or change these columns of the one that is there; all but the keys, if none are named."""

    def __init__(self, table: sa.Table, keys: Sequence[str], change: Sequence[str] = ()) -> None:
        super().__init__(table)
        self._keys = keys
        self._change = change or [column.name for column in table.c if column.name not in keys]

    def for_dialect(self, dialect: str) -> Any:
        # Both spell ON CONFLICT alike, but share no type that says so. The engine has loaded the one that it speaks;
        # PostgreSQL's is 25 ms of a start.
        fresh = import_module(f"sqlalchemy.dialects.{dialect}").insert(self._clause)
        change = {name: fresh.excluded[name] for name in self._change}
        return fresh.on_conflict_do_update(index_elements=self._keys, set_=change)


class Transaction(Protocol):
    """One that is under way. It ends with the function that it was given to."""

    def rows(self, statement: Statement, /, **values: Any) -> Sequence[Any]: ...

    def change(self, statement: Statement, /, **values: Any) -> int:
        """How many rows that changed."""

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None: ...


class Transactions(Protocol):
    """How one kind of database runs them. Raise Unavailable when it is away; a cancelled one leaves nothing,
    unless it was being committed just then."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """For one statement."""

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        """For one statement that writes."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """For several: committed at its end, rolled back by any exception. Raises Conflict."""

    async def long_read(self, work: Callable[[Transaction], T]) -> T:
        """As `read`, if nothing bounds how many rows that looks at."""

    async def long_write(self, work: Callable[[Transaction], T]) -> T:
        """As `write`, if nothing bounds how many rows that looks at."""


class Store:
    """What is asked by the methods that are marked as `read`, `single_write`, `write` and so on."""

    def __init__(self, engine: AsyncEngine) -> None:
        on_postgresql = engine.dialect.name == "postgresql"
        self.transactions: Transactions = (
            PostgresqlTransactions(engine) if on_postgresql else SqliteTransactions(engine)
        )


Work = Callable[[Transaction], Any]
Method = Callable[Concatenate[StoreT, Transaction, P], T]
Call = Callable[Concatenate[StoreT, P], Coroutine[Any, Any, T]]


class Mark(Protocol):
    def __call__(self, method: Method[StoreT, P, T], /) -> Call[StoreT, P, T]: ...


def _marked(run: Callable[[Transactions, Work], Coroutine[Any, Any, Any]]) -> Mark:
    def mark(method: Method[StoreT, P, T], /) -> Call[StoreT, P, T]:
        @wraps(method)
        async def call(store: StoreT, /, *args: P.args, **kwargs: P.kwargs) -> T:
            done: T = await run(store.transactions, lambda transaction: method(store, transaction, *args, **kwargs))
            return done

        return call

    return mark


# Each is what `Transactions` says of it.
read = _marked(lambda transactions, work: transactions.read(work))
single_write = _marked(lambda transactions, work: transactions.single_write(work))
write = _marked(lambda transactions, work: transactions.write(work))
long_read = _marked(lambda transactions, work: transactions.long_read(work))
long_write = _marked(lambda transactions, work: transactions.long_write(work))


class Outage:
    """Of the engine's database: the log has it once when it begins, and once when it is over."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._server = str(engine.get_execution_options().get("server", ""))
        self._outages = Outages(
            lambda server, cause: log.warning("sql.failed", server=server, cause=cause),
            lambda server, seconds: log.warning("sql.back", server=server, after_seconds=seconds),
        )

    def met(self, cause: BaseException) -> Unavailable:
        self._outages.failed(self._server, cause_in_sql(cause))
        return Unavailable("the database")

    def over(self) -> None:
        self._outages.works(self._server)

    @contextmanager
    def told(self) -> Iterator[None]:
        """What the driver of SQLite raises becomes Conflict or Unavailable."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise Conflict from error
        except (sqlite3.Error, SQLAlchemyError, OSError) as error:
            raise self.met(error) from error
        self.over()


class PostgresqlTransactions:
    def __init__(self, engine: AsyncEngine) -> None:
        self._several = engine
        self._outage = Outage(engine)
        # A lone statement is a transaction by itself; BEGIN and COMMIT would be two more round trips.
        self._alone = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(self._alone, work)

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(self._alone, work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(self._several, work)

    long_read, long_write = read, write

    async def _run(self, engine: AsyncEngine, work: Callable[[Transaction], T]) -> T:
        try:
            async with asyncio.timeout(TRANSACTION_SECONDS), engine.begin() as connection:
                done = await connection.run_sync(lambda synchronous: work(_PostgresqlTransaction(synchronous)))
        except IntegrityError as error:
            raise Conflict from error
        except (SQLAlchemyError, OSError) as error:
            raise self._outage.met(error.driver_exception if isinstance(error, DBAPIError) else error) from error
        self._outage.over()
        return done


class _PostgresqlTransaction:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def rows(self, statement: Statement, /, **values: Any) -> Sequence[Any]:
        return self._connection.execute(statement.for_sqlalchemy, values).all()

    def change(self, statement: Statement, /, **values: Any) -> int:
        return self._connection.execute(statement.for_sqlalchemy, values).rowcount

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None:
        self._connection.execute(statement.for_sqlalchemy, values)


class SqliteTransactions:
    """What is short runs where it is asked for, on the event loop's own thread and in one go: a trip to another thread
    costs more than what is done there, for the two then take the interpreter from each other. A read takes 22 µs of CPU
    in place of 90, a login's transaction 160 in place of 250, a whole login on a busy server three fifths.

    What may take long is the driver's thread's: whatever looks at many rows, and what waits for the disk.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._outage = Outage(engine)
        self._here: _SqliteTransaction | None = None
        sa.event.listen(engine.sync_engine, "engine_disposed", self._close)
        self._written = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = asyncio.Lock()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        with self._outage.told():
            return await self._run_here(work)

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        with self._outage.told():
            async with Within(TRANSACTION_SECONDS), self._write_lock():
                self._written += 1
                run = self._run_here if self._written % _WRITERS_PER_ROUND else self._write_in_thread
                return await run(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self.single_write(partial(_in_transaction, work))

    async def long_read(self, work: Callable[[Transaction], T]) -> T:
        with self._outage.told():
            return await self._run_in_thread(work)

    async def long_write(self, work: Callable[[Transaction], T]) -> T:
        with self._outage.told():
            async with Within(TRANSACTION_SECONDS), self._write_lock():
                return await self._write_in_thread(partial(_in_transaction, work))

    def _write_lock(self) -> asyncio.Lock:
        """There is one writer at a time; queueing here is fairer than SQLite's busy handler."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A lock serves one loop, a store perhaps several, one after the other.
            self._loop, self._writing = loop, asyncio.Lock()
        return self._writing

    async def _run_here(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        for pause in _PAUSES:
            try:
                return work(self._opened())
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
            # SQLite itself would wait in a thread, and all who come later would have to queue for that: as long as the
            # loop is busy such a queue never empties, and 19 of 20 transactions take the trip.
            await asyncio.sleep(pause)
        return work(self._opened())

    def _opened(self) -> "_SqliteTransaction":
        if self._here is None:
            self._here = _SqliteTransaction(open_sqlite(self._engine))
        return self._here

    def _close(self, _: sa.Engine) -> None:
        if self._here is not None:
            self._here.connection.close()
            self._here = None

    async def _write_in_thread(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        return await self._run_in_thread(partial(_checkpoint_then, work))

    async def _run_in_thread(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        pooled: Any = await self._engine.raw_connection()
        try:
            # The driver has no public name for this.
            call, db = pooled.driver_connection._execute, _SqliteTransaction(pooled.driver_connection._conn)
            try:
                done: T = await call(_unless_cancelled, work, db)
                return done
            except asyncio.CancelledError:
                db.cancelled = True
                # It has ended when this one, which comes after it, has its turn.
                await call(lambda: None)
                raise
        finally:
            pooled.close()


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.cancelled = False

    def rows(self, statement: Statement, /, **values: Any) -> Sequence[Any]:
        return self.connection.execute(statement.text, statement.bound_params | values).fetchall()

    def change(self, statement: Statement, /, **values: Any) -> int:
        return self.connection.execute(statement.text, statement.bound_params | values).rowcount

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None:
        self.connection.executemany(statement.text, [statement.bound_params | each for each in values])


def _unless_cancelled(work: Callable[[_SqliteTransaction], T], db: _SqliteTransaction) -> T | None:
    return None if db.cancelled else work(db)


def _checkpoint_then(work: Callable[[_SqliteTransaction], T], db: _SqliteTransaction) -> T:
    # While nobody writes: else it would not get to the WAL's end, and only from there does a WAL begin anew instead of
    # growing. Who writes next begins it, and has to wait for the disk as well: that is this one.
    try:
        ((_, pages, _),) = db.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if pages > _WAL_PAGES:
            _restart_wal(db.connection)
    except sqlite3.Error as error:
        # The next round may be better.
        log.warning("sql.checkpoint_failed", error=type(error).__name__)
    return work(db)


def _restart_wal(connection: sqlite3.Connection) -> None:
    """Other processes went on writing: hold them back for once, but not for as long as somebody reads what was
    there before: a backup may take minutes."""
    ((patience,),) = connection.execute("PRAGMA busy_timeout").fetchall()
    try:
        connection.execute("PRAGMA busy_timeout=50")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout={patience}")


def _in_transaction(work: Callable[[Transaction], T], db: _SqliteTransaction) -> T:
    # A deferred transaction that reads and then writes loses an update or fails; see SQLite's "BEGIN IMMEDIATE".
    db.connection.execute("BEGIN IMMEDIATE")
    try:
        done = work(db)
        # Nobody is told of what is done for who has gone.
        db.connection.execute("ROLLBACK" if db.cancelled else "COMMIT")
        return done
    except BaseException:
        # Some errors end it by themselves.
        if db.connection.in_transaction:
            db.connection.execute("ROLLBACK")
        raise
