"""Fixtures that every room's tests share: one Redis and one PostgreSQL for the whole run, servers per module."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pairing_ws import cli
from pairing_ws.adapters.sql.database import migrate
from tests.support.admin import WITH_ADMIN
from tests.support.client import Api
from tests.support.command_line import Done, Run
from tests.support.limits import NO_LIMITS
from tests.support.logs import kept_logging
from tests.support.postgres import Postgres, PostgresServer, execute
from tests.support.redis_kinds import KINDS, Kind
from tests.support.servers import RedisServer, Server, running

pytest_plugins = ["tests.evidence"]

TESTS = Path(__file__).resolve().parent


# By what a test needs; `slow` by the file, for it is its subjects that take their time.
BY_FIXTURE = {"browser": {"browser"}, "nginx": {"nginx", "site"}, "postgres": {"postgres_server"}}
SLOW = (
    "fuzz/test_openapi", "fuzz/test_pairings", "processes/test_aborted", "processes/test_attack",
    "processes/test_patience", "processes/test_redis_kinds", "processes/test_rolling_deploy",
    "processes/test_slow_link", "processes/test_wakeups", "processes/test_workers", "web/test_letting_go",
)  # fmt: skip

# A run is as long as what begins last: these take 20 s or more, the longest first.
LONGEST = (
    "browser/test_pages", "processes/test_redis_kinds", "browser/test_flows", "processes/test_workers",
    "browser/test_reading", "processes/test_wakeups", "browser/test_browsers", "web/test_letting_go",
    "browser/test_consent", "processes/test_starts", "web/test_cpu", "fuzz/test_openapi", "web/test_bad_input",
    "processes/test_attack", "processes/test_patience", "processes/test_slow_link", "processes/test_clocks",
    "processes/test_redis_away", "fuzz/test_pairings", "processes/test_postgres", "test_log",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_order(items)
    for item in items:
        mark(item)


def in_order(items: list[pytest.Item]) -> None:
    """File by file: the longest first, then those in a browser, which compute, spread among the others, which wait."""
    files = dict.fromkeys(item.path for item in items)
    turns: dict[Path, float] = {}
    for browser in (False, True):
        kind = [each for each in files if each.is_relative_to(TESTS / "browser") is browser]
        turns |= {file: number / len(kind) for number, file in enumerate(kind)}
    for file in files:
        if (name := str(file.relative_to(TESTS).with_suffix(""))) in LONGEST:
            turns[file] = LONGEST.index(name) - len(LONGEST)
    items.sort(key=lambda item: turns[item.path])


def mark(item: pytest.Item) -> None:
    fixtures = set(getattr(item, "fixturenames", ()))
    for marker, names in BY_FIXTURE.items():
        if fixtures & names or f"{marker}ql" in item.nodeid:
            item.add_marker(marker)
    if item.path.is_relative_to(TESTS / "browser"):
        item.add_marker("browser")
    if str(item.path.relative_to(TESTS).with_suffix("")) in SLOW:
        item.add_marker("slow")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The run's Redis. Tests that stop it start one of their own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Kind]]:
    """Starts the run's Redis of that kind when it is first asked for. Tests that hurt one start one of their own."""
    started: dict[str, Kind] = {}

    def start(name: str) -> Kind:
        if name not in started:
            started[name] = KINDS[name](tmp_path_factory.mktemp(name))
        return started[name]

    yield start
    for each in started.values():
        each.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The run's PostgreSQL: the one that PAIRING_TEST_DATABASE_URL names, or one of its own."""
    given = os.environ.get("PAIRING_TEST_DATABASE_URL")
    server = Postgres(given) if given else PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite file with the newest schema: copying it is faster than migrating anew for each test."""
    path = tmp_path_factory.mktemp("migrated") / "template.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def on_postgres(postgres_server: Postgres) -> Iterator[str]:
    """One database for all these tests: emptying it is faster than making another."""
    url = postgres_server.database()
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[str]:
    """The URL of an empty, migrated database."""
    if request.param == "sqlite":
        shutil.copy(migrated, tmp_path / "pairing.db")
        yield f"sqlite:///{tmp_path / 'pairing.db'}"
    else:
        url: str = request.getfixturevalue("on_postgres")
        yield url
        # Everything else belongs to somebody, and goes along.
        for table in ("users", "oauth_clients", "oauth_logouts", "webhook_events"):
            execute(url, f"DELETE FROM {table}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's servers keep their database and keys."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One process, process memory and SQLite, without rate limits, and with admin calls."""
    with running(folder, **NO_LIMITS, **WITH_ADMIN) as started:
        yield started


@pytest.fixture(scope="module")
def two_servers(folder: Path, redis_server: RedisServer) -> Iterator[tuple[Server, Server]]:
    """Two processes on one Redis and one SQLite file, under one public address."""
    shared = {"REDIS_URL": redis_server.url, **NO_LIMITS, **WITH_ADMIN}
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    async with Api(server.url) as client:
        yield client


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs one command in a folder of its own: `run("invite", "alice", PAIRING_VERIFY="always")`."""
    for name in list(os.environ):
        if name.startswith("PAIRING_") or name in ("REDIS_URL", "DATABASE_URL", "PORT", "WEB_CONCURRENCY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def once(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["pairing-ws", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            code: object = 0
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
            assert isinstance(code, int)
            out, err = capfd.readouterr()
            return Done(code, out, err)

    with kept_logging():
        yield once
