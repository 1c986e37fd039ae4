"""create_app: the only place that knows every room. Builds the adapters, gives them to the stories, mounts the edge."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module

import structlog
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from pairing_ws.accounts.monitor import LOOK_SECONDS, SessionMonitor
from pairing_ws.accounts.passkeys import WebAuthnVerifier
from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.step_up import CHALLENGE_MS, StepUpService
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.accounts.types import Policy as AccountPolicy
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.backchannel import HttpLogouts, keep_telling
from pairing_ws.adapters.backend import Backend
from pairing_ws.adapters.jwt import client_assertions, dpop
from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.client_assertions import JwtClientAssertions
from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.dpop import DpopProofs
from pairing_ws.adapters.jwt.host_assertions import host_keys
from pairing_ws.adapters.jwt.key_file import signing_keys
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.memory import memory_backend
from pairing_ws.adapters.places import places_database
from pairing_ws.adapters.push import push_service
from pairing_ws.adapters.rate_limits import RateLimits, rules
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import migrate, open_database, require_disk_space
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from pairing_ws.adapters.sql.shared_keys import KeySharing, SqlFingerprints
from pairing_ws.adapters.sql.sole_server import watch_for_others
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.adapters.subscribers import SubscriberRegistry, stop
from pairing_ws.adapters.targets import Targets
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.devices import Approver
from pairing_ws.core.errors import Refused
from pairing_ws.oauth.apps import Apps
from pairing_ws.oauth.backchannel import BackchannelLogout
from pairing_ws.oauth.browser_login import BrowserLogins
from pairing_ws.oauth.clients import Clients
from pairing_ws.oauth.consent import Authorizations
from pairing_ws.oauth.logout import Logouts
from pairing_ws.oauth.service import OAuthService
from pairing_ws.oauth.types import Policy as OAuthPolicy
from pairing_ws.pairing import service as pairing
from pairing_ws.pairing.ports import PairingStore
from pairing_ws.pairing.types import Policy as PairingPolicy
from pairing_ws.web import pages
from pairing_ws.web.application import Application
from pairing_ws.web.asyncapi import asyncapi
from pairing_ws.web.calls import CALLS, Call
from pairing_ws.web.cors import any_origin
from pairing_ws.web.drain import Drain
from pairing_ws.web.handlers.operation import Operation, document
from pairing_ws.web.oauth.endpoints import ENDPOINTS
from pairing_ws.web.oauth.metadata import Offered, metadata_calls
from pairing_ws.web.openapi import openapi
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.sockets import PATHS, Sockets, not_upgraded
from pairing_ws.web.wire.operation import Health, PublicKeys

log = structlog.get_logger()

TIDY_SECONDS = 3600


@dataclass(frozen=True)
class Components:
    """What `build` made: the services, and the adapters they stand on. `opened` are those with a task or a socket."""

    services: Services
    store: PairingStore
    bus: SubscriberRegistry
    accounts_store: SqlAccounts
    clients: SqlClients
    grants: SqlGrants
    client_tokens: JwtClientTokens
    backchannel: BackchannelLogout
    keys: KeyRing
    key_sharing: KeySharing
    database: Database
    opened: Sequence[AbstractAsyncContextManager[object]]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Services]:
        """Migrate the database, open what has a task or a socket, and close it all again."""
        try:
            await migrate(self.services.settings.database_url)
            async with AsyncExitStack() as stack:
                for part in self.opened:
                    await stack.enter_async_context(part)
                yield self.services
        finally:
            await self.database.close()


def create_app(
    settings: Settings, *, clock: Clock = system_clock, random: codes.RandomBytes = secrets.token_bytes
) -> Starlette:
    """The ASGI application: pages, calls and sockets, for a server of its own or to be mounted in a larger app.

    Nothing is connected before its lifespan starts, which migrates the database, and connects to it and to Redis. An
    app that mounts this one has to run it (`async with app.router.lifespan_context(app)`). Serve it with the keyword
    arguments of `uvicorn_options(settings)`, which bound connections, headers and bodies; plain uvicorn has no such
    limits. A server calls `app.state.drain.begin()`, on the event loop's thread, when it is told to stop: long polls
    are answered then.

    Several applications in one process have their own connections, but share their metrics. `clock` gives milliseconds
    since 1970 and `random` so many random bytes: both are for tests. With Redis, pairings follow Redis's clock.

    Raises SettingsError, and KeyFileError if the signing keys can't be used; its lifespan raises Refused
    (UNAVAILABLE) if the database can't be.
    """
    components = build(settings, clock=clock, random=random)
    services = components.services

    async def ready() -> None:
        await asyncio.gather(components.store.ping(), components.accounts_store.ping())
        require_disk_space(settings.database_url)

    def offered() -> Offered:
        signing, grant_types = components.client_tokens.algorithms(), services.oauth.tokens.grant_types
        return Offered(signing, grant_types, client_assertions.ALGORITHMS, dpop.ALGORITHMS)

    operation = Operation(ready, components.keys.jwks, REGISTRY)
    described = (
        *CALLS,
        Call("GET", "/healthz", operation.healthz, 200, Health),
        Call("GET", "/readyz", operation.readyz, 200, Health),
        Call("GET", "/metrics", operation.metrics, 200, media_type="text/plain"),
        Call("GET", "/.well-known/jwks.json", operation.keys, 200, PublicKeys, origins=any_origin),
    )
    calls = (
        *described,
        Call("GET", "/openapi.json", document(lambda: openapi(described, settings.public_url)), 200),
        Call("GET", "/asyncapi.json", document(lambda: asyncapi(settings.public_url)), 200),
        *ENDPOINTS,
        *metadata_calls(settings.public_url, (*described, *ENDPOINTS), offered),
        *(Call("GET", path, not_upgraded, 426) for path in PATHS),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with components.running():
            tasks = [
                asyncio.create_task(_tidy(components), name="tidy"),
                asyncio.create_task(_look_for_ended_sessions(services.accounts), name="session-monitor"),
                # What had come in by a removed key, and waits, is asked for its credential again.
                asyncio.create_task(components.keys.watch(components.bus.dispatch_to_all), name="signing-keys"),
                asyncio.create_task(components.key_sharing.watch(), name="key-sharing"),
                asyncio.create_task(keep_telling(components.backchannel), name="backchannel-logout"),
            ]
            if settings.redis_url is None:
                # One worker with process memory is the rule.
                tasks.append(asyncio.create_task(watch_for_others(settings.database_url), name="sole-server"))
            try:
                yield
            finally:
                for each in tasks:
                    await stop(each)

    app = Application(
        Sockets(services),
        calls,
        services,
        routes=pages.routes(settings.public_url),
        exception_handlers={HTTPException: pages.refused_by_framework, Exception: pages.failed},
        lifespan=lifespan,
    )
    app.state.drain = services.drain
    # Its redirects are made from the request's Host.
    app.router.redirect_slashes = False
    return app


def build(
    settings: Settings, *, clock: Clock = system_clock, random: codes.RandomBytes = secrets.token_bytes
) -> Components:
    """The stories on the adapters that the settings ask for. Nothing is connected before `running`."""
    keys = KeyRing(signing_keys(settings, clock), clock)
    database = open_database(settings.database_url)
    accounts_store, clients, grants = SqlAccounts(database), SqlClients(database), SqlGrants(database)
    bus, store, code_store, counters, fingerprints = _build_backend(settings, clock)
    limits = RateLimits(rules(settings), counters)

    async def end_pairings(device_ids: Sequence[str]) -> None:
        await pairings.changes.end_all_of(device_ids)

    async def end_pairings_of_session(approver: Approver) -> None:
        await pairings.changes.end_all_of_session(approver)

    async def account_changed(user_id: str) -> None:
        # Its sessions are the same as before.
        await account_service.announce.changed(user_id, forget=False)

    async def webauthn() -> WebAuthnVerifier:
        # Not needed before somebody has a passkey: 50 ms of a start. In a thread, where they hold up nobody.
        adapter = await asyncio.to_thread(import_module, "pairing_ws.adapters.webauthn")
        verifier: WebAuthnVerifier = adapter.WebAuthn(settings.public_host, settings.public_origin, CHALLENGE_MS)
        return verifier

    push = push_service(settings, accounts_store.drop_push_token)
    monitor = SessionMonitor(accounts_store, clock, end_pairings_of_session, settings.refresh_key_seconds * 1000)
    account_service = AccountService(
        accounts_store,
        SqlUsers(database),
        bus,
        limits,
        push,
        AuthKeys(keys, settings.public_url),
        AccountPolicy(
            auth_key=settings.auth_key_seconds * 1000,
            refresh_key=settings.refresh_key_seconds * 1000,
            session=settings.session_seconds * 1000,
            refresh_repeat=settings.refresh_repeat_seconds * 1000,
            quarantine=settings.quarantine_seconds * 1000,
            device_limit=settings.limit_devices,
            step_up=settings.step_up_seconds > 0,
            public_url=settings.public_url,
        ),
        clock,
        random,
        end_pairings,
        monitor,
        audit,
    )
    step_ups = StepUpService(
        SqlPasskeys(database),
        bus,
        limits,
        account_service.devices,
        account_service.announce,
        webauthn,
        host_keys(settings, clock),
        settings.step_up_seconds * 1000,
        clock,
        random,
        audit,
    )
    pairings: pairing.PairingService[LoggedIn] = pairing.PairingService(
        store,
        bus,
        account_service.logins,
        limits,
        push,
        places_database(settings, clock),
        PairingPolicy(
            ttl=settings.ttl_seconds * 1000,
            client_ttl=settings.device_grant_seconds * 1000,
            redeem=settings.redeem_seconds * 1000,
            verify=settings.verify,
            rotate=settings.qr_rotate_seconds * 1000,
            network=settings.network_policy,
            max_live=settings.limit_pairings,
            public_site=settings.has_public_address,
            public_url=settings.public_url,
        ),
        random,
        keys.pepper,
        audit,
    )
    proofs = DpopProofs(settings.public_url, keys.pepper, clock, counters)
    client_tokens = JwtClientTokens(keys, settings.public_url)
    browser_logins = BrowserLogins(keys.pepper)
    authorizations = Authorizations(
        clients,
        grants,
        code_store,
        client_tokens,
        account_service.sessions,
        limits,
        browser_logins,
        settings.public_url,
        clock,
        random,
        audit,
    )
    oauth = OAuthService(
        clients,
        grants,
        code_store,
        client_tokens,
        JwtClientAssertions(clock),
        pairings,
        account_changed,
        counters,
        limits,
        OAuthPolicy(
            issuer=settings.public_url,
            refresh_token=settings.refresh_key_seconds * 1000,
            grant=settings.session_seconds * 1000,
            refresh_repeat=settings.refresh_repeat_seconds * 1000,
            app_limit=settings.limit_apps,
        ),
        clock,
        random,
        audit,
    )
    logouts = Logouts(clients, grants, oauth.endings, client_tokens, account_service.sessions, limits, browser_logins)
    services = Services(
        settings,
        pairings,
        account_service,
        step_ups,
        authorizations,
        logouts,
        oauth,
        Clients(clients, client_tokens, clock, random, audit),
        Apps(grants, clients, account_service.devices, account_service.announce, clock),
        proofs,
        settings.proxies,
        clock,
        random,
        Drain(),
    )
    key_sharing = KeySharing(keys, SqlFingerprints(database), fingerprints, clock)
    http_logouts = HttpLogouts(Targets(allow_private=settings.allow_private_targets))
    backchannel = BackchannelLogout(grants, client_tokens, http_logouts, settings.public_url, clock, random, audit)
    opened: list[AbstractAsyncContextManager[object]] = [bus, http_logouts]
    if isinstance(push, AbstractAsyncContextManager):
        opened.append(push)
    return Components(
        services, store, bus, accounts_store, clients, grants, client_tokens, backchannel, keys, key_sharing, database,
        opened,
    )  # fmt: skip


def _build_backend(settings: Settings, clock: Clock) -> Backend:
    """Where lives what lasts for minutes, and where rates are counted."""
    if settings.redis_url is None:
        return memory_backend(clock)
    # Not needed without Redis.
    from pairing_ws.adapters.redis.backend import redis_backend

    return redis_backend(settings.redis_url, settings.redis_ca_file, verified=settings.redis_tls_verify)


async def _tidy(components: Components) -> None:
    """Once an hour, throw away what nobody can ask for any more."""
    while True:
        try:
            await components.services.accounts.operator.tidy()
            await components.grants.tidy(components.services.clock())
        except Exception:
            # The next hour may be better; without it the database only grows.
            log.exception("tidy.failed")
        await asyncio.sleep(TIDY_SECONDS)


async def _look_for_ended_sessions(account_service: AccountService) -> None:
    """What a session may see ends with it within 5 s, even where nothing announced its end."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await account_service.sessions.look_for_ended_sessions()
        except Refused:
            # The database is away: every call says so, and no watcher is told anything meanwhile.
            continue
        except Exception:
            log.exception("session_monitor.failed")
