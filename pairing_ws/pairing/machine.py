"""The states of a pairing and the table of what may follow what. Pure: no clock, no randomness, no store.

Times are integers, milliseconds since 1970 UTC, on the store's clock.
"""

from enum import StrEnum
from typing import Any

import msgspec

from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import Network, Place


class Status(StrEnum):
    PENDING = "pending"
    SCANNED = "scanned"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CONSUMED = "consumed"


class Event(StrEnum):
    CLAIM = "claim"
    APPROVE = "approve"
    WRONG_NUMBER = "wrong number"
    DENY = "deny"
    CANCEL = "cancel"
    LOGIN = "login"
    LEAVE = "leave"
    RETURN = "return"


class Initiator(StrEnum):
    """Which device showed the QR code."""

    NEW_DEVICE = "new_device"
    LOGGED_IN_DEVICE = "logged_in_device"


class Verification(StrEnum):
    UNDECIDED = "undecided"
    NONE = "none"
    NUMBER = "number"


class ApprovalWarning(StrEnum):
    """What the approver is warned of, the gravest first."""

    PLACE_DIFFERS = "place_differs"
    MANY_REQUESTS = "many_requests"
    NETWORK_DIFFERS = "network_differs"


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.PENDING, Event.CLAIM): Status.SCANNED,
    (Status.PENDING, Event.DENY): Status.DENIED,
    (Status.PENDING, Event.CANCEL): Status.CANCELLED,
    (Status.SCANNED, Event.APPROVE): Status.APPROVED,
    (Status.SCANNED, Event.DENY): Status.DENIED,
    (Status.SCANNED, Event.CANCEL): Status.CANCELLED,
    (Status.APPROVED, Event.WRONG_NUMBER): Status.APPROVED,
    (Status.APPROVED, Event.DENY): Status.DENIED,
    (Status.APPROVED, Event.CANCEL): Status.CANCELLED,
    (Status.APPROVED, Event.LOGIN): Status.CONSUMED,
} | {
    (status, event): status
    for status in (Status.PENDING, Status.SCANNED, Status.APPROVED)
    for event in (Event.LEAVE, Event.RETURN)
}

FINAL = frozenset({Status.DENIED, Status.CANCELLED, Status.EXPIRED, Status.CONSUMED})

# What a refused event is told. A pair in neither table is INVALID_STATE with the status.
REFUSALS: dict[tuple[Status, Event], Code] = {
    (Status.PENDING, Event.APPROVE): Code.NOT_SCANNED,
    (Status.SCANNED, Event.CLAIM): Code.ALREADY_CLAIMED,
    (Status.APPROVED, Event.CLAIM): Code.ALREADY_CLAIMED,
    (Status.PENDING, Event.LOGIN): Code.NOT_APPROVED,
    (Status.SCANNED, Event.LOGIN): Code.NOT_APPROVED,
    (Status.DENIED, Event.LOGIN): Code.PAIRING_DENIED,
    (Status.CONSUMED, Event.LOGIN): Code.PAIRING_CONSUMED,
} | {
    (status, event): code
    for status, code in ((Status.CANCELLED, Code.PAIRING_CANCELLED), (Status.EXPIRED, Code.PAIRING_EXPIRED))
    for event in Event
}


class ClientRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The application (an OAuth client) that asks, where what gets access is no device: a device authorization
    (RFC 8628). `takes_number`: its device can send the number. `same_network`: the approver has to share a network.

    The secret's digest is in here and not in the pairing. A process of a version without clients drops this part when
    it changes the pairing; then no secret fits, and nobody gets a device's keys where an application was let in.
    """

    id: str
    name: str
    scopes: tuple[str, ...] = ()
    secret_hash: str = ""
    logo_uri: str | None = None
    takes_number: bool = False
    same_network: bool = False


class Pairing(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    kw_only=True,
    # The names in the record, which processes of the last version read and write as well.
    rename={"warnings": "doubts", "failed_attempts": "misses", "wrong_numbers": "missed"},
):
    """One attempt to log B in with A's consent, as it is stored. Holds hashes of code and secret, never either.

    With `client` it lets that application in, and no device: `new_device` is where it asks from. It can be claimed by
    its user code alone, and `code_hash` is empty.
    With `rotate_ms` the picture shows another code after each so many milliseconds, and `code_hash` is empty.
    `new_device`, `secret_hash` and `approver` are there from the start on the side that created the pairing and from
    the claim on the other. `version` grows by one with each transition and with nothing else.
    `wrong_numbers` has a digest of each wrong number, of which there were `failed_attempts`. While the new device is
    away, `stays_until` is the deadline that it finds if it comes back before `expires_at`; else 0.
    """

    id: str
    initiator: Initiator
    created_at: int
    expires_at: int
    code_hash: str
    user_code_hash: str
    rotate_ms: int = 0
    status: Status = Status.PENDING
    version: int = 1
    secret_hash: str = ""
    new_device: NewDevice | None = None
    approver: Approver | None = None
    network: Network = Network.UNKNOWN
    place: Place | None = None
    warnings: tuple[ApprovalWarning, ...] = ()
    verification: Verification = Verification.UNDECIDED
    scanned_at: int | None = None
    approved_at: int | None = None
    finished_at: int | None = None
    login_device_id: str | None = None
    failed_attempts: int = 0
    wrong_numbers: tuple[str, ...] = ()
    stays_until: int = 0
    client: ClientRequest | None = None

    @property
    def holder_hash(self) -> str:
        """The digest of the new device's secret; "" while there is none."""
        return self.client.secret_hash if self.client else self.secret_hash

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def away(self) -> bool:
        return self.stays_until > 0

    def lasting(self, at_least: int) -> dict[str, int]:
        """The fields after which it lasts until then or longer, if the new device is here or comes back."""
        if self.away:
            return {"stays_until": max(self.stays_until, at_least)}
        return {"expires_at": max(self.expires_at, at_least)}

    def started_at(self, now: int) -> "Pairing":
        """The pairing, whose times count from its beginning, with that at `now`."""
        return msgspec.structs.replace(self, created_at=now + self.created_at, expires_at=now + self.expires_at)

    def seen_at(self, now: int) -> "Pairing":
        """The pairing as it is at `now`: expiry is a transition nobody has to write down."""
        if self.final or now < self.expires_at:
            return self
        return msgspec.structs.replace(
            self, status=Status.EXPIRED, version=self.version + 1, finished_at=self.expires_at
        )

    def after(self, event: Event, now: int, **facts: Any) -> "Pairing":
        """The pairing after `event`, with `facts` (fields) that come with it. Raises Refused; `self` never changes."""
        seen = self.seen_at(now)
        status = TRANSITIONS.get((seen.status, event))
        if status is None:
            raise refusal(seen, event)
        if status in FINAL:
            facts["finished_at"] = now
        return msgspec.structs.replace(seen, status=status, version=seen.version + 1, **facts)


def refusal(pairing: Pairing, event: Event) -> Refused:
    """Why `event` can't happen to `pairing` in the state it is in."""
    code = REFUSALS.get((pairing.status, event), Code.INVALID_STATE)
    detail = f"the pairing is {pairing.status}"
    # `pairingStatus`, for `status` is the HTTP status in a problem document (RFC 9457, section 3.1.3).
    if code is Code.INVALID_STATE:
        return Refused(code, detail, pairingStatus=pairing.status.value)
    return Refused(code, detail)


def encode_pairing(pairing: Pairing) -> bytes:
    """The record that stores keep and notifications carry: JSON. Later versions may add fields that have a default."""
    return msgspec.json.encode(pairing)


decode_pairing = msgspec.json.Decoder(Pairing).decode
