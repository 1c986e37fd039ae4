"""Answers of the calls on pairings."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from pairing_ws.web.wire.base import Json, Time

POLL_INTERVAL = 3

Id = Annotated[str, Meta(description="the pairing's id; it may be public", examples=["msmI8EwcKfgeIoTW0Ul_pg"])]
Secret = Annotated[
    str | UnsetType,
    Meta(description="what the new device proves itself by, as `Pairing-Secret`; absent if it chose its own"),
]


class Reported(Json):
    """What the new device says of itself: unverified."""

    name: Annotated[str, Meta(description="its name, from `X-Device-Name`")]
    os: Annotated[str | None, Meta(description="its operating system, from `X-Os-Device`")] = None
    app_version: Annotated[str | None, Meta(description="its app's version, from `X-App-Version-Number`")] = None


class PlaceView(Json):
    """Where a database says that an address is; what it does not say is left out."""

    country_code: Annotated[str | None, Meta(description="ISO 3166-1 alpha-2", examples=["DE"])] = None
    country: Annotated[str | None, Meta(description="the country's name")] = None
    city: Annotated[str | None, Meta(description="the city's name")] = None


class Observed(Json):
    """What the server saw of the new device."""

    ip: Annotated[str, Meta(description='its address; "" if a proxy names none that can be read')]
    user_agent: Annotated[str, Meta(description="its `User-Agent`, cut to 128 characters")]
    network: Annotated[
        Literal["same", "different", "unknown"],
        Meta(description="whether both devices have one IPv4 address or IPv6 /64; `unknown` if that can't be compared"),
    ]
    place: Annotated[PlaceView | None, Meta(description="where that is, if a database is configured and knows it")] = (
        None
    )


class NewDeviceView(Json):
    """The device that wants to be let in."""

    reported: Annotated[Reported, Meta(description="its own words")]
    observed: Annotated[Observed, Meta(description="the server's observation")]
    device_id: Annotated[str | None, Meta(description="once it is logged in: the device it became")] = None


class ClientView(Json):
    """The application that a device authorization (RFC 8628) lets in, as the operator has registered it."""

    id: Annotated[str, Meta(description="its `client_id`")]
    name: Annotated[str, Meta(description="its name")]
    scopes: Annotated[list[str], Meta(description="what it asks for")]
    logo_uri: Annotated[str | None, Meta(description="its picture")] = None


class Rotation(Json):
    """How the picture goes on. The code in it is `~` and the base64url of the first 16 bytes of HMAC-SHA-256, keyed
    with `seed`, over the number of the step as 8 bytes, big-endian: RFC 6238 with these bytes for its digits. Steps
    count from 0 at `createdAt`, on the server's clock (see `elapsedMs`)."""

    seed: Annotated[str, Meta(description="32 bytes, base64url; given once, to the device that shows the picture")]
    seconds: Annotated[int, Meta(description="length of a step")]


class Qr(Json):
    """The picture. With `rotate`, text and picture are those of the first step, and soon stop working."""

    text: Annotated[str, Meta(description="what the picture says: a link; the code follows its `#`")]
    svg: Annotated[str | None, Meta(description="the picture as SVG markup, if it was asked for")] = None
    png: Annotated[str | None, Meta(description="the picture as a data URL, if it was asked for")] = None
    rotate: Annotated[Rotation | None, Meta(description="how the code changes, if it does")] = None


class PairingView(Json, omit_defaults=False, kw_only=True):
    """A pairing as the asking party sees it."""

    id: Id
    initiator: Annotated[
        Literal["new_device", "logged_in_device"], Meta(description="which device shows the code; the other one scans")
    ]
    status: Annotated[
        Literal["pending", "scanned", "approved", "denied", "cancelled", "expired", "consumed"],
        Meta(description="`denied`, `cancelled`, `expired` and `consumed` are final"),
    ]
    version: Annotated[int, Meta(description="grows with each change; `since` and `ETag` compare it")]
    created_at: Annotated[Time, Meta(description="when it was made")]
    expires_at: Annotated[Time, Meta(description="when it expires, unless something happens before")]
    expires_in: Annotated[int, Meta(description="seconds until then; 0 once it is final")]
    verification: Annotated[
        Literal["undecided", "none", "number"],
        Meta(description="whether the new device has to send a number; `undecided` before the claim"),
    ]
    poll_interval: Annotated[int, Meta(description="seconds between two polls")] = POLL_INTERVAL
    scanned_at: Annotated[Time | UnsetType, Meta(description="when it was claimed")] = UNSET
    approved_at: Annotated[Time | UnsetType, Meta(description="when it was approved")] = UNSET
    new_device: Annotated[
        NewDeviceView | UnsetType, Meta(description="for the approver alone: who wants to be let in")
    ] = UNSET
    client: Annotated[
        ClientView | UnsetType,
        Meta(description="for the approver alone: the application that gets access, in place of a device"),
    ] = UNSET
    warnings: Annotated[
        list[Literal["place_differs", "many_requests", "network_differs"]] | UnsetType,
        Meta(description="for the approver alone, gravest first; absent if there are none"),
    ] = UNSET
    number: Annotated[
        str | UnsetType,
        Meta(description="for the approver alone: three digits to show, which the new device has to send"),
    ] = UNSET
    obstacle: Annotated[
        Literal["device_limit", "device_quarantined"] | UnsetType,
        Meta(
            description="for the approver alone: what approve would be refused with as things are; after `device_limit`"
            " log a device out, then approve"
        ),
    ] = UNSET
    away: Annotated[
        Literal[True] | UnsetType,
        Meta(description="the new device has left; the pairing ends with `expiresIn` unless it comes back"),
    ] = UNSET
    elapsed_ms: Annotated[
        int | UnsetType,
        Meta(description="milliseconds since `createdAt`, while a picture that rotates can be scanned"),
    ] = UNSET


class OpenPairings(Json):
    """What a session may still decide or show."""

    pairings: Annotated[list[PairingView], Meta(description="the newest first; 20 at most")]


class CreatedPairing(PairingView, kw_only=True):
    """The pairing as its creator sees it, with what to show."""

    user_code: Annotated[str, Meta(description="the code to type where nothing can scan", examples=["K7QM-2RXD"])]
    qr: Annotated[Qr, Meta(description="the picture to scan")]
    secret: Secret = UNSET


class ClaimedPairing(PairingView):
    """The pairing as the device that claimed it sees it."""

    secret: Secret = UNSET


class ReservedCode(Json, omit_defaults=False):
    """A code that can wait for a person's decision."""

    code: Annotated[str, Meta(description="takes the scanned code's place, in a claim by the same holder alone")]
    expires_in: Annotated[int, Meta(description="seconds for which it can be claimed with")]
