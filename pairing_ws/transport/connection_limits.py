"""How many connections this process has room for, which end first where there is none, and what is logged of it."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from pairing_ws.config.addresses import Network
from pairing_ws.core.network import block, is_in

log = structlog.get_logger()

OPEN = Gauge("pairing_connections_open", "Open connections that are no WebSockets", multiprocess_mode="livesum")
CUT = Counter("pairing_connections_cut", "Connections that the server refused or ended, by reason", ["reason"])
# Clients can cause these at will, so the log has one line per minute and reason.
LOG_INTERVAL = 60.0


class Connection(Protocol):
    def evict(self) -> None:
        """End at once: another connection needs the room."""


class AddressConnections:
    """Those from one address. `idle` are those without a request under way, the longest idle first."""

    __slots__ = ("idle", "open")

    def __init__(self) -> None:
        self.open = 0
        self.idle: dict[Connection, None] = {}


class ConnectionLimits:
    """Bounds the connections of one process. 0 is no bound.

    `per_address` counts those that are no WebSockets (these have a bound of their own), by IPv4 address or IPv6 /64,
    and none of `proxies`, through which all clients come. `in_all` counts all.
    """

    def __init__(self, per_address: int = 0, in_all: int = 0, proxies: Sequence[Network] = ()) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._proxies = proxies
        self._addresses: defaultdict[str, AddressConnections] = defaultdict(AddressConnections)
        self._idle: dict[Connection, None] = {}
        # By reason: when it may be logged again, and how often it happened since it was.
        self._logged: dict[str, tuple[float, int]] = {}

    def admit(self, connection: Connection, address: str | None, total: int) -> AddressConnections | None:
        """What to give to the other methods, or None if there is no room.

        `total` counts the new one and the WebSockets; `address` is None for a Unix socket's client, which is a proxy.
        """
        name = block(address) if address else ""
        peers = self._addresses[name]
        bound = self._per_address if address and not is_in(address, self._proxies) else 0
        if bound and peers.open >= bound and not self._evict_longest_idle(peers.idle):
            self.log_cut("address_full", address=name, open=peers.open)
            return None
        if self._in_all and total > self._in_all and not self._evict_longest_idle(self._idle):
            self._forget_if_empty(name, peers)
            self.log_cut("all_full", open=total)
            return None
        peers.open += 1
        OPEN.inc()
        self.mark_idle(connection, peers)
        return peers

    def release(self, connection: Connection, address: str | None, peers: AddressConnections) -> None:
        """The connection has ended, or is a WebSocket from now on."""
        self.mark_busy(connection, peers)
        peers.open -= 1
        OPEN.dec()
        self._forget_if_empty(block(address) if address else "", peers)

    def mark_idle(self, connection: Connection, peers: AddressConnections) -> None:
        """No request is under way from now on."""
        peers.idle[connection] = self._idle[connection] = None

    def mark_busy(self, connection: Connection, peers: AddressConnections) -> None:
        """One is."""
        if self._idle.pop(connection, connection) is None:
            del peers.idle[connection]

    def count_cut(self, reason: str) -> None:
        """Count a connection that ends for this reason, without a line in the log."""
        CUT.labels(reason).inc()

    def log_cut(self, reason: str, **about: object) -> None:
        """Count it, and log it unless this reason was logged a moment ago."""
        self.count_cut(reason)
        now = asyncio.get_running_loop().time()
        until, times = self._logged.get(reason, (0.0, 0))
        if now >= until:
            log.warning("connections.cut", reason=reason, times=times + 1, **about)
            until, times = now + LOG_INTERVAL, -1
        self._logged[reason] = until, times + 1

    def _evict_longest_idle(self, idle: dict[Connection, None]) -> bool:
        longest = next(iter(idle), None)
        if longest is None:
            return False
        longest.evict()
        self.log_cut("idle")
        return True

    def _forget_if_empty(self, name: str, peers: AddressConnections) -> None:
        if not peers.open:
            self._addresses.pop(name, None)
