"""authKeys as ES256 JWTs (RFC 9068 profile): signed with the newest key, verified with all."""

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pairing_ws.accounts.ports import Claims
from pairing_ws.adapters.jwt.key_file import KeyFileError, KeySet, exposure, read_key_file, without_made
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.json_depth import is_deep

log = structlog.get_logger()

# A header of ours fits many times; longer ones are not worth parsing.
MAX_TOKEN = 4096
HEADER = frozenset({"alg", "typ", "kid"})
# About 2 MB.
MAX_VERIFIED = 4096
# How often the file is looked at: a key that is taken out of it is dead everywhere so soon after.
RELOAD_MS = 1_000


class KeyRing:
    """Signs with the newest key and verifies with all. Those of a file may change while it runs; those of the
    environment (a KeySet) stay."""

    def __init__(self, source: Path | KeySet, issuer: str, clock: Clock) -> None:
        self._path = source if isinstance(source, Path) else None
        self._issuer = issuer
        self._clock = clock
        self._looked_at = clock()
        self._failure = ""
        # digest → claims. A device shows the same token with each call, and checking it takes 130 µs; knowing it, 2.
        self._verified: dict[bytes, Claims] = {}
        if isinstance(source, Path):
            self._stamp = _stamp(source)
            if warning := exposure(source):
                log.warning("keys.exposed", warning=warning)
            source = read_key_file(source)
        self._set = source
        self._keys = _imported(source)
        # Kept though the file's may change: what was digested with it would be lost.
        self.pepper = source.pepper_bytes

    @property
    def key_set(self) -> KeySet:
        """The keys as they were last read."""
        return self._set

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
    ) -> str:
        """A signed authKey. See `accounts.ports.Tokens`."""
        self.reload()
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
        }
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self._newest}
        return jwt.encode(header, claims, self._keys[self._newest], algorithms=["ES256"])

    def verify(self, token: str, now: int) -> Claims | None:
        """The claims, or None. A token that held once holds until it expires, or the keys change."""
        self.reload()
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._verified.get(digest) or self._checked(token, now)
        if claims is None or claims.exp <= now // 1000:
            return None
        if digest not in self._verified:
            self._remember(digest, claims, now)
        return claims

    def _remember(self, digest: bytes, claims: Claims, now: int) -> None:
        """All live about equally long, so the oldest are in front."""
        known = self._verified
        while known and (len(known) >= MAX_VERIFIED or known[next(iter(known))].exp <= now // 1000):
            del known[next(iter(known))]
        known[digest] = claims

    def _checked(self, token: str, now: int) -> Claims | None:
        """One algorithm, our own three header members and no others (RFC 8725, section 3)."""
        header = read_header(token)
        if header is None or header.keys() != HEADER or header["alg"] != "ES256" or header["typ"] != "at+jwt":
            return None
        kid = str(header["kid"])
        if kid not in self._keys:
            # Another process may have signed with a key that is newer than our last look.
            self.reload(at_once=True)
        key = self._keys.get(kid)
        if key is None:
            return None
        try:
            claims = jwt.decode(token, key, algorithms=["ES256"]).claims
            # joserfc's decode checks the signature only.
            jwt.JWTClaimsRegistry(
                now=now // 1000,
                leeway=SKEW_MS // 1000,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._issuer},
                exp={"essential": True},
            ).validate(claims)
            return msgspec.convert({**claims, "signed_by": kid}, Claims)
        except (JoseError, ValueError, msgspec.ValidationError):
            return None

    @property
    def ids(self) -> Set[str]:
        """Of the keys that verify, as last read."""
        return self._keys.keys()

    def trusts(self, signed_by: str) -> bool:
        """See `accounts.ports.Tokens`."""
        return signed_by in self._keys

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        self.reload()
        return {"keys": [key.as_dict(private=False, use="sig", alg="ES256") for key in self._keys.values()]}

    async def watch(self, on_removal: Callable[[], None]) -> None:
        """Forever: read the file once a second, and call `on_removal` when a key was taken out of it."""
        before = set(self.ids)
        while True:
            await asyncio.sleep(RELOAD_MS / 1000)
            self.reload()
            now = set(self.ids)
            if before - now:
                on_removal()
            before = now

    def reload(self, *, at_once: bool = False) -> None:
        """Look at the file if the last look is a second old."""
        if self._path is None:
            return
        now = self._clock()
        # A clock that was set back must not keep a removed key alive.
        if not at_once and 0 <= now - self._looked_at < RELOAD_MS:
            return
        self._looked_at = now
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp and not self._failure:
                return
            # Without a look at its mode: a key that was taken out in haste has to go.
            found = KeySet.parse(self._path.read_bytes(), self._path)
        except (OSError, KeyFileError) as error:
            # What is loaded goes on working; only a start with such a file is refused.
            if str(error) != self._failure:
                log.error("keys.unreadable", error=str(error))
            self._failure = str(error)
            return
        if self._failure:
            log.warning("keys.readable", file=str(self._path))
        self._stamp, self._failure = stamp, ""
        if found != self._set:
            self._take(found)

    def _take(self, found: KeySet) -> None:
        before, self._keys = self._keys, _imported(found)
        self._set = found
        self._verified.clear()
        log.warning(
            "keys.changed",
            signing=self._newest,
            added=sorted(self._keys.keys() - before.keys()),
            removed=sorted(before.keys() - self._keys.keys()),
        )
        if found.pepper_bytes != self.pepper:
            log.error("keys.replaced", error="the file now holds other keys altogether; restart all servers on it")

    @property
    def _newest(self) -> str:
        return str(self._set.keys[0]["kid"])


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _imported(keys: KeySet) -> dict[str, ECKey]:
    return {jwk["kid"]: ECKey.import_key(without_made(jwk)) for jwk in keys.keys}


def read_header(token: str) -> dict[str, Any] | None:
    """A JWT's header, unverified; None if it can't be one, or is too long to be one of ours."""
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        return None
    first = token.partition(".")[0]
    try:
        raw = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))
        header = None if is_deep(raw) else json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return header if isinstance(header, dict) else None
