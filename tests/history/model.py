"""One pairing as a register that does one thing at a time: the contract's tables, and nothing of the product's code.

`reactions` says what a call may be answered in a state, and what the state is then. Names of actors carry their kind:
`A…` are logged-in devices, one session each; `B…` are new devices, one secret each.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.history.record import Operation

LIVE = frozenset({"pending", "scanned", "approved"})
MINUTE = 60_000.0
AFTERLIFE = 5 * MINUTE
MAX_MISSES = 3


class Rules(NamedTuple):
    """The settings that the servers run with, and what has to be allowed for clocks. Milliseconds."""

    ttl: float = 120_000.0
    redeem: float = MINUTE
    slack: float = 3.0
    # Redis can go back to an earlier state, so earlier states have to be kept in mind.
    failovers: bool = False


class Register(NamedTuple):
    """A state. The deadline is known within bounds until an answer tells it; `ended`: final not before then."""

    status: str = "unborn"
    version: int = 0
    deadline: tuple[float, float] = (0.0, 0.0)
    initiator: str = ""
    creator: str = ""
    approver: str = ""
    device: str = ""
    verification: str = "undecided"
    misses: int = 0
    ended: float = 0.0
    past: tuple["Register", ...] = ()

    def __str__(self) -> str:
        return f"{self.status} v{self.version}" if self.version else self.status


UNBORN = Register()


class Expected(NamedTuple):
    """An answer's essentials; `shows`: it holds the pairing as it is after the call."""

    status: int
    code: str = ""
    shows: bool = False
    attempts_left: int | None = None
    pairing_status: str = ""


class Window(NamedTuple):
    """When a call took effect: not before, not after."""

    start: float
    end: float


Reaction = tuple[Expected, Register]

# Whose credential a call takes.
TAKES = {"approve": "A", "deny": "A", "login": "B"}

NOT_FOUND = Expected(404, "not_found")
UNAUTHENTICATED = Expected(401, "unauthenticated")
WRONG_DIRECTION = Expected(409, "wrong_direction")
SHOWN = Expected(200, shows=True)


