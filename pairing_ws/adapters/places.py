"""Where addresses are: by which database, if any."""

from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.core.clock import Clock
from pairing_ws.core.network import Place
from pairing_ws.pairing.ports import Places


class NoPlaces:
    """No database was configured."""

    def of(self, ip: str) -> Place | None:
        return None


def places_database(settings: Settings, clock: Clock) -> Places:
    """Raises SettingsError."""
    if settings.geoip_file is None:
        return NoPlaces()
    try:
        # In the `geoip` extra: not every installation has it.
        from pairing_ws.adapters.geoip import GeoIpFile, GeoIpFileError
    except ImportError:
        raise SettingsError("PAIRING_GEOIP_FILE needs the geoip extra: pip install 'pairing-ws[geoip]'") from None
    try:
        return GeoIpFile(settings.geoip_file, clock)
    except GeoIpFileError as error:
        raise SettingsError(f"PAIRING_GEOIP_FILE should be a database in MaxMind's format ({error})") from None
