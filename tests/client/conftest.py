"""A running server, and the client in Node.js, which tells what it does line by line."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import Server, running

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "static/client"
TOOLS = HERE.parents[1] / ".venv/javascript/node_modules"
WITH_SOCKETS = ("--experimental-websocket",)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("client"), **NO_LIMITS) as server:
        yield server


@pytest.fixture
async def phone(server: Server) -> AsyncIterator[Phone]:
    """A logged-in device of an account of its own."""
    async with Api(server.url) as api:
        yield await fresh_phone(api, server.folder)


@dataclass(frozen=True)
class Program:
    """A run of login.mjs."""

    process: asyncio.subprocess.Process

    async def line(self) -> dict[str, Any] | None:
        """What it says next; None at its end."""
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        return json.loads(line) if line else None

    async def until(self, **members: Any) -> dict[str, Any]:
        """The first of the next lines with these members, of this value each, or of any value for `...`."""
        while (line := await self.line()) is not None:
            if all(name in line and value in (..., line[name]) for name, value in members.items()):
                return line
        raise AssertionError(f"the program ended without {members}")

    async def rest(self) -> list[dict[str, Any]]:
        found = []
        while (line := await self.line()) is not None:
            found.append(line)
        return found

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def new_device(folder: Path, server: Server, way: str, *options: str) -> AsyncIterator[Program]:
    # A copy, for Node.js looks for packages beside the file itself.
    program = folder / "login.mjs"
    program.write_bytes((HERE / "login.mjs").read_bytes())
    (folder / "node_modules").symlink_to(TOOLS)
    pipe = asyncio.subprocess.PIPE
    told = (CLIENT / "index.js", server.url, way)
    process = await asyncio.create_subprocess_exec(
        "node", "--no-warnings", *options, program, *told, stdin=pipe, stdout=pipe
    )
    try:
        yield Program(process)
        assert process.stdin
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def let_in(phone: Phone, pairing: dict[str, Any]) -> None:
    """By scanning: on one network, without a number."""
    assert (await phone.claim(pairing)).status_code == 200
    assert (await phone.approve(pairing["id"])).status_code == 200
