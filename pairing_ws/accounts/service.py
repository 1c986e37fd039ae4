"""The story of accounts: how a session begins, is known again, renews its keys and ends, and what devices may do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from pairing_ws.accounts import names
from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.ports import (
    AccountStore,
    Activity,
    Claims,
    Device,
    Invite,
    NewSession,
    Position,
    Rotation,
    Session,
    Tokens,
    User,
)
from pairing_ws.accounts.refresh_keys import KeyPair, RefreshKey, RefreshOutcome
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit, untold
from pairing_ws.core.clock import SKEW_MS, Clock, iso
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import block
from pairing_ws.core.ports import Bus, Callback, Limits, Prove, Push, unproved

# Another process learns of a revocation this late at most; the contract allows 5 s.
SESSION_CACHE_MS = 2_000
INVITE_MS = 15 * 60_000
ACTIVITY_LINES = 100


@dataclass(frozen=True)
class Policy:
    """The settings this story obeys. Times in milliseconds. `step_up`: whether approvals need a proof."""

    auth_key: int = 600_000
    refresh_key: int = 30 * 86_400_000
    session: int = 365 * 86_400_000
    quarantine: int = 3_600_000
    refresh_repeat: int = 86_400_000
    device_limit: int = 20
    step_up: bool = False
    public_url: str = "http://localhost:8000"


class LoggedIn(NamedTuple):
    """What a login, an accepted invite or a refresh gives: a pair of keys, and whose they are."""

    key_pair: KeyPair
    user: User
    device: Device
    now: int


class NewInvite(NamedTuple):
    user: User
    code: str
    url: str
    expires_at: int
    is_new: bool
    """Whether it made the account."""


# Of one account: session id → (until, session).
SessionCache = dict[str, tuple[int, Session]]


class AccountService:
    """`devices_ended` is told the ids of devices whose keys have just been revoked."""

    def __init__(
        self,
        store: AccountStore,
        bus: Bus,
        limits: Limits,
        push: Push,
        tokens: Tokens,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        devices_ended: Callable[[Sequence[str]], Awaitable[None]],
        monitor: SessionMonitor,
        audit: Audit = untold,
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._push = push
        self._tokens = tokens
        self._policy = policy
        self._clock = clock
        self._random = random
        self._devices_ended = devices_ended
        self._monitor = monitor
        # Names this process's clock in what it dates and another one may judge.
        self._here = codes.token(random, 6)
        self._audit = audit
        self._session_caches: dict[str, SessionCache] = {}

    # Begin a session

    def device_id(self, approver: Approver, device: NewDevice) -> str:
        return keys.device_id(approver.user_id, device.code)

    async def check_login(self, approver: Approver, device: NewDevice) -> None:
        """See `pairing.ports.Accounts`. Reads the database, never the cache: it is the last look before the keys."""
        await self._store.check_session(
            approver.user_id,
            self.device_id(approver, device),
            approver.session_id,
            self._clock(),
            self._policy.device_limit,
        )

    async def obstacle(self, approver: Approver, device: NewDevice) -> Refused | None:
        """See `pairing.ports.Accounts`."""
        try:
            await self.check_login(approver, device)
        except Unavailable:
            raise
        except Refused as refused:
            # The new device's word for it: the approver is told that their own session is over.
            return unauthenticated() if refused.code is Code.PAIRING_DENIED else refused
        return None

    async def log_in(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> LoggedIn:
        """The one session of this pairing. Repeated with the same secret it gives the same pair for 30 s, as long as
        neither key has been used; then raises PAIRING_CONSUMED."""
        quarantine = self._policy.quarantine
        return await self._begin(
            f"pairing:{pairing_id}",
            approver.user_id,
            device,
            secret,
            Code.PAIRING_CONSUMED,
            approver.session_id,
            quarantine,
        )

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
        # Without a secret of its own nobody can repeat the answer: it is sealed for one that nobody knows.
        secret = secret or codes.token(self._random, 32)
        return await self._begin(
            f"invite:{invite.code_hash}",
            invite.user_id,
            device,
            secret,
            Code.INVITE_USED,
            None,
            self._policy.quarantine,
        )

    async def _begin(
        self,
        origin: str,
        user_id: str,
        device: NewDevice,
        secret: str,
        spent: Code,
        approved_by: str | None,
        quarantine: int,
    ) -> LoggedIn:
        now = self._clock()
        session_id = codes.token(self._random)
        device_id = keys.device_id(user_id, device.code)
        key = keys.new_family(self._random)
        ends_at = now + self._policy.session
        amr = "qr" if approved_by else "invite"
        bound_to = device.key_thumbprint or None
        key_pair = self._issue(user_id, session_id, device_id, amr, key, now, ends_at, bound_to)
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
                # Who has just been handed an invite was there; a scan shows only that the other device was.
                verified_at=None if approved_by else now,
                key_thumbprint=bound_to,
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
            await self._changed(user_id, forget=started.ended_older)
            if started.ended_older:
                self._audit("session.replaced", account=user_id, session=session_id, device=device_id, ip=device.ip)
                # What the device's older session could still approve; the new one has had no time to make any.
                await self._devices_ended([device_id])
            self.push_event("device.added", user_id, device_id, exclude=device_id)
            return LoggedIn(key_pair, started.user, started.device, now)
        before = await self._store.session_of_origin(origin)
        # Of the key that this request has proved: a stolen secret alone gets no answer a second time.
        same_key = before is not None and before.key_thumbprint == bound_to
        if before and same_key and before.alive_at(now) and not before.user.locked_at:
            repeated = keys.unseal(before.sealed, secret)
            if repeated is not None and now < before.created_at + keys.grace(repeated.by, self._here):
                return LoggedIn(repeated, before.user, before.device, now)
        raise Refused(spent, "this has been used to log in already")

    def _issue(
        self,
        user_id: str,
        session_id: str,
        device_id: str,
        amr: str,
        key: RefreshKey,
        now: int,
        ends_at: int,
        key_thumbprint: str | None,
    ) -> KeyPair:
        expires_at = min(now + self._policy.auth_key, ends_at)
        auth_key = self._tokens.issue(
            user_id=user_id,
            session_id=session_id,
            device_id=device_id,
            amr=amr,
            now=now,
            expires_at=expires_at,
            key_thumbprint=key_thumbprint,
            rt_hash=key.half_hash,
        )
        return KeyPair(auth_key, str(key), expires_at, self._here)

    # Know a session again

    async def authenticate(self, auth_key: str, prove: Prove = unproved) -> Session:
        """The session behind an authKey, whose first use ends its repetition.

        Raises UNAUTHENTICATED, ACCOUNT_LOCKED and, for a session that is bound to a key, what `prove` does.
        """
        now = self._clock()
        claims = self._tokens.verify(auth_key, now)
        if claims is None:
            raise unauthenticated()
        cache = self._cache_of(claims.sub)
        session = await self._session(cache, claims, now)
        if session is None or (session.user.id, session.device.id) != (claims.sub, claims.did):
            raise unauthenticated()
        if session.key_thumbprint:
            # Before anything changes: who has stolen the authKey alone must not cost its owner a lost answer.
            await prove(session.key_thumbprint, auth_key)
        return await self._acknowledge(cache, session, claims, now)

    async def logged_out_device(self, auth_key: str) -> str | None:
        """The id of the device whose true authKey this is, if it was logged out; None else."""
        claims = self._tokens.verify(auth_key, self._clock())
        session = await self._store.session(claims.sid) if claims else None
        return session.device.id if session and session.ended_why in ("revoked", "logged_out") else None

    async def reload_if_alive(self, session_id: str, signed_by: str = "") -> Session | None:
        """The session as it is now, for what outlives the check of an authKey (sockets, long polls); None once it has
        ended, or the key that had signed the authKey was withdrawn. Never from the cache: the caller was woken because
        something changed.
        """
        if signed_by and not self._tokens.trusts(signed_by):
            return None
        now = await self._store.session(session_id)
        alive = now is not None and now.alive_at(self._clock()) and now.user.locked_at is None
        return now if alive else None

    async def _session(self, cache: SessionCache, claims: Claims, now: int) -> Session | None:
        until, session = cache.get(claims.sid, (0, None))
        looked_at = until - SESSION_CACHE_MS
        # A clock that was set back must not keep what was known for longer.
        if session is None or not looked_at <= now < until or _is_newer(claims, session, looked_at):
            session = await self._store.session(claims.sid)
            if session is None:
                return None
            cache[session.id] = (now + SESSION_CACHE_MS, session)
        if session.signed_by != claims.signed_by:
            session = msgspec.structs.replace(session, signed_by=claims.signed_by)
        if not session.alive_at(now):
            raise unauthenticated(session.ended_why)
        if session.user.locked_at is not None:
            raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
        return session

    async def _acknowledge(self, cache: SessionCache, session: Session, claims: Claims, now: int) -> Session:
        """Whether the authKey that was used belongs to the answer that can be repeated: an older one's use must not
        cost a client the answer of a refresh that got lost."""
        if session.sealed and _is_of_newest_answer(claims, session):
            retired = keys.successor_used(session, now, self._here)
            await self._store.forget_sealed(session.id, session.refresh_hash, retired)
            session = msgspec.structs.replace(session, sealed=None, retired=retired)
            cache[session.id] = (now + SESSION_CACHE_MS, session)
        return session

    def _cache_of(self, user_id: str) -> SessionCache:
        """To be asked for before reading: if the account is forgotten meanwhile, what was read goes to nobody."""
        if len(self._session_caches) > 50_000:
            self._session_caches.clear()
        return self._session_caches.setdefault(user_id, {})

    # Renew

    async def refresh(self, refresh_key: str, ip: str, prove: Prove = unproved) -> LoggedIn:
        """A new pair for the current key. See the contract for a key that was exchanged before."""
        key = RefreshKey.parse(refresh_key)
        counted = False
        while key is not None:
            session = await self._store.session_of_family(key.family_hash)
            now = self._clock()
            if session is None:
                break
            if not session.alive_at(now):
                raise unauthenticated(session.ended_why)
            if session.user.locked_at is not None:
                raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
            if not counted:
                if session.key_thumbprint:
                    # Before it is counted: who has stolen the refreshKey alone can't use up its owner's rate.
                    await prove(session.key_thumbprint)
                await self._limits.hit("refresh", session.device.id)
                counted = True
            outcome = keys.classify(session, key, now, self._here)
            if outcome is RefreshOutcome.ROTATE:
                renewed = await self._rotate(session, key, ip, now)
                if renewed is None:
                    continue
                return renewed
            if outcome is RefreshOutcome.REPEAT:
                key_pair = keys.unseal(session.sealed, str(key))
                if key_pair is not None:
                    return LoggedIn(
                        self._with_valid_auth_key(session, key_pair, now), session.user, session.device, now
                    )
            if outcome is not RefreshOutcome.STOLEN:
                raise Refused(Code.ALREADY_REFRESHED, "this key was exchanged, and its successor is in use; use that")
            await self._end(session, "session.key_reused", ip, now)
            raise unauthenticated("key_reused")
        raise unauthenticated()

    async def _rotate(self, session: Session, key: RefreshKey, ip: str, now: int) -> LoggedIn | None:
        new = key.successor(self._random)
        key_pair = self._issue(
            session.user.id,
            session.id,
            session.device.id,
            session.amr,
            new,
            now,
            session.ends_at,
            session.key_thumbprint,
        )
        rotation = Rotation(
            session_id=session.id,
            old_hash=key.hash,
            new_hash=new.hash,
            retired=keys.retire(session, key, now, self._here),
            idle_until=now + self._policy.refresh_key,
            sealed=keys.seal(key_pair, str(key), self._random),
            sealed_until=now + self._policy.refresh_repeat,
            ip=ip,
            at=now,
        )
        # What is cached was read before: the new key's first use must be seen.
        self._session_caches.pop(session.user.id, None)
        if not await self._store.rotate(rotation):
            return None
        self._tell("session.refreshed", session, ip)
        return LoggedIn(key_pair, session.user, session.device, now)

    def _with_valid_auth_key(self, session: Session, repeated: KeyPair, now: int) -> KeyPair:
        """The answer with another authKey if its own has expired: the client may have slept for hours."""
        key = RefreshKey.parse(repeated.refresh_key)
        if key is None or now < repeated.expires_at:
            return repeated
        return self._issue(
            session.user.id,
            session.id,
            session.device.id,
            session.amr,
            key,
            now,
            session.ends_at,
            session.key_thumbprint,
        )

    # End

    async def log_out(self, session: Session, ip: str) -> None:
        await self._end(session, "session.logged_out", ip, self._clock())

    async def _end(self, session: Session, event: str, ip: str, now: int) -> None:
        await self._store.end_session(session.id, now, self._line(session, event, ip))
        self._tell(event, session, ip)
        await self._ended(session, [session.device.id])

    async def revoke(self, session: Session, device_id: str, ip: str, *, descendants: bool = False) -> None:
        """End a device, and with `descendants` all that it let in, even if it has left itself.

        What it added as a passkey goes along, or the owner could be asked for a proof that only the revoked can give.
        Not so by a mere log-out where approvals need a proof: nobody may be able to add another one. Raises NOT_FOUND
        and DEVICE_QUARANTINED.
        """
        own = device_id == session.device.id
        if descendants or not own:
            self.refuse_quarantined(session)
        line = self._line(session, "device.revoked", ip, by_name=None if own else session.device.name)
        ended = await self._store.revoke(
            session.user.id,
            device_id,
            line.at,
            line,
            by=session.device.id,
            descendants=descendants,
            passkeys=descendants or not self._policy.step_up,
        )
        if ended is None:
            raise no_such_device()
        if ended or descendants:
            self._tell(line.event, session, ip, revoked=device_id, sessions_of=len(ended))
        await self._ended(session, ended)
        if ended and not own:
            self.push_event("device.revoked", session.user.id, device_id, exclude=session.device.id)

    async def revoke_others(self, session: Session, ip: str) -> int:
        """End every other device of the account; how many that were."""
        self.refuse_quarantined(session)
        line = self._line(session, "device.revoked_others", ip)
        ended = await self._store.revoke_others(session.user.id, session.device.id, line.at, line)
        self._tell(line.event, session, ip, sessions_of=len(ended))
        await self._ended(session, ended)
        return len(ended)

    async def _ended(self, session: Session, device_ids: Sequence[str]) -> None:
        # At once: where Redis hangs, each takes seconds to give up.
        await asyncio.gather(self._changed(session.user.id), self._devices_ended(device_ids))

    # Devices

    async def devices(self, session: Session) -> Sequence[Device]:
        return await self._store.devices(session.user.id, self._clock())

    async def descendants(self, session: Session) -> Mapping[str, Set[str]]:
        """See `ports.AccountStore.descendants`."""
        return await self._store.descendants(session.user.id)

    async def devices_seen_by(self, session: Session) -> Sequence[Device] | None:
        """The same for a socket that outlives its authKey; None once its session has ended. Never from the cache."""
        if session.signed_by and not self._tokens.trusts(session.signed_by):
            return None
        return await self._store.devices_seen_by(session.id, session.user.id, self._clock())

    async def change_device(
        self, session: Session, device_id: str, ip: str, *, name: str | None, push_token: str | None
    ) -> Device:
        """Rename a device; set a push address, only one's own. Raises NOT_FOUND and DEVICE_QUARANTINED.

        From quarantine no device loses its address: where one has it, nothing changes, and nothing is said about it.
        """
        await self._limits.hit("rename", session.device.id)
        own = device_id == session.device.id
        if not own:
            self.refuse_quarantined(session)
        await self._device(session.user.id, device_id)
        if push_token is not None:
            if not own:
                raise Refused(Code.BAD_REQUEST, "a push address can only be set by the device itself")
            await self._store.set_push_token(
                session.user.id, device_id, push_token, self._clock(), only_if_free=self._quarantine_left(session) > 0
            )
        if name is not None:
            by_name = None if own else session.device.name
            line = msgspec.structs.replace(
                self._line(session, "device.renamed", ip, by_name), device_id=device_id, device_name=name
            )
            await self._store.rename(session.user.id, device_id, name, line)
            self._tell(line.event, session, ip, renamed=device_id, name=name)
            await self._changed(session.user.id)
        self._session_caches.pop(session.user.id, None)
        return await self._device(session.user.id, device_id)

    async def _device(self, user_id: str, device_id: str) -> Device:
        for device in await self._store.devices(user_id, self._clock()):
            if device.id == device_id:
                return device
        raise no_such_device()

    def refuse_quarantined(self, session: Session) -> None:
        """Raises DEVICE_QUARANTINED while a device that has just been let in must keep still."""
        left = self._quarantine_left(session)
        if left > 0:
            raise Refused(
                Code.DEVICE_QUARANTINED, "this device was added a short while ago", retry_after=-(-left // 1000)
            )

    def _quarantine_left(self, session: Session) -> int:
        return (session.device.quarantine_until or 0) - self._clock()

    async def activity(
        self, session: Session, before: Position | None = None, *, logins: bool | None = None
    ) -> Sequence[Activity]:
        """A page, see `ports.AccountStore.activity`. One of `ACTIVITY_LINES` may have another one behind it."""
        return await self._store.activity(session.user.id, ACTIVITY_LINES, before, logins=logins)

    async def note(self, event: str, approver: Approver, device: NewDevice | None) -> None:
        """See `pairing.ports.Accounts.note`."""
        await self._store.note(
            Activity(
                user_id=approver.user_id,
                at=self._clock(),
                event=event,
                device_id=approver.device_id,
                device_name=device.name if device else None,
                ip=device.ip if device else None,
            )
        )

    def watch(self, user_id: str, session_id: str, wake: Callback) -> AbstractAsyncContextManager[None]:
        """Wakes after each change to the account's devices and sessions, and within 5 s after the end of this session,
        whatever ended it. What changed is to be read."""
        return self._monitor.watching(session_id, wake, self._bus.watch([account_channel(user_id)], wake))

    def expect(self, approver: Approver, milliseconds: int) -> None:
        """See `pairing.ports.Accounts.expect`."""
        self._monitor.expect(approver, self._clock() + milliseconds)

    # For the operator

    async def invite(self, username: str, *, existing: bool = False) -> NewInvite:
        """A link that logs one device in, for 15 minutes, once. Makes the account if there is none of that name, but
        with `existing`: then raises NOT_FOUND."""
        name = names.written(username)
        if not names.usable(name):
            raise Refused(Code.BAD_REQUEST, "a user name is 1 to 64 printable characters")
        now = self._clock()
        code = codes.token(self._random, 24)
        fresh = User(id=codes.token(self._random), username=name, display_name=name, created_at=now)
        expires_at = now + INVITE_MS
        invite = Invite(code_hash=codes.digest(code), user_id=fresh.id, expires_at=expires_at)
        user = await self._store.add_invite(invite, fresh, existing=existing)
        if user is None:
            raise no_such_user()
        if user.id == fresh.id:
            self._audit("account.created", account=user.id, username=user.username)
        self._audit("invite.created", account=user.id, username=user.username, expires_at=iso(expires_at))
        url = f"{self._policy.public_url}/join/invite#{code}"
        return NewInvite(user, code, url, expires_at, is_new=user.id == fresh.id)

    async def users(self) -> Sequence[User]:
        return await self._store.users()

    async def lock(self, username: str, *, locked: bool) -> User:
        now = self._clock()
        user = await self._changed_user(await self._store.lock(_usable_name(username), now if locked else None))
        self._audit("account.locked" if locked else "account.unlocked", account=user.id, username=user.username)
        if locked:
            await self._devices_ended([each.id for each in await self._store.devices(user.id, now)])
        return user

    async def delete_user(self, username: str) -> User:
        # First nobody comes in any more, and what waits for this account ends.
        await self.lock(username, locked=True)
        user = await self._changed_user(await self._store.delete_user(_usable_name(username)))
        self._audit("account.deleted", account=user.id, username=user.username)
        return user

    async def _changed_user(self, user: User | None) -> User:
        if user is None:
            raise no_such_user()
        await self._changed(user.id)
        return user

    async def look_for_ended_sessions(self) -> None:
        """See `monitor.SessionMonitor.look`."""
        await self._monitor.look()

    async def tidy(self) -> None:
        await self._store.tidy(self._clock())

    def push_event(self, event: str, user_id: str, device_id: str, *, exclude: str) -> None:
        """Tell the account's devices outside their sockets, all but the one that came, or that did it."""
        now = self._clock()
        data = {"type": event, "deviceId": device_id, "at": iso(now)}
        self._push.send_to_each(lambda: self._store.push_addresses(user_id, now, exclude=exclude), data)

    async def _changed(self, user_id: str, *, forget: bool = True) -> None:
        if forget:
            self._session_caches.pop(user_id, None)
        await self._bus.publish(account_channel(user_id))

    def _tell(self, event: str, session: Session, ip: str, **facts: str | int | None) -> None:
        self._audit(
            event,
            account=session.user.id,
            session=session.id,
            device=session.device.id,
            device_name=session.device.name,
            ip=ip,
            **facts,
        )

    def _line(self, session: Session, event: str, ip: str, by_name: str | None = None) -> Activity:
        return Activity(
            user_id=session.user.id,
            at=self._clock(),
            event=event,
            device_id=session.device.id,
            device_name=session.device.name,
            ip=ip,
            by_name=by_name,
        )


