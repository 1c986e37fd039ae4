"""How many connections this process has room for, which go first where there is none, and what is said of it."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from pairing_ws.config.settings import Network
from pairing_ws.core.network import block, is_in

log = structlog.get_logger()

OPEN = Gauge("pairing_connections_open", "Open connections that are no WebSockets", multiprocess_mode="livesum")
CUT = Counter("pairing_connections_cut", "Connections that the server refused or ended, by reason", ["reason"])
# Clients can cause these at will, so the log has one line for all of a minute.
QUIET_SECONDS = 60.0


class Guest(Protocol):
    def give_way(self) -> None:
        """End the connection: another one needs the room."""


class Peer:
    """The connections from one address. `idle` are those without a call under way, by how long they have had none."""

    __slots__ = ("idle", "open")

    def __init__(self) -> None:
        self.open = 0
        self.idle: dict[Guest, None] = {}


class Room:
    """Bounds the connections of one process. 0 is no bound.

    `per_address` counts those that are no WebSockets (these have a bound of their own), by IPv4 address or IPv6 /64,
    and none of `proxies`, through which all clients come. `in_all` counts all.
    """

    def __init__(self, per_address: int = 0, in_all: int = 0, proxies: Sequence[Network] = ()) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._proxies = proxies
        self._peers: defaultdict[str, Peer] = defaultdict(Peer)
        self._idle: dict[Guest, None] = {}
        # By reason: when it may be logged again, and how often it happened since it was.
        self._quiet: dict[str, tuple[float, int]] = {}

    def enter(self, guest: Guest, address: str | None, total: int) -> Peer | None:
        """None if there is no room. `total` counts the new one and the WebSockets; `address` is None for a Unix
        socket's client, which is a proxy."""
        name = block(address) if address else ""
        peer = self._peers[name]
        bound = self._per_address if address and not is_in(address, self._proxies) else 0
        if bound and peer.open >= bound and not self._free(peer.idle):
            self.cut("address_full", address=name, open=peer.open)
            return None
        if self._in_all and total > self._in_all and not self._free(self._idle):
            self._forget_if_empty(name, peer)
            self.cut("all_full", open=total)
            return None
        peer.open += 1
        OPEN.inc()
        self.rest(guest, peer)
        return peer

    def leave(self, guest: Guest, address: str | None, peer: Peer) -> None:
        self.work(guest, peer)
        peer.open -= 1
        OPEN.dec()
        self._forget_if_empty(block(address) if address else "", peer)

    def rest(self, guest: Guest, peer: Peer) -> None:
        """There is no call under way from now on."""
        peer.idle[guest] = self._idle[guest] = None

    def work(self, guest: Guest, peer: Peer) -> None:
        """There is one."""
        if self._idle.pop(guest, guest) is None:
            del peer.idle[guest]

    def count(self, reason: str) -> None:
        """The end of a connection that is told of elsewhere."""
        CUT.labels(reason).inc()

    def cut(self, reason: str, **about: object) -> None:
        """Count it, and log it unless it was logged a moment ago."""
        self.count(reason)
        now = asyncio.get_running_loop().time()
        until, times = self._quiet.get(reason, (0.0, 0))
        if now >= until:
            log.warning("connections.cut", reason=reason, times=times + 1, **about)
            until, times = now + QUIET_SECONDS, -1
        self._quiet[reason] = until, times + 1

    def _free(self, idle: dict[Guest, None]) -> bool:
        """End the one that has been idle for longest, if there is one."""
        longest = next(iter(idle), None)
        if longest is None:
            return False
        longest.give_way()
        self.cut("idle")
        return True

    def _forget_if_empty(self, name: str, peer: Peer) -> None:
        if not peer.open:
            self._peers.pop(name, None)
