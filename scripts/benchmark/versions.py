"""What the server's CPU has to do for an approval, up to the frame (P15), and for a whole login, with SQLite (P16) and
with PostgreSQL (P17): beside another version, which is another checkout with its `.venv` (`--beside TREE`).

CPU time grows with the machine's load, caches being shared. So both take turns, and the ratio is the median of those
within a turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from benchmark.answers import CLIENTS, logging_in
from benchmark.clients import Pool, paced
from benchmark.meters import cpu
from benchmark.people import accept
from benchmark.pushes import AT_ONCE
from benchmark.sizes import Sizes
from benchmark.stand import Program, Stand, standing
from benchmark.table import Found, Goal, Row
from tests.support.postgres import PostgresServer

# A second. At the lower one each approval wakes the server by itself.
RATES = (200, 1000)
# Each is a process of the command line, which makes it.
ACCOUNTS = 4
LOGIN_GOAL, APPROVAL_GOAL = Goal(0.75, 0.6), Goal(0.65, 0.5)


@dataclass
class Version:
    stand: Stand
    server: Program
    pool: Pool
    accounts: Sequence[str]
    # µs of CPU time of each, by turn.
    spent: list[float] = field(default_factory=list)


# What a turn does with a version; returns how many it did, and the CPU seconds of the server.
Turn = Callable[[Version, Sizes], Awaitable[tuple[int, float]]]


async def version(stack: AsyncExitStack, database: str, tree: Path | None = None) -> Version:
    stand = await stack.enter_async_context(standing(database, tree))
    server = stand.ours()
    # Before there are connections, which the server closes after 10 s without a request.
    codes = stand.invited(ACCOUNTS)
    pool = await stand.pool(server, CLIENTS)
    return Version(stand, server, pool, await accept(pool, codes))


async def approve(one: Version, sizes: Sizes, rate: int) -> tuple[int, float]:
    attempts = await one.stand.attempts(one.server, int(rate * sizes.seconds), one.accounts[0])
    for start in range(0, len(attempts), AT_ONCE):
        await asyncio.gather(*(each.open(one.server.port) for each in attempts[start : start + AT_ONCE]))
    await one.pool.ask_all(each.claiming() for each in attempts)
    await one.pool.renew()
    before = cpu(one.server.pid)
    await paced(rate, (lambda each=each: each.approve(one.pool) for each in attempts))  # type: ignore[misc]
    spent = cpu(one.server.pid) - before
    for each in attempts:
        assert each.socket
        each.socket.transport.abort()
    return len(attempts), spent


async def log_in(one: Version, sizes: Sizes) -> tuple[int, float]:
    before = cpu(one.server.pid)
    done, _ = await logging_in(one.pool, one.accounts)(sizes.seconds)
    return done, cpu(one.server.pid) - before


async def in_turns(versions: Sequence[Version], turn: Turn, sizes: Sizes) -> None:
    for each in versions:
        each.spent.clear()
        # What is done for the first time is not the usual.
        await turn(each, sizes)
    for number in range(sizes.turns):
        for each in versions[:: -1 if number % 2 else 1]:
            done, seconds = await turn(each, sizes)
            each.spent.append(seconds / done * 1e6)


def compared(line: str, what: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal) -> Row:
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(line, what, f"{median(ours):,.0f}", f"the other version {median(theirs):,.0f}", ratio, goal)


async def beside_version(chosen: Collection[str], sizes: Sizes) -> Found:
    rows, numbers = [], {}

    async def compare(line: str, what: str, versions: Sequence[Version], turn: Turn, goal: Goal) -> None:
        await in_turns(versions, turn, sizes)
        ours, theirs = (each.spent for each in versions)
        rows.append(compared(line, what, ours, theirs, goal))
        numbers[what] = [list(each.spent) for each in versions]

    async with AsyncExitStack() as stack:
        if "P15" in chosen or "P16" in chosen:
            versions = [await version(stack, "sqlite"), await version(stack, "sqlite", sizes.beside)]
        if "P15" in chosen:
            for rate in RATES:
                what = f"CPU time of an approval at {rate}/s, to its frame, µs"
                await compare("P15", what, versions, partial(approve, rate=rate), APPROVAL_GOAL)
        if "P16" in chosen:
            await compare("P16", "CPU time of a whole login with SQLite, µs", versions, log_in, LOGIN_GOAL)
    if "P17" in chosen:
        async with AsyncExitStack() as stack:
            postgres = await asyncio.to_thread(PostgresServer)
            stack.callback(postgres.close)
            urls = [postgres.url(postgres.empty_database()) for _ in range(2)]
            versions = [await version(stack, urls[0]), await version(stack, urls[1], sizes.beside)]
            await compare("P17", "CPU time of a whole login with PostgreSQL, µs", versions, log_in, LOGIN_GOAL)
    note = f"P15 to P17: {sizes.turns} turns; the ratios are medians of those within a turn."
    return Found(rows, [note], {"versions": numbers})
