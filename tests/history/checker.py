"""Finds any history that no single pairing register could have produced, and says why.

Per pairing: a search for an order of the operations that fits both their times and the model (after Wing and Gong, with
Lowe's memory of what has been tried). What changes nothing is taken as soon as it fits, so only changes branch.
Then what a register can't tell: one session per pairing, one pair of keys, sockets in order; and the database's view.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.history.model import LIVE, UNBORN, Register, Rules, Window, expired, forgotten, observed, reactions
from tests.history.record import EVENTS, NEVER, Operation, timeline

# The holder of the secret may repeat a login whose answer got lost.
GRACE = 30_000.0
# Far more than any pairing of a run needs: most take as many steps as they have operations.
MOST_STEPS = 200_000
# A client may get to a message this much later than to answers that were sent after it: it has other things to do.
LATE_READER = 1_000.0


class Violation(NamedTuple):
    """`doubled`: somebody was logged in twice."""

    pairing: str
    reason: str
    operations: Sequence[Operation]
    doubled: bool = False

    def __str__(self) -> str:
        return f"pairing {self.pairing}: {self.reason}\n{timeline(self.operations)}"


class Row(NamedTuple):
    """A session in the database that began by a pairing."""

    pairing: str
    device: str
    refresh_hash: str
    user: str


def check(history: Sequence[Operation], rules: Rules) -> Violation | None:
    """The first thing wrong with one pairing's history, boiled down to the operations that show it."""
    for violation in (*sockets(history), *logins(history, rules), *unexcused(history)):
        return violation
    if any(each.call == "split" for each in history):
        # With two masters there are two registers; that nobody is logged in twice holds still, for SQL sees to it.
        return None
    found = _order(history, rules)
    return None if found is None else _shortest(history, rules, found)


# The order


@dataclass
class _Search:
    """Looks for an order. `stuck` tells where it got furthest."""

    operations: list[Operation]
    rules: Rules
    steps: int = 0
    tried: dict[tuple[int, Register], float] = field(default_factory=dict)
    furthest: int = -1
    stuck: tuple[Register, list[Operation]] = (UNBORN, [])

    def __post_init__(self) -> None:
        self.operations.sort(key=lambda each: each.invoked)
        self.needed = sum(1 << place for place, each in enumerate(self.operations) if each.known)
        self.can_return = any(each.call == "failover" for each in self.operations)

    def fits(self, done: int = 0, register: Register = UNBORN, time: float = 0.0) -> bool:
        """Whether the operations that are not `done` can follow, from `register` and `time` on."""
        done, register, time = self._take_what_changes_nothing(done, register, time)
        if not self.needed & ~done:
            return True
        before = self.tried.get((done, register))
        if before is not None and before <= time:
            return False
        self.tried[done, register] = time
        self.steps += 1
        if self.steps > MOST_STEPS:
            return False
        end, candidates = self._candidates(done)
        for place, operation in candidates:
            for after in self._outcomes(register, operation, time, end):
                if self.fits(done | 1 << place, after, max(time, operation.invoked)):
                    return True
        when = Window(time, end)
        over = expired(register, when, self.rules)
        if over is not None and self.fits(done, over, max(time, register.deadline[0] - self.rules.slack)):
            return True
        gone = forgotten(register, when, self.rules)
        if gone is not None and self.fits(done, gone, time):
            return True
        placed = (done & self.needed).bit_count()
        if placed > self.furthest:
            self.furthest = placed
            self.stuck = register, [each for _, each in candidates if each.known]
        return False

    def _candidates(self, done: int) -> tuple[float, list[tuple[int, Operation]]]:
        """Who can be next: nobody who was asked only after another had been answered. And by when he must be."""
        left = [(place, each) for place, each in enumerate(self.operations) if not done >> place & 1]
        end = min((each.returned for _, each in left if each.known), default=NEVER)
        return end, [(place, each) for place, each in left if each.invoked <= end]

    def _take_what_changes_nothing(self, done: int, register: Register, time: float) -> tuple[int, Register, float]:
        taken = True
        while taken and self.needed & ~done:
            taken = False
            end, candidates = self._candidates(done)
            for place, operation in candidates:
                if not operation.known or operation.call in EVENTS:
                    continue
                # After a failover a call that would change nothing now may be the one that changes something.
                if self.can_return and operation.call != "read":
                    continue
                for after in self._outcomes(register, operation, time, end):
                    if (after.status, after.version) == (register.status, register.version):
                        done, register, time = done | 1 << place, after, max(time, operation.invoked)
                        taken = True
                        break
        return done, register, time

    def _outcomes(self, register: Register, operation: Operation, time: float, end: float) -> Iterator[Register]:
        """The states that the operation can leave behind, if it comes next."""
        start = max(time, operation.invoked)
        event = operation.call in EVENTS
        if register.status in LIVE and not event and start >= register.deadline[1] + self.rules.slack:
            return
        for expected, after in reactions(register, operation, Window(start, end), self.rules):
            if event:
                yield after
            elif not operation.known:
                if after is not register:
                    yield after
            else:
                narrowed = observed(after, operation, expected, self.rules)
                if narrowed is not None:
                    yield narrowed


