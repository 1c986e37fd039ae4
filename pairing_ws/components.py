"""Components: the composition root, the only place that knows every room. Builds the adapters and gives them to the
stories; what serves them is app.py's."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module

from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.passkeys import WebAuthnVerifier
from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.step_up import CHALLENGE_MS, StepUpService
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.accounts.types import Policy as AccountPolicy
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.backchannel import HttpLogouts
from pairing_ws.adapters.backend import Backend
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
from pairing_ws.adapters.sql.database import migrate, open_database
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from pairing_ws.adapters.sql.shared_keys import KeySharing, SqlFingerprints
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.adapters.subscribers import SubscriberRegistry
from pairing_ws.adapters.targets import Targets
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.devices import Approver
from pairing_ws.guard.authorities import ThisServer
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
from pairing_ws.web.drain import Drain
from pairing_ws.web.services import Services


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
    authority: ThisServer
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

    auth_keys = AuthKeys(keys, settings.public_url)
    push = push_service(settings, accounts_store.drop_push_token)
    monitor = SessionMonitor(accounts_store, clock, end_pairings_of_session, settings.refresh_key_seconds * 1000)
    account_service = AccountService(
        accounts_store,
        SqlUsers(database),
        bus,
        limits,
        push,
        auth_keys,
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
        Clients(clients, client_tokens, settings.public_url, clock, random, audit),
        Apps(grants, clients, account_service.devices, account_service.announce, clock),
        proofs,
        settings.proxies,
        clock,
        random,
        Drain(),
    )
    authority = ThisServer(
        settings.public_url,
        settings.public_origin,
        auth_keys,
        client_tokens,
        account_service.sessions,
        oauth.shown_tokens,
        keys.pepper,
        counters,
        clock,
    )
    key_sharing = KeySharing(keys, SqlFingerprints(database), fingerprints, clock)
    http_logouts = HttpLogouts(Targets(allow_private=settings.allow_private_targets))
    backchannel = BackchannelLogout(grants, client_tokens, http_logouts, settings.public_url, clock, random, audit)
    opened: list[AbstractAsyncContextManager[object]] = [bus, http_logouts]
    if isinstance(push, AbstractAsyncContextManager):
        opened.append(push)
    return Components(
        services, store, bus, accounts_store, clients, grants, client_tokens, backchannel, keys, key_sharing,
        authority, database, opened,
    )  # fmt: skip


def _build_backend(settings: Settings, clock: Clock) -> Backend:
    """Where lives what lasts for minutes, and where rates are counted."""
    if settings.redis_url is None:
        return memory_backend(clock)
    # Not needed without Redis.
    from pairing_ws.adapters.redis.backend import redis_backend

    return redis_backend(settings.redis_url, settings.redis_ca_file, verified=settings.redis_tls_verify)
