"""The load of `scripts/capacity`: households whose people log a new device in, one call at a time or many at once.

What may live here: who asks which process, and how many at a time. Device B talks to one process and device A to the
next, so that every push crosses Redis; both have the address of their household, as behind a proxy.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from benchmark.clients import Pool
from benchmark.people import Attempt, accept

# Under way at once, over all processes: enough to keep them busy, few enough that nobody queues for long.
AT_ONCE = 32
# What takes longer, an answer or a push, is lost, and nothing measured with it is worth anything.
PATIENCE = 15.0


def household(number: int) -> dict[str, str]:
    """A public address for each, so that limits count as they do in earnest."""
    return {"x_forwarded_for": f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}


def attempt(account: str) -> Attempt:
    made = Attempt(account)
    made.headers = household(made.number)
    return made


class Load:
    """What many people do at the same time, each step for all of them; every method returns when all are told."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._pools = [Pool(port, AT_ONCE // len(ports)) for port in ports]

    async def accept(self, invites: Sequence[str]) -> list[str]:
        """The authKeys of the first devices."""
        return await accept(self._pools[0], invites, household)

    async def create(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.create(self._pool(each.number)))

    async def open(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.open(self._pool(each.number).port))

    async def claim(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.claim(self._pool(each.number + 1)))

    async def approve(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.approve(self._pool(each.number + 1)))

    async def log_in(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.log_in(self._pool(each.number)))
        await _closed(attempts)

    async def give_up(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.give_up(self._pool(each.number)))
        await _closed(attempts)

    async def poll(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.poll(self._pool(each.number)))

    async def renew_keys(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: each.renew_keys(self._pool(each.number)))

    async def _all(self, attempts: Sequence[Attempt], act: Callable[[Attempt], Awaitable[None]]) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(attempt: Attempt) -> None:
            async with turn, asyncio.timeout(PATIENCE):
                await act(attempt)

        for pool in self._pools:
            # The servers close what is idle for long.
            await pool.renew()
        await asyncio.gather(*map(one, attempts))

    def _pool(self, number: int) -> Pool:
        return self._pools[number % len(self._pools)]


async def _closed(attempts: Sequence[Attempt]) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(each.socket and each.socket.open for each in attempts):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
