"""Passkeys and the host application's assertions: the records, and what a step-up needs of its store and verifiers.

Times in milliseconds unless said otherwise.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec

from pairing_ws.accounts.ports import Activity, User


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key whose private half is in a person's authenticator. `device_id` is the device that added it."""

    id: str
    user_id: str
    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: str
    name: str
    device_id: str
    created_at: int
    last_used_at: int | None = None


class RegisteredCredential(msgspec.Struct, frozen=True):
    """What a registration showed. `transports`: how to reach the authenticator again, separated by commas."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: str


class HostAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """What the host application asserts: this person was there at `auth_time` (seconds, as in the JWT)."""

    sub: str
    sid: str
    auth_time: int


class Purpose(Enum):
    """What a challenge is for: one made for the one is worth nothing for the other."""

    ADD = "add"
    STEP_UP = "step-up"


class Added(Enum):
    DONE = "done"
    KNOWN = "some account has it already"
    FULL = "the account has as many as it may"
    NOT_FIRST = "it was to be the first, and is not"
    ENDED = "the session has ended meanwhile"


class PasskeyStore(Protocol):
    """Passkeys, challenges, and when a session was last verified. Every method is one transaction; any call raises
    Unavailable when the database is away."""

    async def verified_at(self, session_id: str) -> int | None:
        """When a person was last known to be there, in ms; None if never, or there is no such session."""

    async def passkeys(self, user_id: str) -> Sequence[Passkey]:
        """Oldest first."""

    async def add_passkey(self, passkey: Passkey, session_id: str, limit: int, line: Activity, *, first: bool) -> Added:
        """Store it and write the line, or say why not. `first`: only as the account's first, however close the race."""

    async def remove_passkey(self, user_id: str, passkey_id: str, line: Activity) -> Passkey | None:
        """Remove it and write the line under its name; what was removed, None if the account has no such passkey."""

    async def put_challenge(self, session_id: str, purpose: Purpose, challenge: bytes, expires_at: int) -> None:
        """It takes the place of the one that this session had for this purpose."""

    async def take_challenge(self, session_id: str, purpose: Purpose, now: int) -> bytes | None:
        """Gives it to exactly one caller, whatever comes of it; None if there is none, or it is too old."""

    async def use_passkey(self, passkey: Passkey, sign_count: int, session_id: str, now: int, copied: Activity) -> bool:
        """Write down that it was used and the session verified.

        False, and the line `copied` written instead, if the count has not grown: of parallel uses with one count, one
        gets True. An authenticator that doesn't count always says 0. False without a line if the passkey is gone.
        """

    async def verify_session(self, session_id: str, at: int, asserted_at: int) -> bool:
        """Record that a person was there at `at` (our clock), as the host application asserts.

        `asserted_at` is the assertion's `auth_time` by the host's clock. False, with nothing changed, if the session
        was verified at `at` or later, or took an assertion as new as this one: each counts once.
        """


class WebAuthnVerifier(Protocol):
    """The relying party's half of WebAuthn: what the browser is asked, and whether its answer holds."""

    def creation_options(self, user: User, known: Sequence[Passkey], challenge: bytes) -> dict[str, Any]:
        """`PublicKeyCredentialCreationOptions` as JSON (WebAuthn 3, section 5.4), which excludes the known passkeys."""

    def request_options(self, known: Sequence[Passkey], challenge: bytes) -> dict[str, Any]:
        """`PublicKeyCredentialRequestOptions` as JSON (WebAuthn 3, section 5.5), for one of these passkeys."""

    def verify_registration(self, credential: dict[str, Any], challenge: bytes) -> RegisteredCredential | None:
        """None whatever is wrong with it: challenge, origin, relying party, no verified user, no sense."""

    def credential_id(self, credential: dict[str, Any]) -> bytes:
        """The id that the browser's answer names; empty if it can't be read."""

    def verify_assertion(self, credential: dict[str, Any], challenge: bytes, public_key: bytes) -> int | None:
        """The authenticator's count of signatures, for the store to judge; None as above, or a wrong signature."""


class Host(Protocol):
    """The application beside which, or in which, this server runs."""

    def verify(self, token: str, now: int) -> HostAssertion | None:
        """What its signed assertion says; None if anything is wrong with it."""
