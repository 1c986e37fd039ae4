"""The pairing story, one method per call of the contract: which party may do what, and what it is told.

Every change is `read → machine → replace`; a lost `replace` reads again, so a race has one winner and honest losers.
"""

from typing import Generic, TypeVar

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, untold
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import block, is_public
from pairing_ws.core.ports import Bus, Limits, Push
from pairing_ws.pairing.abuse import AbuseGuard, is_over
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.claims import Claims
from pairing_ws.pairing.creation import Creation
from pairing_ws.pairing.login import Logins
from pairing_ws.pairing.machine import (
    Event,
    Initiator,
    Pairing,
    Status,
    Verification,
)
from pairing_ws.pairing.ports import Accounts, PairingStore, Places
from pairing_ws.pairing.types import ByKey, BySecret, Holder, Policy, Role, View
from pairing_ws.pairing.views import Views

SessionT = TypeVar("SessionT")

# A page that is loaded again is back within this time, also on a slow line; to the approver it is short.
AWAY_MS = 15_000


class PairingService(Generic[SessionT]):
    """What the edge may ask of pairings.

    Every method raises Refused: UNAVAILABLE while a store is away, NOT_FOUND alike for an unknown pairing, one of
    others and a wrong secret, and what the state machine says (`machine.REFUSALS`).

    A call that is repeated with the same secret or key gets the same answer and changes nothing more.
    """

    def __init__(
        self,
        store: PairingStore,
        bus: Bus,
        accounts: Accounts[SessionT],
        limits: Limits,
        push: Push,
        places: Places,
        policy: Policy,
        random: codes.RandomBytes,
        key: bytes,
        audit: Audit = untold,
    ) -> None:
        self._accounts = accounts
        self._limits = limits
        self._push = push
        self._policy = policy
        self._views = Views(store, bus, accounts, key)
        self._changes = Changes(store, accounts, audit)
        self._guard = AbuseGuard(limits, accounts, places, audit, warns_of_networks=policy.network != "off")
        claims = Claims(store, self._views, self._changes, self._guard, accounts, limits, places, policy, random, key)
        creation = Creation(store, self._changes, limits, policy, random, key)
        logins = Logins(self._views, self._changes, accounts, limits, key)
        # The calls that others of this room answer.
        self.create = creation.create
        self.create_for_client = creation.create_for_client
        self.claim = claims.claim
        self.claim_by_user_code = claims.claim_by_user_code
        self.reserve_code = claims.reserve_code
        self.view = self._views.view
        self.view_after_notification = self._views.view_after_notification
        self.open_of = self._views.open_of
        self.watch = self._views.watch
        self.take_over = self._views.take_over
        self.log_in = logins.log_in
        self.consume_for_client = logins.consume_for_client
        self.end_all_of = self._changes.end_all_of
        self.end_all_of_session = self._changes.end_all_of_session

    # Decide

    async def approve(self, pairing_id: str, holder: ByKey) -> View:
        """Consent. Repeated by the same approver, it gives the same answer.

        Raises DEVICE_QUARANTINED, STEP_UP_REQUIRED, and what would refuse the new device's login (DEVICE_LIMIT).
        """
        while True:
            view = await self.view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            if pairing.status in (Status.APPROVED, Status.CONSUMED):
                return view
            holder.refuse_approval()
            with_number = 2 if pairing.verification is Verification.NUMBER else 1
            approved = pairing.after(
                Event.APPROVE,
                now,
                approved_at=now,
                **pairing.lasting(now + self._policy.redeem * with_number),
            )
            if obstacle := await self._views.obstacle(pairing, holder):
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
            await self._accounts.note("pairing.denied", holder.approver, view.pairing.new_device)
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
            view = await self.view(pairing_id, holder)
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
            view = await self.view(pairing_id, holder)
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
                return view._replace(pairing=final, number=None), True

    def _push_approval(self, pairing: Pairing, now: int) -> None:
        if pairing.new_device and pairing.new_device.push_token:
            data = {"id": pairing.id, "status": "Approved", "approvedAt": iso(now)}
            self._push.send(pairing.new_device.push_token, data)
