"""The pairing story, one method per call of the contract: who may do what, and what is told to whom.

Every change is `read → machine → replace`; a lost `replace` reads again, so a race has one winner and honest losers.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec
from prometheus_client import Counter

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, untold
from pairing_ws.core.clock import iso
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import Network, Place, block, compare, is_public
from pairing_ws.core.ports import Bus, Callback, Limits, Prove, Push, unproved
from pairing_ws.pairing import claim_codes
from pairing_ws.pairing.machine import (
    ApprovalWarning,
    Event,
    Initiator,
    Pairing,
    Status,
    Verification,
    refusal,
)
from pairing_ws.pairing.notifications import StateChanged, Takeover
from pairing_ws.pairing.ports import Accounts, Full, Loaded, PairingStore, Places, pairing_channel
from pairing_ws.pairing.types import ByKey, BySecret, Created, Holder, Role, View

SessionT = TypeVar("SessionT")

EVENTS = Counter("pairing_events", "What happened to pairings", ["event"])
# The library's own look-up takes as long as all else of a count: 0.8 µs.
_counter = lru_cache(maxsize=None)(EVENTS.labels)

_AUDIT_EVENTS = {
    "create": "pairing.created",
    Event.CLAIM: "pairing.claimed",
    Event.APPROVE: "pairing.approved",
    Event.DENY: "pairing.denied",
    Event.CANCEL: "pairing.cancelled",
    Event.WRONG_NUMBER: "pairing.number_missed",
    Event.LOGIN: "pairing.consumed",
    Event.LEAVE: "pairing.left",
    Event.RETURN: "pairing.returned",
}
# A claim leaves at least this long to decide.
DECIDE_MS = 60_000
MAX_FAILED_ATTEMPTS = 3
# A page that is loaded again is back within this time, also on a slow line; to the approver it is short.
AWAY_MS = 15_000
MAX_LISTED = 20
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
        self._bus = bus
        self._accounts = accounts
        self._limits = limits
        self._push = push
        self._places = places
        self._policy = policy
        self._random = random
        self._key = key
        self._audit = audit

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
                self._record("create", added.pairing)
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

    # Read and wait

    async def view(self, pairing_id: str, holder: Holder) -> View:
        """The pairing as its party sees it. Raises NOT_FOUND alike for unknown, foreign and wrong secret."""
        return await self._view_of(await self._store.get(pairing_id), holder)

    async def view_after_notification(
        self, pairing_id: str, holder: Holder, notification: StateChanged | None, known: int
    ) -> View:
        """The same for a watcher that knows version `known`: the state that a notification carries, if it is newer than
        that, saves the trip to the store."""
        loaded = notification.loaded() if notification else None
        if loaded and loaded.pairing.version > known:
            return await self._view_of(loaded, holder)
        return await self.view(pairing_id, holder)

    async def _view_of(self, loaded: Loaded | None, holder: Holder) -> View:
        if loaded is None:
            raise not_found()
        pairing, now = loaded
        if isinstance(holder, BySecret):
            if codes.matches(holder.secret, pairing.secret_hash):
                return View(pairing, Role.NEW_DEVICE, now)
        elif pairing.approver and pairing.approver.session_id == holder.approver.session_id:
            return await self._approvers_view(pairing, now, holder)
        raise not_found()

    async def _approvers_view(self, pairing: Pairing, now: int, holder: ByKey) -> View:
        shows_number = pairing.verification is Verification.NUMBER and pairing.approved_at is not None
        number = codes.verification_number(self._key, pairing.id) if shows_number and not pairing.final else None
        obstacle = await self._obstacle(pairing, holder) if pairing.status is Status.SCANNED else None
        return View(pairing, Role.APPROVER, now, number, obstacle.code if obstacle else None)

    async def _obstacle(self, pairing: Pairing, holder: ByKey) -> Refused | None:
        """Why this approver can't approve it as things are: told from the claim on, while it can still be mended."""
        if not holder.trusted:
            return Refused(Code.DEVICE_QUARANTINED)
        return await self._accounts.obstacle(holder.approver, pairing.new_device) if pairing.new_device else None

    async def open_of(self, holder: ByKey) -> Sequence[View]:
        """What this session may still decide or show, the newest first; not more than `MAX_LISTED`."""
        ids = await self._store.open_of(holder.approver.device_id, MAX_LISTED)
        found = [each for each in await asyncio.gather(*map(self._store.get, ids)) if each and not each.pairing.final]
        mine = [each for each in found if _claimed_by(each.pairing, holder, None)]
        return [await self._approvers_view(pairing, now, holder) for pairing, now in mine]

    def watch(self, pairing_id: str, callback: Callback) -> AbstractAsyncContextManager[None]:
        """Subscribe before reading: a change after the entry calls `callback`, one before it is in what is read then.
        `decode_notification` reads the messages. Raises Unavailable on entry.

        Expiry is not published: a watcher sets its own timer to `expires_at`.
        """
        return self._bus.watch([pairing_channel(pairing_id)], callback)

    async def take_over(self, pairing_id: str, mark: str) -> None:
        """Tell older sockets of the same new device that the one with this mark is the newest. Never raises."""
        await self._bus.publish(pairing_channel(pairing_id), Takeover(mark).encode())

    # Claim

    async def claim(
        self, pairing_id: str, code: str, claimant: NewDevice | ByKey, ip: str, secret: str | None = None
    ) -> tuple[View, str | None]:
        """The scan. Gives the claimant's view and, for device B, its secret."""
        await self._limits.hit("claim", _claimant_key(claimant, ip))
        loaded = await self._store.get(pairing_id)
        if loaded is None or not self._accepts(code, loaded, claimant, secret):
            raise not_found()
        return await self._claim(loaded, claimant, ip, secret, typed=False)

    def _accepts(self, code: str, loaded: Loaded, claimant: NewDevice | ByKey, secret: str | None) -> bool:
        pairing, at = loaded
        # Who has claimed it may ask for the answer once more, though the code he scanned be stale by then.
        if pairing.scanned_at is not None and _claimed_by(pairing, claimant, secret):
            at = pairing.scanned_at
        holder = claimant if isinstance(claimant, ByKey) else BySecret(secret) if secret else None
        shown = claim_codes.is_shown(self._key, pairing, code, at)
        return shown or (holder is not None and claim_codes.is_reserved(self._key, pairing, code, holder, at))

    async def reserve_code(self, pairing_id: str, code: str, holder: Holder, ip: str) -> str:
        """For who has scanned but not decided to claim: a code that waits for that, for this holder alone.

        Nothing changes, and nobody is told. A reserved code can't be reserved once more.
        """
        await self._limits.hit("claim", _claimant_key(holder, ip))
        loaded = await self._store.get(pairing_id)
        if loaded is None or not claim_codes.is_shown(self._key, loaded.pairing, code, loaded.now):
            raise not_found()
        return claim_codes.reserved_code(self._key, loaded.pairing, holder, loaded.now + claim_codes.RESERVED_MS)

    async def claim_by_user_code(
        self, typed: str, claimant: NewDevice | ByKey, ip: str, secret: str | None = None
    ) -> tuple[View, str | None]:
        """The same for those who cannot scan. Every failure looks the same and counts."""
        key = _claimant_key(claimant, ip)
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
            if not pairing.final and _claimed_by(pairing, claimant, chosen):
                if isinstance(claimant, ByKey):
                    return await self._approvers_view(pairing, now, claimant), None
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
            await self._refuse_reported(approver, device, network)
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
                warnings = await self._warnings(pairing, approver, device, network, place, trusted=trusted)
                claimed = msgspec.structs.replace(claimed, place=place, warnings=warnings)
            if await self._replace(Event.CLAIM, pairing, claimed):
                if isinstance(claimant, ByKey):
                    return await self._approvers_view(claimed, now, claimant), None
                return View(claimed, Role.NEW_DEVICE, now), secret
            loaded = await self._store.get(pairing.id)
        raise not_found()

    def _verification(self, network: Network, *, typed: bool) -> Verification:
        policy = self._policy.verify
        if policy == "never" or (policy == "remote" and network is Network.SAME and not typed):
            return Verification.NONE
        return Verification.NUMBER

    async def _warnings(
        self,
        pairing: Pairing,
        approver: Approver,
        device: NewDevice,
        network: Network,
        place: Place | None,
        *,
        trusted: bool,
    ) -> tuple[ApprovalWarning, ...]:
        """What the approver is to be warned of. Counts the claim that is about to happen; for the account only those of
        `trusted` devices, or one in quarantine could make its owner used to the warning."""
        here = self._places.of(approver.ip)
        countries = {each.country_code for each in (here, place) if each and each.country_code}
        ask = self._limits.hit if trusted else self._limits.check
        often = await is_over(ask("asked", approver.user_id))
        # In one network it is the approver's own address, which a whole office may share.
        if network is not Network.SAME and is_public(device.ip):
            claims = pairing.initiator is Initiator.LOGGED_IN_DEVICE
            count = self._limits.hit if claims else self._limits.check
            often |= await is_over(count("origin", block(device.ip)))
        found = {
            ApprovalWarning.PLACE_DIFFERS: len(countries) > 1,
            ApprovalWarning.MANY_REQUESTS: often,
            # `unknown` is the rule where one has IPv6 and the other not: a warning would teach to overlook warnings.
            ApprovalWarning.NETWORK_DIFFERS: network is Network.DIFFERENT and self._policy.network != "off",
        }
        return tuple(warning for warning, applies in found.items() if applies)

    async def _replace(self, event: Event, old: Pairing, new: Pairing) -> bool:
        """Whether `new` is stored; if not, somebody or time was first and the pairing has to be read again."""
        won = await self._store.replace(old, new)
        if won:
            self._record(event, new)
            if new.approver and not new.final:
                # What is left by the store's clock, which dates each step; another's may differ.
                lasts = max(new.expires_at, new.stays_until) - (new.approved_at or new.scanned_at or 0)
                self._accounts.expect(new.approver, lasts)
        return won

    def _record(self, event: str, pairing: Pairing) -> None:
        _counter(event).inc()
        approver, device = pairing.approver, pairing.new_device
        self._audit(
            _AUDIT_EVENTS[event],
            pairing=pairing.id,
            account=approver.user_id if approver else None,
            by_device=approver.device_id if approver else None,
            by_ip=approver.ip if approver else None,
            device_name=device.name if device else None,
            ip=device.ip if device else None,
            network=pairing.network.value if pairing.network else None,
        )

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
            if obstacle := await self._obstacle(pairing, holder):
                # Now, and not to the new device at its login: only the approver can mend it.
                raise obstacle
            # Last of all: nobody is asked for a passkey over what can't be approved anyway.
            await holder.step_up()
            if await self._replace(Event.APPROVE, pairing, approved):
                self._push_approval(approved, now)
                return await self._approvers_view(approved, now, holder)

    async def deny(self, pairing_id: str, holder: ByKey, *, report: bool = False) -> View:
        """Refusal, and with `report` the word that the approver did not start this. A device in quarantine denies, and
        its report is for itself alone: it may be the very intruder, and what it reports the owner's own devices."""
        view, won = await self._end(pairing_id, holder, Event.DENY, Status.DENIED)
        if report and holder.trusted:
            await self._report(view.pairing, holder.approver)
        elif won:
            await self._accounts.note("pairing.denied", holder.approver, view.pairing.new_device)
        device = view.pairing.new_device
        if report and not holder.trusted and device and is_public(device.ip):
            await is_over(self._limits.hit("reported_by", f"{holder.approver.device_id} {block(device.ip)}"))
        return view

    async def _report(self, pairing: Pairing, approver: Approver) -> None:
        """Hide the origin from the account that reports it at once, and close it for all when several accounts in
        several other networks agree."""
        device = pairing.new_device
        if not await is_over(self._limits.hit("report", pairing.id)):
            self._audit(
                "pairing.reported",
                pairing=pairing.id,
                account=approver.user_id,
                by_device=approver.device_id,
                ip=device.ip if device else None,
            )
            await self._accounts.note("pairing.reported", approver, device)
        if device and is_public(device.ip):
            origin, reporter = block(device.ip), block(approver.ip)
            known = await is_over(self._limits.hit("reported_by", f"{approver.user_id} {origin}"))
            # Who sits behind an address must not be able to close it for all the others there.
            if known or pairing.network is Network.SAME:
                return
            # Nor may several accounts of one person: those behind one address have one vote.
            if is_public(approver.ip) and await is_over(self._limits.hit("reported_from", f"{reporter} {origin}")):
                return
            await is_over(self._limits.hit("reported", origin))

    async def _refuse_reported(self, approver: Approver | None, device: NewDevice | None, network: Network) -> None:
        """Hidden is what comes from an origin that this approver's account has reported, or this device while it was in
        quarantine, or that several accounts have from elsewhere."""
        if approver and device and is_public(device.ip):
            origin = block(device.ip)
            reporters = (approver.user_id, approver.device_id)
            checks = (is_over(self._limits.check("reported_by", f"{each} {origin}")) for each in reporters)
            if any(await asyncio.gather(*checks)):
                raise not_found()
            # Behind a closed address its own people can go on letting their devices in.
            if network is not Network.SAME and await is_over(self._limits.check("reported", origin)):
                raise not_found()

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
            if await self._replace(event, pairing, changed):
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
            if await self._replace(event, pairing, final):
                return view._replace(pairing=final, number=None), True

    async def end_all_of(self, device_ids: Sequence[str]) -> None:
        """Deny whatever these devices could still approve: their keys have been revoked.

        Without the store that has to be left: who logs in is let in only if the approver's session stands.
        """
        with suppress(Unavailable):
            await asyncio.gather(*map(self._end_all_of, device_ids))

    async def end_all_of_session(self, approver: Approver) -> None:
        """The same where only this session has ended: its device may have a newer one."""
        with suppress(Unavailable):
            await self._end_all_of(approver.device_id, approver.session_id)

    async def _end_all_of(self, device_id: str, session_id: str | None = None) -> None:
        for pairing_id in await self._store.open_of(device_id):
            while (loaded := await self._store.get(pairing_id)) is not None:
                pairing, now = loaded
                by = pairing.approver
                if pairing.final or by is None or by.device_id != device_id or session_id not in (None, by.session_id):
                    break
                if await self._replace(Event.DENY, pairing, pairing.after(Event.DENY, now)):
                    break

    def _push_approval(self, pairing: Pairing, now: int) -> None:
        if pairing.new_device and pairing.new_device.push_token:
            data = {"id": pairing.id, "status": "Approved", "approvedAt": iso(now)}
            self._push.send(pairing.new_device.push_token, data)

    # Log in

    async def log_in(
        self,
        pairing_id: str,
        holder: BySecret,
        number: str | None = None,
        device_code: str | None = None,
        prove: Prove = unproved,
    ) -> SessionT:
        """Exchange the approved pairing for keys: check, swap to consumed, then SQL, the judge of exactly once.

        Until the SQL transaction has committed, the same secret may come again and finish. A new device that has
        shown a key has to prove it first.
        """
        proved = False
        while True:
            view = await self.view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            device, approver = pairing.new_device, pairing.approver
            if device and device_code is not None and device_code != device.code:
                raise Refused(Code.DEVICE_CHANGED, "this is not the device that was approved")
            if device is None or approver is None:
                raise refusal(pairing, Event.LOGIN)
            if pairing.status not in (Status.APPROVED, Status.CONSUMED):
                self._refuse_repeated_number(pairing, codes.normal_number(number or ""))
                raise refusal(pairing, Event.LOGIN)
            if device.key_thumbprint and not proved:
                # Before the number: who has stolen the secret alone must not use up its tries.
                await prove(device.key_thumbprint)
                proved = True
            if pairing.status is not Status.CONSUMED:
                if pairing.verification is Verification.NUMBER and not await self._number_is_right(
                    pairing, now, number
                ):
                    continue
                await self._accounts.check_login(approver, device)
                consumed = pairing.after(Event.LOGIN, now, login_device_id=self._accounts.device_id(approver, device))
                if not await self._replace(Event.LOGIN, pairing, consumed):
                    continue
                pairing = consumed
            return await self._accounts.log_in(pairing.id, approver, device, holder.secret)

    async def _number_is_right(self, pairing: Pairing, now: int, number: str | None) -> bool:
        """True if it fits, False if the pairing changed meanwhile; a miss is counted, then raised."""
        if number is None:
            raise Refused(Code.NUMBER_REQUIRED, "type the number that the other device shows")
        digits = codes.normal_number(number)
        if digits is None:
            # A slip of the finger, and no guess: it costs no attempt.
            raise _mismatch(pairing)
        self._refuse_repeated_number(pairing, digits)
        account = pairing.approver.user_id if pairing.approver else ""
        # A new pairing brings new attempts, so the account counts them too.
        await self._limits.check("number", account)
        if codes.matches(digits, codes.digest(codes.verification_number(self._key, pairing.id))):
            return True
        failed = pairing.failed_attempts + 1
        last = failed >= MAX_FAILED_ATTEMPTS
        tried = (*pairing.wrong_numbers, self._attempt_digest(pairing, digits))
        event = Event.DENY if last else Event.WRONG_NUMBER
        counted = pairing.after(event, now, failed_attempts=failed, wrong_numbers=tried)
        if not await self._replace(event, pairing, counted):
            return False
        await self._limits.hit("number", account)
        if last and pairing.approver:
            await self._accounts.note("pairing.number_missed", pairing.approver, pairing.new_device)
        raise _mismatch(counted)

    def _refuse_repeated_number(self, pairing: Pairing, digits: str | None) -> None:
        """Raises NUMBER_MISMATCH for a wrong number that has been counted. A client that lost the answer sends it
        again, and the same answer tells nobody anything new. The third one has ended the pairing."""
        answerable = pairing.status is Status.APPROVED or pairing.failed_attempts == MAX_FAILED_ATTEMPTS
        if answerable and digits and self._attempt_digest(pairing, digits) in pairing.wrong_numbers:
            raise _mismatch(pairing)

    def _attempt_digest(self, pairing: Pairing, digits: str) -> str:
        return codes.base64url(codes.keyed_digest(self._key, "wrong-number", f"{pairing.id}:{digits}")[:16])


