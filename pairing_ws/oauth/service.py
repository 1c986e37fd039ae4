"""The stories of applications, on the same adapters."""

from typing import Any

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Limits, SharedCounters
from pairing_ws.oauth.authentication import Authentication
from pairing_ws.oauth.beginnings import Beginnings
from pairing_ws.oauth.claims import Issuer
from pairing_ws.oauth.device_grant import DeviceGrants
from pairing_ws.oauth.endings import Endings
from pairing_ws.oauth.origins import Origins
from pairing_ws.oauth.ports import ClientAssertions, ClientStore, ClientTokens, CodeStore, GrantStore
from pairing_ws.oauth.protocol import DEVICE_CODE
from pairing_ws.oauth.refreshing import Refreshing
from pairing_ws.oauth.shown_tokens import ShownTokens
from pairing_ws.oauth.tokens import TokenEndpoint
from pairing_ws.oauth.types import AccountChanged, Policy
from pairing_ws.pairing.service import PairingService

TOKEN_PATH = "/oauth/token"  # noqa: S105 - an address


class OAuthService:
    """`authentication` knows clients; `tokens` exchanges codes and refresh tokens; `shown_tokens` is asked about tokens
    that come back; `beginnings` begins grants, `endings` ends them; `device_grants` lets devices ask for one; `origins`
    may ask from a browser.

    `changed` is called when an application got or lost access. `clock` gives milliseconds, `random` so many bytes, and
    `audit` gets every event that the audit log should have.
    """

    def __init__(
        self,
        clients: ClientStore,
        grants: GrantStore,
        code_store: CodeStore,
        tokens: ClientTokens,
        assertions: ClientAssertions,
        pairings: PairingService[Any],
        changed: AccountChanged,
        counters: SharedCounters,
        limits: Limits,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit = no_audit,
    ) -> None:
        # Names this process's clock in what it dates and another process may compare.
        here = codes.token(random, 6)
        issuer = Issuer(tokens, policy, random, here)
        audience = frozenset({policy.issuer, policy.issuer + TOKEN_PATH})
        self.authentication = Authentication(clients, assertions, counters, limits, audience, clock)
        self.origins = Origins(clients, clock)
        self.endings = endings = Endings(grants, changed, clock, audit)
        self.beginnings = Beginnings(code_store, grants, issuer, endings, changed, policy, clock, random, here, audit)
        refreshing = Refreshing(grants, issuer, endings, limits, policy, clock, random, here, audit)
        self.device_grants = DeviceGrants(pairings, self.beginnings, counters, policy)
        self.tokens = TokenEndpoint(
            {
                "authorization_code": self.beginnings.redeem_code,
                "refresh_token": refreshing.refresh,
                DEVICE_CODE: self.device_grants.redeem,
            }
        )
        self.shown_tokens = ShownTokens(tokens, grants, endings, limits, policy, clock, here)
