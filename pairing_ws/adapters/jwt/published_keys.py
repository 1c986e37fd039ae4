"""Public keys of other issuers, from a file or an address: which can be used, and how long they are good for."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Unavailable

log = structlog.get_logger()

Key = RSAKey | ECKey | OKPKey
# Of an algorithm: the kind of its keys. Asymmetric ones alone (RFC 8725, section 3.1).
ALGORITHMS: Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    "RS256": RSAKey,
    "PS256": RSAKey,
    "ES256": ECKey,
    "EdDSA": OKPKey,
}
_KINDS: Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_PUBLIC = ("kty", "kid", "n", "e", "crv", "x", "y")
# An issuer publishes two or three. Longer RSA keys take longer than anybody's token is worth.
MAX_KEYS = 64
RSA_BITS = range(2048, 8193)
# So long a key set is taken for the newest; so long it goes on where no newer one can be had.
FRESH_MS = 600_000
STALE_MS = 3_600_000
# An issuer is asked no more often than this, whatever tokens come.
ASK_MS = 30_000
# A file is looked at no more often than this.
LOOK_MS = 5_000


class PublishedKey(NamedTuple):
    """`alg`: the only algorithm it is for, if it says so."""

    kid: str | None
    alg: str | None
    key: Key


class KeySource(Protocol):
    async def find(self, kid: str | None, alg: str) -> Key | None:
        """The key of that id for that algorithm; without an id the only one there is. Raises Unavailable."""


def usable_keys(document: Any) -> list[PublishedKey]:
    """Those of a key set (RFC 7517) that can check a signature; a private or shared one is passed over, as are kinds
    that are not known. Raises ValueError if it is no key set."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no key set")
    found = []
    for each in listed[:MAX_KEYS]:
        if isinstance(each, dict) and each.get("use") in (None, "sig") and (key := _imported(each)) is not None:
            alg, kid = each.get("alg"), each.get("kid")
            found.append(
                PublishedKey(kid if isinstance(kid, str) else None, alg if isinstance(alg, str) else None, key)
            )
    return found


def _imported(jwk: Mapping[str, Any]) -> Key | None:
    kind = _KINDS.get(str(jwk.get("kty")))
    if kind is None or "d" in jwk or (kind is not RSAKey and jwk.get("crv") != _CURVES[str(jwk["kty"])]):
        return None
    # Before it is reckoned with.
    if kind is RSAKey and len(str(jwk.get("n"))) > RSA_BITS.stop // 6 + 8:
        return None
    try:
        key = kind.import_key({name: jwk[name] for name in _PUBLIC if name in jwk})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if not isinstance(key, RSAKey) or key.public_key.key_size in RSA_BITS else None


def key_for(keys: list[PublishedKey], kid: str | None, alg: str) -> Key | None:
    fitting = [
        each.key
        for each in keys
        if isinstance(each.key, ALGORITHMS[alg]) and each.alg in (None, alg) and kid in (None, each.kid)
    ]
    return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None


class FileKeys:
    """Of a file, which may change while we run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises ValueError, and OSError."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._stamp = path.stat().st_mtime_ns
        self._keys = usable_keys(json.loads(path.read_bytes()))
        if not self._keys:
            raise ValueError("it holds no public key for " + ", ".join(ALGORITHMS))

    async def find(self, kid: str | None, alg: str) -> Key | None:
        now = self._clock()
        if not 0 <= now - self._looked_at < LOOK_MS:
            self._looked_at = now
            self._reload()
        return key_for(self._keys, kid, alg)

    def _reload(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys, self._stamp = usable_keys(json.loads(self._path.read_bytes())), stamp
        except (OSError, ValueError) as error:
            # What is loaded goes on working; only a start with such a file is refused.
            log.error("trusted_keys.unreadable", error=str(error))


class FetchedKeys:
    """Of an address. `fetch` gives the key set, and raises OSError and ValueError; it is called once at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[Any]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[PublishedKey] = []
        self._fetched_at: int | None = None
        self._asked_at: int | None = None
        self._asking = asyncio.Lock()

    async def find(self, kid: str | None, alg: str) -> Key | None:
        if not self._within(self._fetched_at, FRESH_MS):
            await self._renew()
        found = key_for(self._keys, kid, alg)
        if found is None:
            # The issuer may have a new one.
            await self._renew()
            found = key_for(self._keys, kid, alg)
        if self._fetched_at is None:
            raise Unavailable("the issuer's key set", retry_after=ASK_MS // 1000)
        return found

    async def _renew(self) -> None:
        asked = self._asked_at
        async with self._asking:
            # A caller that has waited here has what the one before was answered.
            if self._asked_at != asked or self._within(self._asked_at, ASK_MS):
                return
            self._asked_at = self._clock()
            try:
                self._keys = await asyncio.to_thread(usable_keys, await self._fetch())
                self._fetched_at = self._clock()
            except (OSError, ValueError) as error:
                log.warning("trusted_keys.failed", error=str(error))
            except asyncio.CancelledError:
                # Its caller has left; the next one asks for itself.
                self._asked_at = asked
                raise
            if not self._within(self._fetched_at, STALE_MS):
                self._keys, self._fetched_at = [], None

    def _within(self, at: int | None, span_ms: int) -> bool:
        return at is not None and 0 <= self._clock() - at < span_ms
