"""What a start must not load, for a deployment that has no use for it pays in time and memory."""

import subprocess
import sys
from pathlib import Path

from tests.support.servers import RedisServer, clean_environment, run_cli

# Loads the command line, starts the application twice as `serve` does, and says what has been loaded by then.
START = """
import asyncio, sys
from pairing_ws.server.startup import load
load("cli")
from pairing_ws.config import settings as config
from pairing_ws.server import logging as log
from pairing_ws.server import supervisor, worker
async def start():
    app = worker.create_app(config.load(demo=True))
    async with app.router.lifespan_context(app):
        print(*sys.modules)
log.configure()
asyncio.run(start())
"""
# What loads what, and what that takes, stands beside each import.
FOR_OTHERS = {
    "alembic": "migrations",
    "asyncpg": "PostgreSQL",
    "sqlalchemy.ext.asyncio": "PostgreSQL",
    "sqlalchemy.dialects.postgresql": "PostgreSQL",
    "webauthn": "passkeys",
    "qrcode": "pictures",
    "google.auth": "pushes",
    "httpx2": "pushes",
    "maxminddb": "places",
}
FOR_REDIS = {"redis": "Redis", "pairing_ws.adapters.redis.pairing_store": "Redis"}


def loaded(folder: Path, **environment: str) -> set[str]:
    """What a start on a database that is up to date has loaded."""
    assert run_cli("db", "upgrade", folder=folder).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", START],
        cwd=folder, env=clean_environment() | environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_start_on_process_memory_and_sqlite_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    assert loaded(tmp_path) & {*FOR_OTHERS, *FOR_REDIS} == set()


def test_a_start_on_redis_and_sqlite_loads_nothing_else_that_it_does_not_use(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    assert loaded(tmp_path, REDIS_URL=redis_server.url) & {*FOR_OTHERS, *FOR_REDIS} == {*FOR_REDIS}
