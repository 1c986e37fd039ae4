"""What the edge can call: made once by `components.build`, and given to every request."""

from dataclasses import dataclass

from pairing_ws.accounts.admin_keys import AdminKeys
from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.step_up import StepUpService
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.config.addresses import Network
from pairing_ws.config.settings import Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Proofs
from pairing_ws.oauth.apps import Apps
from pairing_ws.oauth.clients import Clients
from pairing_ws.oauth.consent import Authorizations
from pairing_ws.oauth.forward_auth import ForwardAuth
from pairing_ws.oauth.logout import Logouts
from pairing_ws.oauth.service import OAuthService
from pairing_ws.pairing.service import PairingService
from pairing_ws.upstream.login import UpstreamLogin
from pairing_ws.upstream.people import People
from pairing_ws.web.drain import Drain


@dataclass(frozen=True)
class Services:
    """The stories, and what the edge itself needs beside them. `upstream` is None where people log in with no other
    provider.

    `proxies` are the networks of `PAIRING_TRUSTED_PROXIES`. `clock` gives milliseconds since 1970; with Redis, pairings
    follow Redis's clock and not this one.
    """

    settings: Settings
    pairings: PairingService[LoggedIn]
    accounts: AccountService
    step_ups: StepUpService
    authorizations: Authorizations
    logouts: Logouts
    forward_auth: ForwardAuth
    oauth: OAuthService
    clients: Clients
    apps: Apps
    admin_keys: AdminKeys
    people: People
    upstream: UpstreamLogin | None
    proofs: Proofs
    proxies: tuple[Network, ...]
    clock: Clock
    random: codes.RandomBytes
    application_server_key: str
    drain: Drain
