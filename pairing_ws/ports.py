"""What both rooms ask of the world. Adapters promise what stands here."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

Wake = Callable[[str], None]


class Bus(Protocol):
    """Doorbells between processes. A ring can get lost; every watcher is therefore woken again when the link comes
    back, and at least every 30 seconds. A ring says that there is something to read, never what."""

    def watch(self, channels: Sequence[str], wake: Wake) -> AbstractAsyncContextManager[None]:
        """On entry the subscription is confirmed: a ring from then on calls `wake(note)`. Raises Unavailable.

        `wake` is called on the event loop, must not block, and gets "" when it was no ring that woke it.
        """

    async def ring(self, channel: str, note: str = "") -> None:
        """Wake every watcher of the channel in every process. Best effort: logs instead of raising."""


class Limits(Protocol):
    """Rates per key over all processes. Raises Unavailable when the counters are away: closed, never open."""

    async def hit(self, rule: str, key: str) -> None:
        """Count one; raises RATE_LIMITED with the seconds to wait once the rule's rate is used up."""

    async def check(self, rule: str, key: str) -> None:
        """As `hit`, without counting."""
