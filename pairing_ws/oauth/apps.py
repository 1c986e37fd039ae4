"""Apps with access: what a person sees of the grants that their account gave, and how they take one back."""

from collections.abc import Sequence
from typing import NamedTuple

from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.devices import Devices
from pairing_ws.accounts.ports import Activity, Session
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Client, ClientStore, Grant, GrantStore


class App(NamedTuple):
    grant: Grant
    client: Client


class Apps:
    """Every method takes the session of the device that asks."""

    def __init__(
        self, grants: GrantStore, clients: ClientStore, devices: Devices, announce: Announcements, clock: Clock
    ) -> None:
        self._grants = grants
        self._clients = clients
        self._devices = devices
        self._announce = announce
        self._clock = clock

    async def apps(self, session: Session) -> Sequence[App]:
        """Those that have access now, the newest first."""
        grants = await self._grants.live_of_user(session.user.id, self._clock())
        clients = {each: await self._clients.get(each) for each in {grant.client_id for grant in grants}}
        # Without a client: it was removed just now, and its grants with it.
        return [App(grant, client) for grant in grants if (client := clients[grant.client_id])]

    async def revoke(self, session: Session, app_id: str, ip: str) -> None:
        """End it, and ask again before its client gets access the next time.

        Raises NOT_FOUND, and DEVICE_QUARANTINED for what another device let in.
        """
        now = self._clock()
        grant = await self._grants.get(app_id)
        if grant is None or grant.user.id != session.user.id or not grant.alive_at(now):
            raise _no_such_app()
        if grant.device_id != session.device.id:
            self._devices.refuse_quarantined(session)
        client = await self._clients.get(grant.client_id)
        line = Activity(
            user_id=session.user.id,
            at=now,
            event="app.revoked",
            device_id=session.device.id,
            device_name=client.name if client else grant.client_id,
            ip=ip,
            by_name=session.device.name,
        )
        await self._grants.forget_consent(session.user.id, grant.client_id)
        if not await self._grants.end(grant.id, "revoked", now, line):
            raise _no_such_app()
        self._announce.audit("grant.ended", session, ip, client=grant.client_id, grant=grant.id, why="revoked")
        await self._announce.changed(session.user.id, forget=False)


def _no_such_app() -> Refused:
    return Refused(Code.NOT_FOUND, "no such app in this account")
