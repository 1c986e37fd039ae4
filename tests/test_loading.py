"""What a start must not load, for a deployment that has no use for it pays in time and memory."""

import subprocess
import sys
from pathlib import Path

import pytest

import pairing_ws
from pairing_ws.app import create_app
from pairing_ws.config.environment import load
from pairing_ws.guard.caller import Caller
from pairing_ws.guard.guard import Guard
from pairing_ws.guard.refusals import Denied
from pairing_ws.server.uvicorn_options import uvicorn_options
from tests.support.servers import RedisServer, clean_environment, run_cli

# Loads the command line, starts the application twice as `serve` does, and says what has been loaded by then.
START = """
import asyncio, sys
from pairing_ws.server.startup import load
load("cli")
from pairing_ws.config import environment
from pairing_ws.server import logging as log
from pairing_ws.server import supervisor, worker
async def start():
    app = worker.create_app(environment.load(demo=True))
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
    "httpx2": "pushes, and telling applications of logouts",
    "maxminddb": "places",
}
FOR_REDIS = {"hiredis": "Redis", "pairing_ws.adapters.redis.pairing_store": "Redis"}


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


def run(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_alone_loads_none_of_its_modules(tmp_path: Path) -> None:
    said = run(
        tmp_path, "import sys, pairing_ws; print(*(each for each in sys.modules if each.startswith('pairing_ws')))"
    )
    assert [each for each in said.split() if each.startswith("pairing_ws")] == ["pairing_ws"]


def test_the_settings_alone_load_neither_the_application_nor_a_server(tmp_path: Path) -> None:
    said = run(tmp_path, "import sys; from pairing_ws import load_settings; load_settings(); print(*sys.modules)")
    assert {"pairing_ws.app", "pairing_ws.web", "uvicorn", "starlette"} & set(said.split()) == set()


def test_a_guard_beside_the_server_loads_neither_it_nor_its_stores(tmp_path: Path) -> None:
    """Nor what reads the keys, before they are needed."""
    said = run(
        tmp_path,
        "import sys; from pairing_ws import Guard; Guard(issuer='https://login.example.com'); print(*sys.modules)",
    )
    unused = {"pairing_ws.app", "pairing_ws.web", "pairing_ws.adapters.sql", "sqlalchemy", "uvicorn", "httpx2"}
    assert unused & set(said.split()) == set()


def test_the_public_names_are_those_of_the_modules_and_no_others_are_there() -> None:
    assert pairing_ws.create_app is create_app
    assert pairing_ws.load_settings is load
    assert pairing_ws.uvicorn_options is uvicorn_options
    assert (pairing_ws.Guard, pairing_ws.Caller, pairing_ws.Denied) == (Guard, Caller, Denied)
    functions = {"create_app", "load_settings", "uvicorn_options"}
    assert set(pairing_ws.__all__) == {"__version__", "Guard", "Caller", "Denied", *functions}
    with pytest.raises(AttributeError, match="no attribute 'serve'"):
        _ = pairing_ws.serve
