"""The state machine: its table against the contract's drawing, and what holds in every state. Pure, no store."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairing_ws.core.errors import Code, Refused
from pairing_ws.pairing.machine import (
    FINAL,
    TRANSITIONS,
    ApprovalWarning,
    Event,
    Initiator,
    Pairing,
    Status,
    decode_pairing,
    encode_pairing,
    refusal,
)

NOW = 1_767_225_600_000
OPEN = (Status.PENDING, Status.SCANNED, Status.APPROVED)

# CONTRACT.md, "States", arrow by arrow. A wrong number stays in `approved`: it costs an attempt.
DRAWING = {
    (Status.PENDING, Event.CLAIM): Status.SCANNED,
    (Status.SCANNED, Event.APPROVE): Status.APPROVED,
    (Status.APPROVED, Event.LOGIN): Status.CONSUMED,
    (Status.APPROVED, Event.WRONG_NUMBER): Status.APPROVED,
    **{(status, Event.DENY): Status.DENIED for status in OPEN},
    **{(status, Event.CANCEL): Status.CANCELLED for status in OPEN},
    # Not in the drawing: the new device's page is left, and loaded again.
    **{(status, event): status for status in OPEN for event in (Event.LEAVE, Event.RETURN)},
}

# CONTRACT.md, "Otherwise, by state", row by row. Nobody sends a wrong number outside `approved`.
BY_PEOPLE = (Event.CLAIM, Event.APPROVE, Event.DENY, Event.CANCEL)
REFUSED_WITH = {
    (Status.PENDING, Event.APPROVE): Code.NOT_SCANNED,
    (Status.PENDING, Event.LOGIN): Code.NOT_APPROVED,
    (Status.SCANNED, Event.LOGIN): Code.NOT_APPROVED,
    (Status.SCANNED, Event.CLAIM): Code.ALREADY_CLAIMED,
    (Status.APPROVED, Event.CLAIM): Code.ALREADY_CLAIMED,
    (Status.APPROVED, Event.APPROVE): Code.INVALID_STATE,
    **{(Status.DENIED, event): Code.INVALID_STATE for event in BY_PEOPLE},
    (Status.DENIED, Event.LOGIN): Code.PAIRING_DENIED,
    **{(Status.CANCELLED, event): Code.PAIRING_CANCELLED for event in (*BY_PEOPLE, Event.LOGIN)},
    **{(Status.EXPIRED, event): Code.PAIRING_EXPIRED for event in (*BY_PEOPLE, Event.LOGIN)},
    **{(Status.CONSUMED, event): Code.INVALID_STATE for event in BY_PEOPLE},
    (Status.CONSUMED, Event.LOGIN): Code.PAIRING_CONSUMED,
}

PAIRS = list(itertools.product(Status, Event))


def a_pairing(status: Status = Status.PENDING, version: int = 1) -> Pairing:
    return Pairing(
        id="id",
        initiator=Initiator.NEW_DEVICE,
        created_at=NOW,
        expires_at=NOW + 120_000,
        code_hash="code",
        user_code_hash="user code",
        status=status,
        version=version,
    )


def test_a_pairing_that_begins_has_all_its_times_moved_and_nothing_else() -> None:
    # Of one that has been going on for a while, as tests have it.
    started = msgspec.structs.replace(a_pairing(), created_at=-5, expires_at=100)
    assert started.started_at(NOW) == msgspec.structs.replace(started, created_at=NOW - 5, expires_at=NOW + 100)


def test_the_table_is_the_contracts_drawing() -> None:
    assert TRANSITIONS == DRAWING


def test_what_ends_a_pairing_is_what_the_contract_calls_final() -> None:
    assert {Status.DENIED, Status.CANCELLED, Status.EXPIRED, Status.CONSUMED} == FINAL
    assert {status for status, _ in TRANSITIONS} == set(OPEN)


def test_the_contract_says_something_about_every_state_and_every_event_a_client_can_send() -> None:
    sent = {(status, event) for status, event in PAIRS if event not in (Event.WRONG_NUMBER, Event.LEAVE, Event.RETURN)}
    assert sent <= DRAWING.keys() | REFUSED_WITH.keys()
    assert not DRAWING.keys() & REFUSED_WITH.keys()


@pytest.mark.parametrize(("status", "event"), list(DRAWING))
def test_an_event_of_the_table_leads_where_the_table_says(status: Status, event: Event) -> None:
    before = a_pairing(status, version=7)
    after = before.after(event, NOW + 5)
    assert after.status is DRAWING[status, event]
    assert after.version == 8
    # A final state knows when it began; the others have not ended.
    assert after.finished_at == (NOW + 5 if after.final else None)


@pytest.mark.parametrize(("status", "event"), [pair for pair in PAIRS if pair not in DRAWING])
def test_any_other_event_is_refused_as_the_contract_says_and_changes_nothing(status: Status, event: Event) -> None:
    pairing = a_pairing(status)
    before = repr(pairing)
    with pytest.raises(Refused) as caught:
        pairing.after(event, NOW, failed_attempts=9)
    if (status, event) in REFUSED_WITH:
        assert caught.value.code is REFUSED_WITH[status, event]
    assert repr(pairing) == before


@pytest.mark.parametrize("status", [Status.DENIED, Status.CONSUMED])
def test_a_refusal_as_invalid_names_the_state_the_pairing_is_in(status: Status) -> None:
    refused = refusal(a_pairing(status), Event.APPROVE)
    assert refused.code is Code.INVALID_STATE
    assert status.value in refused.extra.values()


@pytest.mark.parametrize("status", OPEN)
def test_time_ends_an_open_pairing_at_its_deadline_and_not_before(status: Status) -> None:
    pairing = a_pairing(status, version=3)
    assert pairing.seen_at(pairing.expires_at - 1) is pairing
    for late in (0, 1, 10_000_000):
        seen = pairing.seen_at(pairing.expires_at + late)
        assert (seen.status, seen.version, seen.finished_at) == (Status.EXPIRED, 4, pairing.expires_at)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_time_changes_nothing_about_a_finished_pairing(status: Status) -> None:
    pairing = a_pairing(status)
    assert pairing.seen_at(pairing.expires_at + 10_000_000) is pairing


@pytest.mark.parametrize(("status", "event"), list(itertools.product(OPEN, Event)))
def test_no_event_reaches_a_pairing_whose_time_is_over(status: Status, event: Event) -> None:
    pairing = a_pairing(status)
    with pytest.raises(Refused) as caught:
        pairing.after(event, pairing.expires_at)
    assert caught.value.code is Code.PAIRING_EXPIRED


def test_facts_come_with_the_transition_and_nothing_else_changes() -> None:
    before = a_pairing(Status.SCANNED)
    after = before.after(Event.APPROVE, NOW + 1, approved_at=NOW + 1, expires_at=NOW + 999_000)
    assert (after.approved_at, after.expires_at) == (NOW + 1, NOW + 999_000)
    kept = set(Pairing.__struct_fields__) - {"status", "version", "approved_at", "expires_at"}
    assert all(getattr(after, name) == getattr(before, name) for name in kept)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Event)), st.sampled_from([0, 1, 40_000, 119_999, 120_000])),
        max_size=12,
    )
)
def test_whatever_happens_versions_count_the_transitions_and_the_end_is_the_end(
    story: list[tuple[Event, int]],
) -> None:
    pairing, now, changes = a_pairing(), NOW, 0
    for event, pause in story:
        now += pause
        seen = pairing.seen_at(now)
        if seen is not pairing:
            changes += 1
            assert seen.status is Status.EXPIRED
        expected = DRAWING.get((seen.status, event))
        try:
            after = seen.after(event, now)
        except Refused:
            assert expected is None
            after = seen
        else:
            changes += 1
            assert after.status is expected
        assert after.version == 1 + changes
        if pairing.final:
            assert after is pairing
        pairing = after


def test_a_record_keeps_the_names_that_processes_of_the_last_version_write() -> None:
    pairing = msgspec.structs.replace(
        a_pairing(Status.APPROVED),
        warnings=(ApprovalWarning.PLACE_DIFFERS,),
        failed_attempts=1,
        wrong_numbers=("digest",),
    )
    record = msgspec.json.decode(encode_pairing(pairing))
    assert (record["doubts"], record["misses"], record["missed"]) == (["place_differs"], 1, ["digest"])
    assert decode_pairing(encode_pairing(pairing)) == pairing
