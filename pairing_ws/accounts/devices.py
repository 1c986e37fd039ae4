"""What a logged-in device may see and do: the account's devices, their names and ends, its activity."""

from collections.abc import Mapping, Sequence, Set

import msgspec

from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.ports import AccountStore, Activity, Device, Position, Session, Tokens
from pairing_ws.accounts.refusals import no_such_device
from pairing_ws.accounts.session_cache import SessionCache
from pairing_ws.accounts.types import Policy
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Limits

# In one page of activity.
ACTIVITY_LINES = 100


class Devices:
    """Every method takes the session of the device that asks."""

    def __init__(
        self,
        store: AccountStore,
        limits: Limits,
        tokens: Tokens,
        announce: Announcements,
        cache: SessionCache,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._store = store
        self._limits = limits
        self._tokens = tokens
        self._announce = announce
        self._cache = cache
        self._policy = policy
        self._clock = clock

    async def devices(self, session: Session) -> Sequence[Device]:
        return await self._store.devices(session.user.id, self._clock())

    async def devices_seen_by(self, session: Session) -> Sequence[Device] | None:
        """The same for a socket that outlives its authKey; None once its session has ended. Never from the cache."""
        if session.signed_by and not self._tokens.trusts(session.signed_by):
            return None
        return await self._store.devices_seen_by(session.id, session.user.id, self._clock())

    async def descendants(self, session: Session) -> Mapping[str, Set[str]]:
        """See `ports.AccountStore.descendants`."""
        return await self._store.descendants(session.user.id)

    async def change_device(
        self, session: Session, device_id: str, ip: str, *, name: str | None, push_token: str | None
    ) -> Device:
        """Rename a device; set a push address, only one's own. Raises NOT_FOUND and DEVICE_QUARANTINED.

        From quarantine no device loses its address: where one has it, nothing changes, and nothing is said about it.
        """
        await self._limits.hit("rename", session.device.id)
        own = device_id == session.device.id
        if not own:
            self.refuse_quarantined(session)
        await self._device(session.user.id, device_id)
        if push_token is not None:
            if not own:
                raise Refused(Code.BAD_REQUEST, "a push address can only be set by the device itself")
            await self._store.set_push_token(
                session.user.id, device_id, push_token, self._clock(), only_if_free=self._quarantine_left(session) > 0
            )
        if name is not None:
            by_name = None if own else session.device.name
            line = msgspec.structs.replace(
                self._announce.line(session, "device.renamed", ip, by_name), device_id=device_id, device_name=name
            )
            await self._store.rename(session.user.id, device_id, name, line)
            self._announce.audit(line.event, session, ip, renamed=device_id, name=name)
            await self._announce.changed(session.user.id)
        self._cache.forget(session.user.id)
        return await self._device(session.user.id, device_id)

    async def _device(self, user_id: str, device_id: str) -> Device:
        for device in await self._store.devices(user_id, self._clock()):
            if device.id == device_id:
                return device
        raise no_such_device()

    async def revoke(self, session: Session, device_id: str, ip: str, *, descendants: bool = False) -> None:
        """End a device, and with `descendants` all that it let in, even if it has left itself.

        What it added as a passkey goes along, or the owner could be asked for a proof that only the revoked can give.
        A mere log-out leaves them where approvals need a proof: the account might be left without any. Raises NOT_FOUND
        and DEVICE_QUARANTINED.
        """
        own = device_id == session.device.id
        if descendants or not own:
            self.refuse_quarantined(session)
        line = self._announce.line(session, "device.revoked", ip, by_name=None if own else session.device.name)
        revoked = await self._store.revoke(
            session.user.id,
            device_id,
            line.at,
            line,
            by=session.device.id,
            descendants=descendants,
            passkeys=descendants or not self._policy.step_up,
        )
        if revoked is None:
            raise no_such_device()
        if revoked.devices or descendants:
            self._announce.audit(line.event, session, ip, revoked=device_id, sessions_of=len(revoked.devices))
        await self._announce.ended(session.user.id, revoked, ip)
        if revoked.devices and not own:
            self._announce.push("device.revoked", session.user.id, device_id, exclude=session.device.id)

    async def revoke_others(self, session: Session, ip: str) -> int:
        """End every other device of the account; how many that were."""
        self.refuse_quarantined(session)
        line = self._announce.line(session, "device.revoked_others", ip)
        revoked = await self._store.revoke_others(session.user.id, session.device.id, line.at, line)
        self._announce.audit(line.event, session, ip, sessions_of=len(revoked.devices))
        await self._announce.ended(session.user.id, revoked, ip)
        return len(revoked.devices)

    def refuse_quarantined(self, session: Session) -> None:
        """Raises DEVICE_QUARANTINED while a device that has just been let in must keep still."""
        left = self._quarantine_left(session)
        if left > 0:
            raise Refused(
                Code.DEVICE_QUARANTINED, "this device was added a short while ago", retry_after=-(-left // 1000)
            )

    def _quarantine_left(self, session: Session) -> int:
        return (session.device.quarantine_until or 0) - self._clock()

    async def activity(
        self, session: Session, before: Position | None = None, *, logins: bool | None = None
    ) -> Sequence[Activity]:
        """A page, see `ports.AccountStore.activity`. One of `ACTIVITY_LINES` may have another one behind it."""
        return await self._store.activity(session.user.id, ACTIVITY_LINES, before, logins=logins)
