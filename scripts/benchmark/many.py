"""Very many devices that wait, on several workers, and pushes to them (P11)."""

import asyncio
from collections.abc import Collection
from dataclasses import asdict

from benchmark.meters import family_kib
from benchmark.pushes import AT_ONCE, told
from benchmark.sizes import Sizes
from benchmark.stand import standing
from benchmark.table import Delays, Found, Goal, Row

WORKERS = 3
CROWDS = 3
PUSHES_A_SECOND = 1500


async def many(_wanted: Collection[str], sizes: Sizes) -> Found:
    async with standing() as stand:
        ours = stand.ours(WORKERS)
        attempts = await stand.attempts(ours, sizes.huge)
        devices = [(number, each.socket_path, each.secret) for number, each in enumerate(attempts)]
        changer = await stand.helper("benchmark.changer")
        await changer.ask("meet", [each.id for each in attempts])
        crowds = [await stand.crowd() for _ in range(CROWDS)]
        opening = (
            crowd.ask("open", ours.port, devices[place::CROWDS], AT_ONCE // CROWDS, False)
            for place, crowd in enumerate(crowds)
        )
        took = await asyncio.gather(*opening)
        await asyncio.sleep(sizes.settle)
        mib = family_kib(ours.pid) / 1024
        turns = []
        for _ in range(sizes.turns):
            for crowd in crowds:
                await crowd.ask("heard")
            sent = await changer.ask("change", int(PUSHES_A_SECOND * sizes.seconds), PUSHES_A_SECOND)
            turns.append(await told(crowds, sent))
        pushes = Delays.over(turns)
        lost = sizes.huge - sum([await crowd.ask("open_now") for crowd in crowds])
    sockets = f"{sizes.huge:,} sockets on {WORKERS} workers"
    memory = Row("P11", f"{sockets}: memory", f"{mib:,.0f} MiB", "", mib / 1024, Goal(1.4, unit=" GiB"))
    events = f"{pushes.lost} of {pushes.count:,} events"
    losses = Row("P11", "lost sockets and events", f"{lost} sockets", events, lost + pushes.lost, Goal(0), digits=0)
    what = f"script in Redis → frame at {PUSHES_A_SECOND}/s, p99"
    others = (f"p50 {pushes.p50:.2f} ms", f"worst {pushes.worst:.1f} ms")
    delay = Row("P11", what, *others, pushes.p99, Goal(10, unit=" ms"))
    slowest = max(each["seconds"] for each in took)
    note = (
        f"P11: memory is that of the parent and its workers (PSS), without Redis. They came at"
        f" {sizes.huge / slowest:,.0f} a second. The generator, four processes, shares the cores."
    )
    numbers = {"mib": mib, "lost_sockets": lost, "pushes": asdict(pushes), "opening": took}
    return Found([memory, losses, delay], [note], {"many": numbers})
