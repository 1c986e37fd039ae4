"""All that one process has on one Redis, and which kind of Redis `REDIS_URL` names."""

from pathlib import Path

from pairing_ws.adapters.backend import Backend
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.cluster import ClusterTopology
from pairing_ws.adapters.redis.code_store import RedisCodes
from pairing_ws.adapters.redis.counters import RedisCounters
from pairing_ws.adapters.redis.fingerprints import RedisFingerprints
from pairing_ws.adapters.redis.pairing_store import RedisPairings
from pairing_ws.adapters.redis.pubsub import RedisBus
from pairing_ws.adapters.redis.sentinel import SentinelTopology
from pairing_ws.adapters.redis.topology import Topology
from pairing_ws.config.redis_url import RedisAddress

_TOPOLOGIES = {"server": Topology, "sentinel": SentinelTopology, "cluster": ClusterTopology}


def topology_at(url: str, authority: Path | None = None, *, verified: bool = True) -> Topology:
    """What `REDIS_URL` names; see `RedisAddress.trusting`. Nothing is connected before it is used. Raises
    ValueError."""
    address = RedisAddress.parse(url).trusting(authority, verified=verified)
    return _TOPOLOGIES[address.kind](address)


def redis_backend(url: str, authority: Path | None = None, *, verified: bool = True) -> Backend:
    """Its bus, once entered, keeps the connections; when it is left it closes all of them. Raises as `topology_at`."""
    topology = topology_at(url, authority, verified=verified)
    client = RedisClient(topology)
    bus = RedisBus(topology, client)
    pairings = RedisPairings(client, bus.commands.publish)
    return Backend(bus, pairings, RedisCodes(client), RedisCounters(client), RedisFingerprints(client))
