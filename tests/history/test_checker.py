"""The checker on histories written by hand: it accepts what one register can have done, and nothing else.

Times are milliseconds from the pairing's creation. The code lives for ten seconds here, and a claim leaves a minute.
"""

import pytest

from tests.history.checker import Row, check, database
from tests.history.model import Rules
from tests.history.record import NEVER, Answer, Operation, Seen

RULES = Rules(ttl=10_000, redeem=10_000)
WITH_FAILOVERS = RULES._replace(failovers=True)
CLAIMED, CREATED = 60_020.0, 10_005.0
DONE = Answer(204)
UNKNOWN = Answer(404, "not_found")


def told(status: str, version: int, deadline: float = CLAIMED, verification: str = "none") -> Answer:
    return Answer(200, seen=Seen(status, version, deadline, verification))


def refused(status: int, code: str, **more: object) -> Answer:
    return Answer(status, code, **more)  # type: ignore[arg-type]


def keys(name: str = "keys") -> Answer:
    return Answer(200, keys=name, device="tablet")


def op(
    call: str, actor: str, invoked: float, returned: float, answer: Answer | None = None, how: str = "", socket: int = 0
) -> Operation:
    return Operation(call, actor, invoked, returned, answer, "P", 0, how, socket)


CREATE = op("create", "B1", 0, 10, Answer(201, seen=Seen("pending", 1, CREATED, "undecided")))
CREATE_BY_KEY = op("create", "A1", 0, 10, Answer(201, seen=Seen("pending", 1, CREATED, "undecided")))
PENDING = told("pending", 1, CREATED, "undecided")
CLAIM = op("claim", "A1", 15, 25, told("scanned", 2))
APPROVE = op("approve", "A1", 30, 40, told("approved", 3))
LOGIN = op("login", "B1", 50, 60, keys())
TYPED = op("claim", "A1", 15, 25, told("scanned", 2, verification="number"), "typed")
APPROVE_WITH_NUMBER = op("approve", "A1", 30, 40, told("approved", 3, verification="number"))
EXPIRED = told("expired", 2, CREATED, "undecided")
LOST_CLAIM, LOST_APPROVE = op("claim", "A1", 15, NEVER), op("approve", "A1", 30, NEVER)
TOO_LATE = refused(410, "pairing_expired")
MISS = refused(403, "number_mismatch", attempts_left=2)

