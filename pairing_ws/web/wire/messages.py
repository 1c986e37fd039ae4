"""Messages on sockets."""

from typing import Annotated, Literal

from msgspec import Meta

from pairing_ws.web.wire.accounts import DeviceView, PasskeyView
from pairing_ws.web.wire.apps import AppView
from pairing_ws.web.wire.base import Json, LongText, Text
from pairing_ws.web.wire.pairings import PairingView


class AuthMessage(Json):
    """The client's first message. Exactly one of `secret` and `authKey`."""

    type: Annotated[Literal["auth"], Meta(description="the kind of message")]
    secret: Annotated[Text | None, Meta(description="the new device's `Pairing-Secret`")] = None
    auth_key: Annotated[LongText | None, Meta(description="a logged-in device's authKey")] = None
    proof: Annotated[
        LongText | None,
        Meta(
            description="from a key-bound device: a DPoP proof with `htm` GET and the socket's address, written with"
            " http(s), as `htu`"
        ),
    ] = None


class PairingMessage(Json):
    """The pairing: at once, and again at each change. A version may be skipped, never repeated or reordered."""

    type: Annotated[Literal["pairing"], Meta(description="the kind of message")]
    pairing: Annotated[PairingView, Meta(description="the pairing as this party sees it")]


class RetryMessage(Json):
    """Sent before close 1013."""

    type: Annotated[Literal["retry"], Meta(description="the kind of message")]
    retry_after: Annotated[int, Meta(description="seconds to wait before the next try")]


class NonceMessage(Json):
    """Sent before close 4401 if the proof was missing, wrong or too old."""

    type: Annotated[Literal["nonce"], Meta(description="the kind of message")]
    nonce: Annotated[str, Meta(description="for the next proof")]


class DeviceMessage(Json):
    """Another device of the account was logged in or out."""

    type: Annotated[Literal["device.added", "device.revoked"], Meta(description="what happened")]
    device: Annotated[DeviceView, Meta(description="the device")]


class PasskeyMessage(Json):
    """A passkey of the account was added or removed."""

    type: Annotated[Literal["passkey.added", "passkey.removed"], Meta(description="what happened")]
    passkey: Annotated[PasskeyView, Meta(description="the passkey")]


class AppMessage(Json):
    """An app got access to the account, or lost it."""

    type: Annotated[Literal["app.added", "app.revoked"], Meta(description="what happened")]
    app: Annotated[AppView, Meta(description="the app")]
