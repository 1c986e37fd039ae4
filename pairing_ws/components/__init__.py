"""Components: the composition root, the only room that knows every other. `build` joins the stories that this folder's
files build, one file each, on the adapters of foundation.py; what serves them is app.py's."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.dpop import DpopProofs
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import migrate
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.shared_keys import KeySharing, SqlFingerprints
from pairing_ws.adapters.sql.webhook_store import SqlWebhooks
from pairing_ws.adapters.subscribers import SubscriberRegistry
from pairing_ws.components.accounts import account_service, admin_keys, login_hook, step_up_service
from pairing_ws.components.foundation import lay
from pairing_ws.components.oauth import applications
from pairing_ws.components.pairing import pairing_service
from pairing_ws.components.upstream import upstream
from pairing_ws.components.webhooks import Receiver, receiver
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.devices import Approver
from pairing_ws.guard.authorities import ThisServer
from pairing_ws.oauth.backchannel import BackchannelLogout
from pairing_ws.pairing.ports import PairingStore
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
    receiver: Receiver | None
    webhook_store: SqlWebhooks
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
    base = lay(settings, clock, random)

    # Accounts and pairings know each other; these are called once both are built.
    async def end_pairings(device_ids: Sequence[str]) -> None:
        await pairings.changes.end_all_of(device_ids)

    async def end_pairings_of_session(approver: Approver) -> None:
        await pairings.changes.end_all_of_session(approver)

    async def account_changed(user_id: str) -> None:
        # Its sessions are the same as before.
        await accounts.announce.changed(user_id, forget=False)

    hook = login_hook(base)
    accounts = account_service(base, hook, end_pairings, end_pairings_of_session)
    pairings = pairing_service(base, accounts)
    apps = applications(base, accounts, pairings, account_changed)
    others = upstream(base, accounts, apps.oauth)
    keys, counters = base.keys, base.backend.counters
    services = Services(
        settings,
        pairings,
        accounts,
        step_up_service(base, accounts),
        apps.authorizations,
        apps.logouts,
        apps.forward_auth,
        apps.oauth,
        apps.clients,
        apps.apps,
        admin_keys(base),
        others.people,
        others.login,
        DpopProofs(settings.public_url, keys.pepper, clock, counters),
        settings.proxies,
        clock,
        random,
        base.push.application_server_key,
        Drain(),
    )
    authority = ThisServer(
        settings.public_url,
        settings.public_origin,
        base.auth_keys,
        base.client_tokens,
        accounts.sessions,
        apps.oauth.shown_tokens,
        keys.pepper,
        counters,
        clock,
    )
    opened: list[AbstractAsyncContextManager[object]] = [base.backend.bus, apps.http_logouts, others.documents]
    if hook:
        opened.append(hook)
    webhooks = receiver(base)
    if webhooks:
        opened.append(webhooks.http)
    if isinstance(base.push, AbstractAsyncContextManager):
        opened.append(base.push)
    return Components(
        services,
        base.backend.pairings,
        base.backend.bus,
        base.accounts,
        base.clients,
        base.grants,
        base.client_tokens,
        apps.backchannel,
        webhooks,
        SqlWebhooks(base.database),
        keys,
        KeySharing(keys, SqlFingerprints(base.database), base.backend.fingerprints, clock),
        authority,
        base.database,
        opened,
    )
