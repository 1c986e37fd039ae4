"""A server that knows another issuer, that issuer, and browsers whose people log in with it."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pairing_ws.components import build
from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, device_headers
from tests.support.embedded import Embedded, MovedClock, embedded, settings_in
from tests.support.issuer import CLIENT, PUBLIC_KEYS, SECRET, Issuer, issuing
from tests.support.limits import NO_LIMITS_INSIDE

BY_FILE, BY_OID = "https://by-file.example", "https://by-oid.example"
JWT = "urn:ietf:params:oauth:token-type:jwt"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

Link = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(scope="module")
def shared_issuer(clock: MovedClock) -> Iterator[Issuer]:
    with issuing(now=clock) as issuer:
        yield issuer


@pytest.fixture
def issuer(shared_issuer: Issuer, clock: MovedClock) -> Issuer:
    """Honest again, and asked anew by the server: what it had said is stale."""
    shared_issuer.honest()
    clock.advance(3601)
    return shared_issuer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_issuer: Issuer, clock: MovedClock) -> Iterator[Embedded]:
    """People log in with the issuer too. Its tokens may be exchanged, and those of two whose keys are in a file."""
    folder = tmp_path_factory.mktemp("upstream")
    (folder / "keys.json").write_text(json.dumps(PUBLIC_KEYS))
    by_file = {"audience": CLIENT, "jwks_file": str(folder / "keys.json")}
    trusted = [
        {"issuer": shared_issuer.url, "audience": CLIENT},
        {"issuer": BY_FILE, "opens_accounts": True, **by_file},
        {"issuer": BY_OID, "subject_claim": "oid", **by_file},
    ]
    settings: dict[str, Any] = {
        "upstream_issuer": shared_issuer.url,
        "upstream_client_id": CLIENT,
        "upstream_client_secret": SECRET,
        "upstream_name": "Example & Co",
        "trusted_issuers": json.dumps(trusted),
        "allow_private_targets": True,
        "quarantine_seconds": 3600,
        **NO_LIMITS_INSIDE,
    }
    with embedded(folder, clock=clock, **settings) as started:
        yield started


@pytest.fixture
async def api(site: Embedded) -> AsyncIterator[Api]:
    async with Api(site.url) as client:
        yield client


@pytest.fixture
def link(site: Embedded, shared_issuer: Issuer) -> Link:
    """`await link(subject)`: the id of a new account, whose person the issuer knows as that."""

    async def make(subject: str, issuer: str | None = None) -> str:
        return await linked_in(site.folder, f"user-{secrets.token_hex(6)}", issuer or shared_issuer.url, subject)

    return make


async def linked_in(folder: Path, username: str, issuer: str, subject: str) -> str:
    """What `pairing-ws invite` and `user link` do, without a process of their own."""
    parts = build(settings_in(folder))
    try:
        user = (await parts.services.accounts.operator.invite(username)).user
        await parts.services.people.link(username, issuer, subject)
        return user.id
    finally:
        await parts.database.close()


@dataclass
class Browser:
    """Of one person: it keeps its one cookie, follows no redirect by itself, and has one device code."""

    origin: str
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=device_headers)
    http: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx2.AsyncClient(base_url=self.origin, timeout=60, verify=False)

    async def get(self, address: str, cookie: str | None = None) -> httpx2.Response:
        """The path at the server, or any address."""
        own = {"Cookie": self.cookie if cookie is None else cookie}
        at = address.removeprefix(self.origin) or "/"
        answer = await self.http.get(at, headers=own if at.startswith("/") else {})
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    async def to_provider(self) -> str:
        """Where the server sends it."""
        answer = await self.get("/login/upstream")
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def answer(self) -> str:
        """The address by which the provider sends it back."""
        answer = await self.get(await self.to_provider())
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    async def come_back(self) -> httpx2.Response:
        return await self.get(await self.answer())

    async def fetch_keys(self, keys: str = "body", **more: str) -> httpx2.Response:
        headers = self.headers | {"Cookie": self.cookie, "Origin": self.origin} | more
        return await self.http.post("/api/v1/upstream/login", json={"keys": keys}, headers=headers)

    async def log_in(self) -> httpx2.Response:
        answer = await self.come_back()
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == f"{self.origin}/join/upstream"
        return await self.fetch_keys()


NewBrowser = Callable[[], Browser]


@pytest.fixture
async def new_browser(site: Embedded) -> AsyncIterator[NewBrowser]:
    made: list[Browser] = []

    def make() -> Browser:
        made.append(Browser(site.settings.public_url))
        return made[-1]

    yield make
    for each in made:
        await each.http.aclose()


@pytest.fixture
def browser(new_browser: NewBrowser) -> Browser:
    return new_browser()


@pytest.fixture
async def app(site: Embedded) -> AsyncIterator[AppServer]:
    """An application that may exchange tokens."""
    async with await app_server(site.url, site.folder, token_exchange=True) as made:
        yield made


async def exchange(app: AppServer, token: str, headers: Any = None, /, **form: str) -> httpx2.Response:
    """With a device of its own, unless other headers are given; a field that is "" is left out."""
    asked = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": JWT}
    own = device_headers() if headers is None else headers
    return await app.post("/oauth/token", {name: value for name, value in (asked | form).items() if value}, **own)
