"""Bodies of calls, as clients send them. Unknown members are ignored, except in a public key."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from pairing_ws.core.push_addresses import GIVEN, MAX_ADDRESS
from pairing_ws.web.wire.base import Json, KeysIn, LongText, Text

# 32 bytes. The length, for Python's `$` also matches before a newline at the end.
Coordinate = Annotated[str, Meta(min_length=43, max_length=43, pattern="^[A-Za-z0-9_-]{43}$")]
Code = Annotated[
    Text, Meta(description="the code in the QR code: what follows the `#`; for an invite, in its link likewise")
]


class DeviceKey(Json, forbid_unknown_fields=True, omit_defaults=False):
    """The new device's own public key (RFC 7517): these four members and no others, least of all `d`."""

    kty: Annotated[Literal["EC"], Meta(description="the key's family (RFC 7518, section 6.1)")]
    crv: Annotated[Literal["P-256"], Meta(description="the curve")]
    x: Annotated[Coordinate, Meta(description="x coordinate: 32 bytes, base64url without padding")]
    y: Annotated[Coordinate, Meta(description="y coordinate: 32 bytes, base64url without padding")]


BoundKey = Annotated[
    DeviceKey | None,
    Meta(
        description="binds the session to this key (RFC 9449): login, refresh and each use of the authKey then need a"
        " `DPoP` proof; only for a device that is not logged in"
    ),
]


class CreateRequest(Json):
    """A new pairing."""

    qr: Annotated[
        Literal["svg", "png", "none"],
        Meta(description="the picture to draw: markup, a data URL, or none for clients that draw `qr.text` themselves"),
    ] = "svg"
    device_key: BoundKey = None


class ClaimRequest(Json):
    """A scan."""

    code: Code
    device_key: BoundKey = None


class ReserveCodeRequest(Json):
    """A scanned code that rotates, to be exchanged for one that can wait."""

    code: Code


class UserCodeRequest(Json):
    """A code that a person typed."""

    user_code: Annotated[
        Text,
        Meta(description="8 letters and digits; case, dashes, blanks and script do not matter", examples=["K7QM-2RXD"]),
    ]
    device_key: BoundKey = None


class PresenceRequest(Json):
    """Whether the new device's page is there."""

    here: Annotated[bool, Meta(description="`false`: the page is being left; `true`: it is there again")]


class DenyRequest(Json):
    """A refusal."""

    report: Annotated[
        bool, Meta(description="this person did not start it: requests from that address are hidden from their account")
    ] = False


class LoginRequest(Json):
    """The exchange of an approved pairing for keys."""

    number: Annotated[
        Text | None, Meta(description="the three digits that the approver shows, if `verification` is `number`")
    ] = None
    keys: KeysIn = "body"


class RefreshRequest(Json):
    """The exchange of a refreshKey for a new pair of keys."""

    refresh_key: Annotated[Text | None, Meta(description='the last refreshKey; absent with `"keys": "cookie"`')] = None
    keys: KeysIn = "body"


class AcceptRequest(Json):
    """An invite."""

    code: Code
    keys: KeysIn = "body"
    device_key: BoundKey = None


class UpstreamRequest(Json):
    """A login with the provider that has come back to this browser."""

    keys: KeysIn = "body"
    device_key: BoundKey = None


class DeviceRequest(Json):
    """What to change about a device; what is absent stays."""

    name: Annotated[Text | None, Meta(description="the name that people give it, cut to 128 characters")] = None
    push_token: Annotated[
        # The pattern is for readers: `push_addresses.checked` says more clearly what is wrong.
        Annotated[str, Meta(max_length=MAX_ADDRESS, extra_json_schema={"pattern": f"^({GIVEN.pattern})?$"})] | None,
        Meta(
            description="push address, only of the device that asks, as in `X-Device-Token`; empty: none",
        ),
    ] = None


class Credential(Json):
    """What `navigator.credentials` gave, as its `toJSON` writes it: bytes as base64url (WebAuthn Level 3)."""

    id: Annotated[str, Meta(max_length=2048, description="the credential's id, base64url")]
    raw_id: Annotated[str, Meta(max_length=2048, description="the same")]
    type: Annotated[Literal["public-key"], Meta(description="the kind of credential")]
    response: Annotated[
        dict[str, Any],
        Meta(description="the authenticator's answer: `clientDataJSON` with `attestationObject`, or with `signature`"),
    ]


class PasskeyRequest(Json):
    """A new passkey."""

    name: Annotated[Text, Meta(description="what people call it, cut to 128 characters")]
    credential: Annotated[Credential, Meta(description="from `navigator.credentials.create`")]


class StepUpRequest(Json):
    """A proof that a person is there: exactly one of the two."""

    credential: Annotated[Credential | None, Meta(description="from `navigator.credentials.get`")] = None
    host_token: Annotated[
        LongText | None, Meta(description="the host application's assertion: a JWT of type `step-up+jwt`")
    ] = None
