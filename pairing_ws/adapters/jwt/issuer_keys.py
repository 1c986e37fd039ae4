"""An issuer's public keys by their address (RFC 7517), for an application beside it: read when first needed, and kept.

They are read in a thread, so that callers on any event loop, or on one loop per request, share one reading.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from pairing_ws.adapters.jwt.keys import SigningKey
from pairing_ws.config.addresses import is_loopback
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Unavailable

log = structlog.get_logger()

# A key that the issuer has withdrawn is dead here so soon after.
FRESH_MS = 300_000
# While the issuer is away, its keys are believed for so long.
KEPT_MS = 3_600_000
# Unknown key ids must not make us ask more often.
FLOOR_MS = 10_000
READ_SECONDS = 5.0
MAX_BYTES = 65_536
MIN_RSA_BITS = 2048

Read = Callable[[str], bytes]


class IssuerKeys:
    """See `keys.Keys`. `read` gets the document at an address, and may block; it raises OSError or ValueError."""

    def __init__(self, url: str, clock: Clock, read: Read | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError(f"keys are read by https, or from this machine: {url}")
        self._url = url
        self._clock = clock
        self._read = read or read_document
        self._lock = threading.Lock()
        self._reading: Future[None] | None = None
        self._asked_at: int | None = None
        self._read_at: int | None = None
        self._keys: dict[str, dict[str, SigningKey]] = {}
        self.version = 0

    def reload(self) -> None:
        """`learn` does."""

    def of(self, algorithm: str) -> Mapping[str, SigningKey]:
        return self._keys.get(algorithm, {})

    def find(self, algorithm: str, kid: str) -> SigningKey | None:
        return self.of(algorithm).get(kid)

    async def learn(self, algorithm: str, kid: str) -> None:
        """Read the keys if this one is unknown, or all are old. Raises Unavailable while none can be believed."""
        if kid not in self.of(algorithm) or not self._is_younger(FRESH_MS):
            await self._read_again()
        if not self._is_younger(KEPT_MS):
            raise Unavailable("the address of the issuer's keys")

    def _is_younger(self, ms: int) -> bool:
        # A clock that was set back must not keep a withdrawn key alive.
        return self._read_at is not None and 0 <= self._clock() - self._read_at < ms

    async def _read_again(self) -> None:
        with self._lock:
            now = self._clock()
            if self._reading is None:
                if self._asked_at is not None and 0 <= now - self._asked_at < FLOOR_MS:
                    return
                self._asked_at = now
                reading: Future[None] = Future()
                self._reading = reading
                # No caller that gives up takes it from the others.
                reading.set_running_or_notify_cancel()
                threading.Thread(target=self._run, args=(reading, now), name="issuer-keys", daemon=True).start()
            shared = self._reading
        await asyncio.wrap_future(shared)

    def _run(self, reading: "Future[None]", now: int) -> None:
        try:
            keys = imported(self._read(self._url))
        except (OSError, ValueError) as error:
            log.warning("issuer_keys.unreadable", url=self._url, error=str(error))
        else:
            self._keys, self._read_at = keys, now
            self.version += 1
        finally:
            with self._lock:
                self._reading = None
            reading.set_result(None)


def imported(document: bytes) -> dict[str, dict[str, SigningKey]]:
    """The keys of a JWKS that we can use, by algorithm and `kid`; all others are passed over. Raises ValueError."""
    found: dict[str, dict[str, SigningKey]] = {"ES256": {}, "RS256": {}}
    jwks = msgspec.json.decode(document, type=dict[str, Any])
    if not isinstance(jwks.get("keys"), list):
        raise ValueError("it is no JWKS")
    for jwk in jwks["keys"]:
        if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig":
            continue
        try:
            if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
                found["ES256"][jwk["kid"]] = ECKey.import_key(jwk)
            elif jwk.get("kty") == "RSA":
                key = RSAKey.import_key(jwk)
                if key.public_key.key_size >= MIN_RSA_BITS:
                    found["RS256"][jwk["kid"]] = key
        except (JoseError, ValueError, TypeError):
            continue
    return found


def read_document(url: str) -> bytes:
    """By GET, without redirects. Raises OSError."""
    # 100 ms of a start, and only where keys come by an address.
    import httpx2

    end = time.monotonic() + READ_SECONDS
    document = b""
    try:
        with (
            httpx2.Client(timeout=READ_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise OSError(f"it answered {answer.status_code}")
            for part in answer.iter_bytes():
                document += part
                if len(document) > MAX_BYTES or time.monotonic() > end:
                    raise OSError("it is too long, or comes too slowly")
    except httpx2.HTTPError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    return document
