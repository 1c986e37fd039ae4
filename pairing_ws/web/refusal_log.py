"""What was refused, in the log: each code or OAuth error once a minute, with how often it came.

Strangers can make any number."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

WINDOW_SECONDS = 60.0


class RefusalLog:
    """`clock` gives seconds. The exact numbers are in the metrics, by route."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def note(self, code: str, status: int) -> None:
        now = self._clock()
        if now < self._quiet_until.get(code, 0.0):
            self._unlogged[code] = self._unlogged.get(code, 0) + 1
            return
        self._quiet_until[code] = now + WINDOW_SECONDS
        facts = {"code": str(code), "status": status, "since_last": self._unlogged.pop(code, 0) + 1}
        if status >= 500:
            log.warning("call.unavailable", **facts)
        else:
            log.info("call.refused", **facts)


refusals = RefusalLog()
