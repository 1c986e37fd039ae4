"""The two devices as a client program sees them: thin helpers over the wire, no logic of their own."""

import asyncio
import base64
import hmac
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import httpx2
import websockets

_numbers = itertools.count(1)


class HasUrl(Protocol):
    url: str


ServerT = TypeVar("ServerT", bound=HasUrl)


def device_headers(code: str | None = None, name: str = "Test device", **more: str) -> dict[str, str]:
    return {"X-Device-Code": code or f"device-{next(_numbers)}-{secrets.token_hex(4)}", "X-Device-Name": name, **more}


@dataclass
class Api:
    """One server, asked through one connection pool. `url` is `http://127.0.0.1:PORT`."""

    url: str
    http: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        # Gone before the server's own five seconds are over, or a request could meet a connection that is just closing.
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=1)
        # Plain http only: reading the certificates of authorities would cost more than most tests.
        self.http = httpx2.AsyncClient(base_url=f"{self.url}/api/v1", timeout=60, limits=limits, verify=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def log_in_by_invite(self, code: str, **headers: str) -> "Phone":
        """Device A: logged in by an invite."""
        answer = await self.http.post("/invites/accept", json={"code": code}, headers=device_headers(**headers))
        assert answer.status_code == 200, answer.text
        return Phone(self, answer.json())

    async def new_pairing(self, headers: dict[str, str] | None = None) -> "NewDevice":
        """Device B: shows a code (flow 2)."""
        own = headers or device_headers()
        answer = await self.http.post("/pairings", json={"qr": "none"}, headers=own)
        assert answer.status_code == 201, answer.text
        return NewDevice(self, answer.json(), own)

    async def join(self, pairing: dict[str, Any], headers: dict[str, str] | None = None) -> "NewDevice":
        """Device B: has scanned the code that A shows (flow 1)."""
        own = headers or device_headers()
        answer = await self.http.post(f"/pairings/{pairing['id']}/claim", json={"code": code_of(pairing)}, headers=own)
        assert answer.status_code == 200, answer.text
        return NewDevice(self, answer.json(), own)


@asynccontextmanager
async def with_api(starting: AbstractContextManager[ServerT]) -> AsyncIterator[tuple[ServerT, Api]]:
    """A server for one test, such as `running(…)` or `embedded(…)` starts it, and a client of it."""
    with starting as server:
        async with Api(server.url) as api:
            yield server, api


@dataclass
class Phone:
    """A logged-in device and its keys."""

    api: Api
    keys: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Auth-Key": self.keys["authKey"]}

    async def get(self, path: str) -> httpx2.Response:
        return await self.api.http.get(path, headers=self.headers)

    async def post(self, path: str, body: Any = None) -> httpx2.Response:
        return await self.api.http.post(path, json=body, headers=self.headers)

    async def show_code(self) -> dict[str, Any]:
        """Flow 1: a pairing of its own."""
        answer = await self.post("/pairings", {"qr": "none"})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def claim(self, pairing: dict[str, Any]) -> httpx2.Response:
        return await self.post(f"/pairings/{pairing['id']}/claim", {"code": code_of(pairing)})

    async def approve(self, pairing_id: str) -> httpx2.Response:
        return await self.post(f"/pairings/{pairing_id}/approve")

    async def deny(self, pairing_id: str, body: Any = None) -> httpx2.Response:
        return await self.post(f"/pairings/{pairing_id}/deny", body)


@dataclass
class NewDevice:
    """A device that wants to log in, with its pairing as last created or claimed."""

    api: Api
    pairing: dict[str, Any]
    device: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.pairing["id"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Pairing-Secret": self.pairing["secret"]}

    async def poll(self, query: str = "", **headers: str) -> httpx2.Response:
        return await self.api.http.get(f"/pairings/{self.id}{query}", headers=self.headers | headers)

    async def log_in(self, body: Any = None, **headers: str) -> httpx2.Response:
        return await self.api.http.post(f"/pairings/{self.id}/login", json=body or {}, headers=self.headers | headers)

    def socket(self, ws_url: str | None = None) -> Any:
        return socket(ws_url or self.api.url.replace("http", "ws"), self.id, secret=self.pairing["secret"])


def code_of(pairing: dict[str, Any]) -> str:
    """The code as a scanner reads it: behind the `#`."""
    return str(pairing["qr"]["text"]).split("#")[1]


def code_after(pairing: dict[str, Any], seconds: float) -> str:
    """The code in a picture that rotates, so long after its creation, as a client of another make reckons it."""
    rotate = pairing["qr"]["rotate"]
    step = int(seconds // rotate["seconds"]).to_bytes(8, "big")
    mac = hmac.digest(base64.urlsafe_b64decode(rotate["seed"] + "="), step, "sha256")
    return "~" + base64.urlsafe_b64encode(mac[:16]).decode().rstrip("=")


@asynccontextmanager
async def socket(ws_url: str, pairing_id: str, **credential: str) -> AsyncIterator[websockets.ClientConnection]:
    """A pairing's socket, authenticated: `secret=` or `authKey=`."""
    uri = f"{ws_url}/api/v1/pairings/{pairing_id}/socket"
    async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("pairing.v1")]) as connection:
        await connection.send(json.dumps({"type": "auth", **credential}))
        yield connection


async def told(connection: websockets.ClientConnection) -> dict[str, Any]:
    """The pairing in the next message."""
    message = json.loads(await connection.recv())
    assert message["type"] == "pairing"
    return dict(message["pairing"])


async def until(connection: websockets.ClientConnection, status: str) -> dict[str, Any]:
    """The first message with that status; versions before it may have been skipped, never repeated."""
    last = 0
    while True:
        pairing = await told(connection)
        assert pairing["version"] > last
        last = pairing["version"]
        if pairing["status"] == status:
            return pairing


async def let_in(api: Api, phone: Phone, **headers: str) -> Phone:
    device = await api.new_pairing(device_headers(**headers))
    await phone.claim(device.pairing)
    assert (await phone.approve(device.id)).status_code == 200
    answer = await device.log_in()
    assert answer.status_code == 200, answer.text
    return Phone(api, answer.json())


def id_of(phone: Phone) -> str:
    return str(phone.keys["device"]["id"])


@asynccontextmanager
async def account_socket(ws_url: str, phone: Phone) -> AsyncIterator[websockets.ClientConnection]:
    protocols = [websockets.Subprotocol("pairing.v1")]
    async with websockets.connect(f"{ws_url}/api/v1/socket", subprotocols=protocols) as connection:
        await connection.send(json.dumps({"type": "auth", "authKey": phone.keys["authKey"]}))
        yield connection


async def event(connection: websockets.ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return dict(json.loads(await connection.recv()))
