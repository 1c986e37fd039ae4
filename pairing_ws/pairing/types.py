"""The parties of a pairing and the answers to them: the types that the story and the edge exchange. Data only."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pairing_ws.core.devices import Approver
from pairing_ws.core.errors import Code, Refused
from pairing_ws.pairing.machine import Pairing


@dataclass(frozen=True)
class Policy:
    """The settings this story obeys. Times in milliseconds; `client_ttl` is a device authorization's."""

    ttl: int = 120_000
    client_ttl: int = 600_000
    redeem: int = 60_000
    verify: str = "remote"
    rotate: int = 0
    network: str = "warn"
    max_live: int = 100_000
    public_site: bool = False
    public_url: str = "http://localhost:8000"


class Role(StrEnum):
    APPROVER = "approver"
    NEW_DEVICE = "new_device"


class View(NamedTuple):
    """One pairing as one party sees it at `now`. `number` is there only for an approver who has to show it, `obstacle`
    for one who can't approve it as things are."""

    pairing: Pairing
    role: Role
    now: int
    number: str | None = None
    obstacle: Code | None = None

    @property
    def expires_in(self) -> float:
        """Seconds until time ends this pairing; a little more than exact, so that it is over by then."""
        return max(0.0, (self.pairing.expires_at - self.now) / 1000 + 0.005)


class Created(NamedTuple):
    """`user_code` and the code in `qr_text` exist only here; `secret` too, unless the client chose it.

    `seed` is there when the picture rotates: from it the device that shows it makes the codes after the first.
    """

    view: View
    user_code: str
    secret: str | None
    qr_text: str
    seed: str | None


class BySecret(NamedTuple):
    """The caller proves to be device B."""

    secret: str


class ByKey(NamedTuple):
    """The caller proves to be a logged-in device. `refuse_approval` raises DEVICE_QUARANTINED if it may not approve
    yet, `step_up` raises STEP_UP_REQUIRED if no person has lately proved to be there."""

    approver: Approver
    refuse_approval: Callable[[], None]
    step_up: Callable[[], Awaitable[None]]

    @property
    def trusted(self) -> bool:
        """Whether it speaks for its account: a device in quarantine may be an intruder's."""
        try:
            self.refuse_approval()
        except Refused:
            return False
        return True


Holder = BySecret | ByKey