GOOD = {
    "a login from end to end": [CREATE, CLAIM, APPROVE, LOGIN, op("read", "A1", 61, 62, told("consumed", 4))],
    "a code that device A shows": [
        CREATE_BY_KEY,
        op("approve", "A1", 11, 12, refused(409, "not_scanned")),
        op("claim", "B1", 15, 25, told("scanned", 2)),
        op("claim", "B2", 15, 26, refused(409, "already_claimed")),
        APPROVE,
        LOGIN,
        op("cancel", "B1", 61, 62, refused(409, "wrong_direction")),
    ],
    "a race for the claim that one wins": [
        CREATE,
        op("claim", "A2", 14, 29, refused(409, "already_claimed")),
        CLAIM,
        op("claim", "A3", 15, 24, refused(409, "already_claimed")),
        op("read", "A3", 30, 31, UNKNOWN),
    ],
    "a read during an approval that may see it or not": [
        CREATE,
        CLAIM,
        op("approve", "A1", 30, 90, told("approved", 3)),
        op("read", "B1", 31, 35, told("scanned", 2)),
        op("read", "B1", 40, 45, told("approved", 3)),
    ],
    "a claim whose answer was lost and that had happened": [CREATE, LOST_CLAIM, APPROVE],
    "a claim whose answer was lost and that never happened": [
        CREATE,
        LOST_CLAIM,
        op("read", "B1", 500, 510, PENDING),
        op("claim", "A2", 600, 610, told("scanned", 2, 60_605)),
    ],
    "an approval that a paused process made late": [
        CREATE,
        CLAIM,
        op("approve", "A1", 30, NEVER, Answer(503, "unavailable")),
        op("read", "B1", 500, 510, told("scanned", 2)),
        op("read", "B1", 900, 910, told("approved", 3)),
    ],
    "time that ends a code": [CREATE, op("claim", "A1", 10_100, 10_110, TOO_LATE)],
    "a claim that came through just before the end": [
        CREATE,
        op("claim", "A1", 9_990, 10_200, told("scanned", 2, 69_995)),
    ],
    "wrong numbers, the third of which ends it": [
        CREATE,
        TYPED,
        APPROVE_WITH_NUMBER,
        op("login", "B1", 50, 60, refused(403, "number_required")),
        op("login", "B1", 50, 60, MISS, "wrong"),
        op("login", "B1", 50, 60, refused(403, "number_mismatch", attempts_left=1), "wrong"),
        op("login", "B1", 55, 65, refused(403, "number_mismatch", attempts_left=0), "wrong"),
        op("login", "B1", 70, 80, refused(403, "pairing_denied"), "right"),
        op("read", "A1", 70, 80, told("denied", 6, verification="number")),
    ],
    "a denial and a cancellation of which one wins": [
        CREATE,
        CLAIM,
        op("deny", "A1", 30, 40, told("denied", 3)),
        op("cancel", "B1", 30, 40, refused(409, "invalid_state", pairing_status="denied")),
        op("deny", "A1", 50, 60, told("denied", 3)),
    ],
    "logins that race and get the same keys": [CREATE, CLAIM, APPROVE, LOGIN, op("login", "B1", 45, 70, keys())],
    "a login that is over after its grace": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        op("login", "B1", 30_200, 30_210, refused(409, "pairing_consumed")),
    ],
    "a login that is over after the first use of its key": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        op("use", "B1", 65, 70, Answer(200), "me"),
        op("login", "B1", 80, 90, refused(409, "pairing_consumed")),
    ],
    "Redis that forgot": [
        CREATE,
        CLAIM,
        op("wipe", "Redis", 100, 200),
        op("read", "B1", 90, 110, told("scanned", 2)),
        op("read", "B1", 150, 250, UNKNOWN),
    ],
    "Redis that forgot while this pairing was made": [
        CREATE,
        op("wipe", "Redis", 4, 8),
        op("read", "B1", 20, 30, UNKNOWN),
    ],
    "Redis that forgot before this pairing was made": [
        op("wipe", "Redis", -50, 5),
        CREATE,
        op("read", "B1", 20, 30, PENDING),
    ],
    "a socket that tells each change": [
        CREATE,
        CLAIM,
        op("read", "B1", 11, 12, PENDING, "socket", 1),
        op("read", "B1", 12, 28, told("scanned", 2), "socket", 1),
        op("cancel", "B1", 30, 40, DONE),
        op("read", "B1", 28, 45, told("cancelled", 3), "socket", 1),
        op("close", "B1", 45, 46, Answer(0), "1000", 1),
    ],
    "a finished pairing that is unknown after five minutes": [
        CREATE,
        op("cancel", "B1", 30, 40, DONE),
        op("read", "B1", 300_050, 300_060, UNKNOWN),
    ],
}

