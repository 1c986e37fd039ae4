"""Push messages: which services send them, if any."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from pairing_ws.adapters.push_delivery import PushDelivery, PushService
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.core.clock import Clock
from pairing_ws.core.codes import RandomBytes
from pairing_ws.core.ports import Push
from pairing_ws.core.push_addresses import Kind


class NoPush:
    """Push is off: no credentials were configured."""

    application_server_key = ""

    def send(self, address: str, data: Mapping[str, str], seconds: int) -> None:
        pass

    def send_to_each(
        self, addresses: Callable[[], Awaitable[Sequence[str]]], data: Mapping[str, str], seconds: int
    ) -> None:
        pass


def push_service(
    settings: Settings, unregistered: Callable[[str], Awaitable[None]], clock: Clock, random: RandomBytes
) -> Push:
    """`unregistered` gets the addresses that a service says are gone. Raises SettingsError."""
    services: dict[Kind, PushService] = {}
    if settings.fcm_credentials_file is not None:
        services[Kind.FCM_TOKEN] = services[Kind.FCM_FID] = _fcm(settings, clock)
    public = ""
    if settings.vapid_private_key:
        services[Kind.WEB_PUSH], public = _web_push(settings, clock)
    return PushDelivery(services, unregistered, random, public) if services else NoPush()


# What these need is in the `push` extra: not every installation has it.


def _fcm(settings: Settings, clock: Clock) -> PushService:
    assert settings.fcm_credentials_file is not None
    try:
        from pairing_ws.adapters.fcm import FcmPush

        return FcmPush(settings.fcm_credentials_file, settings.fcm_url, clock)
    except ImportError:
        raise _needs_extra("PAIRING_FCM_CREDENTIALS_FILE") from None
    except ValueError as error:
        raise SettingsError(f"PAIRING_FCM_CREDENTIALS_FILE should be a service account's key ({error})") from None


def _web_push(settings: Settings, clock: Clock) -> tuple[PushService, str]:
    assert settings.vapid_private_key
    try:
        from pairing_ws.adapters.jwt.vapid import VapidKey
        from pairing_ws.adapters.web_push import WebPush

        key = VapidKey.parse(settings.vapid_private_key)
    except ImportError:
        raise _needs_extra("PAIRING_VAPID_PRIVATE_KEY") from None
    except ValueError as error:
        raise SettingsError(f"PAIRING_VAPID_PRIVATE_KEY {error}") from None
    subject = settings.vapid_subject or settings.public_url
    if not subject.startswith(("mailto:", "https:")):
        raise SettingsError("PAIRING_VAPID_SUBJECT is needed for Web Push: an address such as mailto:you@example.com")
    service = WebPush(key, subject, clock, allow_private=settings.allow_private_targets)
    return service, key.public


def _needs_extra(name: str) -> SettingsError:
    return SettingsError(f"{name} needs the push extra: pip install 'pairing-ws[push]'")
