"""How a client's grant ends, and who is told: its applications by the store's notices, the account's devices, the audit
log."""

from pairing_ws.accounts.ports import Activity
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.oauth.ports import Client, Grant, GrantStore
from pairing_ws.oauth.types import AccountChanged


class Endings:
    def __init__(self, grants: GrantStore, changed: AccountChanged, clock: Clock, audit: Audit) -> None:
        self._grants = grants
        self._changed = changed
        self._clock = clock
        self._audit = audit

    async def revoked(self, grant: Grant, client: Client, ip: str) -> None:
        """The client needs it no more."""
        await self._end(grant, client, "revoked", ip, None)

    async def logged_out(self, grant: Grant, client: Client, ip: str) -> None:
        """The client has sent its person to log out."""
        await self._end(grant, client, "logged_out", ip, None)

    async def reused(self, grant: Grant, client: Client, ip: str) -> None:
        """A code or refresh token of it came a second time: one of two has a copy (RFC 9700, section 4.14.2)."""
        line = Activity(
            user_id=grant.user.id,
            at=self._clock(),
            event="app.reused",
            device_id=grant.device_id,
            device_name=client.name,
            ip=ip,
        )
        await self._end(grant, client, "reused", ip, line)

    async def _end(self, grant: Grant, client: Client, why: str, ip: str, line: Activity | None) -> None:
        if not await self._grants.end(grant.id, why, self._clock(), line):
            # It has ended before.
            return
        self._audit(
            "grant.ended",
            account=grant.user.id,
            username=grant.user.username,
            client=client.id,
            client_name=client.name,
            grant=grant.id,
            why=why,
            ip=ip,
        )
        await self._changed(grant.user.id)
