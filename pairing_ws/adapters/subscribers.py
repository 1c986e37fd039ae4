"""Who in this process watches which channel, and the sweep that makes a lost ring harmless. Every bus builds on it."""

import asyncio
from collections.abc import Sequence

from pairing_ws.core.ports import Wake

SWEEP_SECONDS = 25.0
# Of a round. With 19,000 channels each wakes 38, which keeps a process busy for about 4 ms.
SLICES = 500


class Bells:
    """Who in this process wants to hear which channel. A subclass says how a ring travels between processes."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Wake]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Bells":
        self._sweeper = asyncio.create_task(self._sweep(), name="bells-sweep")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._sweeper)

    def watch(self, channels: Sequence[str], wake: Wake) -> "Watch":
        """See `ports.Bus.watch`."""
        return Watch(self, channels, wake)

    async def enter(self, channels: Sequence[str], wake: Wake) -> None:
        """For `Watch`."""
        new = [channel for channel in channels if channel not in self._watchers]
        for channel in channels:
            self._watchers.setdefault(channel, set()).add(wake)
        try:
            await self._listen(channels, new)
        except BaseException:
            self.leave(channels, wake)
            raise

    def leave(self, channels: Sequence[str], wake: Wake) -> None:
        """For `Watch`."""
        gone = []
        for channel in channels:
            self._watchers[channel].discard(wake)
            if not self._watchers[channel]:
                del self._watchers[channel]
                gone.append(channel)
        if gone:
            self._unlisten(gone)

    async def _listen(self, channels: Sequence[str], new: Sequence[str]) -> None:
        """Return once rings on all `channels`, of which `new` had no watcher, reach this process."""

    def _unlisten(self, channels: Sequence[str]) -> None:
        """The last watcher of each of these is gone."""

    def wake_all(self) -> None:
        """Have every watcher in this process look again at what it may see."""
        for channel in list(self._watchers):
            self._rang(channel, "")

    async def warnings(self) -> Sequence[str]:
        """What the operator should know of the servers behind it. Raises Unavailable."""
        return []

    def _rang(self, channel: str, note: str) -> None:
        # A copy: a wake may end a watcher.
        for wake in list(self._watchers.get(channel, ())):
            wake(note)

    async def _sweep(self) -> None:
        """Wake every channel once in a round, a few at a time: who is told something meanwhile waits for them."""
        while True:
            due = list(self._watchers)
            for start in range(SLICES):
                for channel in due[start::SLICES]:
                    self._rang(channel, "")
                await asyncio.sleep(SWEEP_SECONDS / SLICES)


class Watch:
    """Entered, it listens. A class, for a generator in its place costs every waiting device a KiB."""

    __slots__ = ("_bells", "_channels", "_wake")

    def __init__(self, bells: Bells, channels: Sequence[str], wake: Wake) -> None:
        self._bells = bells
        self._channels = channels
        self._wake = wake

    async def __aenter__(self) -> None:
        await self._bells.enter(self._channels, self._wake)

    async def __aexit__(self, *_: object) -> None:
        self._bells.leave(self._channels, self._wake)


async def stop(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task and wait until it has ended."""
    # Again and again: Python 3.11's wait_for, in which drivers read, can swallow a cancellation.
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
