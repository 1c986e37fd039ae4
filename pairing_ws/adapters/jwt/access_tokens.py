"""authKeys as ES256 JWTs (RFC 9068 profile): signed with the newest key, verified with all."""

import hashlib
import json
import secrets
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError

from pairing_ws.accounts.login_hook import RESERVED_CLAIMS
from pairing_ws.accounts.ports import Claims
from pairing_ws.adapters.jwt.header import MAX_TOKEN, read_header, signed_claims
from pairing_ws.adapters.jwt.keys import Keys
from pairing_ws.core.clock import SKEW_MS

ALGORITHM = "ES256"
HEADER = frozenset({"alg", "typ", "kid"})
# About 2 MB.
MAX_VERIFIED = 4096


class AuthKeys:
    """See `accounts.ports.Tokens`. What clients of `oauth` get is signed elsewhere, and is no authKey."""

    def __init__(self, ring: Keys, issuer: str) -> None:
        self._ring = ring
        self._issuer = issuer
        # digest → claims. A device shows the same token with each call, and checking it takes 130 µs; knowing it, 2.
        self._verified: dict[bytes, Claims] = {}
        self._verified_with = ring.version

    def issue(
        self,
        *,
        user_id: str,
        session_id: str,
        device_id: str,
        amr: str,
        now: int,
        expires_at: int,
        key_thumbprint: str | None = None,
        rt_hash: str = "",
        added: bytes | None = None,
    ) -> str:
        """A signed authKey."""
        self._ring.reload()
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": user_id,
            "sid": session_id,
            "did": device_id,
            "amr": [amr],
            "iat": now // 1000,
            "ms": now % 1000,
            "exp": expires_at // 1000,
            "jti": secrets.token_urlsafe(16),
            **({"rt_hash": rt_hash} if rt_hash else {}),
            **({"cnf": {"jkt": key_thumbprint}} if key_thumbprint else {}),
            **(_addable(added) if added else {}),
        }
        kid, key = next(iter(self._ring.of(ALGORITHM).items()))
        return jwt.encode({"alg": ALGORITHM, "typ": "at+jwt", "kid": kid}, claims, key, algorithms=[ALGORITHM])

    def verify(self, token: str, now: int) -> Claims | None:
        """The claims, or None. A token that held once holds until it expires, or the keys change."""
        self._ring.reload()
        if self._verified_with != self._ring.version:
            self._verified.clear()
            self._verified_with = self._ring.version
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._verified.get(digest) or self._checked(token, now)
        if claims is None or claims.exp <= now // 1000:
            return None
        if digest not in self._verified:
            self._remember(digest, claims, now)
        return claims

    def trusts(self, signed_by: str) -> bool:
        """Whether the key of that id still verifies, as last read."""
        return signed_by in self._ring.of(ALGORITHM)

    def _remember(self, digest: bytes, claims: Claims, now: int) -> None:
        """All live about equally long, so the oldest are in front."""
        known = self._verified
        while known and (len(known) >= MAX_VERIFIED or known[next(iter(known))].exp <= now // 1000):
            del known[next(iter(known))]
        known[digest] = claims

    def _checked(self, token: str, now: int) -> Claims | None:
        """One algorithm, our own three header members and no others (RFC 8725, section 3)."""
        header = read_header(token)
        if header is None or header.keys() != HEADER or header["alg"] != ALGORITHM or header["typ"] != "at+jwt":
            return None
        kid = str(header["kid"])
        key = self._ring.find(ALGORITHM, kid)
        if key is None:
            return None
        try:
            claims = signed_claims(token, key, [ALGORITHM])
            # joserfc's decode checks the signature only.
            jwt.JWTClaimsRegistry(
                now=now // 1000,
                leeway=SKEW_MS // 1000,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._issuer},
                exp={"essential": True},
            ).validate(claims)
            # A client's token is none, though an operator had registered our own address as its audience.
            return None if "client_id" in claims else msgspec.convert({**claims, "signed_by": kid}, Claims)
        except (JoseError, ValueError, msgspec.ValidationError):
            return None


def _addable(added: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(added).items() if name not in RESERVED_CLAIMS}
