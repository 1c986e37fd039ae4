"""What a run of `scripts/bench` found, as the rows of a table, and on which machine."""

import math
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from textwrap import fill

PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "websockets", "redis", "hiredis", "sqlalchemy")
LEGEND = "`reach`: as good as we want it. `yes`: as good as it has to be. `NO`: it is not."


@dataclass(frozen=True)
class Goal:
    """What a number must be, and what it should be; at most, unless `least`."""

    must: float
    reach: float | None = None
    least: bool = False
    unit: str = ""

    def verdict(self, value: float) -> str:
        if self.reach is not None and self._holds(value, self.reach):
            return "reach"
        return "yes" if self._holds(value, self.must) else "**NO**"

    def shown(self, bound: float | None) -> str:
        if bound is None:
            return ""
        if bound == 0:
            return "0"
        return f"{'≥' if self.least else '≤'} {bound:g}{self.unit}"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.least else value <= bound


@dataclass(frozen=True)
class Row:
    """One number with its goal. `ours` and `beside` are what it was made of, `beside` with the name of the peer."""

    line: str
    what: str
    ours: str
    beside: str
    value: float
    goal: Goal | None = None
    digits: int = 2

    def markdown(self, judged: bool) -> str:
        goal = self.goal
        number = f"{self.value:,.{self.digits}f}{goal.unit if goal else ''}"
        ends = (goal.shown(goal.must), goal.shown(goal.reach)) if goal else ("", "")
        verdict = goal.verdict(self.value) if goal and judged else ""
        return "| " + " | ".join([self.line, self.what, self.ours, self.beside, number, *ends, verdict]) + " |"


@dataclass(frozen=True)
class Found:
    """What one part of the table found: rows, what is to be known about them, and all numbers for programs."""

    rows: Sequence[Row]
    notes: Sequence[str]
    numbers: dict[str, object]


def place(text: str) -> tuple[bool, int]:
    """Where a line stands, or what begins with its name: by the number; what has none comes last."""
    number = re.match(r"P(\d+)", text)
    return not number, int(number[1]) if number else 0


def markdown(found: Sequence[Found], *, judged: bool) -> str:
    """Rows in the table's order. Sizes that are too small for it are not judged."""
    rows = sorted((row for part in found for row in part.rows), key=lambda row: place(row.line))
    lines = [
        "| | what | pairing_ws | beside it | ratio | must | reach | met |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        *(row.markdown(judged) for row in rows),
    ]
    notes = sorted((note for part in found for note in part.notes), key=place)
    return "\n".join([*lines, "", *(_text(note) + "\n" for note in [*notes, *([LEGEND] if judged else [])])])


def surroundings(load: float) -> str:
    here = machine()
    software = ", ".join(f"{name} {number}" for name, number in versions().items())
    return _text(
        f"{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB, {here['system']}; load before: {load:.1f}."
        f" {software}."
    )


def versions() -> dict[str, str]:
    redis_server = subprocess.check_output(["redis-server", "--version"], text=True)
    return {
        "Python": platform.python_version(),
        **{name if name != "redis" else "redis-py": version(name) for name in PACKAGES},
        "redis-server": redis_server.split("v=")[1].split()[0],
    }


def machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    with suppress(FileNotFoundError, IndexError):
        model = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


@dataclass(frozen=True)
class Delays:
    """Of many acts that were timed, in ms, and how many of them nobody heard of."""

    p50: float
    p99: float
    worst: float
    count: int
    lost: int = 0

    @classmethod
    def of(cls, seconds: Sequence[float], lost: int = 0) -> "Delays":
        if not seconds:
            raise RuntimeError("nothing that was sent has arrived")
        ordered = sorted(each * 1000 for each in seconds)
        return cls(percentile(ordered, 50), percentile(ordered, 99), ordered[-1], len(ordered), lost)

    @classmethod
    def over(cls, turns: Sequence["Delays"]) -> "Delays":
        """The median turn: one that the machine disturbed does not decide. The worst is that of all."""
        return cls(
            median(each.p50 for each in turns),
            median(each.p99 for each in turns),
            max(each.worst for each in turns),
            sum(each.count for each in turns),
            sum(each.lost for each in turns),
        )

    def __str__(self) -> str:
        return f"{self.p50:.2f} / {self.p99:.2f}"


def percentile(ordered: Sequence[float], share: int) -> float:
    return ordered[math.ceil(len(ordered) * share / 100) - 1]


def _text(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)
