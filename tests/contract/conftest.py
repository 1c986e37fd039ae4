"""The backends that every contract test runs on: process memory, and each kind of real Redis seen by two processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pairing_ws.adapters.memory import MemoryBus, MemoryPairings
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.pairing_store import RedisPairings
from pairing_ws.adapters.redis.pubsub import RedisBus
from pairing_ws.core.devices import Approver
from pairing_ws.core.ports import Bus
from pairing_ws.pairing.machine import Event, Initiator, Pairing
from pairing_ws.pairing.ports import Full, Loaded, PairingStore
from tests.contract import token
from tests.support.clock import FakeClock
from tests.support.redis_kinds import KINDS
from tests.support.servers import RedisServer, eventually


@dataclass
class Backend:
    """What one process has (`store`, `bus`) and what another one on the same backend has (`other_…`).

    In memory there is only one process, so both are the same.
    """

    name: str
    store: PairingStore
    bus: Bus
    other_store: PairingStore
    other_bus: Bus
    clock: FakeClock | None = None

    async def reach(self, time: int) -> None:
        """Come to where the store's clock shows `time`."""
        if self.clock:
            self.clock.now = max(self.clock.now, time)
        while (now := await self.now()) < time:  # noqa: ASYNC110 - a clock rings no event
            await asyncio.sleep((time - now) / 1000)

    async def now(self) -> int:
        """The store's clock, which it tells with all that it stores."""
        return (await self.stored(self.pairing())).now

    async def live(self) -> int:
        """How many pairings are live, by what the store refuses: one has to end for each time that it does not."""
        low, high = 0, 100_000
        while low < high:
            most = (low + high) // 2 + 1
            try:
                loaded = await self.other_store.add(self.pairing(), most)
            except Full:
                low = most
            else:
                assert loaded
                assert await self.other_store.replace(loaded.pairing, loaded.pairing.after(Event.CANCEL, loaded.now))
                high = most - 1
        return low

    def pairing(self, *, expires_in: int = 120_000, approver: Approver | None = None) -> Pairing:
        """A pairing that is not stored yet. Its deadline may lie in the past: so nobody has to wait for it."""
        return Pairing(
            id=token(),
            initiator=Initiator.LOGGED_IN_DEVICE if approver else Initiator.NEW_DEVICE,
            created_at=min(0, expires_in),
            expires_at=expires_in,
            code_hash=token(),
            user_code_hash=token(),
            approver=approver,
        )

    async def added(self, *, expires_in: int = 120_000, approver: Approver | None = None) -> Pairing:
        return (await self.stored(self.pairing(expires_in=expires_in, approver=approver))).pairing

    async def stored(self, pairing: Pairing) -> Loaded:
        loaded = await self.store.add(pairing)
        assert loaded
        return loaded


@dataclass
class Ear:
    """A watcher that remembers what it heard."""

    heard: list[str] = field(default_factory=list)

    def wake(self, note: str) -> None:
        self.heard.append(note)

    async def hears(self, *notes: str) -> None:
        """Wait until it has heard exactly these, in this order."""
        await eventually(lambda: len(self.heard) >= len(notes), f"hearing {notes} (so far: {self.heard})")
        assert self.heard == list(notes)


@asynccontextmanager
async def one_process(url: str) -> AsyncIterator[tuple[RedisPairings, RedisBus]]:
    """What one process has on that Redis."""
    topology = topology_at(url)
    client = RedisClient(topology)
    async with RedisBus(topology, client) as bus:
        yield RedisPairings(client, bus.commands.publish), bus


@asynccontextmanager
async def on_redis(url: str) -> AsyncIterator[Backend]:
    """Two processes' worth of adapters, both with their link up."""
    async with AsyncExitStack() as stack:
        store, bus = await stack.enter_async_context(one_process(url))
        other_store, other_bus = await stack.enter_async_context(one_process(url))
        for each in (bus, other_bus):
            # A new link wakes whom it finds waiting. Once it is up, only rings do.
            async with each.watch(["warm-up"], lambda _: None):
                pass
        yield Backend("redis", store, bus, other_store, other_bus)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """A database of the contract tests' own on the run's Redis."""
    return redis_server.url.removesuffix("/0") + "/9"


@pytest.fixture(params=["memory", "redis", *KINDS])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "memory":
        clock = FakeClock()
        async with MemoryBus() as bus:
            store = MemoryPairings(bus, clock)
            yield Backend("memory", store, bus, store, bus, clock)
        return
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    else:
        url = request.getfixturevalue("redis_kinds")(request.param).url
    async with on_redis(url) as backend:
        yield backend