BAD = {
    "two claims that both win": [CREATE, CLAIM, op("claim", "A2", 15, 25, told("scanned", 2))],
    "a version that is skipped": [CREATE, op("claim", "A1", 15, 25, told("scanned", 3))],
    "a state seen before it was": [CREATE, op("read", "B1", 11, 14, told("scanned", 2)), CLAIM],
    "a state seen after it was over": [CREATE, CLAIM, op("read", "B1", 30, 31, PENDING)],
    "an approval of what was denied": [CREATE, CLAIM, op("deny", "A1", 26, 28, told("denied", 3)), APPROVE],
    "a denial that was confirmed and did not last": [
        CREATE,
        CLAIM,
        op("approve", "A1", 30, 40, told("approved", 3)),
        op("deny", "A1", 30, 40, told("denied", 3)),
    ],
    "an approval by somebody else": [CREATE, CLAIM, op("approve", "A2", 30, 40, told("approved", 3))],
    "a login before anybody approved": [CREATE, CLAIM, op("login", "B1", 30, 40, keys())],
    "a login by somebody else": [CREATE, CLAIM, APPROVE, op("login", "B2", 50, 60, keys())],
    "a refusal that does not fit the state": [CREATE, op("login", "B1", 11, 12, refused(403, "pairing_denied"))],
    "a lost claim that is both there and not": [
        CREATE,
        LOST_CLAIM,
        op("read", "B1", 100, 110, told("scanned", 2)),
        op("read", "B1", 120, 130, PENDING),
    ],
    "an end before its time": [CREATE, op("read", "B1", 9_000, 9_010, EXPIRED)],
    "a refusal because of a time that is not over": [CREATE, op("claim", "A1", 9_000, 9_010, TOO_LATE)],
    "a finished pairing that is unknown too soon": [
        CREATE,
        op("cancel", "B1", 30, 40, DONE),
        op("read", "B1", 200_050, 200_060, UNKNOWN),
    ],
    "a claim after its time": [CREATE, op("claim", "A1", 10_050, 10_060, told("scanned", 2, 70_055))],
    "a claim of what somebody saw expire": [
        CREATE,
        op("read", "B1", 10_006, 10_010, EXPIRED),
        op("claim", "A1", 9_990, 10_200, told("scanned", 2, 69_995)),
        op("read", "B1", 10_300, 10_310, told("scanned", 2, 69_995)),
    ],
    "a claim that leaves too little time": [CREATE, op("claim", "A1", 15, 25, told("scanned", 2, 50_000))],
    "a deadline that is told in two ways": [CREATE, CLAIM, op("read", "B1", 30, 31, told("scanned", 2, 60_024))],
    "a number nobody is asked for": [CREATE, TYPED, APPROVE_WITH_NUMBER, op("login", "B1", 50, 60, keys())],
    "a miss too many": [
        CREATE,
        TYPED,
        APPROVE_WITH_NUMBER,
        op("login", "B1", 50, 60, MISS, "wrong"),
        op("login", "B1", 50, 60, MISS, "wrong"),
    ],
    "two pairs of keys": [CREATE, CLAIM, APPROVE, LOGIN, op("login", "B1", 50, 60, keys("others"))],
    "a login refused as used that could be repeated": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        op("login", "B1", 70, 80, refused(409, "pairing_consumed")),
    ],
    "a login repeated after its grace": [CREATE, CLAIM, APPROVE, LOGIN, op("login", "B1", 30_100, 30_110, keys())],
    "a login repeated after its key was used": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        op("use", "B1", 65, 70, Answer(200), "me"),
        op("login", "B1", 80, 90, keys()),
    ],
    "a key that does not work": [CREATE, CLAIM, APPROVE, LOGIN, op("use", "B1", 65, 70, Answer(401), "me")],
    "a pairing forgotten though Redis was not": [CREATE, CLAIM, op("read", "B1", 30, 40, UNKNOWN)],
    "a pairing remembered though Redis forgot": [
        CREATE,
        op("wipe", "Redis", 100, 200),
        op("read", "B1", 210, 220, PENDING),
    ],
    "a pairing that goes back although nobody failed over": [
        CREATE,
        CLAIM,
        op("read", "B1", 30, 31, told("scanned", 2)),
        op("read", "B1", 40, 41, PENDING),
    ],
    "a socket that repeats a version": [
        CREATE,
        op("read", "B1", 11, 12, PENDING, "socket", 1),
        op("read", "B1", 12, 13, PENDING, "socket", 1),
    ],
    "a socket that ends well before the end": [
        CREATE,
        op("read", "B1", 11, 12, PENDING, "socket", 1),
        op("close", "B1", 12, 13, Answer(0), "1000", 1),
    ],
    "a socket that says unknown of what is known": [
        CREATE,
        op("close", "B1", 11, 12, UNKNOWN, "4404", 1),
        op("read", "B1", 13, 14, PENDING),
    ],
    "an error of the server's own": [CREATE, op("read", "B1", 11, 12, Answer(500, "internal_error"))],
}

