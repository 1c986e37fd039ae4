"""Announces what happened to an account: to other processes, its other devices, the pairing story and the audit log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pairing_ws.accounts import ended
from pairing_ws.accounts.ended import Revoked
from pairing_ws.accounts.ports import AccountStore, Activity, Session
from pairing_ws.accounts.session_cache import SessionCache
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock, iso
from pairing_ws.core.ports import Bus, Push

# A device that was off for longer sees it in its list.
PUSHED_FOR_SECONDS = 86_400

DevicesEnded = Callable[[Sequence[str]], Awaitable[None]]


class Announcements:
    """`devices_ended` gets the ids of devices whose keys have just been revoked."""

    def __init__(
        self,
        store: AccountStore,
        bus: Bus,
        push: Push,
        cache: SessionCache,
        devices_ended: DevicesEnded,
        clock: Clock,
        audit: Audit,
    ) -> None:
        self._store = store
        self._bus = bus
        self._push = push
        self._cache = cache
        self.devices_ended = devices_ended
        self._clock = clock
        self._audit = audit

    async def changed(self, user_id: str, *, forget: bool = True) -> None:
        """Make every process read the account again; this one keeps its cached sessions without `forget`."""
        if forget:
            self._cache.forget(user_id)
        await self._bus.publish(account_channel(user_id))

    async def ended(self, user_id: str, revoked: Revoked, ip: str) -> None:
        """This has ended in the account."""
        ended.report(self._audit, revoked.grants, ip)
        # At once: where Redis hangs, each takes seconds to give up.
        await asyncio.gather(self.changed(user_id), self.devices_ended(revoked.devices))

    def push(self, event: str, user_id: str, device_id: str, *, exclude: str) -> None:
        """Tell the account's devices outside their sockets, all but the one that came, or that did it."""
        now = self._clock()
        data = {"type": event, "deviceId": device_id, "at": iso(now)}
        self._push.send_to_each(
            lambda: self._store.push_addresses(user_id, now, exclude=exclude), data, PUSHED_FOR_SECONDS
        )

    def audit(self, event: str, session: Session, ip: str, **facts: str | int | None) -> None:
        """Write a line of the audit log about a session."""
        self._audit(
            event,
            account=session.user.id,
            session=session.id,
            device=session.device.id,
            device_name=session.device.name,
            ip=ip,
            **facts,
        )

    def line(self, session: Session, event: str, ip: str, by_name: str | None = None) -> Activity:
        """A line of activity about the session's device, now."""
        return Activity(
            user_id=session.user.id,
            at=self._clock(),
            event=event,
            device_id=session.device.id,
            device_name=session.device.name,
            ip=ip,
            by_name=by_name,
        )


def account_channel(user_id: str) -> str:
    return f"account:{{{user_id}}}"
