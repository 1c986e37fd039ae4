"""What the edge may ask of pairings, put together of this room's parts. Which call is where, their names say."""

from typing import Generic, TypeVar

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.ports import Bus, Limits, Push
from pairing_ws.pairing.abuse import AbuseGuard
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.claims import Claims
from pairing_ws.pairing.creation import Creation
from pairing_ws.pairing.decisions import Decisions
from pairing_ws.pairing.login import Logins
from pairing_ws.pairing.ports import Accounts, PairingStore, Places
from pairing_ws.pairing.types import Policy
from pairing_ws.pairing.views import Views

SessionT = TypeVar("SessionT")


class PairingService(Generic[SessionT]):
    """`creation`, `claims`, `decisions` and `logins` are a pairing's steps in their order; `views` reads, lists and
    watches; `changes` ends what an approver may not answer any more.

    Every method raises Refused: UNAVAILABLE while a store is away, NOT_FOUND alike for an unknown pairing, one of
    others and a wrong secret, and what the state machine says (`machine.REFUSALS`).

    A call that is repeated with the same secret or key gets the same answer and changes nothing more.
    """

    def __init__(
        self,
        store: PairingStore,
        bus: Bus,
        accounts: Accounts[SessionT],
        limits: Limits,
        push: Push,
        places: Places,
        policy: Policy,
        random: codes.RandomBytes,
        key: bytes,
        audit: Audit = no_audit,
    ) -> None:
        guard = AbuseGuard(limits, accounts, places, audit, warns_of_networks=policy.network != "off")
        self.views = views = Views(store, bus, accounts, key)
        self.changes = changes = Changes(store, accounts, audit)
        self.creation = Creation(store, changes, limits, policy, random, key)
        self.claims = Claims(store, views, changes, guard, accounts, limits, places, policy, random, key)
        self.decisions = Decisions(views, changes, guard, accounts, limits, push, policy)
        self.logins = Logins(views, changes, accounts, limits, key)
