"""Answers of the calls on sessions, devices, passkeys and activity."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from pairing_ws.web.wire.base import Json, Time


class UserView(Json):
    """An account."""

    id: Annotated[str, Meta(description="its stable id: the authKey's `sub`")]
    username: Annotated[str, Meta(description="its unique name")]
    display_name: Annotated[str, Meta(description="its name for people")]


class DeviceView(Json, omit_defaults=False):
    """A device that is logged in, or has just been logged out."""

    id: Annotated[str, Meta(description="its id: the authKey's `did`")]
    name: Annotated[str, Meta(description="what people call it")]
    os: Annotated[str, Meta(description='its operating system as it reported it; "" if it did not')]
    app_version: Annotated[str, Meta(description='its app\'s version as it reported it; "" if it did not')]
    created_at: Annotated[Time, Meta(description="when it logged in")]
    last_seen_at: Annotated[Time, Meta(description="when it last asked for something, to the minute")]
    last_ip: Annotated[str, Meta(description="the address from which that was")]
    paired_by: Annotated[str | None, Meta(description="the device that let it in; null after an invite")]
    current: Annotated[bool, Meta(description="whether it is the device that asks")]
    quarantine_until: Annotated[
        Time | UnsetType, Meta(description="until then it can neither approve nor change others; absent if it can")
    ] = UNSET
    reported_name: Annotated[
        str | UnsetType, Meta(description="what the device calls itself, if a person has named it otherwise")
    ] = UNSET
    descendants: Annotated[
        list[str] | UnsetType,
        Meta(description="in the list alone: other devices in it that `?descendants=true` would log out as well"),
    ] = UNSET


class Keys(Json):
    """A session's pair of keys."""

    auth_key: Annotated[str, Meta(description="signed token (ES256 JWT) for `Auth-Key`, short-lived")]
    expires_in: Annotated[int, Meta(description="seconds until the authKey expires")]
    expires_at: Annotated[Time, Meta(description="when the authKey expires")]
    user: Annotated[UserView, Meta(description="the account")]
    device: Annotated[DeviceView, Meta(description="this device")]
    refresh_key: Annotated[
        str | None, Meta(description="opaque; exchanges once for the next pair; absent if it went into the cookie")
    ] = None
    host: Annotated[
        Any,
        Meta(description="of a login: what your application, asked about it, gives this client; absent if nothing"),
    ] = UNSET


class SessionView(Json):
    """A session."""

    id: Annotated[str, Meta(description="its id: the authKey's `sid`")]
    created_at: Annotated[Time, Meta(description="when it began")]
    expires_at: Annotated[Time, Meta(description="when it ends in any case")]
    amr: Annotated[
        list[str],
        Meta(description="how it began: `qr`, `invite`, `host`, `upstream` or `exchange`", examples=[["qr"]]),
    ]
    jkt: Annotated[
        str | None, Meta(description="thumbprint (RFC 7638) of the key that it is bound to; absent if it is not")
    ] = None


class Me(Json):
    """Which account, device and session an authKey is for."""

    user: Annotated[UserView, Meta(description="the account")]
    device: Annotated[DeviceView, Meta(description="the device")]
    session: Annotated[SessionView, Meta(description="the session")]
    quarantine_until: Annotated[Time | None, Meta(description="the device's own; absent if it is in none")] = None


class PushView(Json, omit_defaults=False):
    """What a device needs to ask its push service for an address."""

    application_server_key: Annotated[
        str | None,
        Meta(description="public key (P-256, uncompressed, base64url; RFC 8292) for `subscribe`; null: no Web Push"),
    ]


class Devices(Json):
    """The account's devices."""

    devices: Annotated[list[DeviceView], Meta(description="oldest first")]
    version: Annotated[
        str, Meta(description="differs once a device, passkey or app was added, removed or renamed; for `known`")
    ]


class Revoked(Json, omit_defaults=False):
    """What was logged out."""

    revoked: Annotated[int, Meta(description="how many devices")]


class CeremonyOptions(Json):
    """What to ask the authenticator."""

    public_key: Annotated[
        dict[str, Any], Meta(description="options for `navigator.credentials` (WebAuthn Level 3), bytes as base64url")
    ]
    expires_in: Annotated[int, Meta(description="seconds for which the challenge can be answered, once")]


class PasskeyView(Json):
    """A passkey."""

    id: Annotated[str, Meta(description="its id")]
    name: Annotated[str, Meta(description="what people call it")]
    created_at: Annotated[Time, Meta(description="when it was added")]
    added_by: Annotated[str, Meta(description="id of the device that added it")]
    last_used_at: Annotated[Time | None, Meta(description="when it last proved something; absent before")] = None


class Passkeys(Json):
    """The account's passkeys."""

    passkeys: Annotated[list[PasskeyView], Meta(description="oldest first")]


class SteppedUp(Json):
    """A proof that a person is there."""

    verified_at: Annotated[Time, Meta(description="when it was given")]
    expires_in: Annotated[int, Meta(description="seconds for which it counts")]


class ActivityLine(Json):
    """One event, or several alike in one line."""

    at: Annotated[Time, Meta(description="when it happened last")]
    event: Annotated[
        str,
        Meta(
            description="what happened, as `noun.verb`; new ones may be added",
            examples=["device.added"],
        ),
    ]
    device_id: Annotated[str | None, Meta(description="the device that it is about")] = None
    device_name: Annotated[str | None, Meta(description="its name then, or a passkey's or app's")] = None
    ip: Annotated[str | None, Meta(description="the address from which it came")] = None
    by_name: Annotated[
        str | None, Meta(description="the device that did it, where `deviceName` is another one, a passkey or an app")
    ] = None
    count: Annotated[int, Meta(description="how often it happened")] = 1
    first_at: Annotated[Time | None, Meta(description="when it happened first, if `count` is more than 1")] = None


class ActivityLog(Json):
    """A page of what happened to an account."""

    activity: Annotated[list[ActivityLine], Meta(description="newest first; 100 at most")]
    next: Annotated[
        str | None, Meta(description="gives the next page, as `before`; absent if this one is the last")
    ] = None
