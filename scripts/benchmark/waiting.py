"""Devices that wait on a socket: what each of them takes (P1, P2, P3), how fast they come (P4), the worst push when
there are many (P7), and what a minute costs (cost)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmark.clients import Pool, clock, paced, request
from benchmark.helper import Helper
from benchmark.meters import cpu_of_family, resident_kib
from benchmark.people import Attempt
from benchmark.pushes import AT_ONCE, approve, told
from benchmark.sizes import Sizes
from benchmark.stand import Program, Stand, standing
from benchmark.table import Found, Goal, Row

# Opened before memory is read for the first time, so that what a first socket brings once is not counted.
WARM_UP = 100
STEP = 1000
PUSHES_A_SECOND = 200
# The contract's `pollInterval`.
POLL_SECONDS = 3
POLLERS = 1500
TASKS = request("GET", "/bench/tasks")


@dataclass(frozen=True)
class Reading:
    """What so many sockets take. Tasks and connections to Redis are those of a watched server, else 0."""

    sockets: int
    kib: int
    tasks: int
    connections: int


@dataclass
class Side:
    """One server, those who wait at it, and what was read while they came."""

    server: Program
    crowd: Helper
    devices: Sequence[tuple[int, str, str | None]]
    # Whether they offer to, as browsers do.
    compress: bool = False
    # Where a watched server is asked, and how Redis says how many connections it has.
    asked: Pool | None = None
    connections: Callable[[], Awaitable[int]] | None = None
    open: int = 0
    readings: list[Reading] = field(default_factory=list)
    # Sockets a second: by the clock, and of the server's own CPU time.
    rates: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)
    # The share of a core that the crowd took, of the time in which it connected.
    busy: list[float] = field(default_factory=list)

    async def open_until(self, total: int) -> None:
        devices, before = self.devices[self.open : total], cpu_of_family(self.server.pid)
        took = await self.crowd.ask("open", self.server.port, devices, AT_ONCE, self.compress)
        self.rates.append(len(devices) / took["seconds"])
        self.by_cpu.append(len(devices) / (cpu_of_family(self.server.pid) - before))
        self.busy.append(took["busy"] / took["seconds"])
        self.open = total

    async def read(self) -> None:
        # Before it is asked: to count its tasks, it lists them all.
        kib = resident_kib(self.server.pid)
        tasks = int(await self.asked.ask(TASKS)) if self.asked else 0
        connections = await self.connections() if self.connections else 0
        self.readings.append(Reading(self.open, kib, tasks, connections))

    def slopes(self) -> list[float]:
        """KiB per socket, from each reading to the next."""
        pairs = zip(self.readings, self.readings[1:], strict=False)
        return [(after.kib - before.kib) / (after.sockets - before.sockets) for before, after in pairs]

    def numbers(self) -> dict[str, object]:
        return {
            "readings": [asdict(each) for each in self.readings],
            "kib_per_socket": self.slopes(),
            "rates": self.rates,
            "by_cpu": self.by_cpu,
            "generator_busy": self.busy,
        }


@dataclass(frozen=True)
class Cost:
    """Of one waiting device, in a minute."""

    server_ms: float
    redis_ms: float
    bytes: float


class Crowded:
    """Pairings on one Redis, and the servers at which their devices wait."""

    def __init__(self, stand: Stand, attempts: Sequence[Attempt], sizes: Sizes) -> None:
        self._stand = stand
        self._attempts = attempts
        self._sizes = sizes
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.numbers: dict[str, object] = {}

    async def plain(self) -> Side:
        return Side(self._stand.ours(), await self._stand.crowd(), self._devices())

    async def bare(self) -> Side:
        devices = [(number, "/socket", None) for number in range(len(self._attempts))]
        return Side(self._stand.bare(), await self._stand.crowd(), devices)

    async def watched(self) -> Side:
        others = await self._stand.redis_connections()
        server = self._stand.watched()

        async def connections() -> int:
            return await self._stand.redis_connections() - others

        asked = await self._stand.pool(server, 1)
        # What a first answer brings once is not to be counted.
        await asked.ask(TASKS)
        return Side(server, await self._stand.crowd(), self._devices(), True, asked, connections)

    async def fill(self, *sides: Side) -> None:
        """Open `many` sockets at each, in turns; memory is read at `few` and at `many`."""
        for side in sides:
            await side.open_until(WARM_UP)
        await self._read(sides)
        for side in sides:
            # The first ones are not the usual.
            side.rates, side.by_cpu, side.busy = [], [], []
        for reading in (self._sizes.few, self._sizes.many):
            while sides[0].open < reading + WARM_UP:
                for side in sides:
                    await side.open_until(min(side.open + STEP, reading + WARM_UP))
            await self._read(sides)

    def memory(self, line: str, what: str, ours: Side, name: str, peer: Side, goal: Goal) -> None:
        few, many = self._sizes.few, self._sizes.many
        parts = (f"to {few:,}", f"{few:,} to {many:,}")
        for part, mine, theirs in zip(parts, ours.slopes(), peer.slopes(), strict=True):
            self.rows.append(Row(line, f"{what}, {part}", f"{mine:.1f}", f"{name} {theirs:.1f}", mine / theirs, goal))

    def connecting(self, ours: Side, bare: Side) -> None:
        rate, bare_rate = median(ours.rates), median(bare.rates)
        what, beside = "connects a second: authenticated, subscribed, told", f"Starlette {bare_rate:,.0f}"
        goal = Goal(0.8, 1.0, least=True)
        self.rows.append(Row("P4", what, f"{rate:,.0f}", beside, rate / bare_rate, goal))
        self.notes.append(
            f"P4: {AT_ONCE} at a time, in turns of {STEP:,}, until {self._sizes.many:,} wait; the bare one's until it"
            f" is upgraded. {median(ours.by_cpu) / median(bare.by_cpu):.2f} in the server's CPU time. The generator was"
            f" busy {median(ours.busy):.0%} and {median(bare.busy):.0%} of the time."
        )

    def idle(self, watched: Side) -> None:
        first, fewer, last = watched.readings
        tasks, sockets = last.tasks - first.tasks, last.sockets - first.sockets
        # Its pool grows up to a bound, with what is under way at once.
        more, later = last.connections - fewer.connections, last.sockets - fewer.sockets
        beside = f"{fewer.connections} with {later:,} fewer"
        self.rows += [
            Row("P3", "asyncio tasks per idle socket", f"{tasks:,}", f"{sockets:,} sockets", tasks / sockets, Goal(1)),
            Row("P3", "connections to Redis, per socket", f"{last.connections}", beside, more / later, Goal(0.001)),
        ]

    async def polling(self, server: Program, pollers: int) -> Cost:
        """As `idling`, of devices that poll."""
        pool = await self._stand.pool(server)
        requests = [each.polling() for each in self._attempts[:pollers]]
        rounds = max(1, round(self._sizes.idle / 5 / POLL_SECONDS))
        sent_before, started = pool.bytes, self._cpu(server)
        await paced(pollers / POLL_SECONDS, (lambda each=each: pool.ask(each) for each in requests * rounds))  # type: ignore[misc]
        return self._cost(server, started, pool.bytes - sent_before, pollers * rounds * POLL_SECONDS)

    async def idling(self, ours: Side) -> Cost:
        """Pings and sweeps included."""
        sent_before, started, since = await ours.crowd.ask("bytes"), self._cpu(ours.server), clock()
        await asyncio.sleep(self._sizes.idle)
        lasted = clock() - since
        return self._cost(ours.server, started, await ours.crowd.ask("bytes") - sent_before, ours.open * lasted)

    def costs(self, waiting: Cost, polling: Cost) -> None:
        def shown(cost: Cost) -> str:
            return f"{cost.server_ms:.2f} + {cost.redis_ms:.2f}"

        ratio = (waiting.server_ms + waiting.redis_ms) / (polling.server_ms + polling.redis_ms)
        what, sent = "a waiting device's minute", (f"{waiting.bytes:,.0f}", f"polling {polling.bytes:,.0f}")
        self.rows += [
            Row("cost", f"{what}: CPU of server + Redis, ms", shown(waiting), f"polling {shown(polling)}", ratio),
            Row("cost", f"{what}: bytes", *sent, waiting.bytes / polling.bytes),
        ]
        self.numbers["cost"] = {"socket": asdict(waiting), "polling": asdict(polling)}
        self.notes.append(
            f"cost: {self._sizes.many:,} sockets for {self._sizes.idle:g} s, pings and sweeps included, beside polls"
            f" every {POLL_SECONDS} s on connections that stay open, whose requests have few headers."
        )

    async def worst(self, ours: Side) -> None:
        """Approvals, one after the other, while all wait."""
        count = min(int(PUSHES_A_SECOND * self._sizes.watched), len(self._attempts))
        pool = await self._stand.pool(ours.server)
        numbered = list(enumerate(self._attempts))[:count]
        await pool.ask_all(each.claiming() for _, each in numbered)
        # Wait until all have been told of the scan.
        await asyncio.sleep(self._sizes.settle)
        await ours.crowd.ask("heard")
        sent = await approve(pool, numbered, PUSHES_A_SECOND)
        pushes = await told([ours.crowd], sent)
        started = sent[0][2]
        late = max(at - started - place / PUSHES_A_SECOND for place, (_, _, at) in enumerate(sent)) * 1000
        lost = ours.open - await ours.crowd.ask("open_now")
        what = f"of {pushes.count:,} pushes at {PUSHES_A_SECOND}/s, {self._sizes.many:,} waiting"
        goal = Goal(25, 10, unit=" ms")
        self.rows += [
            Row("P7", f"worst {what}", f"p99 {pushes.p99:.2f} ms", f"late {late:.1f} ms", pushes.worst, goal),
            Row("P7", "lost events", "", f"{lost} sockets lost", pushes.lost, Goal(0), digits=0),
        ]
        self.numbers["P7"] = asdict(pushes) | {"generator_late": late}
        self.notes.append(
            "P7: beside the worst push is how late the generator was at most, which has next to nothing to do: for so"
            " long, this machine lets a process wait for a core."
        )

    def _devices(self) -> list[tuple[int, str, str | None]]:
        return [(number, each.socket_path, each.secret) for number, each in enumerate(self._attempts)]

    async def _read(self, sides: Sequence[Side]) -> None:
        await asyncio.sleep(self._sizes.settle)
        for side in sides:
            await side.read()

    def _cpu(self, server: Program) -> tuple[float, float]:
        return cpu_of_family(server.pid), cpu_of_family(self._stand.redis_pid)

    def _cost(self, server: Program, before: tuple[float, float], sent: int, device_seconds: float) -> Cost:
        spent, by_redis = (now - then for now, then in zip(self._cpu(server), before, strict=True))
        minutes = device_seconds / 60
        return Cost(spent * 1000 / minutes, by_redis * 1000 / minutes, sent / minutes)


async def crowded(chosen: Collection[str], sizes: Sizes) -> Found:
    wanted = set(chosen)
    async with standing() as stand:
        # Not by a server whose memory is read: it would have room left from that.
        with stand.brief() as maker:
            (account,) = await stand.accounts(maker, 1)
            parts = Crowded(stand, await stand.attempts(maker, WARM_UP + sizes.many, account), sizes)
            if "cost" in wanted:
                polling = await parts.polling(maker, min(POLLERS, sizes.many))
        plain = await parts.plain()
        if wanted & {"P1", "P4"}:
            bare = await parts.bare()
            await parts.fill(plain, bare)
            await bare.crowd.ask("leave")
            parts.numbers["bare"] = bare.numbers()
            if "P1" in wanted:
                parts.memory("P1", "memory per waiting socket, KiB", plain, "Starlette", bare, Goal(1.05, 0.8))
            if "P4" in wanted:
                parts.connecting(plain, bare)
        elif wanted - {"P3"}:
            await parts.fill(plain)
        if "cost" in wanted:
            parts.costs(await parts.idling(plain), polling)
        if "P7" in wanted:
            await parts.worst(plain)
        await plain.crowd.ask("leave")
        parts.numbers["plain"] = plain.numbers()
        if wanted & {"P2", "P3"}:
            watched = await parts.watched()
            await parts.fill(watched)
            parts.numbers["watched"] = watched.numbers()
            if "P2" in wanted:
                parts.memory("P2", "the same, compression offered", watched, "P1's", plain, Goal(1.02))
            if "P3" in wanted:
                parts.idle(watched)
    return Found(parts.rows, parts.notes, {"waiting": parts.numbers})
