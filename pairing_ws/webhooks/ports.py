"""What webhooks ask of their store and of the way to the receiver. Times in milliseconds."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits. `id` is its `webhook-id`. `next_at` is when it is due; once it was taken, when the lease is
    over."""

    id: str
    user_id: str
    type: str
    body: bytes
    created_at: int
    next_at: int
    attempts: int


class Backlog(NamedTuple):
    """How many wait, and since when the oldest does; 0 where none waits."""

    waiting: int
    oldest: int


class WebhookStore(Protocol):
    """Events until they are delivered. They are written by the stores whose changes they tell of, each in the
    transaction of its change. Any call raises Unavailable when the database is away."""

    async def take_due(self, now: int, lease_ms: int, most: int) -> Sequence[Event]:
        """What is due, for this caller alone until that time is over. Of each account the oldest alone: the next one is
        due when that is forgotten."""

    async def forget(self, owed: Event) -> None:
        """It was delivered, or given up."""

    async def put_off(self, owed: Event, until: int) -> None:
        """Count one more failure; it is due then. Without effect where another process has taken it meanwhile."""

    async def backlog(self) -> Backlog: ...

    async def drop_oldest(self, keep: int) -> int:
        """Drop all but so many of the newest; how many those were."""

    async def drop_before(self, at: int) -> int:
        """Drop what is older; how many those were. For servers that send nothing."""


class Reply(NamedTuple):
    """`status` is 0 where no answer came, and `why` says so. `retry_after`: for how many ms the receiver wants to be
    left alone, 0 if it does not say."""

    status: int
    why: str = ""
    retry_after: int = 0


# Posts a body under its `webhook-id` to the receiver, signed now. Never raises.
Send = Callable[[str, bytes], Awaitable[Reply]]
