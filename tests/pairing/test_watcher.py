"""The core of sockets and long polls as a table: what happens, and what it has done about it. No loop, no store."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.pairing.machine import FINAL, Initiator, Pairing, Status, encode_pairing
from pairing_ws.pairing.notifications import (
    Notification,
    ReadAgain,
    StateChanged,
    Takeover,
    decode_notification,
)
from pairing_ws.pairing.types import Role, View
from pairing_ws.pairing.watcher import (
    FRESH_SECONDS,
    READ_AGAIN,
    RETRY_SECONDS,
    Announce,
    ArmTimer,
    Close,
    Commands,
    End,
    PairingWatcher,
    Read,
    Send,
)

NOW = 1_700_000_000_000
PAIRING = Pairing(
    id="A" * 22,
    initiator=Initiator.NEW_DEVICE,
    created_at=NOW,
    expires_at=NOW + 60_000,
    code_hash="",
    user_code_hash="",
)
TIMER = ArmTimer(60.005)


def seen(version: int, status: Status = Status.PENDING) -> View:
    return View(msgspec.structs.replace(PAIRING, version=version, status=status), Role.NEW_DEVICE, NOW)


def changed(version: int, status: Status = Status.SCANNED) -> StateChanged:
    notification = decode_notification(f"{NOW} {encode_pairing(seen(version, status).pairing).decode()}")
    assert isinstance(notification, StateChanged)
    return notification


def opened(view: View) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.opened(view, 0)


def started() -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.start(0)


def notified(notification: Notification = READ_AGAIN, at: float = 0) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.notified(notification, at)


def loaded(view: View) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.loaded(view)


def failed(refused: Refused) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.failed(refused)


def done(at: float = 0) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.done(at)


def took_over(mark: str) -> Callable[[PairingWatcher], Commands[View]]:
    return lambda watcher: watcher.take_over(mark)


def stopped(watcher: PairingWatcher) -> Commands[View]:
    watcher.stop()
    return ()


Step = tuple[Callable[[PairingWatcher], Commands[View]], tuple[Any, ...]]
# A socket that has got its snapshot, of version 1, and waits.
WAITING: list[Step] = [(opened(seen(1)), (Send(seen(1)), TIMER)), (done(), ())]
NEWEST: list[Step] = [*WAITING, (took_over("2"), (Announce("2"),)), (done(), ())]
SCANNED, APPROVED = seen(2, Status.SCANNED), seen(3, Status.APPROVED)

SOCKETS: dict[str, list[Step]] = {
    "the snapshot comes first": WAITING,
    "what is notified before the snapshot makes it be read once more": [
        (notified(), ()),
        (opened(seen(1)), (Read(0),)),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
    ],
    "a change is read and sent": [
        *WAITING,
        (notified(), (Read(1),)),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
        (done(), ()),
    ],
    "a version is sent once": [*WAITING, (notified(), (Read(1),)), (loaded(seen(1)), (TIMER,)), (done(), ())],
    "a state that was notified may save the read": [*WAITING, (notified(changed(2)), (Read(1, changed(2)),))],
    "an old notification does not": [
        *WAITING,
        (notified(), (Read(1),)),
        (notified(changed(3), 5), ()),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
        (done(5 + FRESH_SECONDS + 0.1), (Read(2),)),
    ],
    "a fresh one does": [
        *WAITING,
        (notified(), (Read(1),)),
        (notified(changed(3), 5), ()),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
        (done(5 + FRESH_SECONDS), (Read(2, changed(3)),)),
    ],
    "one that says less than the newest does not": [
        *WAITING,
        (notified(), (Read(1),)),
        (notified(changed(2)), ()),
        (notified(), ()),
        (loaded(seen(1)), (TIMER,)),
        (done(), (Read(1),)),
    ],
    "many notifications while one is read cost one read more": [
        *WAITING,
        (notified(), (Read(1),)),
        *[(notified(), ())] * 50,
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
        (done(), (Read(2),)),
        (loaded(SCANNED), (TIMER,)),
        (done(), ()),
    ],
    "expiry is told when the timer says so": [
        *WAITING,
        (notified(READ_AGAIN), (Read(1),)),
        (loaded(seen(2, Status.EXPIRED)), (Send(seen(2, Status.EXPIRED)), Close(End.FINAL, "expired"))),
        (done(), ()),
        (notified(), ()),
    ],
    "a store that went back in time ends it": [
        *WAITING,
        (notified(), (Read(1),)),
        (loaded(APPROVED), (Send(APPROVED), TIMER)),
        (done(), ()),
        (notified(), (Read(3),)),
        (loaded(SCANNED), (Close(End.STORE_WENT_BACK, "the store went back in time"),)),
        (done(), ()),
        (notified(), ()),
    ],
    "a version that became another one ends it": [
        *WAITING,
        (notified(), (Read(1),)),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
        (done(), ()),
        (notified(), (Read(2),)),
        (loaded(seen(2, Status.CANCELLED)), (Close(End.STORE_WENT_BACK, "the store went back in time"),)),
    ],
    "a store that is away is asked again, and the client is told nothing": [
        *WAITING,
        (notified(), (Read(1),)),
        (notified(), ()),
        (failed(Unavailable("the store")), (ArmTimer(RETRY_SECONDS),)),
        (done(), ()),
        (notified(), (Read(1),)),
        (loaded(SCANNED), (Send(SCANNED), TIMER)),
    ],
    "a session that has ended ends it": [
        *WAITING,
        (notified(), (Read(1),)),
        (failed(Refused(Code.UNAUTHENTICATED)), (Close(End.SESSION_ENDED, "the session has ended"),)),
        (done(), ()),
        (notified(), ()),
    ],
    "a pairing that is gone ends it": [
        *WAITING,
        (notified(), (Read(1),)),
        (failed(Refused(Code.NOT_FOUND)), (Close(Code.NOT_FOUND, "not_found"),)),
        (notified(), ()),
    ],
    "a newer socket takes over at once, even from one that reads": [
        *NEWEST,
        (notified(), (Read(1),)),
        (notified(Takeover("3")), (Close(End.TAKEN_OVER, "a newer socket of this device took over"),)),
        (loaded(SCANNED), ()),
        (done(), ()),
        (notified(Takeover("4")), ()),
    ],
    "an older one is told once more who is the newest": [
        *NEWEST,
        (notified(Takeover("1")), (Announce("2"), Read(1))),
        *[(notified(Takeover("1")), ())] * 50,
        (loaded(seen(1)), (TIMER,)),
        (done(), (Announce("2"), Read(1))),
        (loaded(seen(1)), (TIMER,)),
        (done(), ()),
        (notified(), (Read(1),)),
    ],
    "its own takeover is nothing new": [*NEWEST, (notified(Takeover("2")), ()), (done(), ())],
    "a takeover is nothing to a socket that still opens, or to an approver's": [
        *WAITING,
        (notified(Takeover("9")), ()),
        (done(), ()),
    ],
    "what is notified while a takeover is published is read after it": [
        *WAITING,
        (took_over("2"), (Announce("2"),)),
        (notified(), ()),
        (done(), (Read(1),)),
    ],
    "a socket that has ended takes nothing over": [
        (opened(seen(2, Status.DENIED)), (Send(seen(2, Status.DENIED)), Close(End.FINAL, "denied"))),
        (done(), ()),
        (took_over("2"), ()),
    ],
    "nothing is sent to a client that is gone": [
        *WAITING,
        (notified(), (Read(1),)),
        (stopped, ()),
        (loaded(SCANNED), ()),
        (failed(Refused(Code.NOT_FOUND)), ()),
        (done(), ()),
        (notified(), ()),
    ],
}
# Each knows version 2.
POLLS: dict[str, list[Step]] = {
    "a poll goes on from the version that its client has": [
        (started(), (Read(2),)),
        (loaded(SCANNED), (TIMER,)),
        (notified(changed(3, Status.APPROVED)), ()),
        (done(), (Read(2, changed(3, Status.APPROVED)),)),
        (loaded(APPROVED), (Send(APPROVED), TIMER)),
    ],
    "what the client has missed is sent at once": [
        (started(), (Read(2),)),
        (loaded(APPROVED), (Send(APPROVED), TIMER)),
    ],
    "an older state is no reason to end: the client may claim to know any version": [
        (started(), (Read(2),)),
        (loaded(seen(1)), (TIMER,)),
        (done(), ()),
    ],
    "a final state ends it, whatever the client knows": [
        (started(), (Read(2),)),
        (loaded(seen(2, Status.CANCELLED)), (Close(End.FINAL, "cancelled"),)),
    ],
}


@pytest.mark.parametrize("steps", SOCKETS.values(), ids=SOCKETS)
def test_of_a_socket(steps: Sequence[Step]) -> None:
    watcher = PairingWatcher()
    for number, (event, commands) in enumerate(steps):
        assert event(watcher) == commands, number


@pytest.mark.parametrize("steps", POLLS.values(), ids=POLLS)
def test_of_a_long_poll(steps: Sequence[Step]) -> None:
    watcher = PairingWatcher(known=2)
    for number, (event, commands) in enumerate(steps):
        assert event(watcher) == commands, number


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(Status), st.booleans()), max_size=12))
def test_whatever_the_store_says_versions_only_grow_and_nothing_follows_a_final_state(
    states: list[tuple[int, Status, bool]],
) -> None:
    watcher, sent, closed = PairingWatcher(), [], False
    watcher.start(0)
    for version, status, meanwhile in states:
        if meanwhile:
            watcher.notified(READ_AGAIN, 0)
        commands = watcher.loaded(seen(version, status))
        assert not (closed and commands)
        sent += [each.message.pairing for each in commands if isinstance(each, Send)]
        closed |= any(isinstance(each, Close) for each in commands)
        if not watcher.done(0):
            assert closed or watcher.notified(READ_AGAIN, 0) == (Read(sent[-1].version if sent else 0),)
    versions = [each.version for each in sent]
    assert versions == sorted(set(versions))
    assert all(each.status not in FINAL for each in sent[:-1])
    assert not states or sent[0].version == states[0][0]


@pytest.mark.parametrize(
    ("message", "notification"),
    [
        ("", ReadAgain()),
        ("last", ReadAgain()),
        ("1700000000000", ReadAgain()),
        ("1700000000000 ", ReadAgain()),
        ("x {}", ReadAgain()),
        ("socket:000001700000000:abc", Takeover("000001700000000:abc")),
        ("1700000000000 {}", StateChanged("1700000000000 {}")),
    ],
)
def test_each_kind_of_notification_is_told_by_its_form(message: str, notification: Notification) -> None:
    assert decode_notification(message) == notification
    if isinstance(notification, Takeover):
        assert notification.encode() == message


def test_a_notified_state_is_the_record_as_of_the_stores_clock() -> None:
    loaded = changed(2).loaded()
    assert (loaded.pairing, loaded.now) == (SCANNED.pairing, NOW)