def reactions(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    """Every answer that the contract allows, with the state that goes with it."""
    if call.call == "create":
        if register.status == "unborn":
            yield Expected(201, shows=True), _created(call, when, rules)
    elif call.call == "wipe":
        yield Expected(0), register if register.status == "unborn" else _forgotten(register)
    elif call.call == "failover":
        yield Expected(0), register
        if register.status not in ("unborn", "unknown"):
            yield Expected(0), _forgotten(register)
        for place, earlier in enumerate(register.past):
            yield Expected(0), earlier._replace(past=register.past[:place])
    elif not call.actor.startswith(TAKES.get(call.call, "")):
        yield UNAUTHENTICATED, register
    elif register.status in ("unborn", "unknown"):
        yield NOT_FOUND, register
    elif call.call == "claim":
        yield from _claim(register, call, when, rules)
    elif call.actor not in (register.approver, register.device):
        yield NOT_FOUND, register
    elif call.call == "read":
        yield SHOWN, register
        yield Expected(304), register
    else:
        yield from _STORY[call.call](register, call, when, rules)


def expired(register: Register, when: Window, rules: Rules) -> Register | None:
    """The register once time has ended it, if it can have by then."""
    over = register.deadline[0] - rules.slack
    if register.status not in LIVE or when.end < over:
        return None
    deadline = (register.deadline[0], min(register.deadline[1], when.end + rules.slack))
    return _after(register, rules, status="expired", deadline=deadline, ended=max(when.start, over))


def forgotten(register: Register, when: Window, rules: Rules) -> Register | None:
    """The register once its five minutes in a final state are over."""
    if register.status in LIVE or not register.version or when.end < register.ended + AFTERLIFE - rules.slack:
        return None
    return _forgotten(register)


def observed(register: Register, call: Operation, expected: Expected, rules: Rules) -> Register | None:
    """The register, its deadline narrowed to what the answer tells; None if the answer is another one."""
    answer = call.answer
    assert answer is not None
    if (answer.status, answer.code) != (expected.status, expected.code):
        return None
    if answer.attempts_left != expected.attempts_left or answer.pairing_status != expected.pairing_status:
        return None
    seen = answer.seen
    if answer.status == 304:
        return register if seen and seen.version == register.version else None
    if not expected.shows:
        return register
    if seen is None or (seen.status, seen.version) != (register.status, register.version):
        return None
    if seen.verification != register.verification:
        return None
    earliest, latest = register.deadline
    if not earliest - rules.slack <= seen.deadline <= latest + rules.slack:
        return None
    return register._replace(deadline=(seen.deadline, seen.deadline))


def _created(call: Operation, when: Window, rules: Rules) -> Register:
    by_key = call.actor.startswith("A")
    return Register(
        status="pending",
        version=1,
        deadline=(call.invoked + rules.ttl, when.end + rules.ttl),
        initiator="logged_in_device" if by_key else "new_device",
        creator=call.actor,
        approver=call.actor if by_key else "",
        device="" if by_key else call.actor,
    )


def _claim(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    typed = call.how == "typed"
    by_key = call.actor.startswith("A")
    claimant = register.approver if by_key else register.device
    refused: Expected | None = None
    if call.how == "wrong":
        refused = NOT_FOUND
    elif by_key is (register.initiator == "logged_in_device"):
        refused = WRONG_DIRECTION
    elif register.status in LIVE and claimant == call.actor:
        yield SHOWN, register
        return
    elif register.status != "pending":
        refused = Expected(409, "already_claimed") if register.status in LIVE else _final(register)
    if refused or (typed and rules.failovers):
        # After a failover the typed code's own entry may be lost, and the pairing not.
        yield NOT_FOUND if typed else refused or NOT_FOUND, register
        if refused:
            return
    yield (
        SHOWN,
        _after(
            register,
            rules,
            status="scanned",
            verification="number" if typed else "none",
            deadline=_extended(register, call, when, MINUTE),
            **{"approver" if by_key else "device": call.actor},
        ),
    )


def _approve(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    if call.actor != register.approver:
        yield NOT_FOUND, register
    elif register.status == "pending":
        yield Expected(409, "not_scanned"), register
    elif register.status == "scanned":
        redeem = rules.redeem * (2 if register.verification == "number" else 1)
        yield SHOWN, _after(register, rules, status="approved", deadline=_extended(register, call, when, redeem))
    elif register.status in ("approved", "consumed"):
        yield SHOWN, register
    else:
        yield _final(register), register


def _deny(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    if call.actor != register.approver:
        yield NOT_FOUND, register
    elif register.status in LIVE:
        yield SHOWN, _after(register, rules, status="denied", ended=when.start)
    elif register.status == "denied":
        yield SHOWN, register
    else:
        yield _final(register), register


def _cancel(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    if call.actor != register.creator:
        yield WRONG_DIRECTION, register
    elif register.status in LIVE:
        yield Expected(204), _after(register, rules, status="cancelled", ended=when.start)
    elif register.status == "cancelled":
        yield Expected(204), register
    else:
        yield _final(register), register


def _login(register: Register, call: Operation, when: Window, rules: Rules) -> Iterator[Reaction]:
    if call.actor != register.device:
        yield NOT_FOUND, register
    elif register.status in ("pending", "scanned"):
        yield Expected(409, "not_approved"), register
    elif register.status == "denied":
        yield Expected(403, "pairing_denied"), register
    elif register.status == "consumed":
        # Which of the two is right, the one session decides: see `checker.logins`.
        yield Expected(200), register
        yield Expected(409, "pairing_consumed"), register
    elif register.status != "approved":
        yield _final(register), register
    elif register.verification == "number" and not call.how:
        yield Expected(403, "number_required"), register
    elif register.verification == "number" and call.how == "wrong":
        misses = register.misses + 1
        told = Expected(403, "number_mismatch", attempts_left=MAX_MISSES - misses)
        status = "approved" if misses < MAX_MISSES else "denied"
        yield told, _after(register, rules, status=status, misses=misses, ended=when.start)
    else:
        consumed = _after(register, rules, status="consumed", ended=when.start)
        yield Expected(200), consumed
        if rules.failovers:
            # It had been consumed before, and Redis forgot that; SQL did not.
            yield Expected(409, "pairing_consumed"), consumed


_STORY = {"approve": _approve, "deny": _deny, "cancel": _cancel, "login": _login}


def _final(register: Register) -> Expected:
    if register.status in ("cancelled", "expired"):
        return Expected(410, f"pairing_{register.status}")
    return Expected(409, "invalid_state", pairing_status=register.status)


def _extended(register: Register, call: Operation, when: Window, by: float) -> tuple[float, float]:
    """The deadline moves so far that `by` is left; it may have been reckoned as early as the call was made."""
    earliest, latest = register.deadline
    return max(earliest, call.invoked + by), max(latest, when.end + by)


def _after(register: Register, rules: Rules, **changes: object) -> Register:
    past = (*register.past, register._replace(past=())) if rules.failovers else ()
    return register._replace(version=register.version + 1, past=past, **changes)  # type: ignore[arg-type]


def _forgotten(register: Register) -> Register:
    return Register(status="unknown", initiator=register.initiator, creator=register.creator)
