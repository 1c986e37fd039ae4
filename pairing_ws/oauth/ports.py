"""The records of clients and grants, and what this story asks of its stores and its signer. Times in milliseconds,
unless a name ends in `_time` (seconds, as in a JWT)."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.ports import Account, Activity, Retired, User


class Algorithm(StrEnum):
    """How a client's tokens are signed. Many stock clients know nothing but RS256."""

    RS256 = "RS256"
    ES256 = "ES256"


class DeviceGrant(StrEnum):
    """Whether a client may use RFC 8628; `same_network`: only where approver and device share a network."""

    OFF = "off"
    SAME_NETWORK = "same_network"
    ON = "on"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """An application that an operator has registered.

    Without `secret_hash` and `jwks` it is public (RFC 6749, section 2.1). `jwks`: public keys for `private_key_jwt`.
    `audience` is the `aud` of its access tokens. A `trusted` one is first-party: it may skip the consent. `origins` may
    read the token endpoint's answers (CORS). With `token_exchange` it may have another issuer's tokens exchanged for
    sessions of devices (RFC 8693).
    """

    id: str
    name: str
    created_at: int
    secret_hash: str | None = None
    jwks: Mapping[str, Any] | None = None
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    device_grant: DeviceGrant = DeviceGrant.OFF
    scopes: tuple[str, ...] = ()
    id_token_alg: Algorithm = Algorithm.RS256
    access_token_alg: Algorithm = Algorithm.ES256
    audience: str = ""
    origins: tuple[str, ...] = ()
    logo_uri: str | None = None
    trusted: bool = False
    token_exchange: bool = False

    @property
    def is_public(self) -> bool:
        return self.secret_hash is None and self.jwks is None


