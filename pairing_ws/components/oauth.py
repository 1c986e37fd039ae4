"""Builds the story of applications: what they are, what they may get, and who hears of an end."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.backchannel import HttpLogouts
from pairing_ws.adapters.jwt.client_assertions import JwtClientAssertions, require_usable
from pairing_ws.components.foundation import Foundation
from pairing_ws.config.forward_auth import groups_by_host
from pairing_ws.config.settings import Settings
from pairing_ws.oauth.apps import Apps
from pairing_ws.oauth.backchannel import BackchannelLogout
from pairing_ws.oauth.browser_login import BrowserLogins
from pairing_ws.oauth.clients import Clients
from pairing_ws.oauth.consent import Authorizations
from pairing_ws.oauth.forward_auth import ForwardAuth
from pairing_ws.oauth.logout import Logouts
from pairing_ws.oauth.protected_hosts import ClientsAndHosts, ProtectedHost, ProtectedHosts
from pairing_ws.oauth.service import OAuthService
from pairing_ws.oauth.types import Policy
from pairing_ws.pairing.service import PairingService


class Applications(NamedTuple):
    """`http_logouts` has to be entered before `backchannel` tells anybody."""

    authorizations: Authorizations
    logouts: Logouts
    forward_auth: ForwardAuth
    oauth: OAuthService
    clients: Clients
    apps: Apps
    backchannel: BackchannelLogout
    http_logouts: HttpLogouts


def applications(
    base: Foundation,
    accounts: AccountService,
    pairings: PairingService[LoggedIn],
    account_changed: Callable[[str], Awaitable[None]],
) -> Applications:
    settings, clients, grants, tokens = base.settings, base.clients, base.grants, base.client_tokens
    clock, random = base.clock, base.random
    browser_logins = BrowserLogins(base.keys.pepper)
    hosts = _protected_hosts(settings)
    clients_and_hosts = ClientsAndHosts(clients, hosts)
    oauth = OAuthService(
        clients,
        grants,
        base.backend.codes,
        tokens,
        JwtClientAssertions(clock),
        pairings,
        account_changed,
        base.backend.counters,
        base.limits,
        Policy(
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
    authorizations = Authorizations(
        clients_and_hosts,
        grants,
        base.backend.codes,
        tokens,
        accounts.sessions,
        base.limits,
        browser_logins,
        settings.public_url,
        clock,
        random,
        audit,
    )
    http_logouts = HttpLogouts(base.targets)
    return Applications(
        authorizations,
        Logouts(clients_and_hosts, grants, oauth.endings, tokens, accounts.sessions, base.limits, browser_logins),
        ForwardAuth(
            hosts,
            base.backend.codes,
            grants,
            accounts.sessions,
            base.limits,
            base.backend.counters,
            base.keys.pepper,
            settings.public_url,
            clock,
            random,
            audit,
        ),
        oauth,
        Clients(clients, tokens, require_usable, settings.public_url, clock, random, audit),
        Apps(grants, clients, accounts.devices, accounts.announce, clock, audit),
        BackchannelLogout(grants, tokens, http_logouts, settings.public_url, clock, random, audit),
        http_logouts,
    )


def _protected_hosts(settings: Settings) -> ProtectedHosts:
    scheme = urlsplit(settings.public_url).scheme
    groups = groups_by_host(settings.forward_auth_hosts).items()
    hosts = (ProtectedHost(name, f"{scheme}://{name}", members) for name, members in groups)
    return ProtectedHosts(hosts, {"http": "80", "https": "443"}[scheme])
