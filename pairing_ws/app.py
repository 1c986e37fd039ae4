"""create_app: the only place that knows every room. Builds the adapters, gives them to the stories, mounts the edge."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from pairing_ws.accounts import service as accounts
from pairing_ws.accounts.monitor import LOOK_SECONDS, SessionMonitor
from pairing_ws.accounts.passkeys import WebAuthnVerifier
from pairing_ws.accounts.step_up import CHALLENGE_MS, StepUpService
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt.access_tokens import RELOAD_MS, KeyRing
from pairing_ws.adapters.jwt.dpop import DpopProofs
from pairing_ws.adapters.jwt.host_assertions import HostKeyError, HostKeys
from pairing_ws.adapters.jwt.key_file import KeySet, make_key_file
from pairing_ws.adapters.memory import MemoryBus, MemoryPairings
from pairing_ws.adapters.rate_limits import RateLimits
from pairing_ws.adapters.sql.engine import close_database, migrate, open_database, require_disk_space
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from pairing_ws.adapters.sql.shared_keys import KeySharing, SqlFingerprints
from pairing_ws.adapters.sql.sole_server import watch_for_others
from pairing_ws.adapters.subscribers import SubscriberRegistry, stop
from pairing_ws.config.settings import Settings, SettingsError
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.devices import Approver
from pairing_ws.core.errors import Refused
from pairing_ws.core.network import Place
from pairing_ws.core.ports import Push
from pairing_ws.pairing import service as pairing
from pairing_ws.pairing.ports import PairingStore, Places
from pairing_ws.web import docs, pages, wire
from pairing_ws.web.api import Api
from pairing_ws.web.calls import CALLS, Call
from pairing_ws.web.drain import Drain
from pairing_ws.web.handlers.operation import Operation, document
from pairing_ws.web.request import request_id
from pairing_ws.web.request.request_id import RequestId
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.sockets import PATHS, Sockets, not_upgraded

if TYPE_CHECKING:
    from pairing_ws.adapters.redis.client import Commands
    from pairing_ws.adapters.redis.pubsub import RedisBus

log = structlog.get_logger()

TIDY_SECONDS = 3600
# Rates that are no settings. An account's report hides an origin from it for a day, three accounts' reports within an
# hour, from as many addresses, close it for all, and a pairing is reported once. Renames leave a line in the activity,
# step-ups a challenge. The last two refuse nothing, they warn: who sets up phone, laptop, tablet and television asks
# four times; ten pages that are left open behind one address show sixty codes before they ask whether anybody is still
# there.
RATES = {
    "reported_by": "1/day",
    "reported_from": "1/day",
    "reported": "3/hour",
    "report": "1/day",
    "rename": "30/hour",
    "presence": "60/hour",
    "step_up": "60/hour",
    "asked": "5/hour",
    "origin": "60/hour",
}


class Application(Starlette):
    """Starlette for pages, mounting and lifespan. Calls and sockets go past it: each of its layers costs time, and
    would hold a frame for each socket that waits."""

    def __init__(self, sockets: Sockets, calls: Sequence[Call], services: Services, **options: Any) -> None:
        super().__init__(**options)
        self._proxies = services.proxies
        self._sockets = sockets
        self._api = Api(calls, services, super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id.current.set(RequestId(scope, self._proxies))
        if scope["type"] == "websocket":
            waits = self._sockets(scope, receive, send)
            # What the handshake said is to go as soon as nobody needs it.
            del scope
            await waits
        elif scope["type"] == "http":
            await self._api(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class NoPush:
    """Push is off: no credentials were configured."""

    def send(self, address: str, data: dict[str, str]) -> None:
        pass

    def send_to_each(self, addresses: Callable[[], Awaitable[Sequence[str]]], data: dict[str, str]) -> None:
        pass


class NoPlaces:
    """No database was configured."""

    def of(self, ip: str) -> Place | None:
        return None


@dataclass(frozen=True)
class Parts:
    """What `build` made: the stories, and what they stand on."""

    services: Services
    store: PairingStore
    bus: SubscriberRegistry
    accounts_store: SqlPasskeys
    tokens: KeyRing
    key_sharing: KeySharing
    engine: AsyncEngine
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
            await close_database(self.engine)


def create_app(
    settings: Settings, *, clock: Clock = system_clock, random: codes.RandomBytes = secrets.token_bytes
) -> Starlette:
    """The ASGI application, for a server of its own or to be mounted in a larger Starlette or FastAPI app.

    A mounting app has to run this app's lifespan (`app.router.lifespan_context(app)`). `clock` and `random` are for
    tests; with Redis, pairings follow Redis's clock.
    """
    parts = build(settings, clock=clock, random=random)
    services = parts.services

    async def ready() -> None:
        await asyncio.gather(parts.store.ping(), parts.accounts_store.ping())
        require_disk_space(settings.database_url)

    operation = Operation(ready, parts.tokens.jwks, REGISTRY)
    described = (
        *CALLS,
        Call("GET", "/healthz", operation.healthz, 200, wire.Health),
        Call("GET", "/readyz", operation.readyz, 200, wire.Health),
        Call("GET", "/metrics", operation.metrics, 200),
        Call("GET", "/.well-known/jwks.json", operation.keys, 200),
    )
    calls = (
        *described,
        Call("GET", "/openapi.json", document(lambda: docs.openapi(described, settings.public_url)), 200),
        Call("GET", "/asyncapi.json", document(lambda: docs.asyncapi(settings.public_url)), 200),
        *(Call("GET", path, not_upgraded, 426) for path in PATHS),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with parts.running():
            tasks = [
                asyncio.create_task(_tidy(services.accounts), name="tidy"),
                asyncio.create_task(_look_for_ended_sessions(services.accounts), name="session-monitor"),
                asyncio.create_task(_watch_keys(parts.tokens, parts.bus), name="signing-keys"),
                asyncio.create_task(parts.key_sharing.watch(), name="key-sharing"),
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
    # For who runs the process: `app.state.drain.begin()` ends the waiting of long polls.
    app.state.drain = services.drain
    # Its redirects are made from the request's Host.
    app.router.redirect_slashes = False
    return app


def build(settings: Settings, *, clock: Clock = system_clock, random: codes.RandomBytes = secrets.token_bytes) -> Parts:
    """The stories on the adapters that the settings ask for. Nothing is connected before `running`."""
    tokens = KeyRing(_signing_keys(settings, clock), settings.public_url, clock)
    engine = open_database(settings.database_url)
    accounts_store = SqlPasskeys(engine)
    bus, store, commands = _short_lived(settings, clock)
    limits = RateLimits(
        {
            "create": settings.limit_create,
            "claim": settings.limit_claim,
            "nonce": settings.limit_claim,
            "user_code": settings.limit_user_code,
            "number": settings.limit_number,
            "refresh": settings.limit_refresh,
            **RATES,
        },
        commands,
    )

    async def end_pairings(device_ids: Sequence[str]) -> None:
        await pairings.end_all_of(device_ids)

    async def end_pairings_of_session(approver: Approver) -> None:
        await pairings.end_all_of_session(approver)

    async def webauthn() -> WebAuthnVerifier:
        # Not needed before somebody has a passkey: 50 ms of a start. In a thread, where they hold up nobody.
        adapter = await asyncio.to_thread(import_module, "pairing_ws.adapters.webauthn")
        judge: WebAuthnVerifier = adapter.WebAuthn(settings.public_host, settings.public_origin, CHALLENGE_MS)
        return judge

    push = _push(settings, accounts_store)
    monitor = SessionMonitor(accounts_store, clock, end_pairings_of_session, settings.refresh_key_seconds * 1000)
    account_service = accounts.AccountService(
        accounts_store,
        bus,
        limits,
        push,
        tokens,
        accounts.Policy(
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
        accounts_store,
        bus,
        limits,
        account_service,
        webauthn,
        _host(settings, clock),
        settings.step_up_seconds * 1000,
        clock,
        random,
        audit,
    )
    pairings: pairing.PairingService[accounts.LoggedIn] = pairing.PairingService(
        store,
        bus,
        account_service,
        limits,
        push,
        _places(settings, clock),
        pairing.Policy(
            ttl=settings.ttl_seconds * 1000,
            redeem=settings.redeem_seconds * 1000,
            verify=settings.verify,
            rotate=settings.qr_rotate_seconds * 1000,
            network=settings.network_policy,
            max_live=settings.limit_pairings,
            public_site=settings.has_public_address,
            public_url=settings.public_url,
        ),
        random,
        tokens.pepper,
        audit,
    )
    proofs = DpopProofs(settings.public_url, tokens.pepper, clock, commands)
    services = Services(settings, pairings, account_service, step_ups, proofs, settings.proxies, clock, random, Drain())
    key_sharing = KeySharing(tokens, SqlFingerprints(accounts_store), commands, clock)
    opened = [bus, push] if isinstance(push, AbstractAsyncContextManager) else [bus]
    return Parts(services, store, bus, accounts_store, tokens, key_sharing, engine, opened)


def _signing_keys(settings: Settings, clock: Clock) -> Path | KeySet:
    if settings.signing_keys:
        return KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    missing = not settings.signing_key_file.exists()
    make_key_file(settings.signing_key_file, clock)
    if missing:
        audit("key.created", file=str(settings.signing_key_file))
    return settings.signing_key_file


def _short_lived(settings: Settings, clock: Clock) -> "tuple[MemoryBus | RedisBus, PairingStore, Commands | None]":
    """What lives for minutes, and where its rates are counted."""
    if settings.redis_url is None:
        memory_bus = MemoryBus()
        return memory_bus, MemoryPairings(memory_bus, clock), None
    # Not needed without Redis: 80 ms of a start.
    from pairing_ws.adapters.redis.client import Commands
    from pairing_ws.adapters.redis.pairing_store import RedisPairings
    from pairing_ws.adapters.redis.pubsub import RedisBus
    from pairing_ws.adapters.redis.topology import servers_at

    servers = servers_at(settings.redis_url, settings.redis_ca_file, verified=settings.redis_tls_verify)
    commands = Commands(servers)
    bus = RedisBus(servers, commands)
    return bus, RedisPairings(commands, bus.verbs.ring), commands


def _host(settings: Settings, clock: Clock) -> HostKeys | None:
    if settings.host_key_file is None:
        return None
    try:
        return HostKeys(settings.host_key_file, settings.public_url, clock)
    except HostKeyError as error:
        raise SettingsError(f"PAIRING_HOST_KEY_FILE should be the host application's public key: {error}") from None


def _push(settings: Settings, accounts_store: SqlPasskeys) -> Push:
    if settings.fcm_credentials_file is None:
        return NoPush()
    try:
        # Only who sends pushes has the extra installed.
        from pairing_ws.adapters.fcm import FcmPush

        return FcmPush(settings.fcm_credentials_file, settings.fcm_url, accounts_store.drop_push_token)
    except ImportError:
        raise SettingsError(
            "PAIRING_FCM_CREDENTIALS_FILE needs the push extra: pip install 'pairing-ws[push]'"
        ) from None
    except ValueError as error:
        raise SettingsError(f"PAIRING_FCM_CREDENTIALS_FILE should be a service account's key ({error})") from None


def _places(settings: Settings, clock: Clock) -> Places:
    if settings.geoip_file is None:
        return NoPlaces()
    try:
        # Only who wants to know places has the extra installed.
        from pairing_ws.adapters.geoip import GeoIpFile, GeoIpFileError
    except ImportError:
        raise SettingsError("PAIRING_GEOIP_FILE needs the geoip extra: pip install 'pairing-ws[geoip]'") from None
    try:
        return GeoIpFile(settings.geoip_file, clock)
    except GeoIpFileError as error:
        raise SettingsError(f"PAIRING_GEOIP_FILE should be a database in MaxMind's format ({error})") from None


async def _watch_keys(tokens: KeyRing, bus: SubscriberRegistry) -> None:
    """Once a second, see whether a signing key was withdrawn: what had come in by it and waits is ended."""
    before = set(tokens.ids)
    while True:
        await asyncio.sleep(RELOAD_MS / 1000)
        tokens.reload()
        now = set(tokens.ids)
        if before - now:
            bus.dispatch_to_all()
        before = now


async def _tidy(account_service: accounts.AccountService) -> None:
    """Once an hour, throw away what nobody can ask for any more."""
    while True:
        try:
            await account_service.tidy()
        except Exception:
            # The next hour may be better; without it the database only grows.
            log.exception("tidy.failed")
        await asyncio.sleep(TIDY_SECONDS)


async def _look_for_ended_sessions(account_service: accounts.AccountService) -> None:
    """What a session may see ends with it within 5 s, even where nothing announced its end."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await account_service.look_for_ended_sessions()
        except Refused:
            # The database is away: every call says so, and no watcher is told anything meanwhile.
            continue
        except Exception:
            log.exception("session_monitor.failed")
