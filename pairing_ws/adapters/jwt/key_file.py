"""The signing keys where they are kept: a file that is made, rotated and read here, or a value of the environment."""

import base64
import errno
import fcntl
import itertools
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pairing_ws.adapters.audit_log import audit
from pairing_ws.config.settings import Settings
from pairing_ws.core.clock import Clock

# A replaced key goes on verifying for longer than any authKey lives.
RETIRED_KEPT_MS = 86_400_000
# What file systems without hard links say: SMB, FUSE, exFAT.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
# How long another process may take to fill the file that it has just made.
_FILLED_SECONDS = 2.0

Link = Callable[[str, Path], None]


class KeyFileError(Exception):
    """The keys can't be used; the text says what to do, and quotes nothing of them."""


class KeySet(msgspec.Struct, frozen=True):
    """`keys`: private JWKs, newest first, each with `kid` and `made` (ms). `pepper`: base64url, for keyed digests."""

    keys: list[dict[str, Any]]
    pepper: str

    @classmethod
    def parse(cls, text: bytes | str, where: object) -> "KeySet":
        """What a key file or the environment holds. Raises KeyFileError, which names `where` it is."""
        try:
            found = msgspec.json.decode(text, type=cls)
            pepper = found.pepper_bytes
            for jwk in found.keys:
                key = ECKey.import_key(without_made(jwk))
                if not key.is_private or key.curve_name != "P-256" or not isinstance(jwk.get("kid"), str):
                    raise ValueError("a key that is not private P-256")
        except (msgspec.DecodeError, JoseError, ValueError, KeyError) as error:
            raise KeyFileError(f"{where} holds no signing keys of pairing_ws ({error})") from error
        if len(pepper) < 32 or not found.keys:
            raise KeyFileError(f"{where} holds no key, or a pepper shorter than 256 bits")
        return found

    @classmethod
    def new(cls, clock: Clock) -> "KeySet":
        return cls(keys=[_new_key(clock)], pepper=secrets.token_urlsafe(32))

    def text(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def pepper_bytes(self) -> bytes:
        return base64.urlsafe_b64decode(self.pepper + "==")

    def rotated(self, clock: Clock) -> "KeySet":
        """With a new signing key in front, and without those retired for longer than a day."""
        keys = [_new_key(clock), *self.keys]
        # A key was retired when the one before it in the list was made.
        kept = [keys[0], *(old for newer, old in itertools.pairwise(keys) if _retired_lately(newer, clock))]
        return KeySet(keys=kept, pepper=self.pepper)

    def without(self, kid: str, clock: Clock) -> "KeySet":
        """Without that key; a new one signs if it was the one that signs now. Raises KeyFileError if there is none."""
        kids = [each["kid"] for each in self.keys]
        if kid not in kids:
            raise KeyFileError(f"there is no signing key {kid!r}; there are: {', '.join(kids)}")
        left = [each for each in self.keys if each["kid"] != kid]
        # An older key has been retired, and may be dropped by the next rotation: it does not sign again.
        return KeySet(keys=[_new_key(clock), *left] if kids[0] == kid else left, pepper=self.pepper)


def make_key_file(path: Path, clock: Clock, link: Link = os.link) -> None:
    """Make the file if there is none, mode 0600; of many processes that start at once, one makes it."""
    try:
        if not path.exists():
            _write(path, KeySet.new(clock), lambda temporary: _put_first(temporary, path, link))
        end = time.monotonic() + _FILLED_SECONDS
        while not path.stat().st_size and time.monotonic() < end:
            time.sleep(0.02)
    except OSError as error:
        raise KeyFileError(f"{path} can't be made: {error.strerror}") from error


def change_key_file(path: Path, change: Callable[[KeySet], KeySet]) -> KeySet:
    """Put what `change` makes of the file's keys in its place, one change after the other; the keys as they are now."""
    with _exclusive(path):
        changed = change(read_key_file(path))
        try:
            _write(path, changed, lambda temporary: os.replace(temporary, path))
        except OSError as error:
            raise KeyFileError(f"{path} can't be written, and is as it was: {error.strerror}") from error
    return changed


def read_key_file(path: Path) -> KeySet:
    """The file's keys. Raises KeyFileError if others could read it and its mode can be changed, or if it holds none."""
    try:
        exposure(path)
        text = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from error
    return KeySet.parse(text, path)


def exposure(path: Path) -> str | None:
    """Who else may read the file, where its mode can't be changed: on a read-only mount (a secret of Kubernetes), a
    file of another user, a file system without modes. Raises KeyFileError where it can, and OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o077:
        return None
    if not found.st_mode & 0o037 and found.st_gid in {os.getegid(), *os.getgroups()}:
        # Only this process's group reads it, and nobody but the owner writes: `fsGroup`, or a group made for this.
        return None
    if _mode_can_be_changed(path, found):
        raise KeyFileError(f"{path} can be read by other users; run: chmod 600 {path}")
    return f"{path} can be read by other users (mode {stat.S_IMODE(found.st_mode):o}), and its mode can't be changed"


def _mode_can_be_changed(path: Path, found: os.stat_result) -> bool:
    if os.geteuid() not in (0, found.st_uid):
        return False
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as probe:
            return not os.fstat(probe.fileno()).st_mode & 0o077
    except OSError as error:
        return error.errno != errno.EROFS


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Held by one process at a time: of two changes at once, one would undo the other."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from error
    try:
        # Not all file systems can; an operator's two commands within a millisecond are then their own affair.
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, content: KeySet, put: Callable[[str], None]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(content.text()))
            file.flush()
            os.fsync(file.fileno())
        put(temporary)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _put_first(temporary: str, path: Path, link: Link) -> None:
    try:
        try:
            link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # For a moment it is there and empty; others wait for what it will hold.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            os.replace(temporary, path)
    except FileExistsError:
        pass  # another process was first: its keys hold


def _new_key(clock: Clock) -> dict[str, Any]:
    key = ECKey.generate_key("P-256", private=True, auto_kid=True)
    return {**key.as_dict(private=True), "made": clock()}


def _retired_lately(newer: dict[str, Any], clock: Clock) -> bool:
    return bool(clock() - newer.get("made", 0) < RETIRED_KEPT_MS)


def without_made(stored: dict[str, Any]) -> dict[str, Any]:
    """The JWK alone, for the library that refuses members it does not know."""
    return {name: value for name, value in stored.items() if name != "made"}


def signing_keys(settings: Settings, clock: Clock) -> Path | KeySet:
    """The keys of the environment, or their file, which is made if it is missing. Raises KeyFileError."""
    if settings.signing_keys:
        return KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    missing = not settings.signing_key_file.exists()
    make_key_file(settings.signing_key_file, clock)
    if missing:
        audit("key.created", file=str(settings.signing_key_file))
    return settings.signing_key_file
