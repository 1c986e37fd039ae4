"""Logging in with another provider: a browser is sent there, comes back with a code, and gets its keys as by an invite.

What a login under way needs to know is in the browser's own cookie, sealed: no other browser can finish it, and nothing
is kept here. What makes it count once is SQL's unique origin of a session.
"""

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from shlex import quote
from typing import NamedTuple, TypeVar

import msgspec

from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.logins import Logins
from pairing_ws.accounts.types import LoggedIn, Vouched
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.labels import label
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits, Prove, SharedCounters, unproved
from pairing_ws.upstream.people import People, UnknownPerson
from pairing_ws.upstream.ports import Challenge, Identity, Provider, ProviderAway, ProviderFailed, Tokens, Untrusted

# How long a person may take at the provider, and a page to fetch its keys afterwards.
BEGUN_MS = 600_000
ARRIVED_MS = 120_000
MAX_COOKIE = 2048
# A nonce, a tag, and something between them.
MIN_SEALED = 40
ORIGIN = "upstream"


class Why(StrEnum):
    """Why a login with the provider has failed, for the page that says so."""

    # Begun in another browser, too long ago, or in another tab since.
    FOREIGN = "foreign"
    USED = "used"
    # The person or the provider has said no.
    REFUSED = "refused"
    # The provider does not answer, or what is no answer at all.
    AWAY = "away"
    # Its answer is refused: the provider's, or what the browser brought in place of one.
    FAILED = "failed"
    UNKNOWN = "unknown"


class LoginFailed(Exception):
    """Nobody was logged in. `hint` is for the people who run this server, and holds no secret."""

    def __init__(self, why: Why, hint: str = "") -> None:
        super().__init__(why, hint)
        self.why = why
        self.hint = hint


class _Begun(msgspec.Struct, frozen=True):
    """A login that the provider has yet to answer."""

    state: str
    nonce: str
    verifier: str
    at: int


class _Arrived(msgspec.Struct, frozen=True):
    """A person who has logged in there, and whose page has yet to fetch the keys."""

    id: str
    user_id: str
    auth_time: int | None
    at: int


class Begun(NamedTuple):
    """Where to send the browser, and its cookie."""

    url: str
    cookie: str


SealedT = TypeVar("SealedT", _Begun, _Arrived)


