"""Redis: the bus, on one pub/sub connection per process and server, however many watch."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from pairing_ws.adapters.bells import Bells, stop
from pairing_ws.adapters.redis_commands import Commands, translated
from pairing_ws.adapters.redis_servers import Servers
from pairing_ws.errors import Unavailable

log = structlog.get_logger()

LINK_CHECK_SECONDS = 5.0
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True)
class Verbs:
    """The words of plain and of sharded pub/sub."""

    ring: str
    subscribe: str
    unsubscribe: str
    message: str


PLAIN = Verbs("PUBLISH", "subscribe", "unsubscribe", "message")
SHARDED = Verbs("SPUBLISH", "ssubscribe", "sunsubscribe", "smessage")


class RedisBus(Bells):
    """Doorbells over links, one to each server that is home to channels. It keeps them, checks them every 5 s,
    replaces them when they are dead, and moves channels whose home has moved.

    It closes `servers` and `commands`, which it shares with the store, when it ends.
    """

    def __init__(self, servers: Servers, commands: Commands) -> None:
        super().__init__()
        self._servers = servers
        self._commands = commands
        self.verbs = SHARDED if servers.sharded else PLAIN
        self._links: dict[str, Link] = {}
        self._homes: dict[str, str] = {}
        # Done once the link has confirmed the channel; replaced when its confirmation is no longer worth anything.
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        # Channels that lost their confirmation: their watchers may have missed rings, and are woken when it is back.
        self._missed: set[str] = set()
        self._examined: set[str] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    async def __aenter__(self) -> "RedisBus":
        await super().__aenter__()
        self._keeper = asyncio.create_task(self._keep(), name="redis-bus")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._keeper)
        for link in self._links.values():
            await link.close()
        await super().__aexit__()
        await self._commands.aclose()
        await self._servers.aclose()

    async def ring(self, channel: str, note: str = "") -> None:
        try:
            await self._commands.ask(channel, self.verbs.ring, channel, note)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("bus.ring_failed", error=repr(error))
            # Whom it concerns may well be here: a revocation is SQL's, and ends sockets while Redis is away.
            self._rang(channel, note)

    async def warnings(self) -> Sequence[str]:
        with translated():
            await self._servers.refresh()
            return [each for home in self._servers.homes for each in await self._servers.warnings(home)]

    async def _listen(self, channels: Sequence[str], new: Sequence[str]) -> None:
        for channel in new:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        self._settle(new)
        if not self._homes.keys() >= set(new):
            self._look.set()
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                for channel in channels:
                    # Shielded: other watchers of the channel await the same confirmation.
                    await asyncio.shield(self._confirmed[channel])
        except TimeoutError:
            raise Unavailable("the bus") from None

    def _unlisten(self, channels: Sequence[str]) -> None:
        for channel in channels:
            self._confirmed.pop(channel, None)
            self._missed.discard(channel)
            home = self._homes.pop(channel, None)
            if home in self._links:
                self._links[home].drop([channel])

    async def _keep(self) -> None:
        """Look who serves what, again and again, and sooner when a link was lost; for ever."""
        while True:
            self._look.clear()
            try:
                await self._servers.refresh()
                self._settle(self._watchers)
                await self._close_idle_links()
                await self._examine()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("bus.lost", error=repr(error))
            except Exception:
                # Without a keeper, channels would stay where nobody rings them.
                log.exception("bus.crashed")
            try:
                async with asyncio.timeout(LINK_CHECK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue
            # A server that is down is looked for often, but not in a busy loop.
            await asyncio.sleep(0.2)

    def _settle(self, channels: Iterable[str]) -> None:
        """Have each channel at the link to its home."""
        added: dict[str, list[str]] = {}
        for channel in channels:
            try:
                home = self._servers.home(channel) if self._servers.homes else None
            except RedisError:
                home = None
            before = self._homes.get(channel)
            if home is None or home == before:
                continue
            if before in self._links:
                self._links[before].drop([channel])
            self._homes[channel] = home
            self._doubt(channel)
            added.setdefault(home, []).append(channel)
        for home in self._servers.homes | added.keys():
            if home not in self._links:
                self._links[home] = Link(
                    self._servers.link(home), self.verbs, self._rang, self._confirm, self._doubt, self._look.set
                )
            self._links[home].add(added.get(home, []))

    async def _close_idle_links(self) -> None:
        """To servers that have no keys any more."""
        for home in self._links.keys() - self._servers.homes - set(self._homes.values()):
            await self._links.pop(home).close()

    async def _examine(self) -> None:
        """Say once per server what its operator should know."""
        for home in self._servers.homes - self._examined:
            for warning in await self._servers.warnings(home):
                log.warning("redis.misconfigured", server=home, warning=warning)
            self._examined.add(home)

    def _doubt(self, channel: str) -> None:
        """Rings of this channel may have been missed, until it is confirmed again."""
        if channel in self._confirmed and self._confirmed[channel].done():
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
            self._missed.add(channel)

    def _confirm(self, channel: str) -> None:
        wait = self._confirmed.get(channel)
        if wait and not wait.done():
            wait.set_result(None)
        if channel in self._missed:
            self._missed.discard(channel)
            self._rang(channel, "")


class Link:
    """One pub/sub connection to one server, with the channels it should carry; replaced whenever it is dead.

    `doubt` is told of every channel whose confirmation a dead link has made worthless, `lost` that there was one.
    """

    def __init__(
        self,
        client: Redis,
        verbs: Verbs,
        rang: Callable[[str, str], None],
        confirm: Callable[[str], None],
        doubt: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        self._client = client
        self._verbs = verbs
        self._rang = rang
        self._confirm = confirm
        self._doubt = doubt
        self._lost = lost
        self._channels: set[str] = set()
        self._pubsub: PubSub | None = None
        self._sending = asyncio.Lock()
        # Commands whose confirmation has not come: an old one's must not confirm a new one.
        self._unconfirmed: Counter[str] = Counter()
        self._leaving: Counter[str] = Counter()
        self._background: set[asyncio.Task[None]] = set()
        self._reader = asyncio.create_task(self._keep(), name="redis-link")

    async def close(self) -> None:
        await stop(self._reader)
        await self._client.aclose()

    def add(self, channels: Sequence[str]) -> None:
        self._channels.update(channels)
        self._start_sending(channels)

    def drop(self, channels: Sequence[str]) -> None:
        self._channels.difference_update(channels)
        self._start_sending(channels)

    def _start_sending(self, channels: Sequence[str]) -> None:
        # Without a connection, the next one subscribes to all.
        if channels and self._pubsub is not None:
            # In a task of its own: a watcher that is cancelled while redis-py writes would take the link down for all,
            # and Python 3.11's wait_for, in which redis-py writes, can swallow the cancellation.
            task = asyncio.create_task(self._send(channels))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _send(self, channels: Sequence[str]) -> None:
        async with self._sending:
            if self._pubsub is None:
                return
            try:
                # Decided under the lock: meanwhile a channel may have lost its last watcher or found a new one.
                await self._subscribe(self._pubsub, [each for each in channels if each in self._channels])
                await self._unsubscribe(self._pubsub, [each for each in channels if each not in self._channels])
            except Exception as error:
                # redis-py also raises AttributeError here while its connection closes. The next one subscribes anew.
                log.warning("bus.send_failed", error=repr(error))

    async def _subscribe(self, pubsub: PubSub, channels: Sequence[str]) -> None:
        self._unconfirmed.update(channels)
        await self._each(getattr(pubsub, self._verbs.subscribe), channels)

    async def _unsubscribe(self, pubsub: PubSub, channels: Sequence[str]) -> None:
        self._leaving.update(channels)
        await self._each(getattr(pubsub, self._verbs.unsubscribe), channels)

    async def _each(self, send: Callable[..., object], channels: Sequence[str]) -> None:
        """A Cluster takes only channels of one slot together."""
        for together in [[each] for each in channels] if self._verbs is SHARDED else [channels]:
            if together:
                await send(*together)  # type: ignore[misc]

    async def _keep(self) -> None:
        """Connect, subscribe to all channels, read until the connection dies; for ever."""
        failures = 0
        while True:
            try:
                async with self._subscribed() as pubsub:
                    failures = 0
                    await self._read_rings(pubsub)
            except (RedisError, OSError, TimeoutError, EOFError) as error:
                failures += 1
                log.warning("bus.link_lost", error=repr(error), failures=failures)
            except Exception:
                # A dead listener would let every waiting device wait in vain, so nothing may end this loop.
                failures += 1
                log.exception("bus.link_crashed")
            self._lost()
            await asyncio.sleep(min(2.0, 0.05 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[PubSub]:
        pubsub = self._client.pubsub()
        try:
            async with self._sending:
                await pubsub.connect()  # type: ignore[no-untyped-call]
                self._unconfirmed.clear()
                self._leaving.clear()
                self._pubsub = pubsub
                for channel in self._channels:
                    self._doubt(channel)
                await self._subscribe(pubsub, list(self._channels))
            yield pubsub
        finally:
            self._pubsub = None
            for channel in self._channels:
                self._doubt(channel)
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _read_rings(self, pubsub: PubSub) -> None:
        pinged = False
        while True:
            # A failed write has closed it, and get_message would connect again without telling us.
            if pubsub.connection is None or not pubsub.connection.is_connected:
                raise ConnectionError("the link was closed")
            message = await pubsub.get_message(timeout=LINK_CHECK_SECONDS)
            if message is None:
                if pinged:
                    raise ConnectionError("no pong")
                pinged = True
                async with self._sending:
                    await pubsub.ping()
                continue
            pinged = False
            if message["type"] == self._verbs.message:
                self._rang(message["channel"].decode(), message["data"].decode())
            elif message["type"] == self._verbs.subscribe:
                channel = message["channel"].decode()
                if _is_last(self._unconfirmed, channel) and channel in self._channels:
                    self._confirm(channel)
            elif message["type"] == self._verbs.unsubscribe:
                channel = message["channel"].decode()
                # Nobody asked for it: the slot, and the channel with it, has gone to another server.
                if channel not in self._leaving and channel in self._channels:
                    raise ConnectionError("the channel has moved")
                _is_last(self._leaving, channel)


def _is_last(expected: Counter[str], channel: str) -> bool:
    """Count down; whether no further one is expected."""
    expected[channel] -= 1
    if expected[channel] > 0:
        return False
    del expected[channel]
    return True