def not_found() -> Refused:
    """One answer for unknown, foreign, long gone, wrong code and wrong secret."""
    return Refused(Code.NOT_FOUND, "no such pairing for this holder")


def _mismatch(pairing: Pairing) -> Refused:
    return Refused(
        Code.NUMBER_MISMATCH, "that is not the number", attemptsLeft=MAX_FAILED_ATTEMPTS - pairing.failed_attempts
    )


async def is_over(count: Awaitable[None]) -> bool:
    """Whether a rate is used up, where that is no reason to refuse."""
    try:
        await count
    except Refused as refused:
        if refused.code is not Code.RATE_LIMITED:
            raise
        return True
    return False


def _claimant_key(claimant: NewDevice | Holder, ip: str) -> str:
    """Whose tries are counted together. Those of a device in quarantine by themselves: it must not use up its
    owner's."""
    if not isinstance(claimant, ByKey):
        return block(ip)
    return f"user:{claimant.approver.user_id}" if claimant.trusted else f"device:{claimant.approver.device_id}"


def _claimed_by(pairing: Pairing, claimant: NewDevice | ByKey, secret: str | None) -> bool:
    if isinstance(claimant, ByKey):
        return pairing.approver is not None and pairing.approver.session_id == claimant.approver.session_id
    return secret is not None and codes.matches(secret, pairing.secret_hash)
