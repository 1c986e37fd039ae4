"""The story of step-up: that a person, not only a key, was there lately; and of the passkeys that prove it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from pairing_ws.accounts.announcements import Announcements, account_channel
from pairing_ws.accounts.devices import Devices
from pairing_ws.accounts.passkeys import Added, Host, Passkey, PasskeyStore, Purpose, WebAuthnVerifier
from pairing_ws.accounts.ports import Activity, Session
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, no_audit
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Bus, Limits

# Long enough to find the key, or the phone that has it.
CHALLENGE_MS = 300_000
# How recent a proof has to be where the policy asks for none: for changes to passkeys.
FRESH_MS = 300_000
MAX_PASSKEYS = 10


class StepUpService:
    """`within` is how old a proof may be for an approval, in ms; 0: approvals need none.

    `webauthn` loads the verifier, at its first use.
    """

    def __init__(
        self,
        store: PasskeyStore,
        bus: Bus,
        limits: Limits,
        devices: Devices,
        announce: Announcements,
        webauthn: Callable[[], Awaitable[WebAuthnVerifier]],
        host: Host | None,
        within: int,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit = no_audit,
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._devices = devices
        self._announce = announce
        self._webauthn = webauthn
        self._host = host
        self._within = within
        self._clock = clock
        self._random = random
        self._audit = audit

    # Require a recent proof

    async def require(self, session: Session) -> None:
        """Raises STEP_UP_REQUIRED, with what would do, unless the policy is off or the session was verified lately."""
        if self._within and not await self._is_fresh(session):
            raise await self._required(session)

    async def _is_fresh(self, session: Session) -> bool:
        if self._is_recent(session.verified_at):
            return True
        # What we were given may be from a cache, and the step-up have been made at another process since.
        return self._is_recent(await self._store.verified_at(session.id))

    def _is_recent(self, verified_at: int | None) -> bool:
        # One further ahead than clocks may be apart is by a clock that has been set back since.
        return verified_at is not None and -SKEW_MS <= self._clock() - verified_at < self._window

    @property
    def _window(self) -> int:
        return self._within or FRESH_MS

    async def _required(self, session: Session) -> Refused:
        methods = ["webauthn"] if await self._store.passkeys(session.user.id) else []
        if self._host:
            methods.append("host")
        return Refused(
            Code.STEP_UP_REQUIRED,
            "prove that you are there, then repeat this call",
            methods=methods,
            maxAge=self._window // 1000,
        )

    # Step up

    async def options(self, session: Session) -> dict[str, Any]:
        """What to ask the authenticator. Raises NOT_FOUND without a passkey."""
        known = await self._store.passkeys(session.user.id)
        if not known:
            raise Refused(Code.NOT_FOUND, "this account has no passkey")
        webauthn = await self._webauthn()
        return webauthn.request_options(known, await self._challenge(session, Purpose.STEP_UP))

    async def by_passkey(self, session: Session, credential: dict[str, Any], ip: str) -> int:
        """When the proof was given (ms). Each try uses its challenge up. Raises STEP_UP_REFUSED."""
        webauthn = await self._webauthn()
        now = self._clock()
        challenge = await self._store.take_challenge(session.id, Purpose.STEP_UP, now)
        known = await self._store.passkeys(session.user.id)
        wanted = webauthn.credential_id(credential)
        passkey = next((each for each in known if each.credential_id == wanted), None)
        if challenge is None or passkey is None:
            raise self._refused(session, "webauthn", ip)
        sign_count = webauthn.verify_assertion(credential, challenge, passkey.public_key)
        copied = self._line(session, "passkey.copied", ip, passkey.name)
        if sign_count is None or not await self._store.use_passkey(passkey, sign_count, session.id, now, copied):
            raise self._refused(session, "webauthn", ip)
        self._report("session.stepped_up", session, ip, method="webauthn")
        return now

    async def by_host(self, session: Session, token: str) -> int:
        """When the host application saw this person (ms). An assertion counts once. Raises STEP_UP_REFUSED."""
        await self._limits.hit("step_up", session.id)
        now = self._clock()
        assertion = self._host.verify(token, now) if self._host else None
        if assertion is None or (assertion.sub, assertion.sid) != (session.user.id, session.id):
            raise self._refused(session, "host")
        asserted_at = assertion.auth_time * 1000
        # A host whose clock is ahead gives no longer proofs than another.
        at = min(asserted_at, now)
        if not self._is_recent(at) or not await self._store.verify_session(session.id, at, asserted_at):
            raise self._refused(session, "host")
        self._report("session.stepped_up", session, None, method="host")
        return at

    def expires_in(self, verified_at: int) -> int:
        """For how many seconds more that proof will do."""
        return max(0, (verified_at + self._window - self._clock()) // 1000)

    # Passkeys

    async def passkeys(self, session: Session) -> Sequence[Passkey]:
        return await self.passkeys_of(session.user.id)

    async def passkeys_of(self, user_id: str) -> Sequence[Passkey]:
        """For the operator."""
        return await self._store.passkeys(user_id)

    async def new_passkey_options(self, session: Session) -> dict[str, Any]:
        """What to ask the authenticator. Raises DEVICE_QUARANTINED, STEP_UP_REQUIRED and PASSKEY_LIMIT."""
        await self._only_as_first(session)
        known = await self._store.passkeys(session.user.id)
        if len(known) >= MAX_PASSKEYS:
            raise _full()
        webauthn = await self._webauthn()
        challenge = await self._challenge(session, Purpose.ADD)
        return webauthn.creation_options(session.user, known, challenge)

    async def add_passkey(self, session: Session, name: str, credential: dict[str, Any], ip: str) -> Passkey:
        """Raises PASSKEY_REFUSED beside what `new_passkey_options` raises."""
        first = await self._only_as_first(session)
        webauthn = await self._webauthn()
        now = self._clock()
        challenge = await self._store.take_challenge(session.id, Purpose.ADD, now)
        registered = webauthn.verify_registration(credential, challenge) if challenge else None
        if registered is None:
            raise Refused(Code.PASSKEY_REFUSED, "the passkey's answer does not fit what was asked")
        passkey = Passkey(
            id=codes.token(self._random),
            user_id=session.user.id,
            name=name,
            device_id=session.device.id,
            created_at=now,
            **msgspec.structs.asdict(registered),
        )
        line = self._line(session, "passkey.added", ip, name)
        added = await self._store.add_passkey(passkey, session.id, MAX_PASSKEYS, line, first=first)
        if added is Added.FULL:
            raise _full()
        if added is Added.NOT_FIRST:
            raise await self._required(session)
        if added is not Added.DONE:
            raise Refused(Code.PASSKEY_REFUSED, added.value)
        self._report(line.event, session, ip, passkey=name)
        await self._tell(session, line.event)
        return passkey

    async def remove_passkey(self, session: Session, passkey_id: str, ip: str) -> None:
        """Raises DEVICE_QUARANTINED, STEP_UP_REQUIRED and NOT_FOUND."""
        self._devices.refuse_quarantined(session)
        if not await self._is_fresh(session):
            raise await self._required(session)
        line = self._line(session, "passkey.removed", ip, "")
        if await self._store.remove_passkey(session.user.id, passkey_id, line) is None:
            raise Refused(Code.NOT_FOUND, "no such passkey in this account")
        self._report(line.event, session, ip, passkey=passkey_id)
        await self._tell(session, line.event)

    async def _only_as_first(self, session: Session) -> bool:
        """Whether this session may add a passkey only if the account has none yet.

        With the policy on not even that: a stolen session would bring a passkey of its own, and step up by it. With the
        policy off the session can approve without any, so that its first passkey gives it nothing.
        """
        self._devices.refuse_quarantined(session)
        if await self._is_fresh(session):
            return False
        if self._within or await self._store.passkeys(session.user.id):
            raise await self._required(session)
        return True

    async def _challenge(self, session: Session, purpose: Purpose) -> bytes:
        await self._limits.hit("step_up", session.id)
        challenge = self._random(32)
        await self._store.put_challenge(session.id, purpose, challenge, self._clock() + CHALLENGE_MS)
        return challenge

    async def _tell(self, session: Session, event: str) -> None:
        await self._bus.publish(account_channel(session.user.id))
        self._announce.push(event, session.user.id, session.device.id, exclude=session.device.id)

    def _report(self, event: str, session: Session, ip: str | None, **facts: str | int | None) -> None:
        self._audit(event, account=session.user.id, session=session.id, device=session.device.id, ip=ip, **facts)

    def _refused(self, session: Session, method: str, ip: str | None = None) -> Refused:
        """One answer for every proof that does not hold."""
        self._report("session.step_up_refused", session, ip, method=method)
        return Refused(
            Code.STEP_UP_REFUSED, "that is no valid proof for this session; ask for new options and try again"
        )

    def _line(self, session: Session, event: str, ip: str, passkey_name: str) -> Activity:
        """It names the passkey where lines about devices name theirs."""
        return Activity(
            user_id=session.user.id,
            at=self._clock(),
            event=event,
            device_id=session.device.id,
            device_name=passkey_name,
            ip=ip,
            by_name=session.device.name,
        )


def _full() -> Refused:
    return Refused(Code.PASSKEY_LIMIT, f"the account has {MAX_PASSKEYS} passkeys; remove one first")
