"""The signing keys of a running process: those of a file may change while it runs, those of the environment stay."""

import asyncio
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import structlog

from pairing_ws.adapters.jwt.key_file import exposure, read_key_file
from pairing_ws.adapters.jwt.key_set import KeyFileError, KeySet
from pairing_ws.adapters.jwt.keys import SigningKey
from pairing_ws.core.clock import Clock

log = structlog.get_logger()

# How often the file is looked at: a key that is taken out of it is dead everywhere so soon after.
RELOAD_MS = 1_000


class KeyRing:
    """By algorithm, the newest key signs and all verify. Callers that sign or verify call `reload` first."""

    def __init__(self, source: Path | KeySet, clock: Clock) -> None:
        self._path = source if isinstance(source, Path) else None
        self._clock = clock
        self._looked_at = clock()
        self._failure = ""
        if isinstance(source, Path):
            self._stamp = _stamp(source)
            if warning := exposure(source):
                log.warning("keys.exposed", warning=warning)
            source = read_key_file(source)
        self._set = source
        self._keys = _imported(source)
        # Kept though the file's may change: what was digested with it would be lost.
        self.pepper = source.pepper_bytes
        self.version = 0

    @property
    def key_set(self) -> KeySet:
        """The keys as they were last read."""
        return self._set

    def of(self, algorithm: str) -> Mapping[str, SigningKey]:
        """The keys of ES256 or RS256 by `kid`, the one that signs first; none of any other algorithm."""
        return self._keys.get(algorithm, {})

    def find(self, algorithm: str, kid: str) -> SigningKey | None:
        """The key of that algorithm and id, looked for in the file if it is not known."""
        if kid not in self.of(algorithm):
            # Another process may have signed with a key that is newer than our last look.
            self.reload(at_once=True)
        return self.of(algorithm).get(kid)

    @property
    def ids(self) -> Set[str]:
        """Of all keys that verify, as last read."""
        return {kid for keys in self._keys.values() for kid in keys}

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        self.reload()
        return {
            "keys": [
                key.as_dict(private=False, use="sig", alg=algorithm)
                for algorithm, keys in self._keys.items()
                for key in keys.values()
            ]
        }

    async def watch(self, on_removal: Callable[[], None]) -> None:
        """Forever: read the file once a second, and call `on_removal` when a key was taken out of it."""
        before = self.ids
        while True:
            await asyncio.sleep(RELOAD_MS / 1000)
            self.reload()
            now = self.ids
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
        before = self.ids
        self._keys, self._set = _imported(found), found
        self.version += 1
        log.warning(
            "keys.changed",
            signing=next(iter(self.of("ES256"))),
            added=sorted(self.ids - before),
            removed=sorted(before - self.ids),
        )
        if found.pepper_bytes != self.pepper:
            log.error("keys.replaced", error="the file now holds other keys altogether; restart all servers on it")


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _imported(keys: KeySet) -> dict[str, Mapping[str, SigningKey]]:
    """By algorithm; without RS256 where there is no RSA key."""
    rsa = keys.rsa()
    return {"ES256": keys.ec(), **({"RS256": rsa} if rsa else {})}
