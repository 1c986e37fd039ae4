"""Where addresses are, from a database file in MaxMind's format. Needs the `geoip` extra; no database comes with it."""

from pathlib import Path
from typing import Any

import maxminddb
import structlog

from pairing_ws.core.clock import Clock
from pairing_ws.core.network import Place, parse

log = structlog.get_logger()

LOOK_MS = 10_000


class GeoIpFileError(Exception):
    """The file can't be used; the text says why."""


class GeoIpFile:
    """Reads the file again once it has been replaced, by a move or in place. See `pairing.ports.Places`.

    A file that has become unreadable changes nothing: what was read before goes on working.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises GeoIpFileError."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._stamp = _stamp(path)
        self._reader = _read(path)

    def of(self, ip: str) -> Place | None:
        """See `pairing.ports.Places.of`."""
        self._reload()
        address = parse(ip)
        if address is None:
            return None
        try:
            return _place(self._reader.get(address))
        except (ValueError, maxminddb.InvalidDatabaseError):
            # It knows IPv4 alone, or is damaged where nobody has looked before: then nobody can say.
            return None

    def _reload(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_MS:
            return
        self._looked_at = now
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                # Remembered whatever comes of it: a broken file is complained of once.
                self._stamp = stamp
                self._reader = _read(self._path)
                log.info("geoip.read", file=str(self._path))
        except GeoIpFileError as error:
            log.error("geoip.unreadable", error=str(error))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise GeoIpFileError(f"{path} can't be read: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> maxminddb.Reader:
    try:
        # Mapped, a file that is overwritten in place would end the process with SIGBUS.
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except OSError as error:
        raise GeoIpFileError(f"{path} can't be read: {error.strerror}") from error
    except Exception as error:
        # What a damaged file makes the reader raise is no part of its promises.
        raise GeoIpFileError(f"{path} is no database in MaxMind's format ({type(error).__name__})") from error


def _place(record: Any) -> Place | None:
    """The record of a country or city database, in English."""
    place = Place(
        country_code=_text(record, "country", "iso_code"),
        country=_text(record, "country", "names", "en"),
        city=_text(record, "city", "names", "en"),
    )
    return place if place != Place() else None


def _text(record: Any, *path: str) -> str:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record if isinstance(record, str) else ""
