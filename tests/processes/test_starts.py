"""How `serve` starts where something is in its way: many at once, closed or full outputs, addresses, a foreign home, an
early signal, a full disk, another server on the same database."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pairing_ws.adapters.sql.database import migrate
from tests.support.postgres import Postgres
from tests.support.servers import CLI, RedisServer, Server, answers, clean_environment, free_port, running, wait_for

SHARED = "server.shares_database"


def start(folder: Path, *options: str, **how: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*CLI, "serve", *options], cwd=folder, env=clean_environment(), **how)  # type: ignore[call-overload, no-any-return]


# SQLite


def test_a_start_waits_for_another_one_that_is_making_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "pairing.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        # As another start has it while it makes a WAL database of it; SQLite by itself waits for that in vain.
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ("ROLLBACK",))
        release.start()
        asyncio.run(migrate(f"sqlite:///{file}"))
        release.join()


def test_eight_starts_at_once_on_an_empty_file_all_succeed(tmp_path: Path) -> None:
    command = [*CLI, "db", "upgrade"]
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE) for _ in range(8)
    ]
    assert [each.communicate()[1] for each in started] == [b""] * 8
    assert [each.returncode for each in started] == [0] * 8


# Outputs


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&- <&-"])
def test_a_log_that_cannot_be_written_stops_no_start_and_no_end(tmp_path: Path, redirection: str) -> None:
    port = free_port()
    command = f"exec {sys.executable} -m pairing_ws serve --port {port} {redirection}"
    server = subprocess.Popen(["sh", "-c", command], cwd=tmp_path, env=clean_environment() | {"PAIRING_X": "1"})
    try:
        wait_for(lambda: answers("127.0.0.1", port) == 200, "the server")
    finally:
        server.terminate()
        assert server.wait(15) == 0
    # What would have been written to a number that the database got.
    assert sqlite3.connect(tmp_path / "pairing.db").execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Signals


@pytest.mark.parametrize("first", [[], ["unshare", "--fork", "--pid", "--kill-child"]], ids=["a process", "process 1"])
def test_a_signal_while_it_loads_ends_it_in_order(tmp_path: Path, first: list[str]) -> None:
    if first and os.getuid() != 0:
        pytest.skip("only root may make a namespace")
    # Loading takes a moment; here it takes until the signal.
    (tmp_path / "click.py").write_text(
        "import os, time\nopen('loading', 'w').write(os.readlink('/proc/self'))\ntime.sleep(60)\n"
    )
    env = clean_environment() | {"PYTHONPATH": f"{tmp_path}:{clean_environment()['PYTHONPATH']}"}
    server = subprocess.Popen([*first, *CLI, "serve"], cwd=tmp_path, env=env)
    try:
        loading = tmp_path / "loading"
        wait_for(lambda: loading.exists() and loading.read_text(), "its loading")
        # /proc is the outer one: the process's number there.
        os.kill(int(loading.read_text()), signal.SIGTERM)
        assert server.wait(10) == 0
    finally:
        server.kill()


# Addresses


@pytest.mark.parametrize("workers", [1, 2])
def test_the_unspecified_ipv6_address_takes_ipv4_as_well_however_many_workers(
    tmp_path: Path, redis_server: RedisServer, workers: int
) -> None:
    port = free_port()
    env = {"REDIS_URL": redis_server.url, "WEB_CONCURRENCY": str(workers), "PAIRING_PUBLIC_URL": "https://a.example"}
    with (tmp_path / "log").open("wb") as file:
        server = subprocess.Popen(
            [*CLI, "serve", "--host", "::", "--port", str(port)],
            cwd=tmp_path,
            env=clean_environment() | env,
            stderr=file,
        )
    try:
        wait_for(lambda: answers("::1", port) == 200, "the server")
        assert answers("127.0.0.1", port) == 200
        wait_for(lambda: "server.ready" in (tmp_path / "log").read_text(), "the line that says so")
        # As it is written in a URL, RFC 3986.
        assert f'"listening": ["[::]:{port}"' in (tmp_path / "log").read_text()
    finally:
        server.terminate()
        server.wait(15)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_name_is_listened_on_at_all_its_addresses_however_many_workers(
    tmp_path: Path, redis_server: RedisServer, workers: int
) -> None:
    port = free_port()
    env = {"REDIS_URL": redis_server.url, "WEB_CONCURRENCY": str(workers)}
    server = subprocess.Popen(
        [*CLI, "serve", "--host", "localhost", "--port", str(port)], cwd=tmp_path, env=clean_environment() | env
    )
    try:
        hosts = {str(each[4][0]) for each in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        for host in hosts:
            wait_for(lambda host=host: answers(host, port) == 200, host)
    finally:
        server.terminate()
        server.wait(15)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_that_cannot_be_had_is_one_clear_line(tmp_path: Path, host: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = clean_environment() | {"PAIRING_PUBLIC_URL": "https://a.example"}
        command = [*CLI, "serve", "--host", host, "--port", str(port)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    # Before it there are lines of the log.
    *before, last = done.stderr.splitlines()
    assert last.startswith(f"pairing-ws: can't listen on {host}:{port}: ")
    assert all(line.startswith("{") for line in before)


# Where it lives

IN_A_FOREIGN_HOME = """
import asyncio, os, sys
import asyncpg, sqlalchemy.dialects.postgresql.asyncpg
from pairing_ws import cli
from pairing_ws.config import environment
from pairing_ws.adapters.sql.database import migrate
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
asyncio.run(migrate(environment.load().database_url))
"""


@pytest.mark.parametrize("closed", ["home", "home/.postgresql"])
def test_the_home_of_another_user_does_not_keep_postgresql_away(
    tmp_path: Path, postgres_server: Postgres, closed: str
) -> None:
    (tmp_path / "home" / ".postgresql").mkdir(parents=True)
    (tmp_path / closed).chmod(0)
    url = postgres_server.database().replace("?sslmode=disable", "")
    env = clean_environment() | {"HOME": str(tmp_path / "home"), "DATABASE_URL": url}
    try:
        done = subprocess.run(
            [sys.executable, "-c", IN_A_FOREIGN_HOME], env=env, capture_output=True, text=True, timeout=60, cwd="/"
        )
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        (tmp_path / closed).chmod(0o700)
        postgres_server.drop(url)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_server_whose_disk_is_full_is_not_ready_and_says_so(small_disk: Path) -> None:
    with running(small_disk) as server:
        assert answers("127.0.0.1", server.port) == 200
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        assert answers("127.0.0.1", server.port) == 503
        assert answers("127.0.0.1", server.port, "/healthz") == 200
        # An operator hears why, in one line.
        done = server.cli("keys", "rotate")
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        filler.unlink()
        assert answers("127.0.0.1", server.port) == 200


# Two on one database


def test_two_servers_on_one_file_without_redis_are_told_until_one_is_alone_again(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        with running(tmp_path) as two:
            wait_for(lambda: SHARED in two.log_text(), "the second one's warning")
            assert SHARED not in one.log_text()
            one.stop()
            wait_for(lambda: "server.has_database_alone" in two.log_text(), "the end of it")
        with running(tmp_path) as three, running(tmp_path) as four:
            wait_for(lambda: SHARED in four.log_text(), "the lock is free after an end, and taken by the next")
            assert SHARED not in three.log_text()


def test_two_servers_on_one_postgresql_without_redis_are_told(tmp_path: Path, postgres_server: Postgres) -> None:
    url = postgres_server.database()
    try:
        with running(tmp_path, DATABASE_URL=url), running(tmp_path, DATABASE_URL=url) as two:
            wait_for(lambda: SHARED in two.log_text(), "the second one's warning")
    finally:
        postgres_server.drop(url)


def test_servers_that_share_redis_are_not_warned_of_each_other(two_servers: tuple[Server, Server]) -> None:
    assert not [each for each in two_servers if SHARED in each.log_text()]
