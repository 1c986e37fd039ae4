"""When sockets of new devices opened: the marks by which the newest of them takes over."""

import time
from collections.abc import Callable
from typing import NamedTuple

from pairing_ws.core import codes

# A store's clock that went back further was set, and is followed. In microseconds.
CLOCK_SET = 1_000_000


class Opening(NamedTuple):
    started_at: float
    # The greatest mark's time that had been given before.
    after: int


class Openings:
    """Marks for the sockets of this process: of two, the greater is that of the socket that began to open later.

    Between processes the store's clock decides. It counts whole milliseconds, and a client near by opens its next
    socket within one. So a mark is also greater than all that were given here before its socket began to open.
    """

    def __init__(self, random: codes.RandomBytes, timer: Callable[[], float] = time.monotonic) -> None:
        self._random = random
        self._timer = timer
        self._latest = 0

    def begin(self) -> Opening:
        """The socket begins to open now."""
        return Opening(self._timer(), self._latest)

    def waited(self, opening: Opening) -> float:
        """Seconds since then."""
        return self._timer() - opening.started_at

    def mark(self, opening: Opening, waited: float, now: int) -> str:
        """Its mark. `now` is the store's clock, in ms, as read when the socket had `waited` so long."""
        opened_at = now * 1000 - round(waited * 1_000_000)
        if opened_at + CLOCK_SET <= opening.after:
            self._latest = opened_at
        else:
            opened_at = max(opened_at, opening.after + 1)
            self._latest = max(opened_at, self._latest)
        return f"{opened_at // 1000:015}.{opened_at % 1000:03}:{codes.token(self._random)}"
