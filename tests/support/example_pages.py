"""The pages below `tests/examples/`: their commands, and a shell that runs them to the letter."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.servers import clean_environment

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", (ROOT / page).read_text())


@dataclass
class Shell:
    process: asyncio.subprocess.Process

    async def run(self, commands: str) -> str:
        """What they print. The first that fails ends the shell."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{commands}\necho; echo that was all\n".encode())
        printed = b""
        async with asyncio.timeout(60):
            while not printed.endswith(b"\nthat was all\n"):
                line = await self.process.stdout.readline()
                assert line, f"the shell has ended: {printed.decode()}"
                printed += line
        return printed.decode().removesuffix("\nthat was all\n")


def laid_out(folder: Path) -> Path:
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "tests").mkdir()
    (folder / "tests/examples").symlink_to(ROOT / "tests/examples")
    (folder / "var").mkdir()
    return folder


@asynccontextmanager
async def started(folder: Path, **environment: str) -> AsyncIterator[Shell]:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail",
        cwd=folder,
        env=clean_environment() | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # What it starts ends with it.
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Shell(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def until_it_listens(url: str) -> None:
    async with asyncio.timeout(30), httpx2.AsyncClient() as http:
        while True:
            try:
                await http.get(url)
                return
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)
