"""Who knows whether a token holds: this server in the same process, or its public keys from elsewhere."""

import secrets
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pairing_ws.accounts.ports import Tokens
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.dpop import DpopProofs
from pairing_ws.adapters.jwt.header import read_claims, read_header
from pairing_ws.adapters.jwt.issuer_keys import IssuerKeys
from pairing_ws.adapters.memory import MemoryCounters
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Proofs, SharedCounters
from pairing_ws.oauth.ports import ClientTokens

if TYPE_CHECKING:
    # 100 modules that an application beside the server would not use.
    from pairing_ws.accounts.sessions import Sessions
    from pairing_ws.oauth.shown_tokens import ShownTokens


class Authority(Protocol):
    """`public_url` is where the host application is found, "" if that is not known."""

    public_url: str

    async def verified(self, token: str) -> Mapping[str, Any] | None:
        """The claims of an authKey or a client's access token: its type, algorithm, signature, issuer and lifetime
        hold. None whatever is wrong with it. Raises Unavailable."""

    async def confirm(self, token: str, claims: Mapping[str, Any]) -> None:
        """What only the server knows: that session or grant still stand. `claims` were verified, and who calls has
        proved the key that the token is bound to. Raises Refused or OAuthError if not."""

    def proofs(self, public_url: str) -> Proofs:
        """Those made for addresses below `public_url`, each taken once."""


class ThisServer:
    """Mounted: every process that shares its stores knows of a revocation at once, and takes a proof once."""

    def __init__(
        self,
        issuer: str,
        public_url: str,
        auth_keys: Tokens,
        client_tokens: ClientTokens,
        sessions: "Sessions",
        shown: "ShownTokens",
        pepper: bytes,
        counters: SharedCounters,
        clock: Clock,
    ) -> None:
        self.issuer = issuer
        self.public_url = public_url
        self._auth_keys = auth_keys
        self._client_tokens = client_tokens
        self._sessions = sessions
        self._shown = shown
        self._pepper = pepper
        self._counters = counters
        self._clock = clock

    async def verified(self, token: str) -> Mapping[str, Any] | None:
        return _verified(self._auth_keys, self._client_tokens, token, self._clock())

    async def confirm(self, token: str, claims: Mapping[str, Any]) -> None:
        if "client_id" in claims:
            await self._shown.accept(claims)
            return

        async def proved(key_thumbprint: str, auth_key: str | None = None) -> None:
            if claims.get("cnf") != {"jkt": key_thumbprint}:
                raise unauthenticated()

        await self._sessions.authenticate(token, proved)

    def proofs(self, public_url: str) -> Proofs:
        return DpopProofs(public_url, self._pepper, self._clock, self._counters, by_iat=True)


class RemoteIssuer:
    """Beside: by its public keys alone, so that a token counts until it expires, whatever was revoked. Each process
    takes a proof once. For any number of threads."""

    def __init__(self, issuer: str, keys: IssuerKeys, public_url: str, clock: Clock) -> None:
        self.public_url = public_url
        self._keys = keys
        self._auth_keys = AuthKeys(keys, issuer)
        self._client_tokens = JwtClientTokens(keys, issuer)
        self._clock = clock
        self._lock = threading.Lock()

    async def verified(self, token: str) -> Mapping[str, Any] | None:
        header = read_header(token)
        if header is None:
            return None
        await self._keys.learn(str(header.get("alg")), str(header.get("kid")))
        with self._lock:
            return _verified(self._auth_keys, self._client_tokens, token, self._clock())

    async def confirm(self, token: str, claims: Mapping[str, Any]) -> None:
        """Nothing more is known here."""

    def proofs(self, public_url: str) -> Proofs:
        return DpopProofs(public_url, secrets.token_bytes(32), self._clock, _ThreadedCounters(), by_iat=True)


class _ThreadedCounters(MemoryCounters):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    async def mark(self, key: str, ttl_ms: int) -> bool:
        with self._lock:
            return await super().mark(key, ttl_ms)


def _verified(auth_keys: Tokens, client_tokens: ClientTokens, token: str, now: int) -> Mapping[str, Any] | None:
    """What a token calls itself only chooses who judges it; each refuses the other's."""
    claims = read_claims(token)
    if claims is None:
        return None
    if "client_id" in claims:
        return client_tokens.verify_access_token(token, now)
    return claims if auth_keys.verify(token, now) else None
