"""create_app: mounts the edge on the components, and runs their tasks while it serves."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from pairing_ws.accounts.monitor import LOOK_SECONDS
from pairing_ws.accounts.service import AccountService
from pairing_ws.adapters.delivering import keep_delivering
from pairing_ws.adapters.jwt import client_assertions, dpop
from pairing_ws.adapters.sql.database import require_disk_space
from pairing_ws.adapters.sql.sole_server import watch_for_others
from pairing_ws.adapters.subscribers import stop
from pairing_ws.components import Components, build
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.deliveries import OWED_MS
from pairing_ws.core.errors import Refused
from pairing_ws.web import pages, upstream
from pairing_ws.web.application import Application
from pairing_ws.web.asyncapi import asyncapi
from pairing_ws.web.call import ADMIN, Call
from pairing_ws.web.calls import CALLS
from pairing_ws.web.cors import any_origin
from pairing_ws.web.handlers.operation import Operation, document
from pairing_ws.web.oauth.endpoints import ENDPOINTS, FORWARD_AUTH
from pairing_ws.web.oauth.metadata import Offered, metadata_calls
from pairing_ws.web.openapi import openapi
from pairing_ws.web.sockets.sockets import PATHS, Sockets, not_upgraded
from pairing_ws.web.wire.operation import Health, PublicKeys

log = structlog.get_logger()

TIDY_SECONDS = 3600


def create_app(
    settings: Settings, *, clock: Clock = system_clock, random: codes.RandomBytes = secrets.token_bytes
) -> Application:
    """The ASGI application: pages, calls and sockets, for a server of its own or to be mounted in a larger app.

    Nothing is connected before its lifespan starts, which migrates the database, and connects to it and to Redis. An
    app that mounts this one has to run it: `Starlette(…, lifespan=login.lifespan)`, and in the same way with FastAPI;
    one with a lifespan of its own enters `login.lifespan(app)` there. `Guard` protects its other routes. Serve it
    with the keyword arguments of `uvicorn_options(settings)`, which bound connections, headers and bodies; plain
    uvicorn has no such limits. A server calls `app.state.drain.begin()`, on the event loop's thread, when it is told to
    stop: long polls are answered then.

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
        *(call for call in CALLS if settings.admin_key or ADMIN not in call.proofs),
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
        *(FORWARD_AUTH if settings.forward_auth_hosts else ()),
        *(upstream.ENDPOINTS if services.upstream else ()),
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
                asyncio.create_task(
                    keep_delivering(components.backchannel.deliver_due, lambda: log.exception("logouts.failed")),
                    name="backchannel-logout",
                ),
            ]
            if components.receiver:
                webhooks = components.receiver.webhooks
                tasks += [
                    asyncio.create_task(
                        keep_delivering(webhooks.deliver_due, lambda: log.exception("webhooks.failed"), 1),
                        name="webhooks",
                    ),
                    asyncio.create_task(
                        keep_delivering(webhooks.look_at_backlog, lambda: log.exception("webhooks.failed"), 60),
                        name="webhooks-backlog",
                    ),
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
        routes=pages.routes(settings.public_url, settings.upstream_label),
        exception_handlers={HTTPException: pages.refused_by_framework, Exception: pages.failed},
        lifespan=lifespan,
    )
    app.state.drain = services.drain
    # For `Guard`.
    app.state.authority = components.authority
    # Its redirects are made from the request's Host.
    app.router.redirect_slashes = False
    return app


async def _tidy(components: Components) -> None:
    """Once an hour, throw away what nobody can ask for any more."""
    while True:
        try:
            await components.services.accounts.operator.tidy()
            now = components.services.clock()
            await components.grants.tidy(now)
            if components.receiver is None:
                # From a time when there was a receiver, which would hear of them too late.
                await components.webhook_store.drop_before(now - OWED_MS)
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
