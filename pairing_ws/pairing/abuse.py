"""Against abuse: whose attempts count together, reports of origins, and warnings to the approver."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from pairing_ws.core.audit import Audit
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import Network, Place, block, is_public
from pairing_ws.core.ports import Limits
from pairing_ws.pairing.machine import ApprovalWarning, Initiator, Pairing
from pairing_ws.pairing.ports import Accounts, Places
from pairing_ws.pairing.types import ByKey, Holder
from pairing_ws.pairing.views import not_found


class AbuseGuard:
    """Counts, reports and warnings. `warns_of_networks`: whether a different network is worth a warning."""

    def __init__(
        self, limits: Limits, accounts: Accounts[Any], places: Places, audit: Audit, *, warns_of_networks: bool
    ) -> None:
        self._limits = limits
        self._accounts = accounts
        self._places = places
        self._audit = audit
        self._warns_of_networks = warns_of_networks

    async def report(self, pairing: Pairing, approver: Approver) -> None:
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
            await self._accounts.note("pairing.reported", approver, device, pairing.id)
        if device and is_public(device.ip):
            origin, reporter = block(device.ip), block(approver.ip)
            known = await is_over(self._limits.hit("reported_by", f"{approver.user_id} {origin}"))
            # A person behind an address must not be able to close it for all the others there.
            if known or pairing.network is Network.SAME:
                return
            # Nor may several accounts of one person: those behind one address have one vote.
            if is_public(approver.ip) and await is_over(self._limits.hit("reported_from", f"{reporter} {origin}")):
                return
            await is_over(self._limits.hit("reported", origin))

    async def refuse_reported(self, approver: Approver | None, device: NewDevice | None, network: Network) -> None:
        """Raises NOT_FOUND for a new device whose origin was reported: by this approver's account, by their device
        while it was in quarantine, or by several accounts from elsewhere."""
        if approver and device and is_public(device.ip):
            origin = block(device.ip)
            reporters = (approver.user_id, approver.device_id)
            checks = (is_over(self._limits.check("reported_by", f"{each} {origin}")) for each in reporters)
            if any(await asyncio.gather(*checks)):
                raise not_found()
            # People behind a closed address can go on approving their own devices.
            if network is not Network.SAME and await is_over(self._limits.check("reported", origin)):
                raise not_found()

    async def warnings(
        self,
        pairing: Pairing,
        approver: Approver,
        device: NewDevice,
        network: Network,
        place: Place | None,
        *,
        trusted: bool,
    ) -> tuple[ApprovalWarning, ...]:
        """What the approver is to be warned of, the gravest first. Counts the claim that is about to happen.

        For the account only claims of `trusted` devices count: one in quarantine could make its owner used to the
        warning.
        """
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
            # An application is let in without a number, so that this warning is no matter of settings.
            ApprovalWarning.NETWORK_DIFFERS: network is Network.DIFFERENT
            and (self._warns_of_networks or pairing.client is not None),
        }
        return tuple(warning for warning, applies in found.items() if applies)


async def is_over(count: Awaitable[None]) -> bool:
    """Whether a rate is used up, where that is no reason to refuse."""
    try:
        await count
    except Refused as refused:
        if refused.code is not Code.RATE_LIMITED:
            raise
        return True
    return False


def claimant_key(claimant: NewDevice | Holder, ip: str) -> str:
    """Whose attempts are counted together. Those of a device in quarantine are counted apart: it must not use up its
    owner's."""
    if not isinstance(claimant, ByKey):
        return block(ip)
    return f"user:{claimant.approver.user_id}" if claimant.trusted else f"device:{claimant.approver.device_id}"
