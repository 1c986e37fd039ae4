"""Fixtures that every room's tests share: one Redis for the whole run, servers per module."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client import Api
from tests.servers import RedisServer, Server, running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The run's Redis. Tests that stop it start one of their own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's servers keep their database and keys."""
    return tmp_path_factory.mktemp("server")


# High enough that only tests about limits meet them.
NO_LIMITS = {
    f"PAIRING_LIMIT_{name}": "0" for name in ("CREATE", "CLAIM", "USER_CODE", "NUMBER", "REFRESH", "SOCKETS", "DEVICES")
}


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One process, process memory and SQLite, without rate limits."""
    with running(folder, **NO_LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def two_servers(folder: Path, redis_server: RedisServer) -> Iterator[tuple[Server, Server]]:
    """Two processes on one Redis and one SQLite file, under one public address."""
    shared = {"REDIS_URL": redis_server.url, **NO_LIMITS}
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    async with Api(server.url) as client:
        yield client
