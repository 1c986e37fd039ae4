"""The load of `scripts/capacity`: households whose people log a new device in, one call at a time or many at once.

What may live here: what the devices send and wait for. Device B talks to one process and device A to the next, so that
every push crosses Redis; both have the address of their household, as behind a proxy.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from _bench_clients import Pool, Socket, open_socket, request

API = "/api/v1"
# Under way at once, over all processes: enough to keep them busy, few enough that nobody queues for long.
AT_ONCE = 32
# What takes longer, an answer or a push, is lost, and nothing measured with it is worth anything.
PATIENCE = 15.0
_numbers = itertools.count(1)


@dataclass
class Attempt:
    """One pairing and its two devices. A's authKey is that of its account."""

    account: str
    number: int = field(default_factory=_numbers.__next__)
    pairing: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    socket: Socket | None = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        return request(method, f"{API}{path}", body, x_forwarded_for=address(self.number), **headers)

    def by_secret(self, method: str, path: str = "", body: Any = None) -> bytes:
        return self.ask(method, f"/pairings/{self.pairing['id']}{path}", body, pairing_secret=self.pairing["secret"])

    def by_key(self, path: str, body: Any = None) -> bytes:
        return self.ask("POST", f"/pairings/{self.pairing['id']}{path}", body, auth_key=self.account)


def address(number: int) -> str:
    """A public one for each household, so that limits count as they do in earnest."""
    return f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Load:
    """What many people do at the same time, each step for all of them; every method returns when all are told."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._pools = [Pool(port, AT_ONCE // len(ports)) for port in ports]

    async def accept(self, invites: Iterable[str]) -> list[str]:
        """The authKeys of the first devices; each has been used, which is when the server forgets its answer."""

        async def accept(number_and_code: tuple[int, str]) -> str:
            number, code = number_and_code
            device = {"x_device_code": f"phone-{number}", "x_device_name": "Phone", "x_os_device": "Phone OS 17.1"}
            at = {"x_forwarded_for": address(number)}
            keys = await self._ask(0, request("POST", f"{API}/invites/accept", {"code": code}, **device, **at))
            await self._ask(0, request("GET", f"{API}/me", auth_key=keys["authKey"], **at))
            return str(keys["authKey"])

        return await self._all(enumerate(invites), accept)

    async def create(self, attempts: Sequence[Attempt]) -> None:
        async def create(each: Attempt) -> None:
            device = {
                "x_device_code": f"installation-{each.number:08}",
                "x_device_name": "Living room TV",
                "x_os_device": "Television OS 12.3",
                "x_app_version_number": "4.5.6",
            }
            each.pairing = await self._ask(each.number, each.ask("POST", "/pairings", {"qr": "none"}, **device))

        await self._all(attempts, create)

    async def open(self, attempts: Sequence[Attempt]) -> None:
        """B's socket: upgraded, authenticated, subscribed, told what is."""

        async def open_(each: Attempt) -> None:
            first = json.dumps({"type": "auth", "secret": each.pairing["secret"]})
            port = self._ports[each.number % len(self._ports)]
            each.socket = await open_socket(port, f"{API}/pairings/{each.pairing['id']}/socket", first, b'"pending"')

        await self._all(attempts, open_)

    async def claim(self, attempts: Sequence[Attempt]) -> None:
        def scan(each: Attempt) -> Awaitable[Any]:
            body = {"code": each.pairing["qr"]["text"].split("#")[1]}
            return self._ask(each.number + 1, each.by_key("/claim", body))

        await self._told(attempts, scan, b'"scanned"')

    async def approve(self, attempts: Sequence[Attempt]) -> None:
        await self._told(attempts, lambda each: self._ask(each.number + 1, each.by_key("/approve")), b'"approved"')

    async def log_in(self, attempts: Sequence[Attempt]) -> None:
        async def log_in(each: Attempt) -> None:
            each.keys = await self._ask(each.number, each.by_secret("POST", "/login", {}))

        await self._told(attempts, log_in, b'"consumed"')
        await _closed(attempts)

    async def give_up(self, attempts: Sequence[Attempt]) -> None:
        def cancel(each: Attempt) -> Awaitable[Any]:
            return self._pool(each.number).ask(each.by_secret("DELETE"))

        await self._told(attempts, cancel, b'"cancelled"')
        await _closed(attempts)

    async def poll(self, attempts: Sequence[Attempt]) -> None:
        await self._all(attempts, lambda each: self._ask(each.number, each.by_secret("GET")))

    async def renew_keys(self, attempts: Sequence[Attempt]) -> None:
        """Refresh, and use the new key: only then is the answer forgotten, in one more transaction."""

        async def refresh(each: Attempt) -> None:
            body = {"refreshKey": each.keys["refreshKey"]}
            each.keys = await self._ask(each.number, each.ask("POST", "/sessions/refresh", body))
            await self._ask(each.number, each.ask("GET", "/me", auth_key=each.keys["authKey"]))

        await self._all(attempts, refresh)

    async def _all(self, items: Iterable[Any], act: Callable[[Any], Awaitable[Any]]) -> list[Any]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(item: Any) -> Any:
            async with turn, asyncio.timeout(PATIENCE):
                return await act(item)

        for pool in self._pools:
            # The servers close what is idle for long.
            await pool.renew()
        return await asyncio.gather(*map(one, items))

    async def _told(self, attempts: Sequence[Attempt], act: Callable[[Attempt], Awaitable[Any]], status: bytes) -> None:
        async def act_and_hear(each: Attempt) -> None:
            assert each.socket
            told = each.socket.arrival(status)
            await act(each)
            await told

        await self._all(attempts, act_and_hear)

    def _pool(self, number: int) -> Pool:
        return self._pools[number % len(self._pools)]

    async def _ask(self, number: int, wanted: bytes) -> Any:
        return json.loads(await self._pool(number).ask(wanted))


async def _closed(attempts: Sequence[Attempt]) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(each.socket and each.socket.open for each in attempts):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
