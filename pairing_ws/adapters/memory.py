"""Everything short-lived in this process's memory: for one worker, and for tests."""

import heapq
from collections.abc import Sequence

from pairing_ws.adapters.subscribers import SubscriberRegistry
from pairing_ws.core.clock import Clock
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import Full, Loaded, pairing_channel

# A finished pairing can be read this long, then it is unknown.
AFTERLIFE_MS = 300_000


class MemoryBus(SubscriberRegistry):
    """A bus whose every ring arrives, because it never leaves the process."""

    async def publish(self, channel: str, message: str = "") -> None:
        self.dispatch(channel, message)


class MemoryPairings:
    """The pairing store of one process. No method awaits between reading and writing, so each is atomic."""

    def __init__(self, bus: MemoryBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._pairings: dict[str, Pairing] = {}
        self._user_codes: dict[str, str] = {}
        # A dict for its order: by when each was entered.
        self._by_approver: dict[str, dict[str, None]] = {}
        self._live: set[str] = set()
        self._leaving: list[tuple[int, str]] = []

    async def ping(self) -> None:
        pass

    async def examine(self) -> None:
        pass

    async def add(self, pairing: Pairing, most: int = 0) -> Loaded | None:
        self._forget()
        now = self._clock()
        if 0 < most <= len(self._live):
            raise Full
        holder = self._pairings.get(self._user_codes.get(pairing.user_code_hash, ""))
        if holder and not holder.seen_at(now).final:
            return None
        begun = pairing.started_at(now)
        self._user_codes[begun.user_code_hash] = begun.id
        self._keep(begun)
        heapq.heappush(self._leaving, (begun.expires_at, begun.id))
        return Loaded(begun, now)

    async def get(self, pairing_id: str) -> Loaded | None:
        now = self._clock()
        pairing = self._pairings.get(pairing_id)
        if pairing is None or now >= _leaves_at(pairing):
            return None
        return Loaded(pairing.seen_at(now), now)

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        return self._user_codes.get(user_code_hash)

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        stored = self._pairings.get(old.id)
        if stored is None or stored.version != old.version or self._clock() >= stored.expires_at:
            return False
        self._keep(new)
        await self._bus.publish(pairing_channel(new.id))
        return True

    async def open_of(self, device_id: str, most: int | None = None) -> Sequence[str]:
        return list(reversed(self._by_approver.get(device_id, {})))[:most]

    def _keep(self, pairing: Pairing) -> None:
        self._pairings[pairing.id] = pairing
        if pairing.final:
            self._live.discard(pairing.id)
            self._leave_index(pairing)
            return
        self._live.add(pairing.id)
        if pairing.approver:
            self._by_approver.setdefault(pairing.approver.device_id, {})[pairing.id] = None

    def _leave_index(self, pairing: Pairing) -> None:
        device_id = pairing.approver.device_id if pairing.approver else ""
        mine = self._by_approver.get(device_id, {})
        mine.pop(pairing.id, None)
        if not mine:
            self._by_approver.pop(device_id, None)

    def _forget(self) -> None:
        """Drop what is due, soonest first; whatever a transition gave more time goes back into the heap."""
        now = self._clock()
        while self._leaving and self._leaving[0][0] <= now:
            _, pairing_id = heapq.heappop(self._leaving)
            pairing = self._pairings[pairing_id]
            if pairing.seen_at(now).final:
                self._live.discard(pairing_id)
            leaves_at = pairing.expires_at if pairing_id in self._live else _leaves_at(pairing)
            if leaves_at > now:
                heapq.heappush(self._leaving, (leaves_at, pairing_id))
                continue
            del self._pairings[pairing_id]
            if self._user_codes.get(pairing.user_code_hash) == pairing_id:
                del self._user_codes[pairing.user_code_hash]
            self._leave_index(pairing)


def _leaves_at(pairing: Pairing) -> int:
    return (pairing.finished_at or pairing.expires_at) + AFTERLIFE_MS
