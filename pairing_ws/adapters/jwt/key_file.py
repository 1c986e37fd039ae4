"""The signing keys where they are kept: a file that is made, rotated and read here, or a value of the environment."""

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt.key_set import KeyFileError, KeySet
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.config.settings import Settings
from pairing_ws.core.clock import Clock

# What file systems without hard links say: SMB, FUSE, exFAT.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
# What makes platforms without a lasting disk work; they have no `pairing-ws`, which their lock does not install.
AS_A_VALUE = "set PAIRING_SIGNING_KEYS to what `python -m pairing_ws keys make` prints"
MADE_HERE = (
    "accounts are in PostgreSQL, and the signing keys on this disk alone: if it does not last, or other servers have"
    f" disks of their own, authKeys are refused after a restart or by another server; then {AS_A_VALUE}"
)
# How long another process may take to fill the file that it has just made.
_FILLED_SECONDS = 2.0

Link = Callable[[str, Path], None]

log = structlog.get_logger()


def make_key_file(path: Path, clock: Clock, link: Link = os.link) -> None:
    """Make the file if there is none, mode 0600; of many processes that start at once, one makes it."""
    try:
        if not path.exists():
            _write(path, KeySet.new(clock), lambda temporary: _put_first(temporary, path, link))
        end = time.monotonic() + _FILLED_SECONDS
        while not path.stat().st_size and time.monotonic() < end:
            time.sleep(0.02)
    except OSError as error:
        raise KeyFileError(f"{path} can't be made: {error.strerror}; or {AS_A_VALUE}") from error


def change_key_file(path: Path, change: Callable[[KeySet], KeySet]) -> KeySet:
    """Put what `change` makes of the file's keys in its place, one change after the other; the keys as they are now."""
    # Of a link the file that it leads to: others may have links to the same one.
    file = path.resolve()
    with _exclusive(file):
        before = read_key_file(path)
        changed = change(before)
        try:
            if changed != before:
                _write(file, changed, lambda temporary: _put_instead(temporary, file))
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


def _put_instead(temporary: str, file: Path) -> None:
    """Those who could read it still can: a group that the server belongs to."""
    found = file.stat()
    os.chown(temporary, -1, found.st_gid)
    os.chmod(temporary, stat.S_IMODE(found.st_mode))
    os.replace(temporary, file)


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


def signing_keys(settings: Settings, clock: Clock) -> Path | KeySet:
    """The keys of the environment, or their file: it is made if it is missing, and gets an RSA key if it has none and
    may be written. Raises KeyFileError."""
    if settings.signing_keys:
        return KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    path = settings.signing_key_file
    missing = not path.exists()
    make_key_file(path, clock)
    if missing:
        audit("key.created", file=str(path))
        if made_here_alone(settings):
            log.warning("keys.made_here", file=str(path), hint=MADE_HERE)
    elif not read_key_file(path).rsa_keys:
        _add_rsa_key(path, clock)
    return path


def made_here_alone(settings: Settings) -> bool:
    """Whether a key file that is missing may go missing again while what it signed for stays: each start of a platform
    without a lasting disk begins without one."""
    return DatabaseAddress.parse(settings.database_url).file is None


def _add_rsa_key(path: Path, clock: Clock) -> None:
    """Without one all goes on as before, but for applications that want RS256."""
    try:
        # Another user's file would become ours, and theirs no longer: theirs is the server, and this a command of root.
        if path.stat().st_uid != os.geteuid():
            raise KeyFileError(f"{path} belongs to another user")
        changed = change_key_file(path, lambda keys: keys.with_rsa(clock))
        audit("key.created", file=str(path), kid=changed.rsa_keys[0]["kid"])
    except (KeyFileError, OSError) as error:
        log.warning("keys.without_rsa", error=str(error))
