"""Clients that this process has read lately: a device that waits asks every five seconds, and each poll is one of a
client that has to be known."""

from pairing_ws.core.clock import Clock
from pairing_ws.oauth.ports import Client, ClientStore

# A client that was changed or removed is known everywhere so soon after; its grants end with the removal itself.
KNOWN_MS = 2_000
MAX_CLIENTS = 10_000


class KnownClients:
    """Forgets all when it has grown too large. Unknown ids are not remembered: anybody can make them up."""

    def __init__(self, store: ClientStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # By id: until when it may be used, client.
        self._known: dict[str, tuple[int, Client]] = {}

    def lately(self, client_id: str) -> Client | None:
        """The client, if it was read within `KNOWN_MS`: it may have changed since."""
        until, client = self._known.get(client_id, (0, None))
        # A clock that was set back must not keep what was known for longer.
        return client if until - KNOWN_MS <= self._clock() < until else None

    async def read(self, client_id: str) -> Client | None:
        """The client as the store has it. Raises Unavailable."""
        client = await self._store.get(client_id)
        if client is None:
            self._known.pop(client_id, None)
            return None
        if len(self._known) >= MAX_CLIENTS:
            self._known.clear()
        self._known[client_id] = (self._clock() + KNOWN_MS, client)
        return client
