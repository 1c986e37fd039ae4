"""Whether another server runs on the same database without Redis.

Each of the two then keeps pairings of its own. A device that reaches the other server gets 404 for its pairing.
"""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pairing_ws.config.database_url import DatabaseAddress

log = structlog.get_logger()

LOOK_SECONDS = 5.0
# Any number that no other program on the same PostgreSQL uses for its advisory lock.
_LOCK = 7_239_472


async def watch_for_others(database_url: str) -> None:
    """Hold a lock while this server runs, and warn while another one holds it. It warns only: for a moment two are what
    a deploy wants. Runs until it is cancelled."""
    address = DatabaseAddress.parse(database_url)
    lock: _FileLock | _AdvisoryLock = _FileLock(address.file) if address.file else _AdvisoryLock(address)
    shared = False
    try:
        while True:
            # Other lines of the log say that a database is away.
            with suppress(Exception):
                alone = await lock.take()
                if shared is alone:
                    shared = not alone
                    if shared:
                        log.warning("server.shares_database", hint="another server uses it; two need REDIS_URL")
                    else:
                        log.info("server.has_database_alone")
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await lock.release()


class _FileLock:
    """Beside the database: on some file systems a lock on the file itself would be one of SQLite's."""

    def __init__(self, file: Path) -> None:
        self._path = f"{file}-serve"
        self._file: int | None = None

    async def take(self) -> bool:
        if self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            except OSError:
                os.close(file)
                raise
            else:
                self._file = file
        return self._file is not None

    async def release(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _AdvisoryLock:
    """Of PostgreSQL: it belongs to a connection, which does nothing else."""

    def __init__(self, address: DatabaseAddress) -> None:
        # Not needed with SQLite: 40 ms of a start.
        from pairing_ws.adapters.sql.postgresql import connector

        self._connect = connector(address)
        self._connection: Any = None

    async def take(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._connect()
            taken = False
            try:
                taken = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
            finally:
                if not taken:
                    connection.terminate()
            self._connection = connection if taken else None
        return self._connection is not None

    async def release(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
