"""An OAuthService on a real database with a fake clock, each test once for each kind of database; and a server, an
application and a login for tests over the wire."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pairing_ws.adapters.jwt.client_assertions import JwtClientAssertions
from pairing_ws.adapters.memory import MemoryCodes, MemoryCounters
from pairing_ws.adapters.rate_limits import RateLimits
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.core import codes
from pairing_ws.oauth.authentication import Method
from pairing_ws.oauth.errors import OAuthError
from pairing_ws.oauth.ports import AuthorizationCode, Client, Grant
from pairing_ws.oauth.service import OAuthService
from pairing_ws.oauth.types import Policy, TokenRequest, TokenSet
from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, Phone
from tests.support.client_tokens import PlainTokens
from tests.support.clock import FakeClock
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.oauth_stores import Login, Stores
from tests.support.pairing_world import World as PairingWorld

REDIRECT = "https://app.example/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
ISSUER = "https://login.example"

NewApplication = Callable[..., Awaitable[AppServer]]


def challenge(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


async def refused_with(call: Any) -> str:
    """The word that a call is refused with."""
    with pytest.raises(OAuthError) as caught:
        await call
    return caught.value.error


@dataclass
class World:
    """One process's story of applications, with one client and one login."""

    stores: Stores
    code_store: MemoryCodes
    clock: FakeClock
    counters: MemoryCounters
    rates: Mapping[str, str]
    client: Client
    login: Login
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    policy: Policy = field(default_factory=lambda: Policy(issuer=ISSUER))
    pairings: PairingWorld = field(default_factory=PairingWorld)

    def __post_init__(self) -> None:
        self.service = OAuthService(
            self.stores.clients,
            self.stores.grants,
            self.code_store,
            PlainTokens(),
            JwtClientAssertions(self.clock),
            self.pairings.service,
            self._change,
            self.counters,
            RateLimits(self.rates, self.counters),
            self.policy,
            self.clock,
            secrets.token_bytes,
            self._note,
        )

    async def _change(self, user_id: str) -> None:
        self.changed.append(user_id)

    def _note(self, event: str, /, **facts: str | int | None) -> None:
        self.events.append((event, facts))

    def another(self, stores: Stores) -> "World":
        """Another process."""
        return World(
            stores,
            self.code_store,
            self.clock,
            self.counters,
            self.rates,
            self.client,
            self.login,
            self.events,
            pairings=self.pairings,
        )

    async def code(self, **changed: Any) -> str:
        """An authorization code, as the authorization endpoint keeps it."""
        code = secrets.token_urlsafe(32)
        kept: dict[str, Any] = {
            "client_id": self.client.id,
            "redirect_uri": REDIRECT,
            "code_challenge": challenge(),
            "user_id": self.login.user_id,
            "session_id": self.login.session_id,
            "device_id": self.login.device_id,
            "scopes": ("openid", "email", "groups"),
            "auth_time": self.clock() // 1000 - 60,
            "amr": ("qr",),
        }
        await self.code_store.keep(codes.digest(code), AuthorizationCode(**kept | changed), 60_000)
        return code

    def request(self, client: Client | None = None, key: str | None = None, **form: Any) -> TokenRequest:
        """By `client`, with a DPoP proof of `key`; a field that is "" is left out."""

        async def proven_key(access_token: str | None) -> str | None:
            return key

        client = client or self.client
        method = Method.NONE if client.is_public else Method.BASIC
        return TokenRequest({name: value for name, value in form.items() if value}, client, method, "::1", proven_key)

    async def redeem(self, code: str, /, client: Client | None = None, key: str | None = None, **form: Any) -> TokenSet:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        }
        return await self.service.tokens.exchange(self.request(client, key, **asked | form))

    async def refresh(self, token: str, client: Client | None = None, key: str | None = None, **form: Any) -> TokenSet:
        asked = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.service.tokens.exchange(self.request(client, key, **asked | form))

    async def user_info(self, token: str, key: str | None = None) -> Mapping[str, Any]:
        scheme = "dpop" if key else "bearer"
        return await self.service.shown_tokens.user_info(token, scheme, "::1", self.request(key=key).proven_key)

    async def introspect(self, token: str, client: Client | None = None) -> Mapping[str, Any]:
        return await self.service.shown_tokens.introspect(self.request(client, token=token))

    async def grant_of(self, code: str) -> Grant:
        grant = await self.stores.grants.of_origin(f"code:{codes.digest(code)}")
        assert grant
        return grant

    async def granted(self, **changed: Any) -> TokenSet:
        """Tokens of a new grant."""
        return await self.redeem(await self.code(**changed))

    async def granted_to(self, key: str) -> TokenSet:
        """Tokens that are bound to that key."""
        return await self.redeem(await self.code(), key=key)


@pytest.fixture
async def stores(database: str) -> AsyncIterator[Stores]:
    opened = open_database(database)
    yield Stores(opened)
    await opened.close()


@pytest.fixture
async def elsewhere(database: str) -> AsyncIterator[Stores]:
    """What another process has on that database."""
    opened = open_database(database)
    yield Stores(opened)
    await opened.close()


@pytest.fixture
async def world(stores: Stores) -> World:
    clock = FakeClock(1_767_225_600_000)
    stores.now = clock.now
    settings = {
        "secret_hash": codes.digest("s3cret"),
        "redirect_uris": (REDIRECT,),
        "scopes": ("openid", "email", "groups", "profile", "offline_access"),
    }
    client = await stores.client("app", **settings)
    login, counters = await stores.login(), MemoryCounters(lambda: clock() / 1000)
    pairings = PairingWorld(clock, verify="remote", client_ttl=600_000, public_url=ISSUER)
    return World(stores, MemoryCodes(clock), clock, counters, {}, client, login, pairings=pairings)


# Over the wire


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server with a clock that can be moved."""
    folder = tmp_path_factory.mktemp("oauth")
    with embedded(folder, demo=True, **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture
async def new_application(site: Embedded) -> AsyncIterator[NewApplication]:
    made: list[AppServer] = []

    async def make(**settings: Any) -> AppServer:
        made.append(await app_server(site.url, site.folder, **settings))
        return made[-1]

    yield make
    for each in made:
        await each.http.aclose()


@pytest.fixture
async def app(new_application: NewApplication) -> AppServer:
    return await new_application()


@pytest.fixture
async def phone(site: Embedded) -> AsyncIterator[Phone]:
    async with Api(site.url) as api:
        yield await fresh_phone(api, site.folder, clock=site.clock)
