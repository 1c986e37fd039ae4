"""The pairing story, one method per call of the contract: who may do what, and what is told to whom.

Every change is `read → machine → replace`; a lost `replace` reads again, so a race has one winner and honest losers.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, untold
from pairing_ws.core.clock import iso
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import Network, block, compare, is_public
from pairing_ws.core.ports import Bus, Limits, Push
from pairing_ws.pairing import claim_codes
from pairing_ws.pairing.abuse import AbuseGuard, claimant_key, is_over
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.login import Logins
from pairing_ws.pairing.machine import (
    Event,
    Initiator,
    Pairing,
    Status,
    Verification,
)
from pairing_ws.pairing.ports import Accounts, Full, Loaded, PairingStore, Places
from pairing_ws.pairing.types import ByKey, BySecret, Created, Holder, Role, View
from pairing_ws.pairing.views import Views, is_claimed_by, not_found

SessionT = TypeVar("SessionT")

# A claim leaves at least this long to decide.
DECIDE_MS = 60_000
# A page that is loaded again is back within this time, also on a slow line; to the approver it is short.
AWAY_MS = 15_000
# Of all live pairings, this share is kept for signed-in devices, so that a flood of strangers can't lock them out.
SIGNED_IN_SHARE = 10


@dataclass(frozen=True)
class Policy:
    """The settings this story obeys. Times in milliseconds."""

    ttl: int = 120_000
    redeem: int = 60_000
    verify: str = "remote"
    rotate: int = 0
    network: str = "warn"
    max_live: int = 100_000
    public_site: bool = False
    public_url: str = "http://localhost:8000"


class PairingService(Generic[SessionT]):
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
        self._store = store
        self._accounts = accounts
        self._limits = limits
        self._push = push
        self._places = places
        self._policy = policy
        self._random = random
        self._key = key
        self._views = Views(store, bus, accounts, key)
        self._changes = Changes(store, accounts, audit)
        self._guard = AbuseGuard(limits, accounts, places, audit, warns_of_networks=policy.network != "off")
        # The calls that others of this room answer.
        self.view = self._views.view
        self.view_after_notification = self._views.view_after_notification
        self.open_of = self._views.open_of
        self.watch = self._views.watch
        self.take_over = self._views.take_over
        self.log_in = Logins(self._views, self._changes, accounts, limits, key).log_in
        self.end_all_of = self._changes.end_all_of
        self.end_all_of_session = self._changes.end_all_of_session

    # Create

    async def create(self, creator: NewDevice | ByKey, ip: str, secret: str | None = None) -> Created:
        """A new pairing: flow 2 when device B creates it, flow 1 when a logged-in device does.

        `secret` is B's own choice; without one B gets one, once.
        """
        await self._limits.hit("create", block(ip))
        by_key = isinstance(creator, ByKey)
        # Of a logged-in device's code nobody is tricked but by who scans it, and the claim looks at his origin.
        if not by_key and is_public(ip):
            await self._limits.check("reported", block(ip))
            await is_over(self._limits.hit("origin", block(ip)))
        if isinstance(creator, ByKey):
            creator.refuse_approval()
        else:
            secret = secret or codes.token(self._random, 32)
        pairing_id = codes.token(self._random)
        rotate = self._policy.rotate
        seed = claim_codes.seed(self._key, pairing_id) if rotate else None
        code = claim_codes.rotating_code(seed, 0) if seed else codes.token(self._random)
        for _ in range(5):
            user_code = codes.user_code(self._random)
            pairing = Pairing(
                id=pairing_id,
                initiator=Initiator.LOGGED_IN_DEVICE if by_key else Initiator.NEW_DEVICE,
                created_at=0,
                expires_at=self._policy.ttl,
                code_hash="" if rotate else codes.digest(code),
                rotate_ms=rotate,
                user_code_hash=codes.user_code_digest(self._key, user_code.replace("-", "")),
                secret_hash="" if by_key or secret is None else codes.digest(secret),
                new_device=None if isinstance(creator, ByKey) else creator,
                approver=creator.approver if isinstance(creator, ByKey) else None,
            )
            if added := await self._add(pairing, signed_in=by_key):
                self._changes.record("create", added.pairing)
                break
        else:
            raise Refused(Code.UNAVAILABLE, "no free code; try again", retry_after=1)
        lands = "join" if by_key else "pair"
        text = f"{self._policy.public_url}/{lands}/{pairing_id}#{code}"
        role = Role.APPROVER if by_key else Role.NEW_DEVICE
        shown_seed = codes.base64url(seed) if seed else None
        view = View(added.pairing, role, added.now)
        return Created(view, user_code, None if by_key else secret, text, shown_seed)

    async def _add(self, pairing: Pairing, *, signed_in: bool) -> Loaded | None:
        cap = self._policy.max_live
        try:
            return await self._store.add(pairing, cap if signed_in else cap - cap // SIGNED_IN_SHARE)
        except Full:
            raise Refused(Code.UNAVAILABLE, "too many live pairings; try again", retry_after=10) from None

    # Claim

    async def claim(
        self, pairing_id: str, code: str, claimant: NewDevice | ByKey, ip: str, secret: str | None = None
    ) -> tuple[View, str | None]:
        """The scan. Gives the claimant's view and, for device B, its secret."""
        await self._limits.hit("claim", claimant_key(claimant, ip))
        loaded = await self._store.get(pairing_id)
        if loaded is None or not self._accepts(code, loaded, claimant, secret):
            raise not_found()
        return await self._claim(loaded, claimant, ip, secret, typed=False)

    def _accepts(self, code: str, loaded: Loaded, claimant: NewDevice | ByKey, secret: str | None) -> bool:
        pairing, at = loaded
        # Who has claimed it may ask for the answer once more, though the code he scanned be stale by then.
        if pairing.scanned_at is not None and is_claimed_by(pairing, claimant, secret):
            at = pairing.scanned_at
        holder = claimant if isinstance(claimant, ByKey) else BySecret(secret) if secret else None
        shown = claim_codes.is_shown(self._key, pairing, code, at)
        return shown or (holder is not None and claim_codes.is_reserved(self._key, pairing, code, holder, at))

    async def reserve_code(self, pairing_id: str, code: str, holder: Holder, ip: str) -> str:
        """For who has scanned but not decided to claim: a code that waits for that, for this holder alone.

        Nothing changes, and nobody is told. A reserved code can't be reserved once more.
        """
        await self._limits.hit("claim", claimant_key(holder, ip))
        loaded = await self._store.get(pairing_id)
        if loaded is None or not claim_codes.is_shown(self._key, loaded.pairing, code, loaded.now):
            raise not_found()
        return claim_codes.reserved_code(self._key, loaded.pairing, holder, loaded.now + claim_codes.RESERVED_MS)

    async def claim_by_user_code(
        self, typed: str, claimant: NewDevice | ByKey, ip: str, secret: str | None = None
    ) -> tuple[View, str | None]:
        """The same for those who cannot scan. Every failure looks the same and counts."""
        key = claimant_key(claimant, ip)
        await self._limits.hit("claim", key)
        await self._limits.check("user_code", key)
        letters = codes.normal_user_code(typed)
        found = await self._store.id_of_user_code(codes.user_code_digest(self._key, letters)) if letters else None
        try:
            loaded = await self._store.get(found) if found else None
            if loaded is None:
                raise not_found()
            return await self._claim(loaded, claimant, ip, secret, typed=True)
        except Refused as refused:
            if refused.code is Code.UNAVAILABLE:
                raise
            await self._limits.hit("user_code", key)
            raise not_found() from None

    async def _claim(
        self, loaded: Loaded | None, claimant: NewDevice | ByKey, ip: str, secret: str | None, *, typed: bool
    ) -> tuple[View, str | None]:
        chosen = secret
        while loaded is not None:
            pairing, now = loaded
            by_key = isinstance(claimant, ByKey)
            if by_key is (pairing.initiator is Initiator.LOGGED_IN_DEVICE):
                raise Refused(
                    Code.WRONG_DIRECTION,
                    "this code is for a device that is not logged in"
                    if by_key
                    else "this code is for a device that is already logged in",
                    initiator=pairing.initiator.value,
                )
            if not pairing.final and is_claimed_by(pairing, claimant, chosen):
                if isinstance(claimant, ByKey):
                    return await self._views.approvers_view(pairing, now, claimant), None
                if pairing.new_device and pairing.new_device.key_thumbprint != claimant.key_thumbprint:
                    raise Refused(Code.DEVICE_CHANGED, "this is not the key that the approver was asked about")
                return View(pairing, Role.NEW_DEVICE, now), chosen
            if isinstance(claimant, ByKey):
                approver, device = claimant.approver, pairing.new_device
                facts: dict[str, object] = {"approver": approver}
                other_ip = device.ip if device else ""
            else:
                approver, device = pairing.approver, claimant  # type: ignore[assignment]
                secret = chosen or codes.token(self._random, 32)
                facts = {"new_device": claimant, "secret_hash": codes.digest(secret)}
                other_ip = approver.ip if approver else ""
            network = compare(ip, other_ip, public_site=self._policy.public_site)
            await self._guard.refuse_reported(approver, device, network)
            claimed = pairing.after(
                Event.CLAIM,
                now,
                scanned_at=now,
                **pairing.lasting(now + DECIDE_MS),
                network=network,
                verification=self._verification(network, typed=typed),
                **facts,
            )
            if approver and device and self._accounts.device_id(approver, device) == approver.device_id:
                raise Refused(Code.SAME_DEVICE, "this pairing was started by the very device that would approve it")
            # Not only `different`: an attacker chooses his address family, and with it `unknown`.
            if self._policy.network == "deny" and network is not Network.SAME:
                raise Refused(Code.NETWORK_REFUSED, "here both devices have to be in the same network")
            if approver and device:
                place = self._places.of(device.ip)
                trusted = not isinstance(claimant, ByKey) or claimant.trusted
                warnings = await self._guard.warnings(pairing, approver, device, network, place, trusted=trusted)
                claimed = msgspec.structs.replace(claimed, place=place, warnings=warnings)
            if await self._changes.replace(Event.CLAIM, pairing, claimed):
                if isinstance(claimant, ByKey):
                    return await self._views.approvers_view(claimed, now, claimant), None
                return View(claimed, Role.NEW_DEVICE, now), secret
            loaded = await self._store.get(pairing.id)
        raise not_found()

    def _verification(self, network: Network, *, typed: bool) -> Verification:
        policy = self._policy.verify
        if policy == "never" or (policy == "remote" and network is Network.SAME and not typed):
            return Verification.NONE
        return Verification.NUMBER

    # Decide

    async def approve(self, pairing_id: str, holder: ByKey) -> View:
        """Consent. Repeated by the same approver, it gives the same answer."""
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
            # Last of all: nobody is asked for a passkey over what can't be approved anyway.
            await holder.step_up()
            if await self._changes.replace(Event.APPROVE, pairing, approved):
                self._push_approval(approved, now)
                return await self._views.approvers_view(approved, now, holder)

    async def deny(self, pairing_id: str, holder: ByKey, *, report: bool = False) -> View:
        """Refusal, and with `report` the word that the approver did not start this. A device in quarantine denies, and
        its report is for itself alone: it may be the very intruder, and what it reports the owner's own devices."""
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
        """The creator takes it back."""
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
