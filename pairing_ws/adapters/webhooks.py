"""Posts webhooks to the operator's receiver."""

from pairing_ws.adapters.lazy_poster import LazyPoster
from pairing_ws.adapters.retry_after import retry_after
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.core.clock import Clock
from pairing_ws.webhooks.ports import Reply

# Standard Webhooks recommends 15 to 30 s. Far less than a lease (`core.deliveries`).
TIMEOUT_SECONDS = 15.0
HEADERS = {"Content-Type": "application/json", "User-Agent": "pairing_ws"}


class HttpWebhooks:
    """See `webhooks.ports.Send`."""

    def __init__(self, url: str, signatures: WebhookSignatures, targets: Targets, clock: Clock) -> None:
        self._url = url
        self._signatures = signatures
        self._targets = targets
        self._clock = clock
        self._poster = LazyPoster(targets, TIMEOUT_SECONDS)

    async def __aenter__(self) -> "HttpWebhooks":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._poster.aclose()

    async def __call__(self, webhook_id: str, body: bytes) -> Reply:
        headers = HEADERS | self._signatures.headers(webhook_id, self._clock(), body)
        try:
            status, header, _ = await self._poster.exchange(self._url, body, headers)
        except (OSError, ForbiddenTarget) as error:
            return Reply(0, str(error))
        return Reply(status, retry_after=round((retry_after(header, self._clock) or 0) * 1000))

    async def check(self) -> None:
        """Return if something may be sent there. Raises ForbiddenTarget, and OSError if the name can't be resolved."""
        await self._targets.checked(self._url)
