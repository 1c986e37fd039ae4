"""What the clients here meet: one deployment of two processes, somebody with a phone, and programs to log them in."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec import structs

from pairing_ws.accounts.ports import Profile
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.cli.snippets import SNIPPETS, Connection
from pairing_ws.oauth.ports import DeviceGrant
from tests.support.app_server import AppServer, app_server
from tests.support.client import Api
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.person import Person
from tests.support.postgres import Postgres
from tests.support.servers import RedisServer, Server, free_port, running

HERE = Path(__file__).parent
PACKAGES = HERE.parents[1] / ".venv/javascript/node_modules"
ADA = Profile(email="ada@example.com", email_verified=True, name="Ada Lovelace", groups=("staff",))


@pytest.fixture(scope="package")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, postgres_server: Postgres
) -> Iterator[Server]:
    """Two workers behind one address."""
    stores = {"REDIS_URL": redis_server.url, "DATABASE_URL": postgres_server.database()}
    settings = {**stores, "WEB_CONCURRENCY": "2", **NO_LIMITS}
    with running(tmp_path_factory.mktemp("deployment"), **settings) as server:
        yield server


@pytest.fixture
async def ada(deployment: Server) -> AsyncIterator[Person]:
    database_url = deployment.env["DATABASE_URL"]
    async with Api(deployment.url) as api:
        phone = await fresh_phone(api, deployment.folder, database_url=database_url)
        database = open_database(database_url)
        await SqlUsers(database).change_profile(phone.keys["user"]["username"], structs.asdict(ADA))
        await database.close()
        yield Person(phone)


class Register(Protocol):
    async def __call__(self, path: str = "/callback", **settings: Any) -> AppServer: ...


@pytest.fixture
def register(deployment: Server) -> Register:
    """A new application, with a port of its own on this machine."""

    async def at(path: str = "/callback", **settings: Any) -> AppServer:
        own = f"http://127.0.0.1:{free_port()}{path}"
        everything = {"redirect_uris": (own,), "post_logout_redirect_uris": (own,), "device_grant": DeviceGrant.ON}
        database_url = deployment.env["DATABASE_URL"]
        return await app_server(deployment.public_url, deployment.folder, database_url, **everything | settings)

    return at


@dataclass
class Program:
    """It talks as `conversation.mjs` does."""

    process: asyncio.subprocess.Process

    async def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line, "it has ended"
        return dict(json.loads(line))

    async def answer(self, **what: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.process.stdin.drain()


def printed(application: str, issuer: str, app: AppServer) -> str:
    """The configuration that `pairing-ws client add --for APPLICATION` prints for this client."""
    to = Connection(issuer, app.id, app.secret or "", app.app.redirect_uri, app.app.client.id_token_alg)
    return SNIPPETS[application].text(to)


@asynccontextmanager
async def program(name: str, folder: Path, issuer: str, app: AppServer) -> AsyncIterator[Program]:
    """One of Node.js. Runs a copy, for Node.js looks for packages beside the file itself."""
    for each in (f"{name}.mjs", "conversation.mjs"):
        (folder / each).write_bytes((HERE / each).read_bytes())
    (folder / "node_modules").symlink_to(PACKAGES)
    async with started(("node", f"{name}.mjs"), folder, issuer, app) as node:
        yield node


@asynccontextmanager
async def started(command: tuple[str, ...], folder: Path, issuer: str, app: AppServer) -> AsyncIterator[Program]:
    """Told what one pastes into an application."""
    pasted = (issuer, app.id, app.secret or "", app.app.redirect_uri)
    pipe = asyncio.subprocess.PIPE
    # What it complains of is shown with a test that fails.
    process = await asyncio.create_subprocess_exec(*command, *pasted, cwd=folder, stdin=pipe, stdout=pipe)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