def _is_newer(claims: Claims, session: Session, looked_at: int) -> bool:
    """Whether this authKey may belong to an answer that was given since we looked, at another process: its key's first
    use must be seen. Times of different clocks say only that it can't be."""
    if claims.rt_hash and session.refresh_hash.startswith(claims.rt_hash):
        return False
    return claims.iat * 1000 + SKEW_MS >= looked_at


def _is_of_newest_answer(claims: Claims, session: Session) -> bool:
    if claims.rt_hash:
        return session.refresh_hash.startswith(claims.rt_hash)
    # A key of an older version.
    return claims.iat * 1000 + claims.ms >= session.answered_at


def _usable_name(username: str) -> str:
    """A name that somebody may have: the database is never asked for one that it can't even spell."""
    name = names.written(username)
    if not names.usable(name):
        raise no_such_user()
    return name


def account_channel(user_id: str) -> str:
    return f"account:{{{user_id}}}"


def no_such_user() -> Refused:
    return Refused(Code.NOT_FOUND, "no such user")


def no_such_device() -> Refused:
    return Refused(Code.NOT_FOUND, "no such device in this account")


END_REASONS = {
    "replaced": "this device's code has logged in again, on this machine or on another one that has it",
    "revoked": "another device has logged this one out",
    "logged_out": "this session was logged out",
    "key_reused": "a key that was exchanged long ago has come again, and ended the session",
}


def unauthenticated(why: str | None = None) -> Refused:
    """One answer for every key that is missing, wrong or expired; who has a true one is told why its session ended."""
    if why in END_REASONS:
        return Refused(Code.UNAUTHENTICATED, END_REASONS[why], reason=why)
    return Refused(Code.UNAUTHENTICATED, "no valid credential")
