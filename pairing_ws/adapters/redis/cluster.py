"""Which server of a Cluster has which slot, by CLUSTER SLOTS of any node."""

import random
from binascii import crc_hqx
from collections.abc import Iterator
from typing import Any

from pairing_ws.adapters.redis.connection import Address, name_of
from pairing_ws.adapters.redis.errors import ClusterDown, RedisError
from pairing_ws.adapters.redis.topology import Topology
from pairing_ws.config.redis_url import RedisAddress

SLOTS = 16384


def slot_of(key: str) -> int:
    """The Cluster specification's key slot: CRC16 (XMODEM) of the hash tag, or of the whole key if it has none."""
    start = key.find("{") + 1
    if start:
        end = key.find("}", start)
        if end > start:
            key = key[start:end]
    return crc_hqx(key.encode(), 0) % SLOTS


class ClusterTopology(Topology):
    """Keys and channels live where their slot does."""

    sharded = True

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(address)
        # By slot; "" where no server is known.
        self._owners: list[str] = []
        self._masters: set[str] = set()
        # Masters and replicas, as far as known.
        self._known: list[Address] = []

    @property
    def nodes(self) -> set[str]:
        return set(self._masters)

    @property
    def is_discovered(self) -> bool:
        return bool(self._masters)

    def node_for_key(self, key: str) -> str:
        node = self._owners[slot_of(key)] if self._owners else ""
        if not node:
            raise ClusterDown("no node serves this slot")
        return node

    async def _discover(self) -> None:
        """Ask one node after the other until one knows who serves every slot. If none does, what they know together
        counts: a Cluster without some of its slots serves the others."""
        owners = [""] * SLOTS
        known: dict[Address, None] = {}
        failure: Exception | None = None
        for address in self._in_order():
            try:
                [ranges] = await self._requests.request(address, ("CLUSTER", "SLOTS"))
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                continue
            for first, last, *nodes in ranges:
                addresses = [_address_of(node, address[0]) for node in nodes]
                known.update(dict.fromkeys(addresses))
                name = name_of(addresses[0])
                for slot in range(first, last + 1):
                    owners[slot] = owners[slot] or name
            if all(owners):
                break
        masters = {owner for owner in owners if owner}
        if not masters:
            raise ClusterDown(f"no node tells who serves the slots of the Cluster: {failure or 'none is served'}")
        self._owners, self._masters, self._known = owners, masters, list(known)
        self._requests.keep(self._known)

    def _in_order(self) -> Iterator[Address]:
        """The nodes that are known, each time in another order; then the names that the operator wrote, which may lead
        to others once every known node has left."""
        yield from random.sample(self._known, len(self._known))
        yield from (host for host in self._address.hosts if host not in self._known)


def _address_of(node: Any, asked: str | int) -> Address:
    """A node that does not know its own address is reached as it was when it was asked."""
    host = (node[0] or b"").decode()
    return (host if host not in ("", "?") else str(asked)), node[1]