FAILOVER = op("failover", "Redis", 100, 200)
GOOD_WITH_FAILOVERS = {
    "the last write lost": [CREATE, CLAIM, APPROVE, FAILOVER, op("read", "B1", 210, 220, told("scanned", 2))],
    "all writes lost": [CREATE, CLAIM, FAILOVER, op("read", "B1", 210, 220, UNKNOWN)],
    "nothing lost": [CREATE, CLAIM, APPROVE, FAILOVER, op("read", "B1", 210, 220, told("approved", 3))],
    "another future after it": [
        CREATE,
        CLAIM,
        APPROVE,
        FAILOVER,
        op("deny", "A1", 210, 220, told("denied", 3)),
    ],
    "a late answer that is about the second time": [
        CREATE,
        CLAIM,
        APPROVE,
        op("approve", "A1", 45, 400, told("approved", 3)),
        FAILOVER,
        op("read", "B1", 210, 220, told("scanned", 2)),
        op("read", "B1", 410, 420, told("approved", 3)),
    ],
    "a login that SQL remembers": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        FAILOVER,
        op("read", "B1", 210, 220, told("approved", 3)),
        op("login", "B1", 230, 240, keys()),
    ],
}
BAD_WITH_FAILOVERS = {
    "a future that never was": [CREATE, CLAIM, FAILOVER, op("read", "B1", 210, 220, told("denied", 3))],
    "a state that was lost and came back": [
        CREATE,
        CLAIM,
        APPROVE,
        FAILOVER,
        op("read", "B1", 210, 220, told("scanned", 2)),
        op("read", "B1", 230, 240, told("approved", 3)),
    ],
    "two logins though SQL remembers": [
        CREATE,
        CLAIM,
        APPROVE,
        LOGIN,
        FAILOVER,
        op("login", "B1", 230, 240, keys("others")),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_history_that_one_register_can_have_is_accepted(history: list[Operation]) -> None:
    assert check(history, RULES) is None
    # What a failover allows on top forbids nothing.
    assert check(history, WITH_FAILOVERS) is None


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_history_that_no_register_can_have_is_found(history: list[Operation]) -> None:
    assert check(history, RULES) is not None
    assert check(history, WITH_FAILOVERS) is not None


@pytest.mark.parametrize("history", GOOD_WITH_FAILOVERS.values(), ids=GOOD_WITH_FAILOVERS)
def test_a_failover_may_lose_the_last_writes(history: list[Operation]) -> None:
    assert check(history, WITH_FAILOVERS) is None


@pytest.mark.parametrize("history", BAD_WITH_FAILOVERS.values(), ids=BAD_WITH_FAILOVERS)
def test_a_failover_excuses_nothing_else(history: list[Operation]) -> None:
    assert check(history, WITH_FAILOVERS) is not None


def test_while_there_are_two_masters_nobody_is_logged_in_twice_and_no_more_is_promised() -> None:
    split = op("split", "Redis", 5, 200)
    assert check([CREATE, CLAIM, split, op("read", "B1", 30, 31, PENDING)], WITH_FAILOVERS) is None
    assert check([CREATE, CLAIM, APPROVE, split, LOGIN, op("login", "B1", 55, 65, keys("others"))], RULES) is not None


def test_what_is_shown_is_the_beginning_that_is_wrong_and_nothing_it_does_not_need() -> None:
    second = op("claim", "A2", 15, 25, told("scanned", 2))
    around = [op("read", "B1", 11, 12, PENDING), op("read", "A1", 40, 41, told("scanned", 2)), APPROVE, LOGIN]
    found = check([CREATE, CLAIM, second, *around], RULES)
    assert found is not None
    assert {each.call for each in found.operations} == {"create", "claim"}
    assert "scanned v2" in found.reason
    assert len(str(found).splitlines()) == 4


def test_many_operations_at_once_are_judged_in_a_moment() -> None:
    claims = [op("claim", f"A{number}", 12, 90, refused(409, "already_claimed")) for number in range(2, 60)]
    lost = [op("claim", f"A{number}", 11, NEVER) for number in range(60, 90)]
    reads = [op("read", "B1", 95 + number, 96 + number, told("scanned", 2)) for number in range(200)]
    assert check([CREATE, CLAIM, *claims, *lost, *reads], RULES) is None
    late = op("read", "B1", 400, 401, PENDING)
    assert check([CREATE, CLAIM, *claims, *lost, *reads, late], RULES) is not None


ROW = Row("P", "tablet", "digest", "alice")
STORY = [CREATE, CLAIM, APPROVE, LOGIN]


def reasons(history: list[Operation], rows: list[Row]) -> list[str]:
    return [each.reason for each in database({"P": history}, rows, {"keys": "digest"})]


def test_a_database_that_bears_the_answers_out_is_accepted() -> None:
    assert reasons(STORY, [ROW]) == []
    assert reasons([CREATE, CLAIM, APPROVE, op("login", "B1", 50, NEVER)], [ROW]) == []
    assert reasons([CREATE, CLAIM, APPROVE, op("login", "B1", 50, NEVER)], []) == []


@pytest.mark.parametrize(
    ("history", "rows"),
    [
        (STORY, []),
        (STORY, [ROW, ROW._replace(device="other", refresh_hash="other")]),
        (STORY, [ROW._replace(refresh_hash="other")]),
        (STORY, [ROW, ROW._replace(pairing="nobody's", device="other")]),
        (STORY, [ROW, ROW._replace(pairing="Q")]),
        ([CREATE, CLAIM, APPROVE], [ROW]),
        ([CREATE, CLAIM, LOGIN], [ROW]),
    ],
)
def test_a_database_that_tells_another_story_is_found(history: list[Operation], rows: list[Row]) -> None:
    assert reasons(history, rows) != []
