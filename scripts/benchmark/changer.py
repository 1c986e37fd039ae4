"""A helper that changes pairings straight in Redis, as another process of pairing_ws would, and notes when.

Each change is the script that approving runs, on a pairing whose version becomes one higher and which is otherwise
left as it is. So any number of pushes is possible while the same devices wait, each as long as the pairing is.
"""

import asyncio
from collections.abc import Sequence

import hiredis
import msgspec
import redis.asyncio

from benchmark.clients import HOST, clock, paced
from benchmark.helper import help_with
from pairing_ws.components import build
from pairing_ws.config.environment import load
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import PairingStore

AT_ONCE = 200
Sent = list[tuple[int, int, float]]


class Changer:
    """Times are those of the calls: what its own driver takes to send belongs to both sides alike."""

    def __init__(self) -> None:
        self._pairings: dict[int, Pairing] = {}

    async def meet(self, ids: Sequence[str]) -> None:
        """Read these pairings, numbered in this order."""
        settings = load()
        assert settings.redis_url
        parts = build(settings)
        # Not `running`: it needs the store alone, and none of the servers' tasks.
        self._store: PairingStore = parts.store
        # On a busy machine, more of its publications are under way at once than its pool has room for.
        self._client = redis.asyncio.Redis.from_url(settings.redis_url, client_name="bench", max_connections=10_000)
        port = int(settings.redis_url.split(":")[2].split("/")[0])
        self._wire, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, HOST, port)
        for start in range(0, len(ids), AT_ONCE):
            for found in await asyncio.gather(*map(self._store.get, ids[start : start + AT_ONCE])):
                assert found
                self._pairings[len(self._pairings)] = found.pairing

    async def change(self, count: int, rate: float) -> Sent:
        sent: Sent = []

        async def replace(number: int) -> None:
            old = self._pairings[number]
            new = self._pairings[number] = msgspec.structs.replace(old, version=old.version + 1)
            sent.append((number, new.version, clock()))
            assert await self._store.replace(old, new)

        numbers = (number % len(self._pairings) for number in range(count))
        await paced(rate, (lambda number=number: replace(number) for number in numbers))  # type: ignore[misc]
        return sent

    async def publish(self, count: int, rate: float) -> Sent:
        """With redis-py, as long as a pairing."""
        sent: Sent = []
        padding = msgspec.json.encode(self._pairings[0])

        async def publish(number: int) -> None:
            sent.append((number, 0, clock()))
            await self._client.publish("bench", b"%d %b" % (number, padding))

        await paced(rate, (lambda number=number: publish(number) for number in range(count)))  # type: ignore[misc]
        return sent

    async def publish_bare(self, count: int, rate: float) -> Sent:
        """The same without a library."""
        sent: Sent = []
        padding = msgspec.json.encode(self._pairings[0])

        async def publish(number: int) -> None:
            sent.append((number, -1, clock()))
            packed = hiredis.pack_command(("PUBLISH", "bench-bare", b"%d %b" % (number, padding)))  # type: ignore[arg-type]
            self._wire.write(packed)

        await paced(rate, (lambda number=number: publish(number) for number in range(count)))  # type: ignore[misc]
        return sent


if __name__ == "__main__":
    help_with(Changer())