def _order(history: Iterable[Operation], rules: Rules) -> str | None:
    """None if there is an order, else why there is none."""
    chosen = [_as_read(each) for each in history if each.call not in ("use",) and not _says_nothing(each)]
    search = _Search([each for each in chosen if each is not None], rules)
    if search.fits():
        return None
    if search.steps > MOST_STEPS:
        return f"undecided after {MOST_STEPS} steps"
    register, asked = search.stuck
    lines = timeline(asked).splitlines()
    heard = "; ".join(" ".join(line.split()[3:]) for line in lines)
    return f"no order fits: at best the pairing is {register}, and then none of these can be: {heard}"


def _says_nothing(operation: Operation) -> bool:
    return not operation.known and operation.call in ("read", "close", "create")


def _as_read(operation: Operation) -> Operation | None:
    """A socket that is closed because the pairing is unknown has read so."""
    if operation.call != "close":
        return operation
    if operation.answer is None or operation.answer.status != 404:
        return None
    return Operation(
        "read",
        operation.actor,
        operation.invoked,
        operation.returned,
        operation.answer,
        operation.pairing,
        operation.process,
        "close",
        operation.socket,
    )


def _shortest(history: Sequence[Operation], rules: Rules, reason: str) -> Violation:
    """The shortest beginning of the history that is wrong already, without the reads and refusals it does not need."""
    chosen = sorted(history, key=lambda each: each.invoked)
    ends = sorted(each.returned for each in chosen if each.returned < NEVER)

    def until(end: float) -> list[Operation]:
        # Who had not been answered by then, and was refused later, did nothing.
        past = [each for each in chosen if each.invoked <= end]
        return [_cut_off(each, end) for each in past if each.returned <= end or not _changes_nothing(each)]

    # Once wrong, it stays wrong.
    first = bisect.bisect_left(ends, True, key=lambda end: _order(until(end), rules) is not None)
    if first < len(ends):
        chosen = until(ends[first])
        reason = _order(chosen, rules) or reason
    size = len(chosen)
    while size:
        for start in range(len(chosen) - size, -1, -size):
            dropped = [each for each in chosen[start : start + size] if _changes_nothing(each)]
            fewer = [each for each in chosen if each not in dropped]
            found = _order(fewer, rules) if dropped else None
            if found is not None:
                chosen, reason = fewer, found
        size //= 2
    return Violation(_pairing(chosen), reason, chosen)


def _cut_off(operation: Operation, end: float) -> Operation:
    """As it was known at `end`."""
    if operation.returned <= end:
        return operation
    fields = {name: getattr(operation, name) for name in Operation.__slots__}
    return Operation(**(fields | {"returned": NEVER, "answer": None}))


def _changes_nothing(operation: Operation) -> bool:
    answer = operation.answer
    if operation.call in ("read", "close", "use"):
        return True
    return answer is not None and answer.status >= 400 and answer.code != "number_mismatch"


def _pairing(history: Iterable[Operation]) -> str:
    return next((each.pairing for each in history if each.pairing), "?")


# What a register can't tell


def unexcused(history: Sequence[Operation]) -> Iterator[Violation]:
    """Answers that no state and no fault excuses: an error of the server's, or a credential that stopped working."""
    logged_out = [each for each in history if each.call == "use" and each.how == "logout"]
    for each in history:
        if each.answer is None or each.answer.status in (503, 404):
            continue
        ended = each.call == "use" and any(out.invoked < each.returned for out in logged_out if out is not each)
        wrong = each.answer.status >= 400 if each.call in ("use", "close") else each.answer.status >= 500
        if wrong and not ended:
            yield Violation(each.pairing, f"answered {each.answer.status}", [each])


