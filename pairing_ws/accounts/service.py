"""The stories of accounts, on the same adapters and one cache."""

from pairing_ws.accounts.announcements import Announcements, DevicesEnded
from pairing_ws.accounts.devices import Devices
from pairing_ws.accounts.key_pairs import KeyPairIssuer
from pairing_ws.accounts.login_hook import LoginHook, QuestionStore
from pairing_ws.accounts.login_questions import LoginQuestions
from pairing_ws.accounts.logins import Logins
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.operator import Operator, UserStore
from pairing_ws.accounts.ports import AccountStore, Tokens
from pairing_ws.accounts.session_cache import SessionCache
from pairing_ws.accounts.sessions import Sessions
from pairing_ws.accounts.types import Policy
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Bus, Limits, Push


class AccountService:
    """`logins` begin sessions; `sessions` know them again, renew and end them; `devices` is what a logged-in device may
    do; `operator` is for the command line and the host application's backend.

    `clock` gives milliseconds, `random` so many bytes, `pepper` is the key of what is digested at rest.
    `devices_ended` gets the ids of devices whose keys have just been revoked, `audit` every event that the audit log
    should have. `monitor` looks at the same `store`. `hook`, if there is one, is asked about each login, and what it
    has said is kept in the store beside it.
    """

    def __init__(
        self,
        store: AccountStore,
        users: UserStore,
        bus: Bus,
        limits: Limits,
        push: Push,
        tokens: Tokens,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        devices_ended: DevicesEnded,
        monitor: SessionMonitor,
        pepper: bytes,
        audit: Audit = no_audit,
        hook: tuple[LoginHook, QuestionStore] | None = None,
    ) -> None:
        # Names this process's clock in what it dates and another process may compare.
        here = codes.token(random, 6)
        cache = SessionCache()
        issuer = KeyPairIssuer(tokens, policy.auth_key, here)
        self.announce = Announcements(store, bus, push, cache, devices_ended, clock, audit)
        questions = LoginQuestions(hook[1], bus, hook[0], clock, random, audit) if hook else None
        self.logins = Logins(
            store, limits, issuer, self.announce, monitor, policy, clock, random, here, pepper, audit, questions
        )
        self.sessions = Sessions(
            store, bus, limits, tokens, issuer, self.announce, cache, monitor, policy, clock, random, here
        )
        self.devices = Devices(store, limits, tokens, self.announce, cache, policy, clock)
        self.operator = Operator(store, users, self.announce, policy.public_url, clock, random, pepper, audit)
