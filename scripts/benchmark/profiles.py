"""Where a server's time goes in a poll, a creation, a push and a login: `scripts/bench --profile`. Python's profiler
makes calls of Python functions dearer than they are; what is done in C is shown as it is."""

import asyncio
import io
import pstats
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from benchmark.answers import asking, polls
from benchmark.clients import request
from benchmark.people import Attempt
from benchmark.pushes import AT_ONCE
from benchmark.sizes import Sizes
from benchmark.stand import standing

SHOWN = 30


async def profiles(sizes: Sizes, folder: Path) -> str:
    """The functions that took most, of each. The whole profiles are written to the folder, for pstats or snakeviz."""
    texts = []
    async with standing() as stand:
        ours = stand.watched()
        pool = await stand.pool(ours, AT_ONCE)
        accounts = await stand.accounts(ours, sizes.accounts)

        @asynccontextmanager
        async def profile(name: str) -> AsyncIterator[None]:
            await pool.renew()
            # Begins a new profile, and then ends it.
            await pool.ask(_asking_for(folder / "before"))
            yield
            await pool.ask(_asking_for(folder / name))
            texts.append(f"{name}\n{_top(folder / name)}")

        attempts = [Attempt(each) for each in accounts]
        await each_of(attempts, lambda each: each.create(pool))
        await each_of(attempts, lambda each: each.open(ours.port))
        await each_of(attempts, lambda each: each.claim(pool))
        wanted = await polls(stand, ours)
        async with profile("poll.prof"):
            await asking(ours, wanted)(sizes.seconds)
        async with profile("create.prof"):
            await asking(ours, [Attempt("").creation()])(sizes.seconds)
        async with profile("push.prof"):
            await each_of(attempts, lambda each: each.approve(pool))
        async with profile("login.prof"):
            await each_of(attempts, lambda each: each.log_in(pool))
    return "\n".join(texts)


async def each_of(attempts: list[Attempt], act: Callable[[Attempt], Awaitable[None]]) -> None:
    rest = iter(attempts)

    async def go_through() -> None:
        for each in rest:
            await act(each)

    await asyncio.gather(*(go_through() for _ in range(AT_ONCE)))


def _asking_for(file: Path) -> bytes:
    return request("POST", "/bench/profile", {"file": str(file)})


def _top(file: Path) -> str:
    text = io.StringIO()
    pstats.Stats(str(file), stream=text).sort_stats("tottime").print_stats(SHOWN)
    return text.getvalue()
