"""Looks for deliveries that are due, as long as a process serves."""

import asyncio
from collections.abc import Awaitable, Callable

from pairing_ws.core.errors import Refused

# With a delivery before it that gets no answer, an application still hears of a logout within 10 s.
LOOK_SECONDS = 3


async def keep_delivering(
    deliver_due: Callable[[], Awaitable[None]], failed: Callable[[], None], seconds: float = LOOK_SECONDS
) -> None:
    """Deliver what is owed, whichever process or command has stored it. Runs until it is cancelled; `failed`
    is called while an exception is handled that should not happen."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await deliver_due()
        except Refused:
            # The database is away, and keeps what is owed.
            continue
        except Exception:
            failed()
