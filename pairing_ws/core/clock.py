"""Time, as everything here knows it: integers, milliseconds since 1970 UTC."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], int]

# How far the clocks of two servers may be apart: what one of them dates must hold at the other.
SKEW_MS = 60_000


def system_clock() -> int:
    return time.time_ns() // 1_000_000


# Every poll formats the same few times.
@lru_cache(maxsize=4096)
def iso(at: int) -> str:
    """ISO 8601 in UTC, the form of every time on the wire: `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
