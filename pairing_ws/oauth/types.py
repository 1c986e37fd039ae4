"""What the story of applications obeys and gives: its settings, a request to the token endpoint, the tokens."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authentication import Method
from pairing_ws.oauth.ports import Client

# The thumbprint (RFC 7638) of the key that the request proves by DPoP for this access token (None: for none yet); None
# if it proves no key. Raises OAuthError INVALID_DPOP_PROOF and USE_DPOP_NONCE, and Unavailable. Call it once.
ProvenKey = Callable[[str | None], Awaitable[str | None]]
# The device that the request introduces, by its headers; it has proved the key of that thumbprint ("": none). Raises
# DEVICE_HEADERS_REQUIRED and BAD_REQUEST.
Introduced = Callable[[str], NewDevice]
# Makes the account's devices look again, at every process. Best effort: never raises.
AccountChanged = Callable[[str], Awaitable[None]]


class Acr(StrEnum):
    """What a login rests on, as `acr` (OpenID Connect Core, section 2): a higher number rests on more."""

    # A device that another one or an invite has let in.
    DEVICE = "1"
    # The same, and since then a passkey or the host has shown that a person is there.
    PERSON = "2"


@dataclass(frozen=True)
class Policy:
    """The settings this story obeys. Times in milliseconds. `refresh_token`: how long an unused grant lives, `grant`
    how long any; `app_limit`: live grants per account, 0 for no limit."""

    issuer: str = "http://localhost:8000"
    code: int = 60_000
    access_token: int = 300_000
    id_token: int = 3_600_000
    refresh_token: int = 30 * 86_400_000
    grant: int = 365 * 86_400_000
    refresh_repeat: int = 86_400_000
    app_limit: int = 100


def nobody_introduced(key_thumbprint: str) -> NewDevice:
    """`Introduced` where there are no headers."""
    raise Refused(Code.DEVICE_HEADERS_REQUIRED, "X-Device-Code and X-Device-Name are needed")


class TokenRequest(NamedTuple):
    """A request to an endpoint where clients authenticate: its form without empty fields, and what the edge knows of
    it. `client` has been authenticated by `method`."""

    form: Mapping[str, str]
    client: Client
    method: Method
    ip: str
    proven_key: ProvenKey
    device: Introduced = nobody_introduced


class DeviceAuthorization(msgspec.Struct, frozen=True):
    """The answer to a device (RFC 8628, section 3.2). Times in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


class TokenSet(msgspec.Struct, frozen=True):
    """The part of an answer that must come out the same when it is repeated. `expires_at` (ms) is the access token's,
    `scope` its scopes ("": it has none), and `by` says which process made it. `issued_token_type`: RFC 8693, 2.2.1."""

    access_token: str
    token_type: str
    expires_at: int
    scope: str
    refresh_token: str
    id_token: str | None = None
    by: str = ""
    issued_token_type: str | None = None
