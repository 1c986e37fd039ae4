"""What a client that waits is told, and when: the one core of the sockets and of the long polls.

Pure: events go in as calls, commands come out as tuples, and a shell carries them out (`web/sockets/notifier.py`,
`web/polling.py`). A shell carries the commands of one call out in their order. A `Read` is the last of them: the shell
answers it with `loaded` or `failed`. When the others are carried out, or there were none, it calls `done`. Meanwhile
`notified` may be called at any time: it gives a `Close`, which is carried out at once, or what the shell has to begin
with, or nothing, as long as there is something else to carry out.

Times are seconds on any clock that only grows.
"""

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from pairing_ws.core.errors import Code, Refused
from pairing_ws.pairing.machine import Status
from pairing_ws.pairing.notifications import Notification, ReadAgain, StateChanged, Takeover
from pairing_ws.pairing.types import View

StateT = TypeVar("StateT")
MessageT = TypeVar("MessageT")

# Until a store that did not answer is asked again.
RETRY_SECONDS = 1.0
# A notified state that is older is not used: it says how long the pairing lasts as of when it was published.
FRESH_SECONDS = 1.0


class End(StrEnum):
    """Why a watch ends, apart from a refusal. Each value is the words for people."""

    FINAL = "the pairing has ended"
    TAKEN_OVER = "a newer socket of this device took over"
    STORE_WENT_BACK = "the store went back in time"
    SESSION_ENDED = "the session has ended"


class Read(NamedTuple):
    """Read the newest state. The one that `notification` carries will do, if its version is greater than `known`."""

    known: int = 0
    notification: StateChanged | None = None


class Send(NamedTuple, Generic[MessageT]):
    """Tell the client."""

    message: MessageT


class Announce(NamedTuple):
    """Publish the takeover with this mark."""

    mark: str


class ArmTimer(NamedTuple):
    """Call `notified` after so many seconds. It replaces the timer that was armed before."""

    seconds: float


class Close(NamedTuple):
    """End the watch, because of this. The reason is for people."""

    cause: End | Code
    reason: str


Commands = tuple[Read | Send[MessageT] | Announce | ArmTimer | Close, ...]


class Watcher(Generic[StateT, MessageT]):
    """Turns notifications into reads, one at a time, and many notifications into one read.

    A subclass says what of a state is sent. Until `start` or `opened`, notifications only count as due.
    """

    __slots__ = ("_closed", "_due", "_working")

    def __init__(self) -> None:
        self._due = False
        self._working = True
        self._closed = False

    def changes(self, state: StateT) -> Commands[MessageT]:
        """What to do about this state, which is the newest."""
        raise NotImplementedError

    def reads(self, now: float) -> Commands[MessageT]:
        """How to find the newest state."""
        return (Read(),)

    def start(self, now: float) -> Commands[MessageT]:
        """The subscription is there: read the first state."""
        self._due = True
        return self.done(now)

    def opened(self, state: StateT, now: float) -> Commands[MessageT]:
        """The same with a first state that was read after the subscription. What was notified since may be newer."""
        return self.done(now) if self._due else self.loaded(state)

    def notified(self, notification: Notification, now: float) -> Commands[MessageT]:
        """A notification, or the timer (`ReadAgain`)."""
        self._due = True
        return self._next(now)

    def loaded(self, state: StateT) -> Commands[MessageT]:
        commands = () if self._closed else self.changes(state)
        # Nothing comes behind it.
        self._closed |= bool(commands) and isinstance(commands[-1], Close)
        return commands

    def failed(self, refused: Refused) -> Commands[MessageT]:
        """The read was refused. While the store is away the state is unknown, so the client is told nothing."""
        if self._closed:
            return ()
        if refused.code is Code.UNAVAILABLE:
            # Not before: what has been notified meanwhile could be read no better.
            self._due = False
            return (ArmTimer(RETRY_SECONDS),)
        self._closed = True
        if refused.code is Code.UNAUTHENTICATED:
            return (Close(End.SESSION_ENDED, End.SESSION_ENDED.value),)
        return (Close(refused.code, refused.code.value),)

    def done(self, now: float) -> Commands[MessageT]:
        self._working = False
        return self._next(now)

    def stop(self) -> None:
        """The client is gone: no command comes after this."""
        self._closed = True

    def _next(self, now: float) -> Commands[MessageT]:
        if self._working or self._closed or not self._due:
            return ()
        self._due = False
        self._working = True
        return self.reads(now)


class PairingWatcher(Watcher[View, View]):
    """A pairing for one of its parties: a snapshot first, then each version that is newer, until the final one.

    `known` is the version that the client has already. No version is sent twice, none after a greater one; if the
    store has lost a state that was sent, the watch ends, for the truth needs a watch of its own.
    """

    __slots__ = ("_challenged", "_fresh", "_known", "_mark", "_sent")

    def __init__(self, known: int = 0) -> None:
        super().__init__()
        self._known = known
        # The status of what was sent last.
        self._sent: Status | None = None
        # The newest state that was notified and not read, and when that was.
        self._fresh: tuple[StateChanged, float] | None = None
        self._mark = ""
        self._challenged = False

    def take_over(self, mark: str) -> Commands[View]:
        """This is the new device's socket with that mark, and the snapshot has gone out: older ones are to close.

        Marks decide by when sockets opened, on the store's clock. Of two that open together one stays, although one
        may have waited longer since and its client be gone.
        """
        if self._closed:
            return ()
        self._mark = mark
        self._working = True
        return (Announce(mark),)

    def notified(self, notification: Notification, now: float) -> Commands[View]:
        if isinstance(notification, Takeover):
            # Older and newer ones will hear of a socket that still opens. Approvers and polls take nothing over.
            if self._closed or not self._mark or notification.mark == self._mark:
                return ()
            if notification.mark > self._mark:
                self._closed = True
                return (Close(End.TAKEN_OVER, End.TAKEN_OVER.value),)
            # The older one may have missed the announcement. It comes with a read, so that many cost one answer.
            self._challenged = True
        else:
            self._fresh = (notification, now) if isinstance(notification, StateChanged) else None
        return super().notified(notification, now)

    def reads(self, now: float) -> Commands[View]:
        fresh, self._fresh = self._fresh, None
        read = Read(self._known, fresh[0] if fresh and now - fresh[1] <= FRESH_SECONDS else None)
        challenged, self._challenged = self._challenged, False
        return (Announce(self._mark), read) if challenged else (read,)

    def changes(self, state: View) -> Commands[View]:
        version, status = state.pairing.version, state.pairing.status
        if self._sent and (version < self._known or (version == self._known and status is not self._sent)):
            return (Close(End.STORE_WENT_BACK, End.STORE_WENT_BACK.value),)
        then = Close(End.FINAL, status.value) if state.pairing.final else ArmTimer(state.expires_in)
        if version <= self._known:
            return (then,)
        self._known, self._sent = version, status
        return (Send(state), then)


READ_AGAIN = ReadAgain()
