"""authKeys as ES256 JWTs (RFC 9068 profile), and the key file they and the keyed digests come from."""

import base64
import binascii
import hashlib
import itertools
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pairing_ws.accounts.ports import Claims
from pairing_ws.clock import Clock

log = structlog.get_logger()

# A header of ours fits many times; longer ones are not worth parsing.
MAX_TOKEN = 4096
HEADER = frozenset({"alg", "typ", "kid"})
# A replaced key goes on verifying for longer than any authKey lives.
RETIRED_KEPT_MS = 86_400_000
# About 2 MB.
MAX_VERIFIED = 4096
# How often the file is looked at for a rotation.
RELOAD_MS = 1_000


class KeyFileError(Exception):
    """The key file can't be used; the text says what to do."""


class KeyFile(msgspec.Struct, frozen=True):
    """`keys`: private JWKs, newest first, each with `kid` and `made` (ms). `pepper`: base64url, for keyed digests."""

    keys: list[dict[str, Any]]
    pepper: str


class KeyRing:
    """Signs with the newest key of the file and verifies with all of them; notices a rotation while it runs."""

    def __init__(self, path: Path, issuer: str, clock: Clock) -> None:
        self._path = path
        self._issuer = issuer
        self._clock = clock
        self._looked_at = 0
        self._stamp = 0
        self._keys: dict[str, ECKey] = {}
        # digest → claims. A device shows the same token with each call, and checking it takes 130 µs; knowing it, 2.
        self._verified: dict[bytes, Claims] = {}
        self._newest = ""
        self._load()

    @property
    def pepper(self) -> bytes:
        """The secret of keyed digests: 256 bits, never rotated, for user codes would be lost."""
        return self._pepper

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
    ) -> str:
        """A signed authKey. See `accounts.ports.Tokens`."""
        self._reload()
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
            **({"cnf": {"jkt": key_thumbprint}} if key_thumbprint else {}),
        }
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self._newest}
        return jwt.encode(header, claims, self._keys[self._newest], algorithms=["ES256"])

    def verify(self, token: str, now: int) -> Claims | None:
        """The claims, or None. A token that held once holds until it expires, or the keys change."""
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
            self._reload(at_once=True)
        key = self._keys.get(kid)
        if key is None:
            return None
        try:
            claims = jwt.decode(token, key, algorithms=["ES256"]).claims
            # joserfc's decode checks the signature only.
            jwt.JWTClaimsRegistry(
                now=now // 1000,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._issuer},
                exp={"essential": True},
            ).validate(claims)
            return msgspec.convert(claims, Claims)
        except (JoseError, ValueError, msgspec.ValidationError):
            return None

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        self._reload()
        return {"keys": [key.as_dict(private=False, use="sig", alg="ES256") for key in self._keys.values()]}

    def _reload(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if now - self._looked_at < RELOAD_MS and not at_once:
            return
        self._looked_at = now
        try:
            if self._path.stat().st_mtime_ns != self._stamp:
                self._load()
        except (OSError, KeyFileError) as error:
            # What is loaded goes on working; only a start with such a file is refused.
            log.error("keys.unreadable", error=str(error))

    def _load(self) -> None:
        stamp = self._path.stat().st_mtime_ns
        content = read_key_file(self._path)
        self._keys = {jwk["kid"]: ECKey.import_key(_jwk(jwk)) for jwk in content.keys}
        self._newest = content.keys[0]["kid"]
        self._verified.clear()
        self._pepper = base64.urlsafe_b64decode(content.pepper + "==")
        self._stamp = stamp


def make_key_file(path: Path, clock: Clock) -> None:
    """Make the file if there is none, mode 0600; of many processes that start at once, one makes it."""
    if path.exists():
        return
    content = KeyFile(keys=[_new_key(clock)], pepper=secrets.token_urlsafe(32))
    try:
        _write(path, content, os.link)
    except OSError as error:
        raise KeyFileError(f"{path} can't be made: {error.strerror}") from error


def rotate_keys(path: Path, clock: Clock) -> str:
    """Put a new signing key in front and drop those retired for longer than a day; the new key's id."""
    content = read_key_file(path)
    keys = [_new_key(clock), *content.keys]
    # A key was retired when the one before it in the list was made.
    kept = [keys[0], *(old for newer, old in itertools.pairwise(keys) if _retired_lately(newer, clock))]
    _write(path, KeyFile(keys=kept, pepper=content.pepper), os.replace)
    return str(keys[0]["kid"])


def read_key_file(path: Path) -> KeyFile:
    """The file's content. Raises KeyFileError if others could read it, or if it is not what we wrote."""
    try:
        if path.is_file() and path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path} can be read by other users; run: chmod 600 {path}")
        content = msgspec.json.decode(path.read_bytes(), type=KeyFile)
        pepper = base64.urlsafe_b64decode(content.pepper + "==")
        for jwk in content.keys:
            key = ECKey.import_key(_jwk(jwk))
            if not key.is_private or key.curve_name != "P-256" or not isinstance(jwk.get("kid"), str):
                raise ValueError("a key that is not private P-256")
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from error
    except (msgspec.DecodeError, JoseError, ValueError, KeyError) as error:
        raise KeyFileError(f"{path} is not a key file of pairing_ws ({error})") from error
    if len(pepper) < 32 or not content.keys:
        raise KeyFileError(f"{path} holds no key, or a pepper shorter than 256 bits")
    return content


def _write(path: Path, content: KeyFile, put: Any) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content)))
            file.flush()
            os.fsync(file.fileno())
        put(temporary, path)
    except FileExistsError:
        pass  # another process was first: its keys hold
    finally:
        Path(temporary).unlink(missing_ok=True)


def _new_key(clock: Clock) -> dict[str, Any]:
    key = ECKey.generate_key("P-256", private=True, auto_kid=True)
    return {**key.as_dict(private=True), "made": clock()}


def _retired_lately(newer: dict[str, Any], clock: Clock) -> bool:
    return bool(clock() - newer.get("made", 0) < RETIRED_KEPT_MS)


def _jwk(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name != "made"}


def read_header(token: str) -> dict[str, Any] | None:
    """A JWT's header, unverified; None if it can't be one, or is too long to be one of ours."""
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        return None
    first = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return header if isinstance(header, dict) else None
