"""The JSON of the contract: the only place that spells its fields. Requests come in as these types, answers go out."""

from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pairing_ws.accounts import ports as accounts
from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.service import LoggedIn
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code
from pairing_ws.core.network import Place
from pairing_ws.pairing.machine import Pairing, Status
from pairing_ws.pairing.types import Created, Role, View

POLL_INTERVAL = 3
# Of what may stand in the way of an approval, what its approver may still see: others end their session.
OBSTACLES = frozenset({Code.DEVICE_LIMIT, Code.DEVICE_QUARANTINED})
KeysIn = Literal["body", "cookie"]
Text = Annotated[str, Meta(max_length=256)]


class Json(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """camelCase on the wire; a field at its default is left out."""


# Requests

# 32 bytes.
Coordinate = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class DeviceKey(Json, forbid_unknown_fields=True, omit_defaults=False):
    """The new device's own public key (RFC 7517): these four members and no others, least of all `d`."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: Coordinate
    y: Coordinate


class CreateRequest(Json):
    """`deviceKey` comes from a new device that wants its keys bound to it (RFC 9449)."""

    qr: Literal["svg", "png", "none"] = "svg"
    device_key: DeviceKey | None = None


class ClaimRequest(Json):
    """`deviceKey`: as in `CreateRequest`."""

    code: Text
    device_key: DeviceKey | None = None


class KeepRequest(Json):
    code: Text


class UserCodeRequest(Json):
    """`deviceKey`: as in `CreateRequest`."""

    user_code: Text
    device_key: DeviceKey | None = None


class PresenceRequest(Json):
    """`here`: whether the new device's page is there, or has just been left."""

    here: bool


class DenyRequest(Json):
    report: bool = False


class LoginRequest(Json):
    number: Text | None = None
    keys: KeysIn = "body"


class RefreshRequest(Json):
    refresh_key: Text | None = None
    keys: KeysIn = "body"


class AcceptRequest(Json):
    """`deviceKey`: as in `CreateRequest`."""

    code: Text
    keys: KeysIn = "body"
    device_key: DeviceKey | None = None


class DeviceRequest(Json):
    name: Text | None = None
    push_token: Annotated[str, Meta(max_length=4096, pattern=r"^[\x21-\x7e]*$")] | None = None


class Credential(Json):
    """What `navigator.credentials` gave, as its `toJSON` spells it: bytes as base64url."""

    id: Annotated[str, Meta(max_length=2048)]
    raw_id: Annotated[str, Meta(max_length=2048)]
    type: Literal["public-key"]
    response: dict[str, Any]


class PasskeyRequest(Json):
    name: Text
    credential: Credential


class StepUpRequest(Json):
    """One of them: the passkey's answer, or the host application's word."""

    credential: Credential | None = None
    host_token: Annotated[str, Meta(max_length=4096)] | None = None


class AuthMessage(Json):
    """The first message on a socket. `proof` goes with the authKey of a key-bound device: a DPoP proof with `htm` GET
    and the socket's address, spelt with http(s), as `htu`."""

    type: Literal["auth"]
    secret: Text | None = None
    auth_key: Annotated[str, Meta(max_length=4096)] | None = None
    proof: Annotated[str, Meta(max_length=4096)] | None = None


# Answers


class Reported(Json):
    """What the new device says of itself: unverified."""

    name: str
    os: str | None = None
    app_version: str | None = None


class PlaceView(Json):
    """Where a database says that an address is; what it does not say is left out."""

    country_code: str | None = None
    country: str | None = None
    city: str | None = None


class Observed(Json):
    """What the server saw of the new device; `place` only where a database is configured and knows the address."""

    ip: str
    user_agent: str
    network: str
    place: PlaceView | None = None


class NewDeviceView(Json):
    reported: Reported
    observed: Observed
    device_id: str | None = None


class Rotation(Json):
    """How the picture goes on. The code in it is `~` and the base64url of the first 16 bytes of HMAC-SHA-256, keyed
    with `seed`, over the number of the step as 8 bytes, big-endian: RFC 6238 with these bytes for its digits. Steps
    count from 0 at `createdAt`, on the server's clock (see `elapsedMs`)."""

    seed: Annotated[str, Meta(description="32 bytes, base64url; given once, to the device that shows the picture")]
    seconds: Annotated[int, Meta(description="length of a step")]


class Qr(Json):
    """`text` is what the picture says. With `rotate` it says so for the first step alone: then what follows the `#`
    changes, and `svg` and `png` are out of date."""

    text: str
    svg: str | None = None
    png: str | None = None
    rotate: Rotation | None = None


class PairingView(Json, omit_defaults=False, kw_only=True):
    """A pairing as both parties see it; the approver also sees `newDevice`, `warnings` if there are any, `number`
    when it has to show it, and `obstacle` while there is one."""

    id: str
    initiator: Literal["new_device", "logged_in_device"]
    status: Literal["pending", "scanned", "approved", "denied", "cancelled", "expired", "consumed"]
    version: int
    created_at: str
    expires_at: str
    expires_in: int
    verification: Literal["undecided", "none", "number"]
    poll_interval: int = POLL_INTERVAL
    scanned_at: str | msgspec.UnsetType = msgspec.UNSET
    approved_at: str | msgspec.UnsetType = msgspec.UNSET
    new_device: NewDeviceView | msgspec.UnsetType = msgspec.UNSET
    warnings: list[Literal["place_differs", "many_requests", "network_differs"]] | msgspec.UnsetType = msgspec.UNSET
    number: str | msgspec.UnsetType = msgspec.UNSET
    obstacle: Annotated[
        Literal["device_limit", "device_quarantined"] | msgspec.UnsetType,
        Meta(
            description="what approve would be refused with as things are; after `device_limit` log a device out, then"
            " approve"
        ),
    ] = msgspec.UNSET
    away: Annotated[
        Literal[True] | msgspec.UnsetType,
        Meta(description="the new device has left; the pairing ends with `expiresIn` unless it comes back"),
    ] = msgspec.UNSET
    elapsed_ms: Annotated[
        int | msgspec.UnsetType,
        Meta(description="since `createdAt`, while a picture that rotates can be scanned"),
    ] = msgspec.UNSET


class OpenPairings(Json):
    """The newest first; 20 at the most."""

    pairings: list[PairingView]


class CreatedPairing(PairingView, kw_only=True):
    user_code: str
    qr: Qr
    secret: str | msgspec.UnsetType = msgspec.UNSET


class ClaimedPairing(PairingView):
    """`secret` is there for the new device."""

    secret: str | msgspec.UnsetType = msgspec.UNSET


class KeptCode(Json, omit_defaults=False):
    """`code` takes the scanned code's place in the claim of the same holder, and of nobody else."""

    code: str
    expires_in: int


class UserView(Json):
    id: str
    username: str
    display_name: str


class DeviceView(Json, omit_defaults=False):
    """`reportedName`: what the device calls itself, if a person has called it otherwise. `descendants`, in the list
    alone: which others of it `?descendants=true` would log out along with this one."""

    id: str
    name: str
    os: str
    app_version: str
    created_at: str
    last_seen_at: str
    last_ip: str
    paired_by: str | None
    current: bool
    quarantine_until: str | msgspec.UnsetType = msgspec.UNSET
    reported_name: str | msgspec.UnsetType = msgspec.UNSET
    descendants: list[str] | msgspec.UnsetType = msgspec.UNSET


class Keys(Json):
    """`refreshKey` is absent when it went into the cookie; `secret` is there if the server made it."""

    auth_key: str
    expires_in: int
    expires_at: str
    user: UserView
    device: DeviceView
    refresh_key: str | None = None


class SessionView(Json):
    """`jkt` is the thumbprint (RFC 7638) of the key that the session is bound to, if it is."""

    id: str
    created_at: str
    expires_at: str
    amr: list[str]
    jkt: str | None = None


class Me(Json):
    user: UserView
    device: DeviceView
    session: SessionView
    quarantine_until: str | None = None


class Devices(Json):
    """`version` is another one when a device or a passkey has come, gone or got another name."""

    devices: list[DeviceView]
    version: str


class Revoked(Json, omit_defaults=False):
    revoked: int


class CeremonyOptions(Json):
    """`publicKey` is for `navigator.credentials`, bytes as base64url."""

    public_key: dict[str, Any]
    expires_in: int


class PasskeyView(Json):
    id: str
    name: str
    created_at: str
    added_by: str
    last_used_at: str | None = None


class Passkeys(Json):
    passkeys: list[PasskeyView]


class SteppedUp(Json):
    verified_at: str
    expires_in: int


class ActivityLine(Json):
    """`byName`: the device that did it, where `deviceName` is another one, or a passkey. A line that repeats itself is
    one line: `count` times, from `firstAt` to `at`."""

    at: str
    event: str
    device_id: str | None = None
    device_name: str | None = None
    ip: str | None = None
    by_name: str | None = None
    count: int = 1
    first_at: str | None = None


class ActivityLog(Json):
    """With `next`, as `before`, the page behind this one is to be had."""

    activity: list[ActivityLine]
    next: str | None = None


class Health(Json):
    status: Literal["ok"]


class Problem(Json):
    """RFC 9457; `code` is the stable machine word."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    retry_after: int | None = None
    pairing_status: str | None = None
    initiator: str | None = None
    attempts_left: int | None = None
    methods: list[Literal["webauthn", "host"]] | None = None
    reason: Literal["replaced", "revoked", "logged_out", "key_reused"] | None = None
    max_age: int | None = None
    nonce: str | None = None


# Messages on sockets


class PairingMessage(Json):
    type: Literal["pairing"]
    pairing: PairingView


class RetryMessage(Json):
    """Sent before close 1013; `retryAfter` in seconds."""

    type: Literal["retry"]
    retry_after: int


class NonceMessage(Json):
    """Sent before close 4401 if the proof was missing, wrong or too old: what the next one has to hold."""

    type: Literal["nonce"]
    nonce: str


class DeviceMessage(Json):
    type: Literal["device.added", "device.revoked"]
    device: DeviceView


class PasskeyMessage(Json):
    type: Literal["passkey.added", "passkey.removed"]
    passkey: PasskeyView


# From the stories' records


def pairing(view: View, kind: type[PairingView] = PairingView, **more: Any) -> PairingView:
    """One party's view. B learns nothing of the account: whatever names it is in the approver's part."""
    record = view.pairing
    if view.role is Role.APPROVER:
        more["new_device"] = _new_device(record)
        more["warnings"] = [doubt.value for doubt in record.doubts] or msgspec.UNSET
        more["number"] = view.number or msgspec.UNSET
        more["obstacle"] = view.obstacle.value if view.obstacle in OBSTACLES else msgspec.UNSET
    if record.away:
        more["away"] = True
    if record.scanned_at:
        more["scanned_at"] = iso(record.scanned_at)
    if record.approved_at:
        more["approved_at"] = iso(record.approved_at)
    if record.rotate_ms and record.status is Status.PENDING:
        more["elapsed_ms"] = max(0, view.now - record.created_at)
    return kind(
        id=record.id,
        # Polls ask for these most: `.value` would take three times as long.
        initiator=record.initiator._value_,
        status=record.status._value_,
        verification=record.verification._value_,
        version=record.version,
        created_at=iso(record.created_at),
        expires_at=iso(record.expires_at),
        expires_in=0 if record.final else max(0, -(-(record.expires_at - view.now) // 1000)),
        **more,
    )


def _new_device(record: Pairing) -> NewDeviceView | msgspec.UnsetType:
    device = record.new_device
    if device is None:
        return msgspec.UNSET
    return NewDeviceView(
        reported=Reported(name=device.name, os=device.os or None, app_version=device.app_version or None),
        observed=Observed(
            ip=device.ip, user_agent=device.user_agent, network=record.network.value, place=_place(record.place)
        ),
        device_id=record.login_device_id,
    )


def _place(known: Place | None) -> PlaceView | None:
    if known is None:
        return None
    return PlaceView(country_code=known.country_code or None, country=known.country or None, city=known.city or None)


def created(made: Created, picture: dict[str, str]) -> PairingView:
    rotate = Rotation(seed=made.seed, seconds=made.view.pairing.rotate_ms // 1000) if made.seed else None
    return pairing(
        made.view,
        CreatedPairing,
        user_code=made.user_code,
        qr=Qr(text=made.qr_text, rotate=rotate, **picture),
        secret=made.secret or msgspec.UNSET,
    )


def claimed(view: View, secret: str | None) -> PairingView:
    return pairing(view, ClaimedPairing, secret=secret or msgspec.UNSET)


def device(record: accounts.Device, current: str | None, now: int) -> DeviceView:
    in_quarantine = record.quarantine_until is not None and record.quarantine_until > now
    return DeviceView(
        id=record.id,
        name=record.name,
        os=record.os,
        app_version=record.app_version,
        created_at=iso(record.created_at),
        last_seen_at=iso(record.last_seen_at),
        last_ip=record.last_ip,
        paired_by=record.paired_by,
        current=record.id == current,
        quarantine_until=iso(record.quarantine_until or 0) if in_quarantine else msgspec.UNSET,
        reported_name=msgspec.UNSET if record.reported_name in (None, record.name) else record.reported_name,
    )


def devices(
    found: Sequence[accounts.Device], came_of: Mapping[str, Set[str]], version: str, current: str, now: int
) -> Devices:
    views = [device(each, current, now) for each in found]
    here = [each.id for each in found if each.id != current]
    for view in views:
        along = [each for each in here if each != view.id and each in came_of.get(view.id, ())]
        view.descendants = along or msgspec.UNSET
    return Devices(devices=views, version=version)


def user(record: accounts.User) -> UserView:
    return UserView(id=record.id, username=record.username, display_name=record.display_name)


def keys(given: LoggedIn, *, with_refresh_key: bool) -> Keys:
    return Keys(
        auth_key=given.key_pair.auth_key,
        refresh_key=given.key_pair.refresh_key if with_refresh_key else None,
        expires_in=max(0, (given.key_pair.expires_at - given.now) // 1000),
        expires_at=iso(given.key_pair.expires_at),
        user=user(given.user),
        device=device(given.device, given.device.id, given.now),
    )


def me(session: accounts.Session, now: int) -> Me:
    mine = device(session.device, session.device.id, now)
    until = mine.quarantine_until
    return Me(
        user=user(session.user),
        device=mine,
        session=SessionView(
            id=session.id,
            created_at=iso(session.created_at),
            expires_at=iso(session.ends_at),
            amr=[session.amr],
            jkt=session.key_thumbprint,
        ),
        quarantine_until=None if until is msgspec.UNSET else until,
    )


def passkey(record: Passkey) -> PasskeyView:
    return PasskeyView(
        id=record.id,
        name=record.name,
        created_at=iso(record.created_at),
        added_by=record.device_id,
        last_used_at=iso(record.last_used_at) if record.last_used_at else None,
    )


def activity_log(lines: Sequence[accounts.Activity], full: int) -> ActivityLog:
    """A page: `full` is how many lines it has if there may be another one behind it."""
    last = lines[-1] if len(lines) == full else None
    return ActivityLog(activity=[_activity(each) for each in lines], next=f"{last.at}-{last.id}" if last else None)


def _activity(line: accounts.Activity) -> ActivityLine:
    return ActivityLine(
        at=iso(line.at),
        event=line.event,
        device_id=line.device_id,
        device_name=line.device_name,
        ip=line.ip,
        by_name=line.by_name,
        count=line.count,
        first_at=iso(line.first_at) if line.first_at is not None else None,
    )
