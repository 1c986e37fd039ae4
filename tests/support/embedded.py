"""The app inside the test's process: for tests that move its clock, and for accounts by the hundred.

Only what needs the inside may live here; every other test starts `pairing-ws serve` (see `servers`).
"""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pairing_ws.app import create_app
from pairing_ws.components import build
from pairing_ws.config.settings import Settings
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.server.uvicorn_options import uvicorn_options
from tests.support.client import Api, Phone
from tests.support.clock import FakeClock
from tests.support.servers import wait_for

# For what a host application does that gives uvicorn no options of ours.
PLAIN_UVICORN = {"http": "auto", "ws": "auto"}


class MovedClock:
    """The real time, moved into the future: timers of the code under test still come true."""

    def __init__(self) -> None:
        self._ahead = 0

    def __call__(self) -> int:
        return system_clock() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += int(seconds * 1000)


class Embedded:
    """A server like `servers.Server`, in a thread, with a clock that tests can move."""

    def __init__(self, folder: Path, settings: Settings, listening: socket.socket, clock: Any) -> None:
        self.folder, self.settings, self.clock = folder, settings, clock
        self.port = port = listening.getsockname()[1]
        self.url, self.ws_url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"


@contextmanager
def embedded(
    folder: Path,
    *,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    clock: MovedClock | FakeClock | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> Iterator[Embedded]:
    """Memory and SQLite in `folder`; `settings` by the names of `config.Settings`. `wrap` may break the app. With a
    FakeClock time stands still, but not for timers of the code under test. `options` replace uvicorn's by which `serve`
    runs."""
    clock = clock or MovedClock()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        chosen = settings_in(folder, **({"port": port, "public_url": f"http://localhost:{port}"} | settings))
        server = uvicorn.Server(
            uvicorn.Config(wrap(create_app(chosen, clock=clock)), **{**uvicorn_options(chosen), **options})
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the embedded server")
            yield Embedded(folder, chosen, listening, clock)
        finally:
            server.should_exit = True
            thread.join()


async def invite_in(folder: Path, username: str, clock: Clock = system_clock, database_url: str | None = None) -> str:
    """What `pairing-ws invite` does, on the database in `folder` or another, without a process of its own."""
    parts = build(settings_in(folder, **({"database_url": database_url} if database_url else {})), clock=clock)
    try:
        # Not `running`: the server has migrated the database, and this is called by the hundred.
        return (await parts.services.accounts.operator.invite(username)).code
    finally:
        await parts.database.close()


async def describe_in(folder: Path, username: str, **profile: Any) -> None:
    """What `pairing-ws user set` does, in the same way."""
    parts = build(settings_in(folder))
    try:
        await parts.services.accounts.operator.change_profile(username, profile)
    finally:
        await parts.database.close()


async def fresh_phone(
    api: Api,
    folder: Path,
    username: str | None = None,
    clock: Clock = system_clock,
    database_url: str | None = None,
    **headers: str,
) -> Phone:
    """A device of that account, or of an account of its own, logged in by an invite."""
    code = await invite_in(folder, username or f"user-{secrets.token_hex(6)}", clock, database_url)
    return await api.log_in_by_invite(code, **headers)


def settings_in(folder: Path, **settings: Any) -> Settings:
    # Given outright, so that nothing of this process's environment gets in.
    ours = {
        "redis_url": None,
        "database_url": f"sqlite:///{folder / 'pairing.db'}",
        "signing_key_file": folder / "pairing-keys.json",
        "public_url": "http://localhost:8000",
    }
    return Settings(**(ours | settings))
