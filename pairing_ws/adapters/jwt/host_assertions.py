"""The host application's assertion that a person was there: a short-lived JWT, signed with the host's own P-256 key."""

import json
from pathlib import Path
from typing import Any

import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pairing_ws.accounts.passkeys import HostAssertion
from pairing_ws.adapters.jwt.header import read_header, signed_claims
from pairing_ws.adapters.jwt.key_ring import RELOAD_MS
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.core.clock import SKEW_MS, Clock

log = structlog.get_logger()

# An explicit type, so that no other token the host signs with this key is taken for one (RFC 8725, section 3.11).
TYPE = "step-up+jwt"
MAX_LIFE = 300
LEEWAY = SKEW_MS // 1000


class HostKeyError(ValueError):
    """The file holds no key we can use; the text says why."""


class HostKeys:
    """Verifies with the keys of the file, which may change while we run. See `accounts.passkeys.Host`."""

    def __init__(self, path: Path, audience: str, clock: Clock) -> None:
        self._path = path
        self._audience = audience
        self._clock = clock
        self._looked_at = clock()
        self._stamp = path.stat().st_mtime_ns
        self._keys = read_host_keys(path)

    def verify(self, token: str, now: int) -> HostAssertion | None:
        """One algorithm, one type, no header members but `kid` beside them (RFC 8725, section 3)."""
        self._reload()
        header = read_header(token)
        if header is None or header.keys() - {"kid"} != {"alg", "typ"}:
            return None
        if header["alg"] != "ES256" or header["typ"] != TYPE:
            return None
        key = self._key(header.get("kid"))
        if key is None:
            return None
        try:
            claims = signed_claims(token, key, ["ES256"])
            # joserfc's decode checks the signature only.
            jwt.JWTClaimsRegistry(
                now=now // 1000,
                leeway=LEEWAY,
                aud={"essential": True, "value": self._audience},
                exp={"essential": True},
            ).validate(claims)
            assertion = msgspec.convert(claims, HostAssertion)
        except (JoseError, ValueError, msgspec.ValidationError):
            return None
        long = claims["exp"] > now // 1000 + MAX_LIFE + LEEWAY
        ahead = assertion.auth_time > now // 1000 + LEEWAY
        return None if long or ahead or claims["exp"] < assertion.auth_time else assertion

    def _key(self, kid: object) -> ECKey | None:
        """By its id; without one there has to be only one."""
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        if not isinstance(kid, str):
            return None
        # A PEM file gives its key no name, so that any will do.
        return self._keys.get(kid) or self._keys.get("")

    def _reload(self) -> None:
        now = self._clock()
        if 0 <= now - self._looked_at < RELOAD_MS:
            return
        self._looked_at = now
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys, self._stamp = read_host_keys(self._path), stamp
        except (OSError, HostKeyError) as error:
            # What is loaded goes on working; only a start with such a file is refused.
            log.error("host_keys.unreadable", error=str(error))


def read_host_keys(path: Path) -> dict[str, ECKey]:
    """The file's public keys by `kid`: a JWKS, a JWK or a PEM. Raises HostKeyError."""
    try:
        text = path.read_text()
        found = (
            [ECKey.import_key(jwk) for jwk in _jwks(text)]
            if text.lstrip().startswith("{")
            else [ECKey.import_key(text)]
        )
        keys = {str(key.kid or ""): key for key in found}
    except OSError as error:
        raise HostKeyError(error.strerror or "it can't be read") from error
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise HostKeyError("it is neither a PEM nor a JWKS of P-256 keys") from error
    if not keys or len(keys) < len(found) or any(key.curve_name != "P-256" for key in found):
        raise HostKeyError("it needs P-256 keys, each with a `kid` of its own if there are several")
    if any(key.is_private for key in found):
        raise HostKeyError("it holds a private key, which is the host's alone")
    return keys


def _jwks(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    return list(document["keys"]) if "keys" in document else [document]


def host_keys(settings: Settings, clock: Clock) -> HostKeys | None:
    """None if no host application vouches for people. Raises SettingsError."""
    if settings.host_key_file is None:
        return None
    try:
        return HostKeys(settings.host_key_file, settings.public_url, clock)
    except HostKeyError as error:
        raise SettingsError(f"PAIRING_HOST_KEY_FILE should be the host application's public key: {error}") from None
