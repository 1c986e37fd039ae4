"""A pairing as each of its parties may see it: read, listed and watched. Nothing here changes one."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from pairing_ws.core import codes
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Bus, Callback
from pairing_ws.pairing.machine import Pairing, Status, Verification
from pairing_ws.pairing.notifications import StateChanged, Takeover
from pairing_ws.pairing.ports import Accounts, Loaded, PairingStore, pairing_channel
from pairing_ws.pairing.types import ByKey, BySecret, Holder, Role, View

MAX_LISTED = 20


class Views:
    """Raises Unavailable wherever the store is away."""

    def __init__(self, store: PairingStore, bus: Bus, accounts: Accounts[Any], key: bytes) -> None:
        self._store = store
        self._bus = bus
        self._accounts = accounts
        self._key = key

    async def view(self, pairing_id: str, holder: Holder) -> View:
        """The pairing as its party sees it. Raises NOT_FOUND alike for unknown, foreign and wrong secret."""
        return await self._view_of(await self._store.get(pairing_id), holder)

    async def view_after_notification(
        self, pairing_id: str, holder: Holder, notification: StateChanged | None, known: int
    ) -> View:
        """The same as `view` for a watcher that knows version `known`.

        The state that a notification carries, if it is newer than that, saves the trip to the store."""
        loaded = notification.loaded() if notification else None
        if loaded and loaded.pairing.version > known:
            return await self._view_of(loaded, holder)
        return await self.view(pairing_id, holder)

    async def bare_view(self, pairing_id: str, holder: Holder) -> View:
        """The same without number and obstacle, which cost a digest and a read of the database: for those who are
        about to change it."""
        return _bare_view_of(await self._store.get(pairing_id), holder)

    async def _view_of(self, loaded: Loaded | None, holder: Holder) -> View:
        bare = _bare_view_of(loaded, holder)
        return await self.approvers_view(bare.pairing, bare.now, holder) if isinstance(holder, ByKey) else bare

    async def approvers_view(self, pairing: Pairing, now: int, holder: ByKey) -> View:
        shows_number = pairing.verification is Verification.NUMBER and pairing.approved_at is not None
        number = codes.verification_number(self._key, pairing.id) if shows_number and not pairing.final else None
        obstacle = await self.obstacle(pairing, holder) if pairing.status is Status.SCANNED else None
        return View(pairing, Role.APPROVER, now, number, obstacle.code if obstacle else None)

    async def obstacle(self, pairing: Pairing, holder: ByKey) -> Refused | None:
        """Why this approver can't approve it as things are: told from the claim on, while it can still be mended."""
        if not holder.trusted:
            return Refused(Code.DEVICE_QUARANTINED)
        if pairing.new_device is None:
            return None
        return await self._accounts.obstacle(holder.approver, None if pairing.client else pairing.new_device)

    async def open_of(self, holder: ByKey) -> Sequence[View]:
        """What this session may still decide or show, the newest first; not more than `MAX_LISTED`."""
        ids = await self._store.open_of(holder.approver.device_id, MAX_LISTED)
        found = [each for each in await asyncio.gather(*map(self._store.get, ids)) if each and not each.pairing.final]
        mine = [each for each in found if is_claimed_by(each.pairing, holder, None)]
        return [await self.approvers_view(pairing, now, holder) for pairing, now in mine]

    def watch(self, pairing_id: str, callback: Callback) -> AbstractAsyncContextManager[None]:
        """Subscribe before reading: a change after the entry calls `callback`, one before it is in what is read then.
        `decode_notification` reads the messages. Raises Unavailable on entry.

        Expiry is not published: a watcher sets its own timer to `expires_at`.
        """
        return self._bus.watch([pairing_channel(pairing_id)], callback)

    async def take_over(self, pairing_id: str, mark: str) -> None:
        """Tell older sockets of the same new device that the one with this mark is the newest. Never raises."""
        await self._bus.publish(pairing_channel(pairing_id), Takeover(mark).encode())


def _bare_view_of(loaded: Loaded | None, holder: Holder) -> View:
    if loaded is None:
        raise not_found()
    pairing, now = loaded
    if isinstance(holder, BySecret):
        if codes.matches(holder.secret, pairing.holder_hash):
            return View(pairing, Role.NEW_DEVICE, now)
    elif pairing.approver and pairing.approver.session_id == holder.approver.session_id:
        return View(pairing, Role.APPROVER, now)
    raise not_found()


def not_found() -> Refused:
    """One answer for unknown, foreign, long gone, wrong code and wrong secret."""
    return Refused(Code.NOT_FOUND, "no such pairing for this holder")


def is_claimed_by(pairing: Pairing, claimant: NewDevice | ByKey, secret: str | None) -> bool:
    if isinstance(claimant, ByKey):
        return pairing.approver is not None and pairing.approver.session_id == claimant.approver.session_id
    return secret is not None and codes.matches(secret, pairing.holder_hash)
