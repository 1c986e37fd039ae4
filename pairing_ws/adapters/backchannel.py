"""Delivers logout tokens to applications (OpenID Connect Back-Channel Logout 1.0, section 2.5)."""

from urllib.parse import urlencode

from pairing_ws.adapters.lazy_poster import LazyPoster
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.core.deliveries import Delivery, Outcome

HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}


class HttpLogouts:
    """See `oauth.backchannel.Deliver`."""

    def __init__(self, targets: Targets) -> None:
        self._poster = LazyPoster(targets)

    async def __aenter__(self) -> "HttpLogouts":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._poster.aclose()

    async def __call__(self, uri: str, logout_token: str) -> Delivery:
        body = urlencode({"logout_token": logout_token}).encode()
        try:
            status, *_ = await self._poster.exchange(uri, body, HEADERS)
        except (OSError, ForbiddenTarget) as error:
            return Delivery(Outcome.FAILED, str(error))
        if status in (200, 204):
            return Delivery(Outcome.TOLD)
        # The only status by which an application says that the token itself is at fault: the next would be no better.
        return Delivery(Outcome.REFUSED if status == 400 else Outcome.FAILED, f"it answered {status}")
