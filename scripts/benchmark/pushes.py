"""From an approval to the frame on the new device's socket: from Redis on (P5), and the whole way (P6)."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict
from statistics import median

from benchmark.clients import Pool, clock, paced, request
from benchmark.helper import Helper
from benchmark.meters import cpu_of_family
from benchmark.people import Attempt
from benchmark.sizes import Sizes
from benchmark.stand import Program, Stand, standing
from benchmark.table import Delays, Found, Goal, Row

# A push that takes longer than this counts as lost.
LOST_AFTER = 5.0
AT_ONCE = 32
RATES = (500, 2000)
APPROVALS_A_SECOND = 200
BARE_POST = request("POST", "/", {})

# (number, version, time)
Noted = Sequence[tuple[int, int, float]]


async def told(crowds: Sequence[Helper], sent: Noted) -> Delays:
    """How long it took until each device had heard of what was sent."""
    heard: list[tuple[int, int, float]] = []
    end = clock() + LOST_AFTER
    while True:
        for crowd in crowds:
            heard += await crowd.ask("heard")
        seconds, lost = delays(sent, heard)
        if not lost or clock() > end:
            return Delays.of(seconds, lost)
        await asyncio.sleep(0.1)


def delays(sent: Noted, heard: Noted) -> tuple[list[float], int]:
    """Of each version until the device heard of it, or of a newer one; and how many it never heard of."""
    arrivals: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for number, version, at in heard:
        arrivals[number].append((version, at))
    found = (
        next((then - at for newer, then in arrivals[number] if newer >= version), None) for number, version, at in sent
    )
    seconds = [each for each in found if each is not None]
    return seconds, len(sent) - len(seconds)


async def approve(server: Pool, attempts: Sequence[tuple[int, Attempt]], rate: float) -> Noted:
    """Approve the numbered ones. The time is that of sending the request."""
    requests = [(number, each.approval()) for number, each in attempts]
    await server.renew()

    async def approve(number: int, wanted: bytes) -> tuple[int, int, float]:
        sent = clock()
        answer = await server.ask(wanted)
        return number, json.loads(answer)["version"], sent

    return await paced(rate, (lambda each=each: approve(*each) for each in requests))  # type: ignore[misc]


async def pushing(chosen: Collection[str], sizes: Sizes) -> Found:
    rows: list[Row] = []
    notes: list[str] = []
    numbers: dict[str, object] = {}
    async with standing() as stand:
        ours = stand.ours()
        (account,) = await stand.accounts(ours, 1)
        attempts = await stand.attempts(ours, sizes.pushed, account)
        pool = await stand.pool(ours)
        await pool.ask_all(each.claiming() for each in attempts)
        crowd = await stand.crowd()
        devices = [(number, each.socket_path, each.secret) for number, each in enumerate(attempts)]
        await crowd.ask("open", ours.port, devices, AT_ONCE, False)
        if "P6" in chosen:
            cpu_ms, whole, post = await _whole_way(stand, ours, pool, crowd, attempts, sizes)
            numbers["approve_to_frame"] = {"ours": asdict(whole), "bare_post": asdict(post), "cpu_ms": cpu_ms}
            what, beside = f"approve → frame at {APPROVALS_A_SECOND}/s, ms", "Starlette POST"
            rows += _rows("P6", what, whole, beside, post, Goal(4, 2), Goal(6))
            notes.append(
                f"P6: {sizes.pushed:,} devices wait; from sending the POST to the frame, beside the round trip of a"
                f" bare one. {whole.count:,} of each in {sizes.turns} turns, {whole.lost} lost. Each of ours took"
                f" {cpu_ms:.2f} ms of the server's CPU."
            )
        if "P5" in chosen:
            if "P6" not in chosen:
                await pool.ask_all(each.approval() for each in attempts)
            changer = await stand.helper("benchmark.changer")
            await changer.ask("meet", [each.id for each in attempts])
            await crowd.ask("listen", stand.redis.port)
            floors, costs, lost = [], [], 0
            for rate in RATES:
                cpu_ms, pushes, library, bare = await _from_redis(ours, changer, crowd, rate, sizes)
                numbers[f"publish_to_frame_{rate}"] = {
                    "ours": asdict(pushes),
                    "redis_py": asdict(library),
                    "bare": asdict(bare),
                    "cpu_ms": cpu_ms,
                }
                what = f"script in Redis → frame at {rate}/s, ms"
                rows += _rows("P5", what, pushes, "PUBLISH → redis-py", library, Goal(3.5, 1.8), Goal(5))
                floors.append(f"{bare} at {rate}/s")
                costs.append(f"{cpu_ms:.2f}")
                lost += pushes.lost
            notes.append(
                f"P5: {sizes.pushed:,} devices wait; another process runs the script that approving runs, and the time"
                " is from that call to the frame. Beside it, redis-py publishes in that process and listens in the one"
                f" that holds the sockets. Without any library it takes {', '.join(floors)} (p50 / p99, ms). Each of"
                f" ours took {' and '.join(costs)} ms of the server's CPU, {lost} were lost."
            )
        numbers["lost_sockets"] = sizes.pushed - await crowd.ask("open_now")
    return Found(rows, notes, {"pushes": numbers})


async def _whole_way(
    stand: Stand, ours: Program, pool: Pool, crowd: Helper, attempts: Sequence[Attempt], sizes: Sizes
) -> tuple[float, Delays, Delays]:
    """CPU per push in ms, and the delays of pushes and of bare POSTs."""
    bare = await stand.pool(stand.bare())
    numbered = list(enumerate(attempts))

    async def post() -> float:
        sent = clock()
        await bare.ask(BARE_POST)
        return clock() - sent

    whole, posts, spent = [], [], []
    for turn in range(sizes.turns):
        some = numbered[turn :: sizes.turns]
        await crowd.ask("heard")
        before = cpu_of_family(ours.pid)
        whole.append(await told([crowd], await approve(pool, some, APPROVALS_A_SECOND)))
        spent.append((cpu_of_family(ours.pid) - before) / len(some) * 1000)
        await bare.renew()
        posts.append(Delays.of(await paced(APPROVALS_A_SECOND, (post for _ in some))))
    return median(spent), Delays.over(whole), Delays.over(posts)


async def _from_redis(
    ours: Program, changer: Helper, crowd: Helper, rate: int, sizes: Sizes
) -> tuple[float, Delays, Delays, Delays]:
    """CPU per push in ms, and the delays of the script, of redis-py, and of no library at all."""
    count, spent = int(rate * sizes.seconds), []

    async def turn(act: str) -> Delays:
        await crowd.ask("heard")
        return await told([crowd], await changer.ask(act, count, rate))

    pushes, library, bare = [], [], []
    for _ in range(sizes.turns):
        before = cpu_of_family(ours.pid)
        pushes.append(await turn("change"))
        spent.append((cpu_of_family(ours.pid) - before) / count * 1000)
        library.append(await turn("publish"))
        bare.append(await turn("publish_bare"))
    return median(spent), Delays.over(pushes), Delays.over(library), Delays.over(bare)


def _rows(line: str, what: str, ours: Delays, name: str, peer: Delays, p50: Goal, p99: Goal) -> list[Row]:
    return [
        Row(line, f"{what}, {share}", f"{mine:.2f}", f"{name} {theirs:.2f}", mine / theirs, goal)
        for share, mine, theirs, goal in (("p50", ours.p50, peer.p50, p50), ("p99", ours.p99, peer.p99, p99))
    ]
