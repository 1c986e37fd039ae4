"""Who in this process subscribes to which channel, and the sweep that makes a lost message harmless.

Every bus builds on it.
"""

import asyncio
from collections.abc import Sequence
from typing import Self

from pairing_ws.core.ports import Callback

# One round over all channels.
SWEEP_SECONDS = 25.0
# Parts of a round. With 19,000 channels each part calls 38 of them, which keeps a process busy for about 4 ms.
SLICES = 500


class SubscriberRegistry:
    """The subscribers of this process. A subclass says how a message travels between processes."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Callback]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep(), name="bus-sweep")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._sweeper)

    def watch(self, channels: Sequence[str], callback: Callback) -> "Subscription":
        """See `ports.Bus.watch`."""
        return Subscription(self, channels, callback)

    async def add(self, channels: Sequence[str], callback: Callback) -> None:
        """Return once messages on these channels reach `callback`. Raises Unavailable, with nothing added. A caller
        that is cancelled adds nothing either."""
        new = [channel for channel in channels if channel not in self._subscribers]
        for channel in channels:
            self._subscribers.setdefault(channel, set()).add(callback)
        try:
            await self._subscribe(channels, new)
        except BaseException:
            self.remove(channels, callback)
            raise

    def remove(self, channels: Sequence[str], callback: Callback) -> None:
        """Never call it again for these channels."""
        unused = []
        for channel in channels:
            self._subscribers[channel].discard(callback)
            if not self._subscribers[channel]:
                del self._subscribers[channel]
                unused.append(channel)
        if unused:
            self._unsubscribe(unused)

    async def _subscribe(self, channels: Sequence[str], new: Sequence[str]) -> None:
        """Return once messages on all `channels` reach this process. `new` are those that had no subscriber."""

    def _unsubscribe(self, channels: Sequence[str]) -> None:
        """These channels have lost their last subscriber."""

    def dispatch(self, channel: str, message: str) -> None:
        """Call every subscriber of the channel in this process."""
        # A copy: a callback may remove a subscriber.
        for callback in list(self._subscribers.get(channel, ())):
            callback(message)

    def dispatch_to_all(self) -> None:
        """Have every subscriber in this process read again what it may see."""
        for channel in list(self._subscribers):
            self.dispatch(channel, "")

    async def warnings(self) -> Sequence[str]:
        """What the operator should know of the servers behind the bus. Raises Unavailable."""
        return []

    async def _sweep(self) -> None:
        """Call every channel once in a round, a few at a time: messages that come meanwhile wait for those few."""
        while True:
            due = list(self._subscribers)
            for start in range(SLICES):
                for channel in due[start::SLICES]:
                    self.dispatch(channel, "")
                await asyncio.sleep(SWEEP_SECONDS / SLICES)


class Subscription:
    """Subscribed while entered. A class: a generator in its place costs every waiting device a KiB."""

    __slots__ = ("_callback", "_channels", "_registry")

    def __init__(self, registry: SubscriberRegistry, channels: Sequence[str], callback: Callback) -> None:
        self._registry = registry
        self._channels = channels
        self._callback = callback

    async def __aenter__(self) -> None:
        await self._registry.add(self._channels, self._callback)

    async def __aexit__(self, *_: object) -> None:
        self._registry.remove(self._channels, self._callback)


async def stop(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task and wait until it has ended."""
    # Again and again: Python 3.11's wait_for, in which drivers read, can swallow a cancellation.
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