class AuthorizationCode(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorization code stands for until it is redeemed: kept by the code's digest, for 60 s at most."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    user_id: str
    session_id: str
    device_id: str
    scopes: tuple[str, ...]
    auth_time: int
    amr: tuple[str, ...]
    nonce: str | None = None
    acr: str | None = None
    dpop_thumbprint: str | None = None


class NewGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A client's session about to begin. `origin` (`code:{digest}` or `device:{pairing id}`) is unique: it makes a code
    count once. `session_id` and `device_id` are of the login that consented."""

    id: str
    user_id: str
    client_id: str
    session_id: str
    device_id: str
    origin: str
    scopes: tuple[str, ...]
    offline: bool
    created_at: int
    idle_until: int
    ends_at: int
    auth_time: int
    amr: tuple[str, ...]
    acr: str | None
    ip: str
    family_hash: str
    refresh_hash: str
    sealed: bytes
    sealed_until: int
    key_thumbprint: str | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A client's session, an "app with access": the `sid` of its id_tokens.

    One that is `offline` outlives the login that consented to it, until that device is revoked; another one ends with
    that login. `login_until` is when that login ends by itself, 0 once it has ended. The rest is as in
    `accounts.ports.Session`.
    """

    id: str
    user: User
    client_id: str
    session_id: str
    device_id: str
    origin: str
    scopes: tuple[str, ...]
    offline: bool
    created_at: int
    last_used_at: int
    last_ip: str
    idle_until: int
    ends_at: int
    auth_time: int
    amr: tuple[str, ...]
    acr: str | None
    refresh_hash: str
    login_until: int
    retired: tuple[Retired, ...] = ()
    sealed: bytes | None = None
    sealed_until: int = 0
    key_thumbprint: str | None = None
    ended_at: int | None = None
    # `revoked`, `logged_out`, `replaced` (the device's code came again), `reused` (a code or refresh token did),
    # `key_reused` (the login's refreshKey did), `device_revoked`, `locked`, `limit`. Of a deleted account or client
    # none is left.
    ended_why: str | None = None

    def alive_at(self, now: int) -> bool:
        """Whether account, login and grant all stand."""
        until = min(self.idle_until, self.ends_at)
        if not self.offline:
            until = min(until, self.login_until)
        return self.ended_at is None and self.user.locked_at is None and now < until


class StartedGrant(NamedTuple):
    """`ended`: those that were used longest ago, where the account had too many."""

    grant: Grant
    ended: Sequence[EndedGrant]


class GrantRotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh changes in a grant, if `old_hash` is still its current token's. `key_thumbprint`: what the grant
    is bound to from now on."""

    grant_id: str
    old_hash: str
    new_hash: str
    retired: tuple[Retired, ...]
    idle_until: int
    sealed: bytes
    sealed_until: int
    ip: str
    at: int
    key_thumbprint: str | None = None


class LogoutNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A logout token that a client is owed (Back-Channel Logout 1.0). It stays until it is delivered or a day old, even
    if account and client are gone by then. `attempts` have failed before."""

    id: int
    client_id: str
    uri: str
    alg: Algorithm
    user_id: str
    grant_id: str
    created_at: int
    attempts: int


class ClientsById(Protocol):
    async def get(self, client_id: str) -> Client | None:
        """Raises Unavailable when the database is away."""


class ClientStore(ClientsById, Protocol):
    """Every method is one transaction. Any call raises Unavailable when the database is away."""

    async def add(self, client: Client) -> bool:
        """False, with nothing stored, if there is one of that id."""

    async def all(self) -> Sequence[Client]:
        """Every client, by name."""

    async def replace(self, client: Client) -> bool:
        """Store it as it is now; False if there is none of its id."""

    async def remove(self, client_id: str, at: int) -> Sequence[EndedGrant] | None:
        """Delete it; its grants, which end, and it is told so. None if there is none of its id."""


class GrantStore(Protocol):
    """Grants, refresh tokens, consents, logouts to tell. Every method is one transaction; a cancelled one leaves
    nothing. Any call raises Unavailable when the database is away.

    Whatever ends a grant of a client with a `backchannel_logout_uri` stores a notice in the same transaction: here, and
    in the account store's logging out, revoking, locking and deleting.
    """

    async def begin(self, grant: NewGrant, limit: int) -> StartedGrant | None:
        """Store it, and write `app.added` into the activity. None, with nothing changed, if one of
        that origin exists: of many callers at once one gets it.

        Raises Refused: PAIRING_DENIED when the login that consented no longer stands or the client was removed,
        ACCOUNT_LOCKED. If the account then has more than `limit` live grants (0: no limit), the ones that were used
        longest ago end.
        """

    async def get(self, grant_id: str) -> Grant | None:
        """The grant, alive or not; None once it was tidied away."""

    async def of_origin(self, origin: str) -> Grant | None: ...

    async def of_family(self, family_hash: str) -> Grant | None:
        """The one grant whose refresh tokens have this digest of their family, alive or not."""

    async def rotate(self, rotation: GrantRotation) -> bool:
        """True for exactly one caller per `old_hash`; False also once the grant has ended."""

    async def forget_sealed(self, grant_id: str, refresh_hash: str, retired: tuple[Retired, ...]) -> None:
        """Erase the repeatable answer that holds this refresh token, for something of it has been used."""

    async def end(self, grant_id: str, why: str, at: int, line: Activity | None = None) -> bool:
        """End it and write the line. False, with nothing changed, if it has ended before or is unknown."""

    async def live_of_user(self, user_id: str, now: int) -> Sequence[Grant]:
        """The newest first."""

    async def touch(self, grant_id: str, at: int, ip: str) -> None:
        """It was used: at UserInfo or a refresh. Best once a minute."""

    async def account(self, user_id: str) -> Account | None:
        """The account with what it tells applications."""

    async def consented(self, user_id: str, client_id: str) -> frozenset[str]:
        """The scopes that this person has let this client have."""

    async def consent(self, user_id: str, client_id: str, scopes: Sequence[str], device_id: str, at: int) -> None:
        """Add them to what is remembered, until that device is revoked. Nothing, if account or client are gone."""

    async def forget_consent(self, user_id: str, client_id: str) -> None: ...

    async def due_logouts(self, now: int, lease_ms: int, most: int) -> Sequence[LogoutNotice]:
        """The notices that are due, each put off by the lease: no other process takes it meanwhile."""

    async def logout_told(self, notice_id: int) -> None: ...

    async def logout_failed(self, notice_id: int, next_at: int) -> None: ...

    async def tidy(self, now: int) -> None:
        """Drop grants and notices that no call can ask for any more."""


class CodeStore(Protocol):
    """Authorization codes, beside the pairings: in Redis, or in process memory. Raises Unavailable."""

    async def keep(self, digest: str, code: AuthorizationCode, ttl_ms: int) -> None: ...

    async def get(self, digest: str) -> AuthorizationCode | None:
        """None once its time is over. It is not taken away: that it counts once is `GrantStore.begin`'s work."""


class ClientTokens(Protocol):
    """Signs and reads what clients get."""

    def sign(self, claims: Mapping[str, Any], *, typ: str, alg: Algorithm) -> str:
        """Raises ValueError where `algorithms` lacks it."""

    def verify_access_token(self, token: str, now: int) -> Mapping[str, Any] | None:
        """The claims of an access token of ours (`typ: at+jwt`), or None whatever is wrong with it."""

    def verify_id_token_hint(self, token: str) -> Mapping[str, Any] | None:
        """The claims of an id_token of ours, though it has expired; None whatever else is wrong with it."""

    def algorithms(self) -> Sequence[Algorithm]:
        """Those that there is a key for."""


class ClientAssertions(Protocol):
    """Reads the JWTs by which clients authenticate (`private_key_jwt`)."""

    def subject(self, assertion: str) -> str | None:
        """The client that it says it is about, which nothing has proved yet; None if it can't be read."""

    def verify(self, assertion: str, jwks: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The claims, if one of these public keys has signed it and it is neither over nor to come; None else. `exp` is
        a number then; what the claims say is not looked at beyond that."""