class UpstreamLogin:
    """`key` is the pepper of keyed digests. `tokens` reads the id_tokens of `provider`."""

    def __init__(
        self,
        provider: Provider,
        tokens: Tokens,
        people: People,
        logins: Logins,
        counters: SharedCounters,
        limits: Limits,
        key: bytes,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
    ) -> None:
        self._provider = provider
        self._tokens = tokens
        self._people = people
        self._logins = logins
        self._counters = counters
        self._limits = limits
        self._key = codes.base64url(key)
        self._clock = clock
        self._random = random
        self._audit = audit

    async def begin(self, ip: str) -> Begun:
        """Raises LoginFailed, and Refused RATE_LIMITED."""
        await self._limits.hit("authorize", block(ip))
        challenge = Challenge(*(codes.token(self._random, 32) for _ in Challenge._fields))
        try:
            url = await self._provider.authorization_url(challenge)
        except ProviderFailed as failed:
            raise self._failed(failed, ip) from failed
        return Begun(url, self._seal(_Begun(*challenge, at=self._clock())))

    async def finish(self, cookie: str, answer: Mapping[str, str], ip: str) -> str:
        """The cookie by which the browser's page fetches its keys. An answer counts once, and in the browser alone that
        was sent for it. Raises LoginFailed, and Refused RATE_LIMITED and UNAVAILABLE."""
        await self._limits.hit("authorize", block(ip))
        begun = self._unseal(cookie, _Begun)
        if begun is None or not _is_recent(begun.at, self._clock(), BEGUN_MS):
            raise LoginFailed(Why.FOREIGN)
        if not codes.matches(answer.get("state", ""), codes.digest(begun.state)):
            raise LoginFailed(Why.FOREIGN)
        if not await self._counters.mark(f"upstream:{codes.digest(begun.state)}", BEGUN_MS + 2 * SKEW_MS):
            raise LoginFailed(Why.USED)
        if "error" in answer:
            told = f"{label(answer['error'])} {label(answer.get('error_description', ''))}".strip()
            self._audit("upstream.failed", issuer=self._provider.issuer, why=f"it answered {told}", ip=ip)
            raise LoginFailed(Why.REFUSED)
        identity = await self._identity(answer, Challenge(begun.state, begun.nonce, begun.verifier), ip)
        try:
            user = await self._people.find(identity)
        except UnknownPerson as unknown:
            self._audit("upstream.unknown", issuer=identity.issuer, subject=identity.subject, ip=ip)
            # Somebody will copy it into a shell.
            command = f"pairing-ws user link NAME {quote(identity.issuer)} {quote(identity.subject)}"
            raise LoginFailed(Why.UNKNOWN, command) from unknown
        return self._seal(_Arrived(codes.token(self._random), user.id, identity.auth_time, self._clock()))

    async def _identity(self, answer: Mapping[str, str], challenge: Challenge, ip: str) -> Identity:
        try:
            identity = await self._tokens.verify(await self._provider.id_token(answer, challenge))
        except (ProviderFailed, Untrusted) as failed:
            raise self._failed(failed, ip) from failed
        if not codes.matches(identity.nonce, codes.digest(challenge.nonce)):
            raise self._failed(Untrusted("the id_token is for another login than this"), ip)
        return identity

    def _failed(self, error: ProviderFailed | Untrusted, ip: str) -> LoginFailed:
        self._audit("upstream.failed", issuer=self._provider.issuer, why=str(error), ip=ip)
        return LoginFailed(Why.AWAY if isinstance(error, ProviderAway) else Why.FAILED, str(error))

    async def log_in(self, cookie: str, device: NewDevice, prove: Prove = unproved) -> LoggedIn:
        """The one session of this login. Repeatable like an invite's. Raises NOT_FOUND for a cookie that is none of
        ours, UPSTREAM_LOGIN_OVER, and what a login raises."""
        address = block(device.ip)
        await self._limits.check("claim", address)
        arrived = self._unseal(cookie, _Arrived)
        recent = arrived is not None and _is_recent(arrived.at, self._clock(), ARRIVED_MS)
        if recent and device.key_thumbprint:
            # Only now: a proof is remembered for a while, and strangers can make any number of them.
            try:
                await prove(device.key_thumbprint)
            except Refused as refused:
                await self._limits.hit("nonce" if refused.code is Code.USE_DPOP_NONCE else "claim", address)
                raise
        await self._limits.hit("claim", address)
        if arrived is None:
            raise Refused(Code.NOT_FOUND, "no login with the provider has come back to this browser")
        if not recent:
            raise Refused(Code.UPSTREAM_LOGIN_OVER, "too much time has passed; log in with the provider again")
        origin = f"{ORIGIN}:{codes.digest(arrived.id)}"
        vouched = Vouched(origin, arrived.user_id, proved_at(arrived.auth_time, self._clock()))
        return await self._logins.log_in_vouched(vouched, device, arrived.id, Code.UPSTREAM_LOGIN_OVER)

    def _seal(self, value: _Begun | _Arrived) -> str:
        return codes.base64url(keys.seal(value, self._secret(type(value)), self._random))

    def _unseal(self, cookie: str, kind: type[SealedT]) -> SealedT | None:
        """None if it is none of ours, or of the other kind."""
        if not cookie.isascii() or len(cookie) > MAX_COOKIE:
            return None
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        except (ValueError, binascii.Error):
            return None
        return keys.unseal(sealed, self._secret(kind), kind) if len(sealed) >= MIN_SEALED else None

    def _secret(self, kind: type) -> str:
        return f"{kind.__name__} {self._key}"


def proved_at(auth_time: int | None, now: int) -> int | None:
    """When the person has proved to be there, as far as the issuer says so; never later than now."""
    return None if auth_time is None else min(auth_time * 1000, now)


def _is_recent(at: int, now: int, lives_ms: int) -> bool:
    # Another process may have dated it, whose clock is ahead.
    return -SKEW_MS <= now - at < lives_ms
