"""What the log says of servers that are away: once when one goes, with the cause, and once when it is back; and of
those that refuse: once a minute."""

import os
import sqlite3
import ssl
import time
from collections.abc import Callable, Hashable

MAX_CAUSE = 300
# Further causes within one outage are most likely the same ones in turn.
MAX_CAUSES = 5
# Clients name servers too, of push messages: beyond these, the one that went first is forgotten.
MAX_SERVERS = 1000
REPEAT_SECONDS = 60.0
# Classes of SQLSTATE whose messages quote no values: connections, logins, resources, locks, the operator, the system.
_QUOTES_NOTHING = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")


class Outages:
    """Of one kind: whether each server works, as its clients tell. `lost` gets server and cause, `back` server
    and seconds."""

    def __init__(
        self,
        lost: Callable[[str, str], None],
        back: Callable[[str, float], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lost = lost
        self._back = back
        self._timer = timer
        # server → since when, and what was said of it.
        self._away: dict[str, tuple[float, set[str]]] = {}

    def failed(self, server: str, cause: str) -> None:
        _, said = self._away.setdefault(server, (self._timer(), set()))
        if len(self._away) > MAX_SERVERS:
            del self._away[next(iter(self._away))]
        if cause not in said and len(said) < MAX_CAUSES:
            said.add(cause)
            self._lost(server, cause)

    def works(self, server: str) -> None:
        if self._away and server in self._away:
            since, _ = self._away.pop(server)
            self._back(server, round(self._timer() - since, 1))


class Repeats:
    """Warnings that clients can bring about any number of times: each once a minute."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        # what → until when nothing is said of it, and how often it came since.
        self._quiet: dict[Hashable, tuple[float, int]] = {}

    def times(self, *what: Hashable) -> int:
        """How often it came since it was last said, this time included; 0 if it need not be said now."""
        now = self._timer()
        until, unsaid = self._quiet.pop(what, (now, 0))
        says = now >= until
        self._quiet[what] = (now + REPEAT_SECONDS, 0) if says else (until, unsaid + 1)
        if len(self._quiet) > MAX_SERVERS:
            del self._quiet[next(iter(self._quiet))]
        return unsaid + 1 if says else 0


def cause_of(error: BaseException) -> str:
    """Why a server can't be used, in the words of its driver, which quote addresses and no passwords."""
    text = " ".join(str(error).split())
    if not text and isinstance(error, TimeoutError):
        text = "no answer in time"
    each: BaseException | None = error
    why = ""
    # Some libraries wrap what the system said twice.
    while each and not why:
        if isinstance(each, ssl.SSLError):
            why = getattr(each, "verify_message", "") or str(each)
        elif isinstance(each, OSError) and (each.errno or 0) > 0:
            # asyncio says only that the call failed.
            why = os.strerror(each.errno or 0)
        each = each.__cause__ or each.__context__
    if why not in text:
        text = f"{text} ({why})"
    return (text or type(error).__name__)[:MAX_CAUSE]


def cause_in_sql(error: BaseException) -> str:
    """The same of a database, whose other errors quote what was asked for: of these only the class."""
    state = str(getattr(error, "sqlstate", None) or "")
    if state.startswith(_QUOTES_NOTHING) or isinstance(error, OSError | sqlite3.OperationalError):
        return cause_of(error)
    return " ".join([type(error).__name__, state]).strip()
