"""Processes that help to measure: what one of them can do is a class here and there, and each call a line of JSON.

They exist because one process may open only so many files, and because what a helper does for one side must not delay
what the other side is being timed at.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parent.parent.parent
# A line may hold tens of thousands of sockets.
_LONGEST = 2**28
_LEAVES_WITHIN = 10.0


class Helper:
    """The near end: `await helper.ask("open", 8000, …)` calls `open` of the far end's actor."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self.pid = process.pid
        self._to, self._from = process.stdin, process.stdout

    async def ask(self, name: str, *arguments: Any) -> Any:
        self._to.write(json.dumps([name, *arguments]).encode() + b"\n")
        await self._to.drain()
        answer = await self._from.readline()
        if not answer:
            raise RuntimeError(f"the helper failed at {name!r}: see above")
        return json.loads(answer)


@asynccontextmanager
async def helping(module: str, folder: Path, env: Mapping[str, str]) -> AsyncIterator[Helper]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST,
        cwd=folder,
        env={**env, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
        # Ctrl-C reaches the script alone, which then ends its children in order.
        start_new_session=True,
    )
    try:
        yield Helper(process)
    finally:
        # At the end of its input, it ends.
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _LEAVES_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()


def help_with(actor: Any) -> None:
    """The far end: do what is asked for until nobody is left to ask."""
    # A pause for collecting would look like one of the servers'.
    gc.disable()
    uvloop.run(_serve(actor))


async def _serve(actor: Any) -> None:
    reader = asyncio.StreamReader(limit=_LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        name, *arguments = json.loads(line)
        answer = await getattr(actor, name)(*arguments)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
