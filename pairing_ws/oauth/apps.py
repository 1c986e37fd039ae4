"""Apps with access: what a person sees of the grants that their account gave, and how they, or the operator, take one
back."""

from collections.abc import Sequence
from typing import NamedTuple

from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.devices import Devices
from pairing_ws.accounts.ended import EndedGrant, report
from pairing_ws.accounts.ports import Activity, Session
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Client, ClientStore, Grant, GrantStore


class App(NamedTuple):
    grant: Grant
    client: Client


class Apps:
    """`apps` and `revoke` take the session of the device that asks; the others are the operator's."""

    def __init__(
        self,
        grants: GrantStore,
        clients: ClientStore,
        devices: Devices,
        announce: Announcements,
        clock: Clock,
        audit: Audit,
    ) -> None:
        self._grants = grants
        self._clients = clients
        self._devices = devices
        self._announce = announce
        self._clock = clock
        self._audit = audit

    async def apps(self, session: Session) -> Sequence[App]:
        """Those that have access now, the newest first."""
        return await self.apps_of(session.user.id)

    async def apps_of(self, user_id: str) -> Sequence[App]:
        grants = await self._grants.live_of_user(user_id, self._clock())
        clients = {each: await self._clients.get(each) for each in {grant.client_id for grant in grants}}
        # Without a client: it was removed just now, and its grants with it.
        return [App(grant, client) for grant in grants if (client := clients[grant.client_id])]

    async def revoke(self, session: Session, app_id: str, ip: str) -> None:
        """End it, and ask again before its client gets access the next time.

        Raises NOT_FOUND, and DEVICE_QUARANTINED for what another device let in.
        """
        grant = await self._live(app_id)
        if grant.user.id != session.user.id:
            raise _no_such_app()
        if grant.device_id != session.device.id:
            self._devices.refuse_quarantined(session)
        await self._end(grant, device_id=session.device.id, ip=ip, by_name=session.device.name)
        self._announce.audit("grant.ended", session, ip, client=grant.client_id, grant=grant.id, why="revoked")

    async def revoke_by_operator(self, app_id: str, ip: str) -> str:
        """The same for the app of any account, whose id this gives. Raises NOT_FOUND."""
        grant = await self._live(app_id)
        await self._end(grant)
        report(self._audit, [EndedGrant(grant.id, grant.user.id, grant.client_id, "revoked")], ip)
        return grant.user.id

    async def _live(self, app_id: str) -> Grant:
        grant = await self._grants.get(app_id)
        if grant is None or not grant.alive_at(self._clock()):
            raise _no_such_app()
        return grant

    async def _end(
        self, grant: Grant, *, device_id: str | None = None, ip: str | None = None, by_name: str | None = None
    ) -> None:
        now = self._clock()
        client = await self._clients.get(grant.client_id)
        line = Activity(
            user_id=grant.user.id,
            at=now,
            event="app.revoked",
            device_id=device_id,
            device_name=client.name if client else grant.client_id,
            ip=ip,
            by_name=by_name,
        )
        await self._grants.forget_consent(grant.user.id, grant.client_id)
        if not await self._grants.end(grant.id, "revoked", now, line):
            raise _no_such_app()
        await self._announce.changed(grant.user.id, forget=False)


def _no_such_app() -> Refused:
    return Refused(Code.NOT_FOUND, "no such app in this account")
