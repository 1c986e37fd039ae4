"""What clients get and show again: access tokens (RFC 9068), id_tokens, logout tokens. Never an authKey."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError

from pairing_ws.adapters.jwt.header import MAX_TOKEN, read_header, signed_claims
from pairing_ws.adapters.jwt.keys import Keys
from pairing_ws.core.clock import SKEW_MS
from pairing_ws.oauth.ports import Algorithm

HEADER = frozenset({"alg", "typ", "kid"})
# An id_token repeats its client's `nonce`, however long, and names a person's groups.
MAX_ID_TOKEN = 32_768


class _AccessToken(msgspec.Struct, kw_only=True):
    """The claims of RFC 9068, section 2.2, and `sid`, the grant. An authKey has no `client_id`."""

    iss: str
    aud: str
    sub: str
    client_id: str
    sid: str
    jti: str
    iat: int
    exp: int
    scope: str = ""
    cnf: dict[Literal["jkt"], str] | None = None
    did: msgspec.UnsetType = msgspec.UNSET


class _IdToken(msgspec.Struct, kw_only=True):
    iss: str
    aud: str
    sub: str
    iat: int
    exp: int
    sid: str = ""


class JwtClientTokens:
    """See `oauth.ports.ClientTokens`."""

    def __init__(self, ring: Keys, issuer: str) -> None:
        self._ring = ring
        self._issuer = issuer

    def sign(self, claims: Mapping[str, Any], *, typ: str, alg: Algorithm) -> str:
        """A JWT with the newest key of that algorithm. Raises ValueError where there is none."""
        self._ring.reload()
        newest = next(iter(self._ring.of(alg).items()), None)
        if newest is None:
            raise ValueError(f"there is no key for {alg}")
        kid, key = newest
        return jwt.encode({"alg": str(alg), "typ": typ, "kid": kid}, dict(claims), key, algorithms=[str(alg)])

    def verify_access_token(self, token: str, now: int) -> Mapping[str, Any] | None:
        """The claims of an access token that we have issued to a client; None whatever is wrong with it."""
        claims = self._verified(token, "at+jwt", MAX_TOKEN)
        if claims is None:
            return None
        try:
            # joserfc's decode checks the signature only. A server whose clock is ahead may have issued it.
            jwt.JWTClaimsRegistry(now=now // 1000, leeway=SKEW_MS // 1000).validate(claims)
            found = msgspec.convert(claims, _AccessToken)
        except (JoseError, ValueError, msgspec.ValidationError):
            return None
        return claims if found.iss == self._issuer and found.exp > now // 1000 else None

    def verify_id_token_hint(self, token: str) -> Mapping[str, Any] | None:
        """The claims of an id_token of ours, though it has expired (RP-Initiated Logout 1.0, section 4)."""
        claims = self._verified(token, "JWT", MAX_ID_TOKEN)
        try:
            return claims if claims and msgspec.convert(claims, _IdToken).iss == self._issuer else None
        except msgspec.ValidationError:
            return None

    def algorithms(self) -> Sequence[Algorithm]:
        """Those that there is a key for, the best known first."""
        self._ring.reload()
        return [each for each in Algorithm if self._ring.of(each)]

    def _verified(self, token: str, typ: str, most: int) -> dict[str, Any] | None:
        """What a key of ours has signed: our own three header members and no others, and the algorithm that is the
        key's own (RFC 8725, section 3)."""
        self._ring.reload()
        header = read_header(token, most) if token.isascii() else None
        if header is None or header.keys() != HEADER or header["typ"] != typ:
            return None
        alg, kid = header["alg"], header["kid"]
        if alg not in list(Algorithm) or not isinstance(kid, str):
            return None
        key = self._ring.find(alg, kid)
        if key is None:
            return None
        try:
            return signed_claims(token, key, [alg])
        except (JoseError, ValueError):
            return None
