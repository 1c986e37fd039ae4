"""What was asked, when, and what was answered: a run's history. Data and one clock; who judges it is `checker`.

Times are milliseconds since 1970 as this machine's steady clock counts them on from the start of the run, so that they
can be compared with deadlines, which are told on Redis's clock.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NEVER = float("inf")
# Calls of clients; a socket's messages and close are reads that the server chose the moment of.
CALLS = ("create", "read", "claim", "approve", "deny", "cancel", "login", "use", "close")
# What befell Redis: its memory was lost as a whole; a replica that lacked the last writes took over; for a while there
# were two masters, for the old one was only silent.
EVENTS = ("wipe", "failover", "split")


class Seen(NamedTuple):
    """A pairing as an answer shows it."""

    status: str
    version: int
    deadline: float = 0.0
    verification: str = "undecided"


class Answer(NamedTuple):
    """What a client was told. `code` is the problem's machine word; `keys` identify a login's pair of keys."""

    status: int
    code: str = ""
    seen: Seen | None = None
    keys: str = ""
    device: str = ""
    attempts_left: int | None = None
    pairing_status: str = ""


@dataclass(slots=True, eq=False)
class Operation:
    """One call. Without an answer nobody knows whether, and when after `invoked`, it took effect."""

    call: str
    actor: str
    invoked: float
    returned: float = NEVER
    answer: Answer | None = None
    pairing: str = ""
    # Which server process was asked.
    process: int = 0
    # create: the initiator; claim: "" or "typed" or "wrong"; login: the number: "", "right" or "wrong"; read: how.
    how: str = ""
    # Which socket a message or close came from; 0: none.
    socket: int = 0

    @property
    def known(self) -> bool:
        """Whether it is certain what happened. A 503 says that it may have, or may still."""
        if self.call in EVENTS:
            return self.returned < NEVER
        return self.answer is not None and self.answer.status != 503


@dataclass
class Recorder:
    """The run's history as it is written, and the clock it is written by."""

    operations: defaultdict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    events: list[Operation] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    count: int = 0
    unknown: int = 0

    def __post_init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._drift = 0.0
        self._sockets = itertools.count(1)

    def now(self) -> float:
        return (time.monotonic() + self._offset) * 1000

    def look_at_clock(self) -> None:
        """Note how far Redis's clock, which is this machine's, has been moved since the start."""
        self._drift = max(self._drift, abs(time.time() - time.monotonic() - self._offset) * 1000)

    @property
    def slack(self) -> float:
        """Milliseconds by which a deadline may seem to be missed: rounding, and clocks that were put right."""
        return 3.0 + self._drift

    def socket(self) -> int:
        """A number for a new socket."""
        return next(self._sockets)

    def add(self, operation: Operation) -> Operation:
        self.count += 1
        self.unknown += operation.answer is None or operation.answer.status == 503
        self.operations[operation.pairing].append(operation)
        return operation

    def begin_event(self, call: str) -> Operation:
        """Redis is about to forget; the caller sets `returned` once it can't forget any more."""
        event = Operation(call, "Redis", self.now())
        self.events.append(event)
        return event

    def events_between(self, start: float, end: float) -> list[Operation]:
        return [event for event in self.events if event.returned >= start and event.invoked <= end]

    def history(self, pairing: str) -> list[Operation]:
        """A pairing's operations, and what befell Redis in its time."""
        operations = self.operations[pairing]
        start = min((each.invoked for each in operations), default=0.0)
        end = max((each.returned for each in operations if each.returned < NEVER), default=start)
        return sorted([*operations, *self.events_between(start, end)], key=lambda each: each.invoked)


def timeline(operations: Iterable[Operation], faults: Iterable[tuple[str, float, float]] = ()) -> str:
    """One line per operation, by time of asking, in milliseconds since the first; faults of that time in between."""
    chosen = sorted(operations, key=lambda each: each.invoked)
    if not chosen:
        return "(nothing)"
    start = chosen[0].invoked
    end = max([each.invoked for each in chosen] + [each.returned for each in chosen if each.returned < NEVER])
    lines = [(each.invoked, _line(each, start)) for each in chosen]
    for what, since, until in faults:
        if until >= start and since <= end:
            lines.append((since, f"{_span(since, until, start)}  fault: {what}"))
    return "\n".join(text for _, text in sorted(lines))


def _line(operation: Operation, start: float) -> str:
    asked = " ".join(filter(None, (operation.call, operation.how)))
    where = f" socket {operation.socket}" if operation.socket else ""
    at = f"at {operation.process + 1}" if operation.call not in EVENTS else ""
    told = _answer_text(operation.answer) if operation.call not in EVENTS else ""
    span = _span(operation.invoked, operation.returned, start)
    return f"{span}  {operation.actor:<9} {asked:<16} {at:<5} {told}{where}"


def _span(since: float, until: float, start: float) -> str:
    end = "…" if until == NEVER else f"{until - start:.1f}"
    return f"{since - start:10.1f} – {end:<9}"


def _answer_text(answer: Answer | None) -> str:
    if answer is None:
        return "no answer"
    words: list[Any] = [answer.status, answer.code, answer.pairing_status]
    if answer.seen:
        words.append(" ".join(filter(None, (answer.seen.status, f"v{answer.seen.version}"))))
    if answer.keys:
        words.append(f"keys {answer.keys[-6:]} of device {answer.device[:6]}")
    if answer.attempts_left is not None:
        words.append(f"{answer.attempts_left} attempts left")
    return " ".join(str(word) for word in words if word != "")
