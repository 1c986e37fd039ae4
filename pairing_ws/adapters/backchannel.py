"""Delivers logout tokens to applications (OpenID Connect Back-Channel Logout 1.0, section 2.5)."""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import structlog

from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.core.errors import Refused
from pairing_ws.oauth.backchannel import BackchannelLogout, Delivery, Outcome

if TYPE_CHECKING:
    from pairing_ws.adapters.posting import Poster

log = structlog.get_logger()

HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
# With a delivery before it that gets no answer, an application still hears of a logout within 10 s.
LOOK_SECONDS = 3


class HttpLogouts:
    """See `oauth.backchannel.Deliver`."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._poster: Poster | None = None
        self._loading = asyncio.Lock()

    async def __aenter__(self) -> "HttpLogouts":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._poster:
            await self._poster.aclose()

    async def __call__(self, uri: str, logout_token: str) -> Delivery:
        poster = await self._loaded()
        body = urlencode({"logout_token": logout_token}).encode()
        try:
            status = await poster.post(uri, body, HEADERS)
        except (OSError, ForbiddenTarget) as error:
            return Delivery(Outcome.FAILED, str(error))
        if status in (200, 204):
            return Delivery(Outcome.TOLD)
        # The only status by which an application says that the token itself is at fault: the next would be no better.
        return Delivery(Outcome.REFUSED if status == 400 else Outcome.FAILED, f"it answered {status}")

    async def _loaded(self) -> "Poster":
        async with self._loading:
            if self._poster is None:
                # Not needed before an application is told something: 100 ms of a start. In a thread, where they hold up
                # nobody.
                posting = await asyncio.to_thread(import_module, "pairing_ws.adapters.posting")
                self._poster = posting.Poster(self._targets)
        return self._poster


async def keep_telling(backchannel: BackchannelLogout) -> None:
    """Deliver the logouts that are owed, whichever process or command ended their grants. Runs until it is
    cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await backchannel.deliver_due()
        except Refused:
            # The database is away, and keeps what is owed.
            continue
        except Exception:
            log.exception("logouts.failed")
