"""What is attacked, and the accounts that the attacks act as. Counts what is sent, so that it stays within bounds."""

import asyncio
import itertools
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import websockets

from pairing_ws.components import build
from pairing_ws.config.environment import load
from tests.support.client import Api, NewDevice, Phone, device_headers, socket

Party = TypeVar("Party", Phone, NewDevice)
T = TypeVar("T")

# Of each race; spread over all addresses of the deployment.
CALLERS = 60


class NotHeld(Exception):
    """The attack succeeded."""


class NotExamined(Exception):
    """The attack can't be tried here, and why."""


class Exhausted(Exception):
    """More requests than agreed."""


def demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise NotHeld(otherwise)


@dataclass
class Target:
    """One deployment at one or more addresses. `phones` are logged in, one account each."""

    apis: list[Api]
    most: int
    phones: list[Phone] = field(default_factory=list)
    sent: int = 0
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def api(self) -> Api:
        """Each time the next address."""
        return self.apis[next(self._turn) % len(self.apis)]

    async def count(self, _: httpx2.Request) -> None:
        self.sent += 1
        if self.sent > self.most:
            raise Exhausted

    def others(self, count: int) -> list[Phone]:
        """That many accounts beside the first. Raises NotExamined."""
        if len(self.phones) <= count:
            raise NotExamined(f"needs {count + 1} accounts: more --invite, or --folder")
        return self.phones[1:]

    def at_each(self, party: Party) -> list[Party]:
        """The same device at every address."""
        return [replace(party, api=api) for api in self.apis]

    async def race(self, call: Callable[[Api, int], Awaitable[T]], callers: int = CALLERS) -> list[T]:
        """All at once, spread over the addresses. Connections are open before."""
        await asyncio.gather(*(self.apis[index % len(self.apis)].http.get("/me") for index in range(callers)))
        return await asyncio.gather(*(call(self.apis[index % len(self.apis)], index) for index in range(callers)))

    async def new_device(self, headers: dict[str, str] | None = None) -> NewDevice:
        own, api = headers or device_headers(), self.api
        answer = await patiently(lambda: api.http.post("/pairings", json={"qr": "none"}, headers=own))
        demand(answer.status_code == 201, f"a pairing can't be made: {answer.status_code} {answer.text}")
        return NewDevice(api, answer.json(), own)

    async def claimed(self, phone: Phone, headers: dict[str, str] | None = None) -> NewDevice:
        device = await self.new_device(headers)
        answer = await patiently(lambda: phone.claim(device.pairing))
        demand(answer.status_code == 200, f"a code can't be claimed: {answer.status_code} {answer.text}")
        return device

    async def approved(self, phone: Phone, headers: dict[str, str] | None = None) -> tuple[NewDevice, dict[str, str]]:
        """A device that may log in, and what it has to send for that."""
        device = await self.claimed(phone, headers)
        answer = await phone.approve(device.id)
        demand(answer.status_code == 200, f"a pairing can't be approved: {answer.status_code} {answer.text}")
        number = answer.json().get("number")
        return device, {"number": number} if number else {}

    async def let_in(self, phone: Phone, headers: dict[str, str] | None = None) -> Phone:
        """Another device of that account."""
        device, number = await self.approved(phone, headers)
        answer = await device.log_in(number)
        demand(answer.status_code == 200, f"an approved device can't log in: {answer.status_code} {answer.text}")
        return Phone(device.api, answer.json())

    def watch(self, device: NewDevice, **credential: str) -> Any:
        """The pairing's socket."""
        given = credential or {"secret": device.pairing["secret"]}
        return socket(web_socket(device.api.url), device.id, **given)

    def connect(self, path: str, **options: Any) -> Any:
        """A socket on `path`, before any message."""
        given = {"subprotocols": [websockets.Subprotocol("pairing.v1")]} | options
        return websockets.connect(f"{web_socket(self.api.url)}/api/v1{path}", **given)

    @asynccontextmanager
    async def line(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
        """A connection of one's own, and the name to ask for on it."""
        parts = urlsplit(self.api.url)
        secure = parts.scheme == "https"
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=ssl.create_default_context() if secure else None
        )
        try:
            yield reader, writer, parts.netloc
        finally:
            writer.transport.abort()


async def patiently(call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """The answer; where the rate is limited, once that is over. Raises NotExamined if it takes more than a minute."""
    while (answer := await call()).status_code == 429:
        wait = float(answer.headers["retry-after"])
        if wait > 61:
            raise NotExamined(f"limited for {wait:.0f} s more")
        await asyncio.sleep(wait)
    return answer


def web_socket(url: str) -> str:
    return url.replace("http", "ws", 1)


@asynccontextmanager
async def target(urls: list[str], invites: list[str], most: int) -> AsyncIterator[Target]:
    """Log an account in by each invite, and all of them out again at the end."""
    apis = [Api(url.rstrip("/")) for url in urls]
    for api in apis:
        if api.url.startswith("https"):
            await api.http.aclose()
            api.http = httpx2.AsyncClient(base_url=f"{api.url}/api/v1", timeout=60)
    made = Target(apis, most)
    for api in apis:
        api.http.event_hooks = {"request": [made.count]}
    try:
        for invite in invites:
            try:
                made.phones.append(await apis[0].log_in_by_invite(invite.rpartition("#")[2], name="Attacker"))
            except (httpx2.HTTPError, AssertionError) as error:
                sys.exit(f"can't log in by the invite: {error}")
        yield made
    finally:
        made.most = made.sent + 100
        for phone in made.phones:
            own = f"/devices/{phone.keys['device']['id']}?descendants=true"
            await phone.api.http.delete(own, headers=phone.headers)
        for api in apis:
            await api.http.aclose()


@asynccontextmanager
async def accounts_in(folder: Path, count: int) -> AsyncIterator[list[str]]:
    """Invites into that many accounts, made on the server's own database; they are deleted afterwards."""
    settings = load()
    given = settings.model_copy(
        update={
            "signing_key_file": folder / settings.signing_key_file,
            "database_url": settings.database_url.replace("sqlite:///", f"sqlite:///{folder}/")
            if settings.database_url == "sqlite:///pairing.db"
            else settings.database_url,
        }
    )
    if not given.signing_key_file.exists():
        sys.exit(f"no server keeps its keys in {folder}")
    parts = build(given)
    names = [f"attack-{number}" for number in range(1, count + 1)]
    try:
        yield [(await parts.services.accounts.operator.invite(name)).code for name in names]
    finally:
        for name in names:
            await parts.services.accounts.operator.delete_user(name)
        await parts.database.close()
