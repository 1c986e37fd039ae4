"""Transactions on SQLite, by the standard library's `sqlite3`.

Short ones run on the event loop's thread, where they are asked for: a trip to another thread costs more than the work,
for the two threads then take the interpreter from each other. A read takes 22 µs of CPU in place of 90, a login's
transaction 160 in place of 250. What may take long runs in a thread: whatever looks at many rows or waits for the disk.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.pool import NullPool

from pairing_ws.adapters.sql.executor import TRANSACTION_SECONDS, Outage, Statement, Transaction, Written
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.core.timing_wheel import Timeout

T = TypeVar("T")

log = structlog.get_logger()

# The WAL is written back to the database by `_checkpoint_then`, not by SQLite at the end of some commit.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=0")
# How long a connection waits for a lock, and pauses before the next try where SQLite itself does not wait.
_LOCK_SECONDS, _LOCK_PAUSE = 10.0, 0.02
# The same for the event loop's connection, 10 s in all, but in shorter steps: a try takes 20 µs. Writers have less, see
# `TRANSACTION_SECONDS`.
_PAUSES = (*(0.001,) * 10, *(0.005,) * 20, *(0.05,) * 198)
_MAX_THREADS = 5
# After so many writes the WAL is written back. By logins it has come to 1400 pages then. SQLite by itself waits for
# 1000, but would do it in the loop's thread.
_WRITES_PER_CHECKPOINT = 100
# A longer WAL has not been restarted for several checkpoints. Three busy processes made 20,000 pages in 7 s.
_MAX_WAL_PAGES = 4000


class SqliteDatabase:
    """See `executor.Database`. May be used by several event loops, one after the other.

    With `patient`, `run` waits for a lock as long as somebody else has it.
    """

    def __init__(self, address: DatabaseAddress, *, patient: bool = False, lock_seconds: float = _LOCK_SECONDS) -> None:
        url = sa.make_url(address.url)
        [self._file], self._options = url.get_dialect()().create_connect_args(url)
        self._outage = Outage(address.name, sqlite3.IntegrityError, sqlite3.Error)
        self._patient = patient
        self._lock_seconds = lock_seconds
        self._engine = sa.create_engine(url, creator=self._connect, poolclass=NullPool, hide_parameters=True)
        sa.event.listen(self._engine, "begin", _begin)
        self._on_loop: _SqliteTransaction | None = None
        self._threads: _Threads | None = None
        self._writes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        with self._outage:
            return await self._run_on_loop(work)

    async def single_write(self, work: Callable[[Transaction], T]) -> T:
        return await self._short_write(work, work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._short_write(work, partial(_in_transaction, work))

    async def _short_write(
        self, work: Callable[[Transaction], T], work_on_loop: "Callable[[_SqliteTransaction], T]"
    ) -> T:
        with self._outage, Timeout(TRANSACTION_SECONDS):
            async with self._write_lock():
                self._writes += 1
                if self._writes % _WRITES_PER_CHECKPOINT:
                    return await self._run_on_loop(work_on_loop)
                return await self._write_in_thread(work)

    async def long_read(self, work: Callable[[Transaction], T]) -> T:
        with self._outage:
            return await self._run_in_thread(work)

    async def long_write(self, work: Callable[[Transaction], T]) -> T:
        with self._outage, Timeout(TRANSACTION_SECONDS):
            async with self._write_lock():
                return await self._write_in_thread(work)

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        def in_transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        while True:
            try:
                return await asyncio.to_thread(in_transaction)
            except sa.exc.OperationalError as error:
                if not (self._patient and isinstance(error.orig, sqlite3.OperationalError) and _is_locked(error.orig)):
                    raise

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.close()
            self._threads = None
        if self._on_loop is not None:
            self._on_loop.connection.close()
            self._on_loop = None

    def _connect(self, wait_seconds: float | None = None) -> sqlite3.Connection:
        """One more connection. Waits so long for a lock; with 0 it raises at once."""
        wait_seconds = self._lock_seconds if wait_seconds is None else wait_seconds
        # Several threads may use it, but never two at a time.
        own: dict[str, Any] = {"timeout": wait_seconds, "isolation_level": None, "check_same_thread": False}
        connection: sqlite3.Connection = sqlite3.connect(self._file, **{**self._options, **own})
        end = time.monotonic() + wait_seconds
        try:
            # An empty file becomes a WAL database under a lock for which SQLite itself does not wait.
            while not _configure(connection, last_try=time.monotonic() >= end):
                time.sleep(_LOCK_PAUSE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _write_lock(self) -> asyncio.Lock:
        """SQLite has one writer at a time. Queueing here is fairer than its busy handler."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A lock serves one loop.
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def _run_on_loop(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        for pause in _PAUSES:
            try:
                return work(self._opened())
            except sqlite3.OperationalError as error:
                if not _is_locked(error):
                    raise
            # SQLite itself would wait in a thread, and all later callers would have to queue for that: as long as the
            # loop is busy such a queue never empties, and 19 of 20 transactions take the trip.
            await asyncio.sleep(pause)
        return work(self._opened())

    def _opened(self) -> "_SqliteTransaction":
        if self._on_loop is None:
            self._on_loop = _SqliteTransaction(self._connect(0))
        return self._on_loop

    async def _write_in_thread(self, work: Callable[[Transaction], T]) -> T:
        # In a transaction even if it is one statement: it may be cancelled while it waits for another process's lock.
        return await self._run_in_thread(partial(_checkpoint_then, partial(_in_transaction, work)))

    async def _run_in_thread(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        if self._threads is None:
            self._threads = _Threads(self._connect)
        return await self._threads.run(work)


class _Threads:
    """Runs work in threads, on a connection for each of them that is busy."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._executor = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="sqlite")
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    async def run(self, work: Callable[["_SqliteTransaction"], T]) -> T:
        """A cancelled one returns once the thread is done with it, so that the next writer does not meet it."""
        cancelled = threading.Event()
        job = self._executor.submit(self._perform, work, cancelled)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            cancelled.set()
            if not job.cancel():
                await asyncio.gather(asyncio.wrap_future(job), return_exceptions=True)
            raise

    def _perform(self, work: Callable[["_SqliteTransaction"], T], cancelled: threading.Event) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            return work(_SqliteTransaction(connection, cancelled))
        finally:
            self._idle.append(connection)
            if self._closed:
                self._close_idle()

    def close(self) -> None:
        self._closed = True
        self._executor.shutdown(wait=False)
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


class _SqliteTransaction:
    """See `executor.Transaction`. A cancelled one rolls back instead of committing."""

    def __init__(self, connection: sqlite3.Connection, cancelled: threading.Event | None = None) -> None:
        self.connection = connection
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled.is_set()

    def rows(self, statement: Statement, /, **values: Any) -> list[Any]:
        return self._execute(statement.for_sqlite, values).fetchall()

    def change(self, statement: Statement, /, **values: Any) -> int:
        return self._execute(statement.for_sqlite, values).rowcount

    def change_each(self, statement: Statement, /, values: Sequence[dict[str, Any]]) -> None:
        text, _, constants = statement.for_sqlite
        self.connection.executemany(text, [constants | each for each in values])

    def _execute(self, written: Written, values: dict[str, Any]) -> sqlite3.Cursor:
        return self.connection.execute(written.text, written.constants | values)


def _in_transaction(work: Callable[[Transaction], T], transaction: _SqliteTransaction) -> T:
    connection = transaction.connection
    # A deferred transaction that reads and then writes loses an update or fails; see SQLite's "BEGIN IMMEDIATE".
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = work(transaction)
        connection.execute("ROLLBACK" if transaction.cancelled else "COMMIT")
        return done
    except BaseException:
        # Some errors end it by themselves.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checkpoint_then(work: Callable[[_SqliteTransaction], T], transaction: _SqliteTransaction) -> T:
    """Write the WAL back to the database, then run the work. Only the holder of the write lock may call it.

    While somebody writes, a checkpoint does not reach the WAL's end, and only from there is the WAL restarted instead
    of growing. The next writer restarts it and waits for the disk as well: that is `work`.
    """
    connection = transaction.connection
    try:
        ((_, pages, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if pages > _MAX_WAL_PAGES:
            _restart_wal(connection)
    except sqlite3.Error as error:
        # The next checkpoint may do better.
        log.warning("sql.checkpoint_failed", error=type(error).__name__)
    return work(transaction)


def _restart_wal(connection: sqlite3.Connection) -> None:
    """Other processes went on writing: hold them back for once, but not while somebody reads an older state. A backup
    may read for minutes."""
    ((milliseconds,),) = connection.execute("PRAGMA busy_timeout").fetchall()
    try:
        connection.execute("PRAGMA busy_timeout=50")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout={milliseconds}")


def _configure(connection: sqlite3.Connection, *, last_try: bool) -> bool:
    """False if the file is locked, so that the caller may try again."""
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
    except sqlite3.OperationalError as error:
        if last_try or not _is_locked(error):
            raise
        return False
    return True


def _is_locked(error: sqlite3.OperationalError) -> bool:
    """Whether another connection has the file just now."""
    # The lower byte is the kind. Errors that Python itself makes have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