def sockets(history: Sequence[Operation]) -> Iterator[Violation]:
    """On one socket versions only grow, and it ends with 1000 after a final state alone."""
    of_socket: defaultdict[int, list[Operation]] = defaultdict(list)
    for each in history:
        if each.socket:
            of_socket[each.socket].append(each)
    for messages in of_socket.values():
        messages.sort(key=lambda each: each.returned)
        last = None
        for each in messages:
            seen = each.answer.seen if each.answer else None
            if each.call == "close":
                if each.how == "1000" and (last is None or last.status in LIVE):
                    yield Violation(each.pairing, "a socket closed with 1000 before a final state", messages)
            elif seen:
                if last and seen.version <= last.version:
                    yield Violation(each.pairing, "a socket repeated or reordered versions", messages)
                last = seen


def logins(history: Sequence[Operation], rules: Rules) -> Iterator[Violation]:
    """All answers of a pairing's logins come from one session, and can be had for as long as the contract says."""
    asked = [each for each in history if each.call == "login"]
    given = [each for each in asked if each.answer and each.answer.status == 200]
    consumed = [each for each in asked if each.answer and each.answer.code == "pairing_consumed"]
    used = [each for each in history if each.call == "use"]
    maybe = [each for each in asked if not each.known]
    if len({(each.answer.keys, each.answer.device) for each in given if each.answer}) > 1:
        yield Violation(_pairing(history), "one pairing, more than one session", [*given, *used], True)
    first = min((each.returned for each in given), default=NEVER)
    for each in given:
        if each.invoked > first + GRACE + rules.slack:
            yield Violation(each.pairing, "a login was repeated after its 30 seconds", [*given, *used])
        if any(use.known and use.returned < each.invoked for use in used):
            yield Violation(each.pairing, "a login was repeated though its key had been used", [*given, *used])
    for each in consumed:
        others = [other for other in (*given, *maybe) if other.invoked < each.returned]
        if not others:
            yield Violation(each.pairing, "refused as used, though no login can have succeeded", asked)
            continue
        earliest = min(other.invoked for other in others)
        touched = any(use.invoked < each.returned for use in used)
        if each.returned < earliest + GRACE - rules.slack and not touched:
            yield Violation(each.pairing, "refused as used, though it could still be repeated", [*asked, *used])


def database(histories: dict[str, list[Operation]], rows: Sequence[Row], digests: dict[str, str]) -> list[Violation]:
    """What the sessions in the database say against the answers. `digests`: of each refreshKey that was given."""
    found = []
    of_pairing: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_pairing[row.pairing].append(row)
    of_keys: defaultdict[str, set[str]] = defaultdict(set)
    for pairing, history in histories.items():
        sessions = of_pairing.pop(pairing, [])
        asked = [each for each in history if each.call in ("login", "approve")]
        given = [each for each in asked if each.call == "login" and each.answer and each.answer.status == 200]
        maybe = [each for each in asked if each.call == "login" and not each.known]
        approvals = [each for each in asked if each.call == "approve" and (not each.known or _succeeded(each))]
        for each in given:
            if each.answer:
                of_keys[each.answer.keys].add(pairing)
        if len(sessions) > 1:
            found.append(Violation(pairing, f"{len(sessions)} sessions in the database", asked, True))
        if given and not sessions:
            found.append(Violation(pairing, "a login was answered, and the database has no session", asked))
        if sessions and not given and not maybe:
            found.append(Violation(pairing, "a session in the database, and no login that can have made it", asked))
        if sessions and not approvals:
            found.append(Violation(pairing, "a session in the database, and nobody who can have approved", asked))
        for each in given:
            told = each.answer
            assert told is not None
            stored = {(row.device, row.refresh_hash) for row in sessions}
            if sessions and (told.device, digests[told.keys]) not in stored:
                found.append(Violation(pairing, "the keys that were given are not the session's", asked))
    found += [Violation(pairing, "a session of a pairing nobody made", []) for pairing in of_pairing]
    found += [
        Violation(", ".join(pairings), "one refreshKey for several pairings", [])
        for pairings in of_keys.values()
        if len(pairings) > 1
    ]
    devices = {row.device for row in rows}
    if len(devices) != len(rows):
        found.append(Violation("?", f"{len(rows)} sessions, but {len(devices)} devices: each login came from one", []))
    return found


def _succeeded(operation: Operation) -> bool:
    return operation.answer is not None and operation.answer.status == 200
