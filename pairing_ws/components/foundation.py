"""Foundation: the adapters that more than one story stands on, as the settings ask for them."""

from dataclasses import dataclass

from pairing_ws.adapters.backend import Backend
from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.key_file import signing_keys
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.memory import memory_backend
from pairing_ws.adapters.push import push_service
from pairing_ws.adapters.rate_limits import RateLimits, rules
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.webhook_rows import EventWriter
from pairing_ws.adapters.targets import Targets
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Push


@dataclass(frozen=True)
class Foundation:
    """Made once by `lay`, and given to what builds a story."""

    settings: Settings
    clock: Clock
    random: codes.RandomBytes
    keys: KeyRing
    database: Database
    events: EventWriter
    accounts: SqlAccounts
    clients: SqlClients
    grants: SqlGrants
    backend: Backend
    limits: RateLimits
    auth_keys: AuthKeys
    client_tokens: JwtClientTokens
    push: Push
    targets: Targets


def lay(settings: Settings, clock: Clock, random: codes.RandomBytes) -> Foundation:
    keys = KeyRing(signing_keys(settings, clock), clock)
    database = open_database(settings.database_url)
    events = EventWriter(random if settings.webhook_url else None)
    accounts = SqlAccounts(database, events)
    backend = _backend(settings, clock)
    return Foundation(
        settings,
        clock,
        random,
        keys,
        database,
        events,
        accounts,
        SqlClients(database),
        SqlGrants(database),
        backend,
        RateLimits(rules(settings), backend.counters),
        AuthKeys(keys, settings.public_url),
        JwtClientTokens(keys, settings.public_url),
        push_service(settings, accounts.drop_push_token, clock, random),
        Targets(allow_private=settings.allow_private_targets),
    )


def _backend(settings: Settings, clock: Clock) -> Backend:
    """Where lives what lasts for minutes, and where rates are counted."""
    if settings.redis_url is None:
        return memory_backend(clock)
    # Not needed without Redis.
    from pairing_ws.adapters.redis.backend import redis_backend

    return redis_backend(settings.redis_url, settings.redis_ca_file, verified=settings.redis_tls_verify)
