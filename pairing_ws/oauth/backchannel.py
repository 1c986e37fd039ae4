"""Back-channel logout: what is owed to applications, in which words, and when it is tried again (OpenID Connect
Back-Channel Logout 1.0)."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import NamedTuple

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.clock import Clock
from pairing_ws.oauth.ports import ClientTokens, GrantStore, LogoutNotice

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Section 2.4 recommends two minutes at most.
TOKEN_SECONDS = 120
# No other process takes a notice meanwhile; longer than a delivery takes.
LEASE_MS = 60_000
# Delivered at once, by one process.
BATCH = 50
# After so many failures so many seconds; then every hour.
RETRY_SECONDS = (5, 15, 60, 300, 900, 1800)
LATER_SECONDS = 3600
OWED_MS = 86_400_000


class Outcome(Enum):
    TOLD = auto()
    # The application will not take it, whatever comes.
    REFUSED = auto()
    FAILED = auto()


class Delivery(NamedTuple):
    outcome: Outcome
    why: str = ""


# Sends a logout token to an address, and never raises.
Deliver = Callable[[str, str], Awaitable[Delivery]]


def next_attempt(notice: LogoutNotice, now: int) -> int | None:
    """When to try again (ms) after one more failure; None when it is given up, a day after the logout."""
    failures = notice.attempts
    seconds = RETRY_SECONDS[failures] if failures < len(RETRY_SECONDS) else LATER_SECONDS
    at = now + seconds * 1000
    return at if at < notice.created_at + OWED_MS else None


class BackchannelLogout:
    """Tells applications that a person's login at them has ended."""

    def __init__(
        self,
        grants: GrantStore,
        tokens: ClientTokens,
        deliver: Deliver,
        issuer: str,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit = no_audit,
    ) -> None:
        self._grants = grants
        self._tokens = tokens
        self._deliver = deliver
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._audit = audit

    async def deliver_due(self) -> None:
        """Everything that is due now, each notice by one process. Raises Unavailable; what was not noted as told is
        told again then, for an application can bear that."""
        while True:
            due = await self._grants.due_logouts(self._clock(), LEASE_MS, BATCH)
            for error in await asyncio.gather(*map(self._tell, due), return_exceptions=True):
                if error is not None:
                    raise error
            if len(due) < BATCH:
                return

    async def _tell(self, notice: LogoutNotice) -> None:
        delivery = await self._attempt(notice)
        if delivery.outcome is Outcome.TOLD:
            await self._grants.logout_told(notice.id)
            self._audit("logout.told", client=notice.client_id, user=notice.user_id, grant=notice.grant_id)
            return
        again = next_attempt(notice, self._clock()) if delivery.outcome is Outcome.FAILED else None
        self._audit(
            "logout.failed" if again else "logout.given_up",
            client=notice.client_id,
            user=notice.user_id,
            grant=notice.grant_id,
            attempts=notice.attempts + 1,
            why=delivery.why,
        )
        if again is None:
            await self._grants.logout_told(notice.id)
        else:
            await self._grants.logout_failed(notice.id, again)

    async def _attempt(self, notice: LogoutNotice) -> Delivery:
        try:
            token = self._logout_token(notice)
        except ValueError as error:
            # A key of that algorithm may come back.
            return Delivery(Outcome.FAILED, str(error))
        return await self._deliver(notice.uri, token)

    def _logout_token(self, notice: LogoutNotice) -> str:
        """Section 2.4. Without a `nonce`: it is no id_token."""
        now = self._clock() // 1000
        claims = {
            "iss": self._issuer,
            "aud": notice.client_id,
            "sub": notice.user_id,
            "sid": notice.grant_id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": codes.token(self._random),
            "events": {EVENT: {}},
        }
        return self._tokens.sign(claims, typ="logout+jwt", alg=notice.alg)
