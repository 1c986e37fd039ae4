"""Proofs of possession as DPoP (RFC 9449): ES256 JWTs that say which request they are for, each good for one use.

A proof is new because it holds a nonce of ours, not because of its `iat`: a client's clock may be wrong, and nobody can
make proofs in advance for a time when the key is out of reach. Nonces are a time under our MAC; nothing is stored. For
a host application's own routes `iat` will do, so that no call is needed for a nonce first.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pairing_ws.adapters.jwt.header import MAX_TOKEN, read_header, signed_claims
from pairing_ws.adapters.memory import MemoryCounters
from pairing_ws.core import codes
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import SharedCounters

ALGORITHMS = ("ES256",)
HEADER = frozenset({"alg", "typ", "jwk"})
PUBLIC = ("crv", "kty", "x", "y")
PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})
# How long a nonce is good.
NONCE_SECONDS = 120
SKEW_SECONDS = SKEW_MS // 1000
# Longer than any nonce that a remembered proof could come back with.
REMEMBERED_MS = (NONCE_SECONDS + 2 * SKEW_SECONDS) * 1000
# What only reads or takes away goes on without Redis, as it does for who has no key: to log a lost device out matters
# more than that the very same could be done once more within two minutes. Each process then judges alone.
ALLOWED_WITHOUT_REDIS = frozenset({"GET", "HEAD", "DELETE"})
DEFAULT_PORTS = {"http": 80, "https": 443}


class Claims(msgspec.Struct, frozen=True):
    """The claims that a proof needs (RFC 9449, section 4.2)."""

    jti: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,256}\Z")]
    htm: str
    htu: str
    iat: float
    nonce: str = ""
    ath: str = ""


class DpopProofs:
    """See `ports.Proofs`. All processes that share `counters` take a proof once; `alone` counts for this process while
    those are away. With `by_iat` a proof is also new without a nonce, for `SKEW_SECONDS` before and after its `iat`."""

    def __init__(
        self,
        public_url: str,
        pepper: bytes,
        clock: Clock,
        counters: SharedCounters,
        alone: SharedCounters | None = None,
        *,
        by_iat: bool = False,
    ) -> None:
        self._public_url = public_url
        self._pepper = pepper
        self._clock = clock
        self._counters = counters
        self._alone = alone or MemoryCounters()
        self._by_iat = by_iat

    def nonce(self) -> str:
        at = (self._clock() // 1000).to_bytes(5)
        return base64.urlsafe_b64encode(at + self._mac(at)).decode()

    def _mac(self, at: bytes) -> bytes:
        return codes.keyed_digest(self._pepper, "dpop-nonce", at.hex())[:16]

    def thumbprint(self, jwk: Mapping[str, str]) -> str:
        return _public_key(*(jwk[name] for name in PUBLIC)).thumbprint()

    def thumbprint_of(self, given: Sequence[str]) -> str:
        """See `ports.Proofs`."""
        if len(given) != 1:
            raise self._invalid("exactly one DPoP proof is needed")
        try:
            return _key_of((read_header(given[0]) or {}).get("jwk")).thumbprint()
        except (JoseError, ValueError):
            raise self._invalid("the proof names no public key on P-256") from None

    async def verify(
        self, given: Sequence[str], method: str, path: str, key_thumbprint: str, auth_key: str | None
    ) -> None:
        if len(given) != 1:
            raise self._invalid("exactly one DPoP proof by this device's key is needed")
        claims = self._signed(given[0], key_thumbprint)
        if claims.htm != method or _normalized_url(claims.htu) != _normalized_url(self._public_url + path):
            raise self._invalid("the proof is for another request")
        if auth_key is not None and claims.ath != _hash(auth_key):
            raise self._invalid("the proof is for another authKey")
        if not self._is_fresh(claims.nonce) and not self._is_recent(claims.iat):
            raise Refused(Code.USE_DPOP_NONCE, "the proof needs this nonce", nonce=self.nonce())
        if not await self._is_first(codes.digest(f"{key_thumbprint} {claims.jti}"), method):
            raise self._invalid("the proof has been used before")

    def _signed(self, proof: str, key_thumbprint: str) -> Claims:
        """The claims of a proof that this key has signed."""
        header = read_header(proof)
        if header is None or header.keys() != HEADER or header["alg"] not in ALGORITHMS or header["typ"] != "dpop+jwt":
            raise self._invalid(f"the proof has to be a JWT of at most {MAX_TOKEN} characters: dpop+jwt, ES256, jwk")
        try:
            key = _key_of(header["jwk"])
            if key.thumbprint() == key_thumbprint:
                return msgspec.convert(signed_claims(proof, key, ALGORITHMS), Claims)
        except (JoseError, ValueError, RecursionError, msgspec.ValidationError):
            raise self._invalid("the proof does not hold") from None
        raise self._invalid("the proof is by another key")

    def _invalid(self, detail: str) -> Refused:
        return Refused(Code.INVALID_PROOF, detail, nonce=self.nonce())

    def _is_fresh(self, nonce: str) -> bool:
        try:
            raw = base64.urlsafe_b64decode(nonce.encode())
        except (ValueError, binascii.Error):
            return False
        at, mac = raw[:5], raw[5:]
        if not hmac.compare_digest(mac, self._mac(at)):
            return False
        return -SKEW_SECONDS <= self._clock() // 1000 - int.from_bytes(at) <= NONCE_SECONDS

    def _is_recent(self, iat: float) -> bool:
        return self._by_iat and abs(self._clock() / 1000 - iat) <= SKEW_SECONDS

    async def _is_first(self, digest: str, method: str) -> bool:
        """True for one caller."""
        key = f"proof:{digest}"
        try:
            return await self._counters.mark(key, REMEMBERED_MS)
        except Unavailable:
            if method not in ALLOWED_WITHOUT_REDIS:
                raise
            return await self._alone.mark(key, REMEMBERED_MS)


def _key_of(jwk: Any) -> ECKey:
    """Raises ValueError unless it is a public key on P-256. Members that say nothing of the key are passed over."""
    if not isinstance(jwk, dict) or PRIVATE & jwk.keys() or not all(isinstance(jwk.get(name), str) for name in PUBLIC):
        raise ValueError("jwk")
    return _public_key(*(jwk[name] for name in PUBLIC))


# A device sends the same key with each call, and seeing that a point is on the curve costs as much as half a signature.
@lru_cache(maxsize=4096)
def _public_key(crv: str, kty: str, x: str, y: str) -> ECKey:
    if (crv, kty, len(x), len(y)) != ("P-256", "EC", 43, 43):
        raise ValueError("not on P-256")
    return ECKey.import_key({"crv": crv, "kty": kty, "x": x, "y": y})


def _hash(auth_key: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(auth_key.encode()).digest()).rstrip(b"=").decode()


def _normalized_url(url: str) -> str | None:
    """One spelling for each address, without query and fragment (RFC 9449, section 4.3); None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if parts.username is not None or parts.hostname is None:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}{unquote(parts.path) or '/'}"
