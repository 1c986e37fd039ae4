"""The claim: a second device ties itself to a pairing, by a scanned or a typed code. It is not consent."""

from typing import Any

import msgspec

from pairing_ws.core import codes
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import Network, compare
from pairing_ws.core.ports import Limits
from pairing_ws.pairing import claim_codes
from pairing_ws.pairing.abuse import AbuseGuard, claimant_key
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.machine import Event, Initiator, Pairing, Verification
from pairing_ws.pairing.ports import Accounts, Loaded, PairingStore, Places
from pairing_ws.pairing.types import ByKey, BySecret, Holder, Policy, Role, View
from pairing_ws.pairing.views import Views, is_claimed_by, not_found

# A claim leaves at least this long to decide.
DECIDE_MS = 60_000


class Claims:
    """`key` is the pepper of all derived codes. Every method raises Refused."""

    def __init__(
        self,
        store: PairingStore,
        views: Views,
        changes: Changes,
        guard: AbuseGuard,
        accounts: Accounts[Any],
        limits: Limits,
        places: Places,
        policy: Policy,
        random: codes.RandomBytes,
        key: bytes,
    ) -> None:
        self._store = store
        self._views = views
        self._changes = changes
        self._guard = guard
        self._accounts = accounts
        self._limits = limits
        self._places = places
        self._policy = policy
        self._random = random
        self._key = key

    async def claim(
        self, pairing_id: str, code: str, claimant: NewDevice | ByKey, ip: str, secret: str | None = None
    ) -> tuple[View, str | None]:
        """The scan. Gives the claimant's view and, for device B, its secret.

        Raises RATE_LIMITED, WRONG_DIRECTION, ALREADY_CLAIMED, SAME_DEVICE, DEVICE_CHANGED and NETWORK_REFUSED.
        """
        await self._limits.hit("claim", claimant_key(claimant, ip))
        loaded = await self._store.get(pairing_id)
        if loaded is None or not self._accepts(code, loaded, claimant, secret):
            raise not_found()
        return await self._claim(loaded, claimant, ip, secret, typed=False)

    def _accepts(self, code: str, loaded: Loaded, claimant: NewDevice | ByKey, secret: str | None) -> bool:
        pairing, at = loaded
        # A claimant may ask for the answer once more, although the code that it scanned is stale by then.
        if pairing.scanned_at is not None and is_claimed_by(pairing, claimant, secret):
            at = pairing.scanned_at
        holder = claimant if isinstance(claimant, ByKey) else BySecret(secret) if secret else None
        shown = claim_codes.is_shown(self._key, pairing, code, at)
        return shown or (holder is not None and claim_codes.is_reserved(self._key, pairing, code, holder, at))

    async def reserve_code(self, pairing_id: str, code: str, holder: Holder, ip: str) -> str:
        """For a holder that has scanned but not decided to claim: a code that waits for that, for this holder alone.

        Raises NOT_FOUND if the code is not on show, and RATE_LIMITED.

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
                verification=self._verification(pairing, network, typed=typed),
                **facts,
            )
            if approver and device and self._accounts.device_id(approver, device) == approver.device_id:
                raise Refused(Code.SAME_DEVICE, "this pairing was started by the very device that would approve it")
            # Not only `different`: attackers choose their address family, and with it `unknown`.
            if self._wants_same_network(pairing) and network is not Network.SAME:
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

    def _wants_same_network(self, pairing: Pairing) -> bool:
        return self._policy.network == "deny" or (pairing.client is not None and pairing.client.same_network)

    def _verification(self, pairing: Pairing, network: Network, *, typed: bool) -> Verification:
        policy = self._policy.verify
        if pairing.client and not pairing.client.takes_number:
            # A stock client has no field for it. Its approver has typed the code, or compared it.
            return Verification.NONE
        if policy == "never" or (policy == "remote" and network is Network.SAME and not typed):
            return Verification.NONE
        return Verification.NUMBER
