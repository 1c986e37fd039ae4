"""Push messages to browsers: Web Push (RFC 8030), encrypted for the subscription (RFC 8291; http-ece, of the `push`
extra), with this server's own key (VAPID, RFC 8292). The push service is whatever server the device's browser has
named: see `targets` for where nothing is sent."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from pairing_ws.adapters.jwt.vapid import VapidKey
from pairing_ws.adapters.posting import Poster, PostFailed, PostTimedOut
from pairing_ws.adapters.push_delivery import Answer, Forbidden, Unreachable, Verdict
from pairing_ws.adapters.retry_after import retry_after
from pairing_ws.adapters.targets import ForbiddenTarget, Targets, system_addresses
from pairing_ws.core.clock import Clock
from pairing_ws.core.push_addresses import subscription_of

# Every message is this long before it is encrypted: its length tells the push service nothing. Below 4096 bytes in all,
# which is what every push service takes (RFC 8030, section 7.2).
PADDED_BYTES = 512
TIMEOUT_SECONDS = 10.0
# Any account's devices name the servers. Names that nobody answers for hold up no other request of this process.
_resolve = partial(system_addresses, threads=ThreadPoolExecutor(16, thread_name_prefix="resolve-push"))
_DELIVERED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})


class WebPush:
    """See `push_delivery.PushService`. `subject` is whom a push service can turn to: `mailto:…` or `https://…`."""

    def __init__(
        self, key: VapidKey, subject: str, clock: Clock, *, allow_private: bool, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._key = key
        self._subject = subject
        self._clock = clock
        self._poster = Poster(Targets(allow_private=allow_private, resolve=_resolve), timeout)

    async def aclose(self) -> None:
        await self._poster.aclose()

    def server(self, address: str) -> str:
        return urlsplit(subscription_of(address).endpoint).netloc

    async def post(self, address: str, data: Mapping[str, str], seconds: int) -> Answer:
        found = subscription_of(address)
        # White space at the end is no part of the JSON.
        message = msgspec.json.encode(data).ljust(PADDED_BYTES)
        body = http_ece.encrypt(
            message, private_key=generate_private_key(SECP256R1()), dh=found.p256dh, auth_secret=found.auth
        )
        headers = {
            "Authorization": self._key.authorization(found.endpoint, self._subject, self._clock),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(seconds),
            "Urgency": "high",
        }
        try:
            answer = await self._poster.exchange(found.endpoint, body, headers)
        except ForbiddenTarget as error:
            raise Forbidden(str(error)) from error
        except PostTimedOut as error:
            raise TimeoutError from error
        except PostFailed as error:
            raise Unreachable(str(error)) from error
        return Answer(_verdict(answer.status), answer.status, retry_after(answer.retry_after, self._clock))


def _verdict(status: int) -> Verdict:
    if status in _DELIVERED:
        return Verdict.SENT
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Verdict.UNREGISTERED
    return Verdict.LATER if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500 else Verdict.REFUSED
