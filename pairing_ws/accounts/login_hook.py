"""What the host application may say to a login before it happens: the question, its answer, and what this asks of the
world. Times in milliseconds."""

from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from pairing_ws.accounts.ports import User
from pairing_ws.core.devices import Approver, NewDevice

# What an authKey says is this server's word. So is what a client's token would say, and what a proof does: none of it
# may be read in an authKey that a host application has added to (RFC 7519, 7800, 8693, 9068, 9449; OpenID Connect).
RESERVED_CLAIMS = frozenset({
    "acr", "act", "amr", "at_hash", "ath", "aud", "auth_time", "azp", "c_hash", "client_id", "cnf", "did", "events",
    "exp", "htm", "htu", "iat", "iss", "jti", "may_act", "ms", "nbf", "nonce", "rt_hash", "s_hash", "scope", "sid",
    "signed_by", "sub", "typ",
})  # fmt: skip


class Login(NamedTuple):
    """A login that is about to happen. `origin` is its session's (see `ports.NewSession`), `how` the authKey's `amr`.
    `approver` is there where a device lets it in."""

    origin: str
    user_id: str
    device_id: str
    device: NewDevice
    how: str
    approver: Approver | None


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """The host application's answer. `claims` is a JSON object of what each authKey of the session says beside our own
    claims, `host` the JSON that the login's answer brings to the client; each b"" where there is none. With `refusal`,
    which may be "", the login does not happen; it is for people, and clean.

    `session_id` is the one that it was told of.
    """

    session_id: str
    claims: bytes = b""
    host: bytes = b""
    refusal: str | None = None


class State(StrEnum):
    ASKED = "asked"
    FAILED = "failed"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """How far the question about a login is: one for each origin.

    `turn` counts how often somebody has set out to ask. `asker` is the digest of the secret that the client has to
    present for the answer, which is `sealed` under it and counts until `kept_until`.
    """

    origin: str
    user_id: str
    turn: int
    asker: str
    session_id: str
    state: State = State.ASKED
    sealed: bytes | None = None
    asked_at: int
    kept_until: int = 0


class LoginHook(Protocol):
    async def __call__(self, login: Login, user: User, session_id: str) -> Said:
        """Ask the host application, whose answer takes 2 s at the most. Raises Unavailable if none comes that can be
        used. A second call for this session is the same question to it."""


class QuestionStore(Protocol):
    """Questions, where all processes see them. Every method is one transaction.

    Any call raises Unavailable when the database is away.
    """

    async def user(self, user_id: str) -> User | None: ...

    async def question(self, origin: str) -> Question | None:
        """The newest one about that login."""

    async def begin(self, question: Question) -> bool:
        """Store it in place of the one whose turn was before. True for exactly one caller per origin and turn."""

    async def settle(self, question: Question) -> None:
        """Store how it ended, unless it is another one's turn by now."""
