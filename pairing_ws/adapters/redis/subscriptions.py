"""The channels of one server, and one connection after another that carries them."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
import structlog

from pairing_ws.adapters.redis.connection import Connect, RespConnection
from pairing_ws.adapters.redis.errors import ConnectionLost
from pairing_ws.adapters.subscribers import stop

log = structlog.get_logger()

CHECK_INTERVAL = 5.0


@dataclass(frozen=True)
class PubSubCommands:
    """The commands of plain or of sharded pub/sub. What Redis sends begins with the same words."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: str


PLAIN = PubSubCommands("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE")
SHARDED = PubSubCommands("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "SMESSAGE")


class NodeSubscription:
    """Subscribed to its channels for as long as the server is there.

    `on_message` gets channel and message, `on_confirmed` each channel that Redis has confirmed, `on_unconfirmed` each
    channel whose confirmation is worth nothing since the connection ended, and `on_lost` why it ended.
    """

    def __init__(
        self,
        connect: Connect,
        commands: PubSubCommands,
        on_message: Callable[[str, str], None],
        on_confirmed: Callable[[str], None],
        on_unconfirmed: Callable[[str], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        self._connect = connect
        self._commands = commands
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_unconfirmed = on_unconfirmed
        self._on_lost = on_lost
        self._channels: set[str] = set()
        self._connection: SubscriberConnection | None = None
        # Commands whose confirmation has not come: an old one's must not confirm a new one.
        self._subscribing: Counter[str] = Counter()
        self._unsubscribing: Counter[str] = Counter()
        self._keeper = asyncio.create_task(self._keep(), name="redis-subscription")

    async def aclose(self) -> None:
        await stop(self._keeper)

    def add(self, channels: Sequence[str]) -> None:
        self._channels.update(channels)
        self._subscribe(channels)

    def remove(self, channels: Sequence[str]) -> None:
        self._channels.difference_update(channels)
        if self._connection:
            self._unsubscribing.update(channels)
            self._send(self._connection, self._commands.unsubscribe, channels)

    def _subscribe(self, channels: Sequence[str]) -> None:
        # Without a connection, the next one subscribes to all.
        if self._connection:
            self._subscribing.update(channels)
            self._send(self._connection, self._commands.subscribe, channels)

    def _send(self, connection: "SubscriberConnection", command: str, channels: Sequence[str]) -> None:
        """A Cluster takes only channels of one slot together."""
        for together in [[each] for each in channels] if self._commands is SHARDED else [channels]:
            words: tuple[Any, ...] = (command, *together)
            if together:
                connection.write(hiredis.pack_command(words))

    async def _keep(self) -> None:
        """Connect, subscribe to all channels, listen until the connection ends; for ever."""
        failures = 0
        while True:
            connection = SubscriberConnection(self._connect, self._on_push)
            try:
                await self._listen(connection)
            except Exception:
                # Without a listener every waiting device would wait in vain, so nothing may end this loop.
                log.exception("bus.link_crashed")
            finally:
                self._connection = None
                self._mark_all_unconfirmed()
                await connection.aclose()
            failures = 0 if connection.answered else failures + 1
            self._on_lost(connection.over.result())
            await asyncio.sleep(backoff_seconds(failures))

    async def _listen(self, connection: "SubscriberConnection") -> None:
        self._connection = connection
        self._subscribing.clear()
        self._unsubscribing.clear()
        self._mark_all_unconfirmed()
        self._subscribe(list(self._channels))
        while not connection.closed:
            await asyncio.wait({connection.over}, timeout=CHECK_INTERVAL)
            connection.check()

    def _mark_all_unconfirmed(self) -> None:
        for channel in self._channels:
            self._on_unconfirmed(channel)

    def _on_push(self, kind: str, channel: str, message: bytes) -> None:
        """Raises LookupError if the channel has moved to another server."""
        if kind == self._commands.message:
            self._on_message(channel, message.decode())
        elif kind == self._commands.subscribe:
            if _is_last(self._subscribing, channel) and channel in self._channels:
                self._on_confirmed(channel)
        elif kind == self._commands.unsubscribe:
            # Nobody asked for it: the slot has moved, and the channel with it.
            if channel not in self._unsubscribing and channel in self._channels:
                raise LookupError("the channel has moved")
            _is_last(self._unsubscribing, channel)


class SubscriberConnection(RespConnection):
    """One subscribed connection. `on_push` gets kind, channel and content. `over` is done, with the reason, once the
    connection has ended."""

    def __init__(self, connect: Connect, on_push: Callable[[str, str, bytes], None]) -> None:
        super().__init__(connect)
        self.over: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.answered = False
        self._on_push = on_push
        self._active = self._pinged = False

    def check(self) -> None:
        """Call it at intervals. A connection that was silent since the last call is sent a PING; one that is silent
        after that is closed."""
        if not self._active and self._pinged:
            self.close(ConnectionLost("no pong"))
        elif not self._active:
            self.write(hiredis.pack_command(("PING",)))
        self._pinged = not self._active
        self._active = False

    def on_reply(self, reply: Any) -> None:
        self._active = self.answered = True
        if isinstance(reply, Exception):
            self.close(reply)
        elif isinstance(reply, list) and len(reply) == 3:
            kind, channel, content = reply
            self._on_push(kind.decode().upper(), channel.decode(), content)

    def on_closed(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_result(error)


def backoff_seconds(failures: int) -> float:
    """How long to wait before the next try, after so many failures in a row: at most 2 s."""
    # The exponent is bounded as well: after 1024 failures it would be no float, and the end of the keeper.
    return min(2.0, math.ldexp(0.05, min(failures, 10))) * random.uniform(0.5, 1)  # noqa: S311


def _is_last(expected: Counter[str], channel: str) -> bool:
    """Count one down; whether no more are expected."""
    expected[channel] -= 1
    if expected[channel] > 0:
        return False
    del expected[channel]
    return True
