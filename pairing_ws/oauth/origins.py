"""Which pages of other origins may read the answers of the token endpoint and its like: those of public clients, which
run in a browser and have registered them."""

from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Unavailable
from pairing_ws.oauth.ports import ClientStore

# A client that was added or removed is known everywhere so soon after.
KNOWN_MS = 5_000


class Origins:
    def __init__(self, clients: ClientStore, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._known: frozenset[str] = frozenset()
        self._known_until = 0

    async def registered(self) -> frozenset[str]:
        """Of all public clients: a preflight does not say whose page it is, and an answer is read only by who has the
        code or token for it. While the database is away, those that were known before; Unavailable if none were read.
        """
        now = self._clock()
        # A clock that was set back must not keep what was known for longer.
        if self._known_until - KNOWN_MS <= now < self._known_until:
            return self._known
        try:
            clients = await self._clients.all()
        except Unavailable:
            if not self._known_until:
                raise
            return self._known
        self._known = frozenset(origin for client in clients if client.is_public for origin in client.origins)
        self._known_until = now + KNOWN_MS
        return self._known
