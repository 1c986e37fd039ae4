"""One attempt to log a new device in, call by call, as device B and device A make them.

What may live here: what the devices send, and when they have been told. Which server they ask is the caller's.
"""

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.clients import Pool, Socket, open_socket, request, upgrade
from pairing_ws.components import build
from pairing_ws.config.settings import Settings

API = "/api/v1"
DEVICE = {"x_device_name": "Living room TV", "x_os_device": "Television OS 12.3", "x_app_version_number": "4.5.6"}
_numbers = itertools.count(1)


@dataclass(slots=True)
class Attempt:
    """One pairing and its two devices. A's authKey is that of its account."""

    account: str
    # Sent with every call.
    headers: Mapping[str, str] = field(default_factory=dict)
    number: int = field(default_factory=_numbers.__next__)
    id: str = ""
    secret: str = ""
    code: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    socket: Socket | None = None

    @property
    def socket_path(self) -> str:
        return f"{API}/pairings/{self.id}/socket"

    def creation(self) -> bytes:
        device = {"x_device_code": f"installation-{self.number:08}", **DEVICE}
        return self._request("POST", "/pairings", {"qr": "none"}, **device)

    def created(self, answer: Any) -> None:
        self.id, self.secret, self.code = answer["id"], answer["secret"], answer["qr"]["text"].split("#")[1]

    def claiming(self) -> bytes:
        return self._by_key("/claim", {"code": self.code})

    def approval(self) -> bytes:
        return self._by_key("/approve")

    def polling(self) -> bytes:
        return self._by_secret("GET")

    async def create(self, server: Pool) -> None:
        self.created(json.loads(await server.ask(self.creation())))

    async def open(self, port: int) -> None:
        """B's socket: upgraded, authenticated, subscribed, told what is."""
        first = json.dumps({"type": "auth", "secret": self.secret})
        self.socket = Socket(upgrade(self.socket_path), first)
        await open_socket(port, self.socket, b'"pending"')

    async def claim(self, server: Pool) -> None:
        await self._told(b'"scanned"', server.ask(self.claiming()))

    async def approve(self, server: Pool) -> None:
        await self._told(b'"approved"', server.ask(self.approval()))

    async def log_in(self, server: Pool) -> None:
        self.keys = json.loads(await self._told(b'"consumed"', server.ask(self._by_secret("POST", "/login", {}))))

    async def give_up(self, server: Pool) -> None:
        await self._told(b'"cancelled"', server.ask(self._by_secret("DELETE")))

    async def poll(self, server: Pool) -> None:
        await server.ask(self.polling())

    async def renew_keys(self, server: Pool) -> None:
        """Refresh, and use the new key: only then is the answer forgotten, in one more transaction."""
        body = {"refreshKey": self.keys["refreshKey"]}
        self.keys = json.loads(await server.ask(self._request("POST", "/sessions/refresh", body)))
        await server.ask(self._request("GET", "/me", auth_key=self.keys["authKey"]))

    async def _told(self, status: bytes, answer: Awaitable[bytes]) -> bytes:
        """The answer, once B has heard of it as well."""
        assert self.socket
        # Nothing has been sent yet: `answer` is a coroutine.
        told = self.socket.arrival(status)
        answered = await answer
        await told
        return answered

    def _request(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        return request(method, f"{API}{path}", body, **self.headers, **headers)

    def _by_secret(self, method: str, path: str = "", body: Any = None) -> bytes:
        return self._request(method, f"/pairings/{self.id}{path}", body, pairing_secret=self.secret)

    def _by_key(self, path: str, body: Any = None) -> bytes:
        return self._request("POST", f"/pairings/{self.id}{path}", body, auth_key=self.account)


async def invites(settings: Settings, count: int) -> list[str]:
    """A code for the first device of each of so many new accounts, straight from the database."""
    async with build(settings).running() as services:
        return [(await services.accounts.operator.invite(f"person-{number}")).code for number in range(count)]


def _none(_: int) -> Mapping[str, str]:
    return {}


async def accept(server: Pool, codes: Sequence[str], headers: Callable[[int], Mapping[str, str]] = _none) -> list[str]:
    """The authKeys of the first devices; each has been used, which is when the server forgets its answer. `headers` are
    those of the account with that number."""

    def accepting(number: int, code: str) -> bytes:
        device = {"x_device_code": f"phone-{number}", "x_device_name": "Phone", "x_os_device": "Phone OS 17.1"}
        return request("POST", f"{API}/invites/accept", {"code": code}, **device, **headers(number))

    def using(number: int, key: str) -> bytes:
        return request("GET", f"{API}/me", auth_key=key, **headers(number))

    keys = [str(each["authKey"]) for each in await server.ask_all(itertools.starmap(accepting, enumerate(codes)))]
    await server.ask_all(itertools.starmap(using, enumerate(keys)))
    return keys
