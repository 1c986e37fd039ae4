"""What a store's methods are written in: statements, transactions, and the marks that run a method as one transaction.

A method gets its transaction as its first argument and is a plain function, run to its end in one go. SQLAlchemy writes
each statement once. How a transaction runs on each database stands in `sqlite.py` and `postgresql.py`.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property, wraps
from importlib import import_module
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pairing_ws.adapters.outages import Outages, cause_in_sql
from pairing_ws.core.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
StoreT = TypeVar("StoreT", bound="Store")

log = structlog.get_logger()

# The most that a transaction may take, the wait for a connection included. A client whose call hangs longer gets 503.
# It is less than the 5 s that calls under way have when the process is stopped.
TRANSACTION_SECONDS = 4.5


class Conflict(Exception):
    """A unique constraint refused a row. Nothing of the transaction was written."""


class Written(NamedTuple):
    """A statement as a driver takes it. `names` are those of its parameters, in their order; `constants` the values
    that the statement itself has, None for those that come with a call."""

    text: str
    names: Sequence[str]
    constants: dict[str, Any]


class Statement:
    """SQL whose values come with each call. To be made at import: SQLAlchemy takes longer to write a statement than
    a database to answer it. An insert gives values to `columns`, or to all."""

    def __init__(self, clause: Any, columns: Sequence[str] | None = None) -> None:
        self._clause = clause
        self._columns = columns

    def for_dialect(self, dialect: str) -> Any:
        """The clause for `sqlite` or `postgresql`."""
        return self._clause

    @cached_property
    def for_sqlite(self) -> Written:
        """With named parameters."""
        return self._written("sqlite", import_module("sqlalchemy.dialects.sqlite").dialect(paramstyle="named"))

    @cached_property
    def for_postgresql(self) -> Written:
        """With numbered ones, as asyncpg has them."""
        return self._written("postgresql", import_module("sqlalchemy.dialects.postgresql.asyncpg").dialect())

    def _written(self, name: str, dialect: Any) -> Written:
        compiled = self.for_dialect(name).compile(dialect=dialect, column_keys=self._columns)
        return Written(str(compiled), compiled.positiontup or (), dict(compiled.params))


class Upsert(Statement):
    """Insert a row, or change these columns of the one that is there; all but the keys, if none are named."""

    def __init__(self, table: sa.Table, keys: Sequence[str], change: Sequence[str] = ()) -> None:
        super().__init__(table)
        self._keys = keys
        self._change = change or [column.name for column in table.c if column.name not in keys]

    def for_dialect(self, dialect: str) -> Any:
        # Both databases know ON CONFLICT, but SQLAlchemy has no common type for it. One dialect is loaded already; the
        # other, PostgreSQL's, would be 25 ms of a start.
        insert = import_module(f"sqlalchemy.dialects.{dialect}").insert(self._clause)
        change = {name: insert.excluded[name] for name in self._change}
        return insert.on_conflict_do_update(index_elements=self._keys, set_=change)


class Transaction(Protocol):
    """A transaction under way. It ends when the function that got it returns."""

    def rows(self, statement: Statement, /, **values: Any) -> Sequence[Any]:
        """The rows that it selects or returns, as tuples."""

    def change(self, statement: Statement, /, **values: Any) -> int:
        """How many rows it changed."""

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None:
        """Run it once for each of these values, at least one."""


class Database(Protocol):
    """One database, its connections and its one way to run transactions. Nothing is connected before the first use.

    The five that take `Work` raise Unavailable when the database is away, or the transaction took too long. A cancelled
    one leaves nothing, unless it was being committed just then.
    """

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """For one statement that reads few rows."""

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        """For one statement that writes few rows."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """For several statements on few rows: committed at the end, rolled back by any exception. Raises Conflict."""

    async def long_read(self, work: Callable[[Transaction], T]) -> T:
        """As `read`, where nothing bounds how many rows are looked at."""

    async def long_write(self, work: Callable[[Transaction], T]) -> T:
        """As `write`, where nothing bounds how many rows are looked at."""

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run it in one transaction on a connection of SQLAlchemy's: for the schema, and whatever is no store's.

        Committed at the end, rolled back by any exception. Raises SQLAlchemy's errors, and OSError.
        """

    async def close(self) -> None:
        """Close every connection. The next use opens new ones."""


class Store:
    """Base of the classes whose methods are marked as `read`, `write` and so on."""

    def __init__(self, database: Database) -> None:
        self.database = database


Work = Callable[[Transaction], Any]
Method = Callable[Concatenate[StoreT, Transaction, P], T]
Call = Callable[Concatenate[StoreT, P], Coroutine[Any, Any, T]]


class Mark(Protocol):
    def __call__(self, method: Method[StoreT, P, T], /) -> Call[StoreT, P, T]: ...


def _marked(run: Callable[[Database, Work], Coroutine[Any, Any, Any]]) -> Mark:
    def mark(method: Method[StoreT, P, T], /) -> Call[StoreT, P, T]:
        # No coroutine of its own around that of the database: it would do nothing but wait.
        @wraps(method)
        def call(store: StoreT, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
            return run(store.database, lambda transaction: method(store, transaction, *args, **kwargs))

        return call

    return mark


# Each runs the method as `Database` says of it.
read = _marked(lambda database, work: database.read(work))
single_write = _marked(lambda database, work: database.single_write(work))
write = _marked(lambda database, work: database.write(work))
long_read = _marked(lambda database, work: database.long_read(work))
long_write = _marked(lambda database, work: database.long_write(work))


class Outage:
    """Of one database: the log gets one line when it begins, and one when it is over.

    Within it, Conflict or Unavailable is raised in place of what SQLAlchemy, the driver and the network raise: of the
    driver `conflicts` where a constraint refused a row, and otherwise `errors`.
    """

    # Not by contextlib: as with `raising_unavailable` of Redis, a generator would take more than a µs of each read.

    def __init__(self, server: str, conflicts: type[Exception], *errors: type[Exception]) -> None:
        self._server = server
        self._conflicts = conflicts
        self._errors = (*errors, SQLAlchemyError, OSError)
        self._outages = Outages(
            lambda server, cause: log.warning("sql.failed", server=server, cause=cause),
            lambda server, seconds: log.warning("sql.back", server=server, after_seconds=seconds),
        )

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._outages.works(self._server)
        elif isinstance(error, self._conflicts):
            raise Conflict from error
        elif isinstance(error, self._errors):
            cause = error.driver_exception if isinstance(error, DBAPIError) else error
            self._outages.failed(self._server, cause_in_sql(cause))
            raise Unavailable("the database") from error
