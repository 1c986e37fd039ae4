"""What a party decides about a pairing that is there: consent, refusal, taking it back, leaving its page."""

from typing import Any

from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import block, is_public
from pairing_ws.core.ports import Limits, Push
from pairing_ws.pairing.abuse import AbuseGuard, is_over
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.machine import Event, Initiator, Pairing, Status, Verification
from pairing_ws.pairing.ports import Accounts
from pairing_ws.pairing.types import ByKey, BySecret, Holder, Policy, Role, View
from pairing_ws.pairing.views import Views

# A page that is loaded again is back within this time, also on a slow line; to the approver it is short.
AWAY_MS = 15_000


class Decisions:
    """A lost swap reads again, so a race has one winner, and its losers are told what won."""

    def __init__(
        self,
        views: Views,
        changes: Changes,
        guard: AbuseGuard,
        accounts: Accounts[Any],
        limits: Limits,
        push: Push,
        policy: Policy,
    ) -> None:
        self._views = views
        self._changes = changes
        self._guard = guard
        self._accounts = accounts
        self._limits = limits
        self._push = push
        self._policy = policy

    async def approve(self, pairing_id: str, holder: ByKey) -> View:
        """Consent. Repeated by the same approver, it gives the same answer.

        Raises DEVICE_QUARANTINED, STEP_UP_REQUIRED, and what would refuse the new device's login (DEVICE_LIMIT).
        """
        while True:
            view = await self._views.bare_view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            if pairing.status in (Status.APPROVED, Status.CONSUMED):
                return await self._views.approvers_view(pairing, now, holder)
            holder.refuse_approval()
            with_number = 2 if pairing.verification is Verification.NUMBER else 1
            approved = pairing.after(
                Event.APPROVE,
                now,
                approved_at=now,
                **pairing.lasting(now + self._policy.redeem * with_number),
            )
            # Whether the approver is trusted has been asked above.
            device = None if pairing.client else pairing.new_device
            if obstacle := await self._accounts.obstacle(holder.approver, device):
                # Now, and not to the new device at its login: only the approver can mend it.
                raise obstacle
            # Last of all: no approver is asked for a passkey where they can't approve anyway.
            await holder.step_up()
            if await self._changes.replace(Event.APPROVE, pairing, approved):
                self._push_approval(approved, now)
                return await self._views.approvers_view(approved, now, holder)

    async def deny(self, pairing_id: str, holder: ByKey, *, report: bool = False) -> View:
        """Refusal; with `report`, the approver also says that they did not start this.

        A device in quarantine may deny. Its report counts for itself alone: it may be the intruder, and report the
        owner's own devices.
        """
        view, won = await self._end(pairing_id, holder, Event.DENY, Status.DENIED)
        if report and holder.trusted:
            await self._guard.report(view.pairing, holder.approver)
        elif won:
            await self._accounts.note("pairing.denied", holder.approver, view.pairing.new_device, pairing_id)
        device = view.pairing.new_device
        if report and not holder.trusted and device and is_public(device.ip):
            await is_over(self._limits.hit("reported_by", f"{holder.approver.device_id} {block(device.ip)}"))
        return view

    async def cancel(self, pairing_id: str, holder: Holder) -> View:
        """The creator takes it back. Raises WRONG_DIRECTION for the other party."""
        view, _ = await self._end(pairing_id, holder, Event.CANCEL, Status.CANCELLED)
        return view

    async def be_present(self, pairing_id: str, holder: BySecret, *, here: bool) -> View:
        """The new device leaves, and the pairing ends soon after, or it is back in time. What has ended stays so."""
        while True:
            view = await self._views.bare_view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            if pairing.final or pairing.away is not here:
                return view
            # Each is a message to the approver.
            await self._limits.hit("presence", pairing_id)
            if here:
                event, times = Event.RETURN, (pairing.stays_until, 0)
            else:
                event, times = Event.LEAVE, (min(pairing.expires_at, now + AWAY_MS), pairing.expires_at)
            changed = pairing.after(event, now, expires_at=times[0], stays_until=times[1])
            if await self._changes.replace(event, pairing, changed):
                return view._replace(pairing=changed)

    async def _end(self, pairing_id: str, holder: Holder, event: Event, ended: Status) -> tuple[View, bool]:
        """The ended pairing, and whether this very call ended it."""
        while True:
            view = await self._views.bare_view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            creator = Role.NEW_DEVICE if pairing.initiator is Initiator.NEW_DEVICE else Role.APPROVER
            if event is Event.CANCEL and view.role is not creator:
                raise Refused(
                    Code.WRONG_DIRECTION,
                    "only the device that made it can cancel it",
                    initiator=pairing.initiator.value,
                )
            if pairing.status is ended:
                return view, False
            final = pairing.after(event, now)
            if await self._changes.replace(event, pairing, final):
                return view._replace(pairing=final), True

    def _push_approval(self, pairing: Pairing, now: int) -> None:
        if pairing.new_device and pairing.new_device.push_token:
            data = {"id": pairing.id, "status": "Approved", "approvedAt": iso(now)}
            self._push.send(pairing.new_device.push_token, data, max(1, (pairing.expires_at - now) // 1000))
