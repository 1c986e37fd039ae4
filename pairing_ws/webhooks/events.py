"""What a webhook tells: the types of events, what each holds, and the JSON that is sent."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from pairing_ws.core.clock import iso

UserId = Annotated[str, Meta(description="the account: the `sub` of its authKeys")]
DeviceName = Annotated[
    str, Meta(description="what the device calls itself, or a person calls it: never trust it, and escape it")
]
PairingId = Annotated[str, Meta(description="id of the pairing")]
By = Annotated[str, Meta(description="id of the logged-in device on which a person did so")]


class Data(msgspec.Struct, kw_only=True, rename="camel"):
    """What every event holds. Ids, and the names that a message to a person needs; no address and no key."""

    type: ClassVar[str]
    # An account can make no more of these wait than some; the operator's own always find room.
    by_operator: ClassVar[bool] = False

    user_id: UserId


class DeviceAdded(Data):
    """A device was logged in, however that came about. One that was logged in already has a new session now, and
    its `sessionId` before is over."""

    type = "device.added"
    device_id: Annotated[str, Meta(description="the device: the `did` of its authKeys")]
    device_name: DeviceName
    session_id: Annotated[str, Meta(description="its session: the `sid` of its authKeys")]
    amr: Annotated[
        str, Meta(description="how, as its authKeys say: `qr`, by an approval, or `invite`, of the operator")
    ]
    approved_by: Annotated[str | None, Meta(description="id of the device that approved; null if none did")]


class DeviceRevoked(Data):
    """A device is no longer logged in. What merely was not used for too long is not told."""

    type = "device.revoked"
    device_id: Annotated[str, Meta(description="the device: the `did` of its authKeys")]
    reason: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": ["revoked", "logged_out", "key_reused"]},
            description="`revoked`: by a device of the account, or the operator; `logged_out`: it logged itself"
            " out; `key_reused`: an old refreshKey came again, as a thief's would",
        ),
    ]


class PairingDenied(Data):
    """A person refused to let a device or an application in."""

    type = "pairing.denied"
    pairing_id: PairingId
    by_device_id: By


class PairingReported(Data):
    """A person refused, and said that they had not started it: somebody may be phishing."""

    type = "pairing.reported"
    pairing_id: PairingId
    by_device_id: By


class PasskeyAdded(Data):
    """A passkey was added to the account."""

    type = "passkey.added"
    passkey_id: Annotated[str, Meta(description="id of the passkey, as in `/api/v1/passkeys`")]
    by_device_id: By


class PasskeyRemoved(Data):
    """A passkey was removed from the account, by a person or with the device that had added it."""

    type = "passkey.removed"
    passkey_id: Annotated[str, Meta(description="id of the passkey, as in `/api/v1/passkeys`")]
    by_device_id: Annotated[
        str | None, Meta(description="id of the logged-in device on which a person did so; null if the operator did")
    ]


class UserLocked(Data):
    """The operator locked the account: none of its keys is worth anything until it is unlocked."""

    type = "user.locked"
    by_operator = True


class UserDeleted(Data):
    """The operator deleted the account. The last event about it."""

    type = "user.deleted"
    by_operator = True


KINDS: Mapping[str, type[Data]] = {
    each.type: each
    for each in (
        DeviceAdded, DeviceRevoked, PairingDenied, PairingReported, PasskeyAdded, PasskeyRemoved, UserLocked,
        UserDeleted,
    )
}  # fmt: skip
# By `pairing-ws webhook test` alone. Its `data` is empty.
TEST = "webhook.test"


def body(kind: str, at: int, data: Data | None) -> bytes:
    """The JSON that is sent and signed, the same at each attempt: `{"type", "timestamp", "data"}`."""
    return msgspec.json.encode({"type": kind, "timestamp": iso(at), "data": data or {}})
