"""A real PostgreSQL for tests: a cluster of its own in a folder of its own, and fresh databases on it."""

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from pairing_ws.adapters.sql.database import migrate
from tests.support.servers import Process, free_port, wait_for

_numbers = itertools.count(1)


class Postgres:
    """A running PostgreSQL where `url` may make databases."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template = ""

    def url(self, database: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    def database(self) -> str:
        """The URL of a fresh database with the newest schema: a copy, which is faster than migrating anew."""
        if not self._template:
            self._template = self.empty_database()
            _run(migrate(self.url(self._template)))
        return self.url(self.empty_database(f"TEMPLATE {self._template}"))

    def empty_database(self, options: str = "") -> str:
        """The name of a fresh database."""
        name = f"pairing_test_{os.getpid()}_{next(_numbers)}"
        execute(self._url, f"CREATE DATABASE {name} {options}")
        return name

    def drop(self, url: str) -> None:
        execute(self._url, f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def close(self) -> None:
        """Leave nothing behind."""
        if self._template:
            self.drop(self.url(self._template))


class PostgresServer(Postgres):
    """A cluster that can fail: `stop` and `start` keep its port and its data, `pause` makes it hang."""

    def __init__(self, *options: str) -> None:
        # PostgreSQL will not run as root, and its own user can't enter pytest's folders.
        self._user = "postgres" if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="pairing-postgres-"))
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        self.port = free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable")
        self._options = options
        made = Process(
            [_binary("initdb"), "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            self.folder,
            "initdb.log",
            user=self._user,
        )
        assert made.popen.wait(60) == 0, made.log.read_text()
        made.stop()
        self.start()

    def start(self) -> None:
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        # What is committed outlives the process, if not the machine: that is what tests need of it.
        settings += ["fsync=off", "full_page_writes=off", "shared_buffers=32MB", *self._options]
        flags = [word for each in settings for word in ("-c", each)]
        command = [_binary("postgres"), "-D", "data", *flags]
        self._process = Process(command, self.folder, "server.log", user=self._user)
        wait_for(self._answers, "postgres")

    def stop(self) -> None:
        """At once, as if it crashed: no client is told, and it recovers at its next start."""
        if self._process.popen.poll() is None:
            self._process.stop(signal.SIGQUIT)

    def pause(self) -> None:
        """It hangs, and forgets nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def come_back(self) -> None:
        """Whatever happened to it."""
        if self._process.popen.poll() is None:
            self.resume()
        else:
            self.start()

    def give(self, *names: str) -> None:
        """Files in its folder, which it shall be able to read and nobody else."""
        for name in names:
            (self.folder / name).chmod(0o600)
            if self._user:
                shutil.chown(self.folder / name, self._user, self._user)

    def close(self) -> None:
        if self._process.popen.poll() is None:
            self.resume()
        self.stop()
        shutil.rmtree(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        # First the one that would start more; each connection has a process of its own.
        pid = self._process.popen.pid
        self._process.popen.send_signal(number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            # One whose client has gone may have ended since.
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def _answers(self) -> bool:
        assert self._process.popen.poll() is None, self._process.log.read_text()
        try:
            execute(self._url, "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True


def _binary(name: str) -> str:
    # Debian keeps it out of the PATH.
    folders = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    found = shutil.which(name, path=os.pathsep.join(folders))
    assert found, f"{name} is missing; ./scripts/test installs it"
    # Debian's wrappers of that name in the PATH want a cluster of Debian's making.
    return str(Path(found).resolve())


def execute(url: str, statement: str) -> None:
    async def execute_it() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    _run(execute_it())


def _run(work: Coroutine[Any, Any, None]) -> None:
    """To its end, whether or not the caller's thread has an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
