"""What the pairing story asks of the world. Adapters promise what stands here; the contract tests hold them to it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Refused
from pairing_ws.core.network import Place
from pairing_ws.pairing.machine import Pairing

# What a login gives; only the accounts room knows what is in it.
SessionT_co = TypeVar("SessionT_co", covariant=True)


class Loaded(NamedTuple):
    """A pairing as it is at `now`, both read in one step on the store's clock."""

    pairing: Pairing
    now: int


class Full(Exception):
    """There are as many live pairings as may be."""


class PairingStore(Protocol):
    """Keeps pairings for minutes. Any call raises Unavailable when the backend is away; then nothing is known to have
    happened, and a write may or may not have."""

    async def ping(self) -> None:
        """Return if the store answers."""

    async def examine(self) -> None:
        """Return if it also does all that a pairing needs: more than a ping, for a check that is made once."""

    async def add(self, pairing: Pairing, most: int = 0) -> Loaded | None:
        """Store a new pairing, whose times count from now, on the store's clock: the one that decides about it.

        None, with nothing stored, if another one that is live, or has lately ended, has its user code. Raises Full,
        with nothing stored, where `most` pairings or more are neither final nor expired; 0 is no bound. Of many callers
        at once no more are let in than there is room for. How many there are may lag a little.
        """

    async def get(self, pairing_id: str) -> Loaded | None:
        """The newest state, expiry applied; None once it is unknown (5 minutes after its end)."""

    async def id_of_user_code(self, user_code_hash: str) -> str | None: ...

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        """The only write after `add`: swap `old` for `new` and publish on the pairing's channel, in one atomic step.

        The message is empty or says the new state: see `notifications`.

        False, with nothing changed, unless the stored version is `old`'s and `old`'s deadline has not passed on the
        store's clock. Of many callers with the same `old`, one gets True.
        """

    async def open_of(self, device_id: str, most: int | None = None) -> Sequence[str]:
        """Ids of pairings that name this device as approver, the latest to do so first: all the live ones, perhaps some
        whose time is over; or the first `most` of these."""


class Accounts(Protocol[SessionT_co]):
    """What the story must know of accounts. `accounts.logins.Logins` is it."""

    def device_id(self, approver: Approver, device: NewDevice) -> str:
        """The id that this device has, or will have, in the approver's account."""

    async def check_login(self, approver: Approver, device: NewDevice | None) -> None:
        """Raises Refused if the approver's session, device or account no longer stands, or the device does not fit in.
        None: an application, which takes no device's place."""

    async def obstacle(self, approver: Approver, device: NewDevice | None) -> Refused | None:
        """What `check_login` would raise. Raises Unavailable."""

    async def admit(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> None:
        """Called before the pairing is used up, and perhaps more than once: who else has a say in this login is
        asked now. Raises Refused if they are against it, or do not answer."""

    async def log_in(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> SessionT_co:
        """Exactly one session for this pairing, however often called; see `Logins.log_in`."""

    def expect(self, approver: Approver, milliseconds: int) -> None:
        """A new device waits that long for this approver. Should their session end meanwhile, by whatever, the story
        hears of it within 5 s (`Changes.end_all_of_session`)."""

    async def note(self, event: str, approver: Approver, device: NewDevice | None, pairing_id: str) -> None:
        """Write a line into the account's activity: what happened to a login that this device asked for."""


class Places(Protocol):
    """Where addresses are. Never raises."""

    def of(self, ip: str) -> Place | None:
        """None if nobody can say, and where nothing is configured."""


def pairing_channel(pairing_id: str) -> str:
    # Braces are a Redis Cluster hash tag: key and channel of one pairing share a slot.
    return f"pairing:{{{pairing_id}}}"
