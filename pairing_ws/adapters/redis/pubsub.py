"""The bus over Redis: one pub/sub connection per process and server, however many subscribers."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from pairing_ws.adapters.backend import MessageBus
from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.errors import RedisError, raising_unavailable
from pairing_ws.adapters.redis.subscriptions import CHECK_INTERVAL, PLAIN, SHARDED, NodeSubscription
from pairing_ws.adapters.redis.topology import Topology
from pairing_ws.adapters.subscribers import stop
from pairing_ws.core.errors import Unavailable
from pairing_ws.core.timing_wheel import Timeout

log = structlog.get_logger()

CONFIRM_TIMEOUT = 5.0


class RedisBus(MessageBus):
    """Messages over one subscription per server that has channels. It checks them every 5 s, replaces dead ones, and
    moves channels to another server together with their slot.

    It closes `topology` and `client`, which it shares with the store, when it ends.
    """

    def __init__(self, topology: Topology, client: RedisClient) -> None:
        super().__init__()
        self._topology = topology
        self._client = client
        self.commands = SHARDED if topology.sharded else PLAIN
        self._subscriptions: dict[str, NodeSubscription] = {}
        # By channel.
        self._nodes: dict[str, str] = {}
        # Done once Redis has confirmed the channel; replaced when that confirmation is no longer worth anything.
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        # Channels that lost their confirmation. Messages may have been missed, so once the channel is confirmed again,
        # its subscribers have to read again.
        self._stale: set[str] = set()
        self._examined: set[str] = set()
        self._outages = Outages(
            lambda server, cause: log.warning("bus.link_lost", server=server, cause=cause),
            lambda server, seconds: log.warning("bus.link_back", server=server, after_seconds=seconds),
        )
        self._keeper: asyncio.Task[None] | None = None
        self._wake_keeper = asyncio.Event()

    async def __aenter__(self) -> "RedisBus":
        await super().__aenter__()
        self._keeper = asyncio.create_task(self._keep(), name="redis-bus")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._keeper)
        for each in self._subscriptions.values():
            await each.aclose()
        await super().__aexit__()
        await self._client.aclose()
        await self._topology.aclose()

    async def publish(self, channel: str, message: str = "") -> None:
        """See `ports.Bus.publish`."""
        try:
            await self._client.execute(channel, self.commands.publish, channel, message)
        except (RedisError, OSError, TimeoutError):
            # A subscriber may well be in this process. The end of a session is SQL's, and closes sockets while Redis is
            # away.
            self.dispatch(channel, message)

    async def warnings(self) -> Sequence[str]:
        with raising_unavailable():
            await self._topology.refresh()
            return [each for node in self._topology.nodes for each in await self._topology.warnings(node)]

    async def _subscribe(self, channels: Sequence[str], new: Sequence[str]) -> None:
        for channel in new:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        self._assign_to_nodes(new)
        if not self._nodes.keys() >= set(new):
            self._wake_keeper.set()
        try:
            with Timeout(CONFIRM_TIMEOUT):
                for channel in channels:
                    # Shielded: other subscribers of the channel await the same confirmation.
                    await asyncio.shield(self._confirmed[channel])
        except TimeoutError:
            raise Unavailable("the bus") from None

    def _unsubscribe(self, channels: Sequence[str]) -> None:
        for channel in channels:
            self._confirmed.pop(channel, None)
            self._stale.discard(channel)
            node = self._nodes.pop(channel, None)
            if node in self._subscriptions:
                self._subscriptions[node].remove([channel])

    async def _keep(self) -> None:
        """Look which server has what, every 5 s, and sooner when a connection was lost; for ever."""
        while True:
            self._wake_keeper.clear()
            try:
                await self._topology.refresh()
                self._assign_to_nodes(self._subscribers)
                await self._close_unused()
                await self._examine()
            except (RedisError, OSError, TimeoutError):
                # The topology and the subscriptions say so themselves.
                pass
            except Exception:
                # Without a keeper, channels would stay where nobody publishes to them.
                log.exception("bus.crashed")
            try:
                async with asyncio.timeout(CHECK_INTERVAL):
                    await self._wake_keeper.wait()
            except TimeoutError:
                continue
            # A server that is down is looked for often, but not in a busy loop.
            await asyncio.sleep(0.2)

    def _assign_to_nodes(self, channels: Iterable[str]) -> None:
        """Have each channel subscribed to at the server of its slot."""
        added: dict[str, list[str]] = {}
        nodes = self._topology.nodes
        for channel in channels:
            try:
                node = self._topology.node_for_key(channel) if nodes else None
            except RedisError:
                node = None
            before = self._nodes.get(channel)
            if node is None or node == before:
                continue
            if before in self._subscriptions:
                self._subscriptions[before].remove([channel])
            self._nodes[channel] = node
            self._mark_unconfirmed(channel)
            added.setdefault(node, []).append(channel)
        for node in nodes | added.keys():
            if node not in self._subscriptions:
                self._subscriptions[node] = NodeSubscription(
                    partial(self._connect, node),
                    self.commands,
                    self.dispatch,
                    self._confirm,
                    self._mark_unconfirmed,
                    partial(self._on_lost, node),
                )
        for node, new in added.items():
            self._subscriptions[node].add(new)

    async def _connect(self, node: str) -> asyncio.Transport:
        transport = await self._topology.connect(node)
        self._outages.works(self._topology.display_name(node))
        return transport

    def _on_lost(self, node: str, error: Exception) -> None:
        self._outages.failed(self._topology.display_name(node), cause_of(error))
        self._wake_keeper.set()

    async def _close_unused(self) -> None:
        """To servers that no longer have keys."""
        for node in self._subscriptions.keys() - self._topology.nodes - set(self._nodes.values()):
            await self._subscriptions.pop(node).aclose()

    async def _examine(self) -> None:
        """Say once per server what its operator should know."""
        for node in self._topology.nodes - self._examined:
            for warning in await self._topology.warnings(node):
                log.warning("redis.misconfigured", server=self._topology.display_name(node), warning=warning)
            self._examined.add(node)

    def _mark_unconfirmed(self, channel: str) -> None:
        """Messages on this channel may be missed until it is confirmed again."""
        if channel in self._confirmed and self._confirmed[channel].done():
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
            self._stale.add(channel)

    def _confirm(self, channel: str) -> None:
        confirmed = self._confirmed.get(channel)
        if confirmed and not confirmed.done():
            confirmed.set_result(None)
        if channel in self._stale:
            self._stale.discard(channel)
            self.dispatch(channel, "")
