"""How runs are shown: as Markdown, for a terminal and for the README."""

import math
from collections.abc import Sequence

from tests.history.checker import Violation
from tests.history.run import Outcome


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(content: object) -> str:
    return f"{content:,}" if isinstance(content, int) else str(content)


def runs(outcomes: dict[str, Outcome]) -> str:
    """Runs side by side, and how often what went wrong in each."""
    each = list(outcomes.values())
    rows: list[list[object]] = [
        ["operations", *(one.recorder.count for one in each)],
        ["of them without an answer, or 503", *(one.recorder.unknown for one in each)],
        ["pairings", *(one.world.pairings for one in each)],
        ["logins", *(one.world.logins for one in each)],
        ["faults", *(one.faults.total for one in each)],
        ["approved and awaited by a patient client", *(one.world.approved for one in each)],
        ["**of them lost**", *(f"**{len(one.world.lost)}**" for one in each)],
        ["of them forgotten, because Redis lost its memory", *(one.world.forgotten for one in each)],
        ["**violations**", *(f"**{len(one.world.violations)}**" for one in each)],
    ]
    kinds = sorted({kind for one in each for kind in one.faults.counts})
    happened: list[list[object]] = [[kind, *(one.faults.counts[kind] or "" for one in each)] for kind in kinds]
    return f"{table(['on', *outcomes], rows)}\n\n{table(['fault', *outcomes], happened)}"


def bugs(found: Sequence[tuple[str, int, Violation | None]]) -> str:
    rows = [[name, count if violation else f"not within {count:,}"] for name, count, violation in found]
    return table(["bug put in on purpose", "operations until it was found"], rows)


def soak(outcome: Outcome, minutes: float) -> str:
    """What counts of a long run, and what its servers held before and after."""
    world = outcome.world
    rows: list[list[object]] = [
        ["minutes", f"{minutes:g}"],
        ["operations", outcome.recorder.count],
        ["pairings", world.pairings],
        ["logins", world.logins],
        ["approved and awaited by a patient client", world.approved],
        ["**of them lost**", f"**{len(world.lost)}**"],
        ["of them forgotten, because Redis lost its memory", world.forgotten],
        ["**logged in twice**", f"**{sum(each.doubled for each in world.violations)}**"],
        ["**violations in all**", f"**{len(world.violations)}**"],
        ["from approval to knowing, ms (p50 / p99 / worst)", percentiles(world.told)],
    ]
    for place, (before, after) in enumerate(zip(outcome.before, outcome.after, strict=True), 1):
        mib = f"{before.kib / 1024:.0f}, {after.kib / 1024:.0f}"
        rows.append([f"memory of server {place}, MiB: before, after", mib])
        rows.append([f"open files of server {place}: before, after", f"{before.files}, {after.files}"])
    faults: list[list[object]] = [[kind, count] for kind, count in sorted(outcome.faults.counts.items())]
    return f"{table(['what', 'in all'], rows)}\n\n{table(['fault', 'times'], faults)}"


def percentiles(times: Sequence[float]) -> str:
    if not times:
        return "–"
    ordered = sorted(times)
    return " / ".join(f"{ordered[math.ceil(len(ordered) * share) - 1]:,.0f}" for share in (0.5, 0.99, 1))
