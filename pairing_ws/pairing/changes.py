"""Every change of a stored pairing: swapped in, counted and written to the audit log.

And the end of the pairings whose approver may not answer any more."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from prometheus_client import Counter

from pairing_ws.core.audit import Audit
from pairing_ws.core.devices import Approver
from pairing_ws.core.errors import Unavailable
from pairing_ws.pairing.machine import Event, Pairing
from pairing_ws.pairing.ports import Accounts, PairingStore

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


class Changes:
    """The only writer of stored pairings, apart from `PairingStore.add`."""

    def __init__(self, store: PairingStore, accounts: Accounts[Any], audit: Audit) -> None:
        self._store = store
        self._accounts = accounts
        self._audit = audit

    async def replace(self, event: Event, old: Pairing, new: Pairing) -> bool:
        """Whether `new` is stored. If not, another caller or the deadline was first: the pairing has to be read
        again."""
        won = await self._store.replace(old, new)
        if won:
            self.record(event, new)
            if new.approver and not new.final:
                # What is left by the store's clock, which dates each step; another's may differ.
                lasts = max(new.expires_at, new.stays_until) - (new.approved_at or new.scanned_at or 0)
                self._accounts.expect(new.approver, lasts)
        return won

    def record(self, event: str, pairing: Pairing) -> None:
        """Count the event and write it to the audit log."""
        _counter(event).inc()
        approver, device = pairing.approver, pairing.new_device
        self._audit(
            _AUDIT_EVENTS[event],
            pairing=pairing.id,
            account=approver.user_id if approver else None,
            by_device=approver.device_id if approver else None,
            by_ip=approver.ip if approver else None,
            client=pairing.client.id if pairing.client else None,
            device_name=device.name if device else None,
            ip=device.ip if device else None,
            network=pairing.network.value if pairing.network else None,
        )

    async def end_all_of(self, device_ids: Sequence[str]) -> None:
        """Deny every pairing that these devices could still approve: their keys have been revoked.

        While the store is away nothing is denied: a login needs the approver's session to be alive, too.
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
                if await self.replace(Event.DENY, pairing, pairing.after(Event.DENY, now)):
                    break
