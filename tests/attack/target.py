"""What is attacked, and the accounts that the attacks act as. Counts what is sent, so that it stays within bounds."""

import asyncio
import itertools
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx2
import websockets

from pairing_ws.components import build
from pairing_ws.config.environment import load
from pairing_ws.config.forward_auth import groups_by_host
from pairing_ws.oauth.clients import Registration
from pairing_ws.oauth.ports import Client, DeviceGrant
from tests.support.app_server import AppServer
from tests.support.applications import Application
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


class Given(NamedTuple):
    """What the attacks act as: invites into accounts, and applications with their secrets. `hosts`: those that
    forward auth protects, as far as they are known."""

    invites: list[str]
    clients: list[tuple[Client, str | None]]
    hosts: Sequence[str] = ()


@dataclass
class Target:
    """One deployment at one or more addresses. `phones` are logged in, one account each. `apps`: each application as it
    asks each address."""

    apis: list[Api]
    most: int
    phones: list[Phone] = field(default_factory=list)
    apps: list[list[AppServer]] = field(default_factory=list)
    hosts: Sequence[str] = ()
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

    def applications(self, count: int) -> list[AppServer]:
        """That many. Raises NotExamined."""
        if len(self.apps) < count:
            raise NotExamined(f"needs {count} applications: --client, or --folder")
        return [each[0] for each in self.apps[:count]]

    def app_at_each(self, app: AppServer) -> list[AppServer]:
        """The same application, asking every address."""
        return next(each for each in self.apps if each[0] is app)

    async def race_of(
        self, app: AppServer, call: Callable[[AppServer], Awaitable[T]], callers: int = CALLERS
    ) -> list[T]:
        """All at once, spread over the addresses."""
        there = self.app_at_each(app)
        return await asyncio.gather(*(call(there[index % len(there)]) for index in range(callers)))

    async def browse(self, app: AppServer, path: str, **headers: str) -> httpx2.Response:
        """As a browser that came by the public name."""
        issuer = (await app.http.get("/.well-known/openid-configuration")).json()["issuer"]
        return await app.http.get(path, headers={"Host": urlsplit(issuer).netloc} | headers)

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
async def target(urls: list[str], given: Given, most: int) -> AsyncIterator[Target]:
    """Log an account in by each invite, and all of them out again at the end."""
    apis = [Api(url.rstrip("/")) for url in urls]
    for api in apis:
        if api.url.startswith("https"):
            await api.http.aclose()
            api.http = httpx2.AsyncClient(base_url=f"{api.url}/api/v1", timeout=60)
    made = Target(apis, most, hosts=given.hosts)
    for client, secret in given.clients:
        known = Application(client, client.redirect_uris[0])
        made.apps.append([AppServer(api.url, known, secret) for api in apis])
        for app in made.apps[-1]:
            if app.url.startswith("https"):
                await app.http.aclose()
                app.http = httpx2.AsyncClient(base_url=app.url, timeout=60)
    asking: list[Api | AppServer] = [*apis, *(each for apps in made.apps for each in apps)]
    for each in asking:
        each.http.event_hooks = {"request": [made.count]}
    try:
        for invite in given.invites:
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
        for each in asking:
            await each.http.aclose()


@asynccontextmanager
async def given_in(folder: Path, count: int) -> AsyncIterator[Given]:
    """That many accounts and two applications, made on the server's own database; they are deleted afterwards."""
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
    registered = []
    try:
        invites = [(await parts.services.accounts.operator.invite(name)).code for name in names]
        for name in names[:2]:
            wanted = Registration(name, redirect_uris=[f"https://{name}.invalid/cb"], device_grant=DeviceGrant.ON)
            registered.append(await parts.services.clients.add(wanted))
        hosts = groups_by_host(settings.forward_auth_hosts)
        yield Given(invites, [(each.client, each.secret) for each in registered], list(hosts))
    finally:
        for each in registered:
            await parts.services.clients.remove(each.client.id)
        for name in names:
            await parts.services.accounts.operator.delete_user(name)
        await parts.database.close()


def client_in(file: Path) -> tuple[Client, str | None]:
    """An application as `pairing-ws client add --json` has printed it."""
    try:
        printed = json.loads(file.read_bytes())
        uris = tuple(printed["redirect_uris"])
        return Client(id=printed["client_id"], name="", created_at=0, redirect_uris=uris), printed.get("client_secret")
    except (OSError, ValueError, LookupError, TypeError):
        sys.exit(f"{file} is not what `pairing-ws client add --json` prints")
