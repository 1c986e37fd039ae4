"""How much `scripts/bench` measures, and for how long."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sizes:
    # Waiting sockets: where memory is read for the first and for the second time; while pushes are timed; on several
    # workers.
    few: int
    many: int
    pushed: int
    huge: int
    # Each side gets so many turns, and the medians count.
    turns: int
    # A turn of polls, or of pushes at one rate.
    seconds: float
    # How long the worst push is looked for, and how long the cost of waiting is counted.
    watched: float
    idle: float
    # Starts of each side.
    starts: int
    accounts: int
    # That wait for a consent at once, for P13.
    devices: int
    # So that what the last ones needed only while they connected has been given back.
    settle: float
    # Another checkout, for P15 to P17.
    beside: Path | None = None


FULL = Sizes(5000, 18_500, 5000, 50_000, 5, 2.5, 60, 50, 7, 200, 40_000, 1)
# Shows that it works, no more.
SHORT = Sizes(100, 300, 200, 600, 1, 0.5, 1, 1, 1, 20, 5_000, 0.2)
