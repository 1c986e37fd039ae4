"""Calls a second: polls and creations (P8), whole pairings (P9), and what a second worker adds (P10)."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmark.clients import Pool, clock, hammer, request
from benchmark.meters import cpu_of_family
from benchmark.people import Attempt
from benchmark.sizes import Sizes
from benchmark.stand import Program, Stand, standing
from benchmark.table import Found, Goal, Row
from tests.support.postgres import PostgresServer

# Of each worker.
CLIENTS = 32
# Create, claim, approve, log in: the socket is not counted.
CALLS = 4
# With so many cores, servers and generator have room.
ROOMY = 6
BARE_GET = request("GET", "/")

# For so many seconds; returns how many there were, and how long it took.
Act = Callable[[float], Awaitable[tuple[int, float]]]


@dataclass
class Side:
    """One server doing one thing, and what came of it in each turn."""

    server: Program
    act: Act
    # A second, by the clock and of the server's own CPU time.
    rates: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)

    async def turn(self, seconds: float) -> None:
        before = cpu_of_family(self.server.pid)
        count, lasted = await self.act(seconds)
        self.rates.append(count / lasted)
        self.by_cpu.append(count / (cpu_of_family(self.server.pid) - before))

    @property
    def rate(self) -> float:
        return median(self.rates)

    def beside(self, other: "Side") -> tuple[float, float]:
        """How many times as many, by the clock and by CPU time: in the median turn, for what disturbs this machine
        lasts longer than one."""
        by_clock = median(a / b for a, b in zip(self.rates, other.rates, strict=True))
        return by_clock, median(a / b for a, b in zip(self.by_cpu, other.by_cpu, strict=True))

    def numbers(self) -> dict[str, object]:
        return {"rate": self.rate, "by_cpu": median(self.by_cpu), "rates": self.rates}


async def in_turns(sides: Mapping[str, Side], turns: int, seconds: float) -> dict[str, object]:
    for each in sides.values():
        # What is done for the first time is not the usual.
        await each.act(seconds / 2)
    for _ in range(turns):
        for each in sides.values():
            await each.turn(seconds)
    return {name: each.numbers() for name, each in sides.items()}


async def calls_in_turns(sides: Mapping[str, Side], sizes: Sizes) -> dict[str, object]:
    return await in_turns(sides, 2 * sizes.turns, sizes.seconds / 2)


async def logins_in_turns(sides: Mapping[str, Side], sizes: Sizes) -> dict[str, object]:
    """Longer ones: each ends with the last of those that started in it."""
    return await in_turns(sides, sizes.turns, sizes.seconds)


def asking(server: Program, wanted: Sequence[bytes], workers: int = 1) -> Act:
    return lambda seconds: hammer(server.port, wanted, workers * CLIENTS, seconds)


def logging_in(pool: Pool, accounts: Sequence[str]) -> Act:
    """Whole pairings, each with a device of its own for the next account."""
    turn = itertools.cycle(accounts)

    async def log_in(seconds: float) -> tuple[int, float]:
        await pool.renew()
        started = clock()

        async def go_through() -> int:
            done = 0
            while clock() < started + seconds:
                each = Attempt(next(turn))
                await each.create(pool)
                await each.open(pool.port)
                await each.claim(pool)
                await each.approve(pool)
                await each.log_in(pool)
                done += 1
            return done

        done = await asyncio.gather(*(go_through() for _ in range(pool.size)))
        return sum(done), clock() - started

    return log_in


async def polls(stand: Stand, server: Program) -> list[bytes]:
    return [each.polling() for each in await stand.attempts(server, CLIENTS)]


async def answering(chosen: Collection[str], sizes: Sizes) -> Found:
    rows: list[Row] = []
    notes: list[str] = []
    numbers: dict[str, object] = {}
    async with standing() as stand:
        ours, bare_server = stand.ours(), stand.bare()

        def beside_bare(act: Act) -> dict[str, Side]:
            return {"bare": Side(bare_server, asking(bare_server, [BARE_GET])), "ours": Side(ours, act)}

        def note(line: str, what: str, sides: dict[str, Side], goal: Goal, calls: int = 1) -> None:
            each, bare = sides["ours"], sides["bare"]
            ratio, by_cpu = (calls * times for times in each.beside(bare))
            beside = f"Starlette GET {bare.rate:,.0f}"
            rows.append(Row(line, what, f"{each.rate:,.0f}", beside, ratio, goal, digits=3 if calls > 1 else 2))
            notes.append(f"{line}: {what}: {by_cpu:.3f} of the bare one's, per second of the server's CPU time.")

        if "P8" in chosen:
            sides = beside_bare(asking(ours, await polls(stand, ours)))
            numbers["poll"] = await calls_in_turns(sides, sizes)
            note("P8", "polls a second", sides, Goal(0.6, 0.95, least=True))
        if "P9" in chosen:
            accounts = await stand.accounts(ours, sizes.accounts)
            sides = beside_bare(logging_in(await stand.pool(ours, CLIENTS), accounts))
            numbers["pairing"] = await logins_in_turns(sides, sizes)
            note("P9", "whole pairings a second, times 4 calls", sides, Goal(0.06, 0.12, least=True), CALLS)
        if "P8" in chosen:
            # Behind all else: they leave 10,000 live pairings a second, which slow down Redis.
            sides = beside_bare(asking(ours, [Attempt("").creation()]))
            numbers["create"] = await calls_in_turns(sides, sizes)
            note("P8", "creations a second", sides, Goal(0.35, 0.8, least=True))
    return Found(rows, notes, {"answers": numbers})


async def two_workers(_: Collection[str], sizes: Sizes) -> Found:
    """On PostgreSQL: SQLite has one writer, however many workers."""
    postgres = await asyncio.to_thread(PostgresServer)
    try:
        async with standing(await asyncio.to_thread(postgres.database)) as stand:
            one, two = stand.ours(1), stand.ours(2)
            accounts = await stand.accounts(one, sizes.accounts)
            wanted = await polls(stand, one)
            polling = {"one": Side(one, asking(one, wanted)), "two": Side(two, asking(two, wanted, 2))}
            pairing = {
                "one": Side(one, logging_in(await stand.pool(one, CLIENTS), accounts)),
                "two": Side(two, logging_in(await stand.pool(two, 2 * CLIENTS), accounts)),
            }
            numbers = {
                "poll": await calls_in_turns(polling, sizes),
                "pairing": await logins_in_turns(pairing, sizes),
            }
    finally:
        postgres.close()
    rows = []
    notes = []
    goal = Goal(1.7, least=True)
    for sides, what in ((polling, "polls"), (pairing, "whole pairings")):
        one_rate, two_rate = sides["one"], sides["two"]
        by_clock, by_cpu = two_rate.beside(one_rate)
        by_cpu *= 2
        ratio, how = (by_clock, "by the clock") if (os.cpu_count() or 1) >= ROOMY else (by_cpu, "by CPU time")
        what = f"{what} a second, two workers, {how}"
        rows.append(Row("P10", what, f"{two_rate.rate:,.0f}", f"one {one_rate.rate:,.0f}", ratio, goal))
        notes.append(f"{by_clock:.2f} and {by_cpu:.2f}")
    note = (
        f"P10: by the clock and by CPU time, polls {notes[0]}, pairings {notes[1]}. The latter is what two workers do"
        " in a second of their CPU time, doubled, beside what one does: on few cores, the generator, Redis and"
        f" PostgreSQL take what the second worker would need. From {ROOMY} cores on, the clock's counts."
    )
    return Found(rows, [note], {"two_workers": numbers})
