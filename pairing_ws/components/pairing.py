"""Builds the story of pairings."""

from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.places import places_database
from pairing_ws.components.foundation import Foundation
from pairing_ws.pairing.service import PairingService
from pairing_ws.pairing.types import Policy


def pairing_service(base: Foundation, accounts: AccountService) -> PairingService[LoggedIn]:
    settings = base.settings
    return PairingService(
        base.backend.pairings,
        base.backend.bus,
        accounts.logins,
        base.limits,
        base.push,
        places_database(settings, base.clock),
        Policy(
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
        base.random,
        base.keys.pepper,
        audit,
    )
