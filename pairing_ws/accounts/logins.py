"""How a session begins: by a pairing that was approved, by an invite, or by the word of the host application or another
issuer."""

import msgspec

from pairing_ws.accounts import ended
from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.key_pairs import KeyPairIssuer
from pairing_ws.accounts.login_hook import Login, Said
from pairing_ws.accounts.login_questions import LoginQuestions
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.ports import AccountStore, Activity, NewSession, amr_of
from pairing_ws.accounts.refresh_keys import KeyPair
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.accounts.types import LoggedIn, Policy, Vouched
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits, Prove, unproved


class Logins:
    """It is the `pairing.ports.Accounts` of the pairing story. `here` names this process's clock, `pepper` is the key
    of what is digested at rest; `questions` is there if the host application wants to be asked."""

    def __init__(
        self,
        store: AccountStore,
        limits: Limits,
        issuer: KeyPairIssuer,
        announce: Announcements,
        monitor: SessionMonitor,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        here: str,
        pepper: bytes,
        audit: Audit,
        questions: LoginQuestions | None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._issuer = issuer
        self._announce = announce
        self._monitor = monitor
        self._policy = policy
        self._clock = clock
        self._random = random
        self._here = here
        self._pepper = pepper
        self._audit = audit
        self._questions = questions

    def device_id(self, approver: Approver, device: NewDevice) -> str:
        return keys.device_id(approver.user_id, device.code)

    async def check_login(self, approver: Approver, device: NewDevice | None) -> None:
        """See `pairing.ports.Accounts`. Reads the database, never the cache: it is the last look before the keys."""
        await self._store.check_session(
            approver.user_id,
            self.device_id(approver, device) if device else "",
            approver.session_id,
            self._clock(),
            self._policy.device_limit if device else 0,
        )

    async def obstacle(self, approver: Approver, device: NewDevice | None) -> Refused | None:
        """See `pairing.ports.Accounts`."""
        try:
            await self.check_login(approver, device)
        except Unavailable:
            raise
        except Refused as refused:
            # That is what the new device is told: the approver's own session is over.
            return unauthenticated() if refused.code is Code.PAIRING_DENIED else refused
        return None

    async def admit(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> None:
        """See `pairing.ports.Accounts.admit`. The answer is kept for `log_in`."""
        if self._questions is not None:
            await self._questions.answer(_by_pairing(pairing_id, approver, device), secret)

    async def log_in(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> LoggedIn:
        """The one session of this pairing. Repeated with the same secret it gives the same pair for 30 s, as long as
        neither key has been used; then raises PAIRING_CONSUMED. Raises also what `AccountStore.begin_session` does, and
        `LoginQuestions.answer`."""
        login = _by_pairing(pairing_id, approver, device)
        return await self._begin(login, secret, Code.PAIRING_CONSUMED, self._policy.quarantine, None)

    async def accept_invite(
        self, code: str, device: NewDevice, secret: str | None, prove: Prove = unproved
    ) -> LoggedIn:
        """How the very first device gets in, and the way back. Repeatable like a login, if it came with a secret."""
        address = block(device.ip)
        await self._limits.check("claim", address)
        invite = await self._store.invite(codes.digest(code))
        expired = invite is not None and invite.used_at is None and self._clock() >= invite.expires_at
        if invite is not None and not expired and device.key_thumbprint:
            # Only now: a proof is remembered for a while, and strangers can make any number of them.
            try:
                await prove(device.key_thumbprint)
            except Refused as refused:
                # To fetch a nonce is no try of its own (RFC 9449, section 8), and has a bound of its own.
                await self._limits.hit("nonce" if refused.code is Code.USE_DPOP_NONCE else "claim", address)
                raise
        await self._limits.hit("claim", address)
        if invite is None:
            raise Refused(Code.NOT_FOUND, "no such invite")
        if expired:
            raise Refused(Code.INVITE_EXPIRED, "the invite has expired; ask for a new one")
        # Without a secret of its own the answer can't be repeated: it is sealed for one that no client knows.
        secret = secret or codes.token(self._random, 32)
        device_id = keys.device_id(invite.user_id, device.code)
        login = Login(f"invite:{invite.code_hash}", invite.user_id, device_id, device, "invite", None)
        if invite.used_at is not None:
            return await self._repeat(login, secret, Code.INVITE_USED)
        # Who has just been handed an invite was there; a scan shows only that the other device was.
        return await self._begin(login, secret, Code.INVITE_USED, self._policy.quarantine, self._clock())

    async def enrol(self, user_id: str, device: NewDevice, idempotency_key: str | None) -> LoggedIn:
        """Log a device in by the word of the host application, which knows who its person is.

        The one session of this idempotency key in this account, which is repeatable like a login; then raises
        ALREADY_ENROLLED. Raises also what `log_in` does of the account. With `device.key_thumbprint` the session is
        bound to that key: nothing is proved now, and without a proof its keys open nothing.
        """
        # Not the key itself: callers choose it, and may choose a short one.
        given = f"{user_id} {idempotency_key}"
        secret = codes.base64url(
            codes.keyed_digest(self._pepper, "enrolment", given) if idempotency_key else self._random(32)
        )
        device_id = keys.device_id(user_id, device.code)
        login = Login(f"host:{codes.digest(secret)}", user_id, device_id, device, "host", None)
        # Whom the host has just seen was there.
        return await self._begin(login, secret, Code.ALREADY_ENROLLED, self._policy.quarantine, self._clock())

    async def log_in_vouched(self, vouched: Vouched, device: NewDevice, secret: str, spent: Code) -> LoggedIn:
        """The one session of another issuer's word, as of an invite: no other device is asked. Repeatable with the same
        secret. Raises `spent` once it was used, NOT_FOUND if the account is gone, and what a login raises."""
        device_id = keys.device_id(vouched.user_id, device.code)
        login = Login(vouched.origin, vouched.user_id, device_id, device, amr_of(vouched.origin), None)
        return await self._begin(login, secret, spent, self._policy.quarantine, vouched.proved_at)

    async def _begin(
        self, login: Login, secret: str, spent: Code, quarantine: int, verified_at: int | None
    ) -> LoggedIn:
        """Every session begins here, whatever let its device in."""
        said = Said("")
        if self._questions is not None:
            if await self._store.session_of_origin(login.origin) is not None:
                return await self._repeat(login, secret, spent)
            said = await self._questions.answer(login, secret)
        origin, user_id, device_id, device, amr, approver = login
        approved_by = approver.session_id if approver else None
        now = self._clock()
        session_id = said.session_id or codes.token(self._random)
        key = keys.new_family(self._random)
        ends_at = now + self._policy.session
        bound_to = device.key_thumbprint or None
        claims = said.claims or None
        key_pair = self._issuer.issue(user_id, session_id, device_id, amr, key, now, ends_at, bound_to, claims)
        if said.host:
            key_pair = msgspec.structs.replace(key_pair, host=said.host)
        started = await self._store.begin_session(
            NewSession(
                id=session_id,
                user_id=user_id,
                device_id=device_id,
                origin=origin,
                created_at=now,
                idle_until=now + self._policy.refresh_key,
                ends_at=ends_at,
                family_hash=key.family_hash,
                refresh_hash=key.hash,
                sealed=keys.seal(key_pair, secret, self._random),
                sealed_until=now + keys.GRACE_MS,
                verified_at=verified_at,
                key_thumbprint=bound_to,
                claims=claims,
            ),
            device,
            approved_by,
            now + quarantine if quarantine else None,
            self._policy.device_limit,
        )
        if started is not None:
            self._audit(
                "session.started",
                account=user_id,
                username=started.user.username,
                session=session_id,
                device=device_id,
                device_name=device.name,
                ip=device.ip,
                amr=amr,
                approved_by=approved_by,
            )
            # What is cached of the account's other sessions still holds: who approves next needs no new look.
            await self._announce.changed(user_id, forget=started.ended_older)
            if started.ended_older:
                self._audit("session.replaced", account=user_id, session=session_id, device=device_id, ip=device.ip)
                ended.report(self._audit, started.ended_grants, device.ip)
                # What the device's older session could still approve; the new one has had no time to make any.
                await self._announce.devices_ended([device_id])
            self._announce.push("device.added", user_id, device_id, exclude=device_id)
            return LoggedIn(key_pair, started.user, started.device, now)
        return await self._repeat(login, secret, spent)

    async def _repeat(self, login: Login, secret: str, spent: Code) -> LoggedIn:
        """The answer of the one session of this origin, if it can be given again; raises `spent` if not."""
        now = self._clock()
        before = await self._store.session_of_origin(login.origin)
        # Of the key that this request has proved: a stolen secret alone gets no answer a second time.
        same = before is not None and (before.key_thumbprint, before.device.id) == (
            login.device.key_thumbprint or None,
            login.device_id,
        )
        if before and same and before.alive_at(now) and not before.user.locked_at:
            repeated = keys.unseal(before.sealed, secret, KeyPair)
            if repeated is not None and now < before.created_at + keys.grace(repeated.by, self._here):
                return LoggedIn(repeated, before.user, before.device, now)
        raise Refused(spent, "this has been used to log in already")

    async def note(self, event: str, approver: Approver, device: NewDevice | None, pairing_id: str = "") -> None:
        """See `pairing.ports.Accounts.note`."""
        await self._store.note(
            Activity(
                user_id=approver.user_id,
                at=self._clock(),
                event=event,
                device_id=approver.device_id,
                device_name=device.name if device else None,
                ip=device.ip if device else None,
            ),
            pairing_id,
        )

    def expect(self, approver: Approver, milliseconds: int) -> None:
        """See `pairing.ports.Accounts.expect`."""
        self._monitor.expect(approver, self._clock() + milliseconds)


def _by_pairing(pairing_id: str, approver: Approver, device: NewDevice) -> Login:
    device_id = keys.device_id(approver.user_id, device.code)
    return Login(f"pairing:{pairing_id}", approver.user_id, device_id, device, "qr", approver)
