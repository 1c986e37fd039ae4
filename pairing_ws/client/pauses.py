"""How long to wait before a call is repeated."""

import random

MOST_SECONDS = 30.0


def backoff(failures: int, asked: float | None = None) -> float:
    """Seconds: full jitter below a ceiling that doubles, so that clients which fell together do not return together;
    at least what the server has `asked` for."""
    return max(asked or 0, spread(min(MOST_SECONDS, 2.0**failures)))


def spread(seconds: float) -> float:
    """Anything from nothing to that."""
    # No secret comes of it.
    return random.uniform(0, seconds)  # noqa: S311
