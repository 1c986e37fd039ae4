"""Builds the story of other issuers: logging in with one of them, and exchanging their tokens."""

from typing import NamedTuple

from pairing_ws.accounts.service import AccountService
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.documents import Documents
from pairing_ws.adapters.jwt.published_keys import FetchedKeys
from pairing_ws.adapters.jwt.trusted_issuers import IssuerTokens, discovered_keys, trusted_issuers
from pairing_ws.adapters.sql.link_store import SqlLinks
from pairing_ws.adapters.upstream import OidcProvider
from pairing_ws.components.foundation import Foundation
from pairing_ws.config.trusted_issuers import TrustedIssuer
from pairing_ws.oauth.service import OAuthService
from pairing_ws.upstream.exchange import GRANT_TYPE, TokenExchange
from pairing_ws.upstream.login import UpstreamLogin
from pairing_ws.upstream.people import People

CALLBACK = "/login/upstream/callback"


class Upstream(NamedTuple):
    """`login` is None where no provider is set. `documents` has to be entered before anybody logs in."""

    people: People
    login: UpstreamLogin | None
    documents: Documents


def upstream(base: Foundation, accounts: AccountService, oauth: OAuthService) -> Upstream:
    """Where issuers are trusted, `oauth` exchanges their tokens from now on."""
    settings, clock = base.settings, base.clock
    documents = Documents(base.targets)
    people = People(SqlLinks(base.database), accounts.operator, clock, base.random, audit)
    if trusted := trusted_issuers(settings, documents, clock):
        exchange = TokenExchange(trusted, people, accounts.logins, settings.public_url, clock, audit)
        oauth.tokens.add(GRANT_TYPE, exchange.exchange)
    return Upstream(people, _login(base, accounts, people, documents), documents)


def _login(base: Foundation, accounts: AccountService, people: People, documents: Documents) -> UpstreamLogin | None:
    settings, clock, issuer = base.settings, base.clock, base.settings.upstream_issuer
    if not issuer:
        return None
    provider = OidcProvider(
        issuer,
        settings.upstream_client_id,
        settings.upstream_client_secret,
        settings.public_url + CALLBACK,
        documents,
        base.targets,
        clock,
    )
    trusted = TrustedIssuer(
        issuer=issuer, audience=settings.upstream_client_id, opens_accounts=settings.upstream_opens_accounts
    )
    keys = FetchedKeys(lambda: discovered_keys(issuer, documents), clock)
    return UpstreamLogin(
        provider,
        IssuerTokens(trusted, keys, clock),
        people,
        accounts.logins,
        base.backend.counters,
        base.limits,
        base.keys.pepper,
        clock,
        base.random,
        audit,
    )
