"""Back-channel logout: what is owed to applications, and in which words (OpenID Connect Back-Channel Logout 1.0)."""

from collections.abc import Awaitable, Callable, Sequence

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.deliveries import Deliveries, Delivery, Outcome
from pairing_ws.oauth.ports import ClientTokens, GrantStore, LogoutNotice

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Section 2.4 recommends two minutes at most.
TOKEN_SECONDS = 120

# Sends a logout token to an address, and never raises.
Deliver = Callable[[str, str], Awaitable[Delivery]]


class _Notices:
    """The notices of a store as a `core.deliveries.Queue`."""

    def __init__(self, grants: GrantStore) -> None:
        self._grants = grants

    async def take_due(self, now: int, lease_ms: int, most: int) -> Sequence[LogoutNotice]:
        return await self._grants.due_logouts(now, lease_ms, most)

    async def forget(self, owed: LogoutNotice) -> None:
        await self._grants.logout_told(owed.id)

    async def put_off(self, owed: LogoutNotice, until: int) -> None:
        await self._grants.logout_failed(owed.id, until)


class BackchannelLogout:
    """Tells applications that a person's login at them has ended: `deliver_due`, as `core.deliveries` says."""

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
        self._tokens = tokens
        self._deliver = deliver
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._audit = audit
        self.deliver_due = Deliveries(_Notices(grants), self._attempt, self._report, clock).deliver_due

    def _report(self, notice: LogoutNotice, delivery: Delivery, again: int | None) -> None:
        facts = {"client": notice.client_id, "user": notice.user_id, "grant": notice.grant_id}
        if delivery.outcome is Outcome.TOLD:
            self._audit("logout.told", **facts)
        else:
            event = "logout.failed" if again else "logout.given_up"
            self._audit(event, **facts, attempts=notice.attempts + 1, why=delivery.why)

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
