"""Where a login is kept between runs: in the system's keyring if there is one, else in a file for this user alone."""

import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

SERVICE = "pairing-ws"


class UnsafeStorage(Exception):
    """What is kept there, others can read or have spoilt. The text says what to do."""


class Ring(Protocol):
    """What the package `keyring` has."""

    def get_password(self, service_name: str, username: str) -> str | None: ...

    def set_password(self, service_name: str, username: str, password: str) -> None: ...

    def delete_password(self, service_name: str, username: str) -> None: ...


@dataclass(frozen=True)
class Stored:
    """One login. `expires_at` is of the authKey, in seconds since 1970 by this machine's clock; `key` is the device's
    private key as a JWK, if it has one."""

    device_code: str
    auth_key: str = field(repr=False)
    refresh_key: str = field(repr=False)
    expires_at: float
    username: str
    key: Mapping[str, str] | None = field(default=None, repr=False)


def system_ring() -> Ring | None:
    """The system's keyring, if the package `keyring` is installed and finds one that works."""
    try:
        keyring = import_module("keyring")
        if keyring.get_keyring().priority < 1:
            return None
    except Exception:
        # It is a guest here: whatever it fails with, there is a file.
        return None
    return keyring


class KeyStore:
    """Logins by the address of their server. `folder` is for files, with 0600, and for locks. Without `ring` all is in
    files."""

    def __init__(self, folder: Path, ring: Ring | None = None) -> None:
        self._folder = folder
        self._ring = ring

    def load(self, url: str) -> Stored | None:
        """Raises UnsafeStorage, and OSError."""
        ring, file = self._ring, self._file(url)
        text = self._read(file) if ring is None else ring.get_password(SERVICE, url)
        if text is None:
            return None
        try:
            return Stored(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise UnsafeStorage(f"what is kept of {url} can't be read; log in again") from error

    def save(self, url: str, stored: Stored) -> None:
        """All of it or, if the machine fails, nothing."""
        text = json.dumps(asdict(stored))
        if self._ring is None:
            self._write(self._file(url), text)
        else:
            self._ring.set_password(SERVICE, url, text)

    def forget(self, url: str) -> None:
        if self._ring is not None:
            # It raises an error of its own where there is nothing.
            with suppress(Exception):
                self._ring.delete_password(SERVICE, url)
        self._file(url).unlink(missing_ok=True)

    @contextmanager
    def locked(self, url: str) -> Iterator[None]:
        """Of several programs one at a time: each refresh uses a key up. Waits, so call it in a thread. Without a lock
        where the system has none of this kind (Windows)."""
        try:
            fcntl: Any = import_module("fcntl")
        except ImportError:
            yield
            return
        self._make_folder()
        descriptor = os.open(self._file(url).with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # Which unlocks it.
            os.close(descriptor)

    def _file(self, url: str) -> Path:
        return self._folder / f"{sha256(url.encode()).hexdigest()[:32]}.json"

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _read(self, file: Path) -> str | None:
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(descriptor, encoding="utf-8") as opened:
            mode = os.fstat(descriptor).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise UnsafeStorage(f"{file} can be read by others; log in again, and `chmod 600` it")
            return opened.read()

    def _write(self, file: Path, text: str) -> None:
        self._make_folder()
        fresh = file.with_suffix(f".{secrets.token_hex(8)}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(descriptor)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
