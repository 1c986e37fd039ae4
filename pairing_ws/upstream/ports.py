"""What this story knows of people at other issuers, and what it asks of its store, of the provider that people log in
with and of the issuers that it trusts. Times in milliseconds, unless a name ends in `_time` (seconds, as in a JWT)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from pairing_ws.accounts.ports import User

# OpenID Connect Core, section 2.
MAX_SUBJECT = 255
MAX_ISSUER = 512


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """That an issuer's subject is this account's person. An issuer and a subject name one account."""

    issuer: str
    subject: str
    user_id: str
    created_at: int


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer has signed of a person, checked but for `nonce`.

    `token_id` names the token, whichever way it is encoded. `auth_time` is when the person proved to be there, if the
    issuer says so. `names` are what they call themselves there: no account may have such a name as it is. With
    `opens_accounts` who is unknown gets one.
    """

    issuer: str
    subject: str
    token_id: str
    exp_time: int
    nonce: str = ""
    auth_time: int | None = None
    names: tuple[str, ...] = ()
    opens_accounts: bool = False


class Untrusted(Exception):
    """A token is none that counts here. The text says why, for people, and quotes nothing of it."""


class ProviderFailed(Exception):
    """The provider refuses, or its answer must not count. The text says why, for people."""


class ProviderAway(ProviderFailed):
    """The provider does not answer, or answers what is no answer: the same may work later."""


class LinkStore(Protocol):
    """Every method is one transaction. Any call raises Unavailable when the database is away."""

    async def user_of(self, issuer: str, subject: str) -> User | None: ...

    async def links_of(self, user_id: str) -> Sequence[Link]:
        """The oldest first."""

    async def add(self, link: Link) -> bool:
        """False, with nothing stored, if that subject has an account, or this account is gone."""

    async def remove(self, link: Link) -> bool:
        """False if the account has no such link."""

    async def open_account(self, user: User, link: Link) -> User | None:
        """Store both; the account that the subject has by then. None, with nothing stored, if another
        account has that name."""


class Tokens(Protocol):
    """Reads tokens of issuers that are trusted."""

    async def verify(self, token: str) -> Identity:
        """Raises Untrusted whatever is wrong with it, and Refused UNAVAILABLE while the issuer's keys are not to be
        had."""


class Challenge(NamedTuple):
    """What a login sends to the provider and wants to see again: `verifier` is PKCE's (RFC 7636)."""

    state: str
    nonce: str
    verifier: str


class Provider(Protocol):
    """The provider that people log in with, by the code flow of OpenID Connect."""

    @property
    def issuer(self) -> str: ...

    async def authorization_url(self, challenge: Challenge) -> str:
        """Where the browser is sent. Raises ProviderAway."""

    async def id_token(self, answer: Mapping[str, str], challenge: Challenge) -> str:
        """The id_token, unread, for the answer that the browser brought, whose `state` has been checked.

        Raises ProviderFailed: it is another issuer's answer (RFC 9207), or the provider gives no token for it; and
        ProviderAway.
        """
