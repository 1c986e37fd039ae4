"""How a session is known again, renews its keys and ends."""

from contextlib import AbstractAsyncContextManager

import msgspec

from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.announcements import Announcements, account_channel
from pairing_ws.accounts.ended import Revoked
from pairing_ws.accounts.key_pairs import KeyPairIssuer
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.ports import AccountStore, Claims, Rotation, Session, Tokens
from pairing_ws.accounts.refresh_keys import KeyPair, RefreshKey, RefreshOutcome
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.accounts.session_cache import SESSION_CACHE_MS, CachedSessions, SessionCache
from pairing_ws.accounts.types import LoggedIn, Policy
from pairing_ws.core import codes
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Bus, Callback, Limits, Prove, unproved


class Sessions:
    """`here` names this process's clock in what it dates and another process may compare."""

    def __init__(
        self,
        store: AccountStore,
        bus: Bus,
        limits: Limits,
        tokens: Tokens,
        issuer: KeyPairIssuer,
        announce: Announcements,
        cache: SessionCache,
        monitor: SessionMonitor,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        here: str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._tokens = tokens
        self._issuer = issuer
        self._announce = announce
        self._cache = cache
        self._monitor = monitor
        self._policy = policy
        self._clock = clock
        self._random = random
        self._here = here

    # Know it again

    async def authenticate(self, auth_key: str, prove: Prove = unproved) -> Session:
        """The session behind an authKey, whose first use ends its repetition.

        Raises UNAUTHENTICATED, ACCOUNT_LOCKED and, for a session that is bound to a key, what `prove` does.
        """
        now = self._clock()
        claims = self._tokens.verify(auth_key, now)
        if claims is None:
            raise unauthenticated()
        cache = self._cache.of_account(claims.sub)
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

    async def _session(self, cache: CachedSessions, claims: Claims, now: int) -> Session | None:
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

    async def _acknowledge(self, cache: CachedSessions, session: Session, claims: Claims, now: int) -> Session:
        """Whether the authKey that was used belongs to the answer that can be repeated: an older one's use must not
        cost a client the answer of a refresh that got lost."""
        if session.sealed and _is_of_newest_answer(claims, session):
            retired = keys.successor_used(session, now, self._here)
            await self._store.forget_sealed(session.id, session.refresh_hash, retired)
            session = msgspec.structs.replace(session, sealed=None, retired=retired)
            cache[session.id] = (now + SESSION_CACHE_MS, session)
        return session

    def watch(self, user_id: str, session_id: str, wake: Callback) -> AbstractAsyncContextManager[None]:
        """Wakes after each change to the account's devices and sessions, and within 5 s after the end of this session,
        whatever ended it. What changed is to be read."""
        return self._monitor.watching(session_id, wake, self._bus.watch([account_channel(user_id)], wake))

    # Renew it

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
                key_pair = keys.unseal(session.sealed, str(key), KeyPair)
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
        key_pair = self._issuer.issue(
            session.user.id,
            session.id,
            session.device.id,
            session.amr,
            new,
            now,
            session.ends_at,
            session.key_thumbprint,
            session.claims,
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
        self._cache.forget(session.user.id)
        if not await self._store.rotate(rotation):
            return None
        self._announce.audit("session.refreshed", session, ip)
        return LoggedIn(key_pair, session.user, session.device, now)

    def _with_valid_auth_key(self, session: Session, repeated: KeyPair, now: int) -> KeyPair:
        """The answer with another authKey if its own has expired: the client may have slept for hours."""
        key = RefreshKey.parse(repeated.refresh_key)
        if key is None or now < repeated.expires_at:
            return repeated
        return self._issuer.issue(
            session.user.id,
            session.id,
            session.device.id,
            session.amr,
            key,
            now,
            session.ends_at,
            session.key_thumbprint,
            session.claims,
        )

    # End it

    async def log_out(self, session: Session, ip: str) -> None:
        await self._end(session, "session.logged_out", ip, self._clock())

    async def _end(self, session: Session, event: str, ip: str, now: int) -> None:
        grants = await self._store.end_session(session.id, now, self._announce.line(session, event, ip))
        self._announce.audit(event, session, ip)
        await self._announce.ended(session.user.id, Revoked([session.device.id], grants), ip)

    async def look_for_ended_sessions(self) -> None:
        """See `monitor.SessionMonitor.look`."""
        await self._monitor.look()


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
