"""Redis: the bus, on one pub/sub connection per process and server, however many watch."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import hiredis
import structlog
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.adapters.redis.client import Commands, translated
from pairing_ws.adapters.redis.connection import Connect, Wire
from pairing_ws.adapters.redis.topology import Servers
from pairing_ws.adapters.subscribers import SubscriberRegistry, stop
from pairing_ws.core.errors import Unavailable
from pairing_ws.core.timing_wheel import Within

log = structlog.get_logger()

LINK_CHECK_SECONDS = 5.0
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True)
class Verbs:
    """The words of plain and of sharded pub/sub; what is heard begins with the same."""

    ring: str
    subscribe: str
    unsubscribe: str
    message: str


PLAIN = Verbs("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE")
SHARDED = Verbs("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "SMESSAGE")


class RedisBus(SubscriberRegistry):
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
        self._outages = Outages(
            lambda server, cause: log.warning("bus.link_lost", server=server, cause=cause),
            lambda server, seconds: log.warning("bus.link_back", server=server, after_seconds=seconds),
        )
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

    async def publish(self, channel: str, message: str = "") -> None:
        try:
            await self._commands.ask(channel, self.verbs.ring, channel, message)
        except (RedisError, OSError, TimeoutError):
            # Whom it concerns may well be here: a revocation is SQL's, and ends sockets while Redis is away.
            self.dispatch(channel, message)

    async def warnings(self) -> Sequence[str]:
        with translated():
            await self._servers.refresh()
            return [each for home in self._servers.homes for each in await self._servers.warnings(home)]

    async def _subscribe(self, channels: Sequence[str], new: Sequence[str]) -> None:
        for channel in new:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        self._settle(new)
        if not self._homes.keys() >= set(new):
            self._look.set()
        try:
            async with Within(CONFIRM_SECONDS):
                for channel in channels:
                    # Shielded: other watchers of the channel await the same confirmation.
                    await asyncio.shield(self._confirmed[channel])
        except TimeoutError:
            raise Unavailable("the bus") from None

    def _unsubscribe(self, channels: Sequence[str]) -> None:
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
                self._settle(self._subscribers)
                await self._close_idle_links()
                await self._examine()
            except (RedisError, OSError, TimeoutError):
                # The servers and the links say so themselves.
                pass
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
        homes = self._servers.homes
        for channel in channels:
            try:
                home = self._servers.home(channel) if homes else None
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
        for home in homes | added.keys():
            if home not in self._links:
                lost = partial(self._link_lost, home)
                self._links[home] = Link(
                    partial(self._open, home), self.verbs, self.dispatch, self._confirm, self._doubt, lost
                )
        for home, new in added.items():
            self._links[home].add(new)

    async def _open(self, home: str) -> Connection:
        connection = await self._servers.open(home)
        self._outages.works(self._servers.name(home))
        return connection

    def _link_lost(self, home: str, error: Exception) -> None:
        self._outages.failed(self._servers.name(home), cause_of(error))
        self._look.set()

    async def _close_idle_links(self) -> None:
        """To servers that have no keys any more."""
        for home in self._links.keys() - self._servers.homes - set(self._homes.values()):
            await self._links.pop(home).close()

    async def _examine(self) -> None:
        """Say once per server what its operator should know."""
        for home in self._servers.homes - self._examined:
            for warning in await self._servers.warnings(home):
                log.warning("redis.misconfigured", server=self._servers.name(home), warning=warning)
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
            self.dispatch(channel, "")


class Link:
    """The channels of one server, and one connection after another that carries them.

    `doubt` is told of every channel whose confirmation a dead connection has made worthless, `lost` why.
    """

    def __init__(
        self,
        connect: Connect,
        verbs: Verbs,
        rang: Callable[[str, str], None],
        confirm: Callable[[str], None],
        doubt: Callable[[str], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._connect = connect
        self._verbs = verbs
        self.dispatch = rang
        self._confirm = confirm
        self._doubt = doubt
        self._lost = lost
        self._channels: set[str] = set()
        self._ear: Ear | None = None
        # Commands whose confirmation has not come: an old one's must not confirm a new one.
        self._unconfirmed: Counter[str] = Counter()
        self._leaving: Counter[str] = Counter()
        self._keeper = asyncio.create_task(self._keep(), name="redis-link")

    async def close(self) -> None:
        await stop(self._keeper)

    def add(self, channels: Sequence[str]) -> None:
        self._channels.update(channels)
        self._subscribe(channels)

    def drop(self, channels: Sequence[str]) -> None:
        self._channels.difference_update(channels)
        if self._ear:
            self._leaving.update(channels)
            self._each(self._ear, self._verbs.unsubscribe, channels)

    def _subscribe(self, channels: Sequence[str]) -> None:
        # Without a connection, the next one subscribes to all.
        if self._ear:
            self._unconfirmed.update(channels)
            self._each(self._ear, self._verbs.subscribe, channels)

    def _each(self, ear: "Ear", verb: str, channels: Sequence[str]) -> None:
        """A Cluster takes only channels of one slot together."""
        for together in [[each] for each in channels] if self._verbs is SHARDED else [channels]:
            words: tuple[Any, ...] = (verb, *together)
            if together:
                ear.write(hiredis.pack_command(words))

    async def _keep(self) -> None:
        """Connect, subscribe to all channels, listen until the connection dies; for ever."""
        failures = 0
        while True:
            ear = Ear(self._connect, self._heard)
            try:
                await self._listen(ear)
            except Exception:
                # A dead listener would let every waiting device wait in vain, so nothing may end this loop.
                log.exception("bus.link_crashed")
            finally:
                self._ear = None
                self._doubt_all()
                await ear.aclose()
            failures = 0 if ear.answered else failures + 1
            self._lost(ear.over.result())
            await asyncio.sleep(pause(failures))

    async def _listen(self, ear: "Ear") -> None:
        self._ear = ear
        self._unconfirmed.clear()
        self._leaving.clear()
        self._doubt_all()
        self._subscribe(list(self._channels))
        while not ear.ended:
            await asyncio.wait({ear.over}, timeout=LINK_CHECK_SECONDS)
            ear.check()

    def _doubt_all(self) -> None:
        for channel in self._channels:
            self._doubt(channel)

    def _heard(self, kind: str, channel: str, note: bytes) -> None:
        """Raises LookupError if the channel has gone to another server."""
        if kind == self._verbs.message:
            self.dispatch(channel, note.decode())
        elif kind == self._verbs.subscribe:
            if _is_last(self._unconfirmed, channel) and channel in self._channels:
                self._confirm(channel)
        elif kind == self._verbs.unsubscribe:
            # Nobody asked for it: the slot has moved, and the channel with it.
            if channel not in self._leaving and channel in self._channels:
                raise LookupError("the channel has moved")
            _is_last(self._leaving, channel)


def pause(failures: int) -> float:
    """Seconds until the next try."""
    # The power is bounded as well: after 1024 failures it would be no float, and the end of the keeper.
    return min(2.0, math.ldexp(0.05, min(failures, 10))) * random.uniform(0.5, 1)  # noqa: S311


class Ear(Wire):
    """One subscribed connection. `over` is done, with the reason, once it has ended."""

    def __init__(self, connect: Connect, tell: Callable[[str, str, bytes], None]) -> None:
        super().__init__(connect)
        self.over: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.answered = False
        self._tell = tell
        self._heard_lately = self._asked = False

    def check(self) -> None:
        """From time to time: a connection that has been silent since the last time is asked whether it is there, and
        one that has said nothing to that is ended."""
        if not self._heard_lately and self._asked:
            self.end(RedisConnectionError("no pong"))
        elif not self._heard_lately:
            self.write(hiredis.pack_command(("PING",)))
        self._asked = not self._heard_lately
        self._heard_lately = False

    def heard(self, reply: Any) -> None:
        self._heard_lately = self.answered = True
        if isinstance(reply, Exception):
            self.end(reply)
        elif isinstance(reply, list) and len(reply) == 3:
            kind, channel, note = reply
            self._tell(kind.decode().upper(), channel.decode(), note)

    def is_over(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_result(error)


def _is_last(expected: Counter[str], channel: str) -> bool:
    """Count down; whether no further one is expected."""
    expected[channel] -= 1
    if expected[channel] > 0:
        return False
    del expected[channel]
    return True
