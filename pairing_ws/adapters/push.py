"""Push messages: which service sends them, if any."""

from collections.abc import Awaitable, Callable, Sequence

from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.core.ports import Push


class NoPush:
    """Push is off: no credentials were configured."""

    def send(self, address: str, data: dict[str, str]) -> None:
        pass

    def send_to_each(self, addresses: Callable[[], Awaitable[Sequence[str]]], data: dict[str, str]) -> None:
        pass


def push_service(settings: Settings, unregistered: Callable[[str], Awaitable[None]]) -> Push:
    """`unregistered` gets the addresses that the service says are gone. Raises SettingsError."""
    if settings.fcm_credentials_file is None:
        return NoPush()
    try:
        # In the `push` extra: not every installation has it.
        from pairing_ws.adapters.fcm import FcmPush

        return FcmPush(settings.fcm_credentials_file, settings.fcm_url, unregistered)
    except ImportError:
        raise SettingsError(
            "PAIRING_FCM_CREDENTIALS_FILE needs the push extra: pip install 'pairing-ws[push]'"
        ) from None
    except ValueError as error:
        raise SettingsError(f"PAIRING_FCM_CREDENTIALS_FILE should be a service account's key ({error})") from None
