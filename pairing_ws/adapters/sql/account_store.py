"""Devices, sessions and activity in SQL: SQLite here, PostgreSQL by another URL. Core, no ORM."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set

import msgspec
from msgspec.structs import asdict

from pairing_ws.accounts.ended import EndedGrant, Revoked
from pairing_ws.accounts.ports import (
    LOGIN,
    Activity,
    Device,
    Invite,
    NewSession,
    Position,
    Retired,
    Rotation,
    Session,
    StartedSession,
)
from pairing_ws.adapters.sql import grant_rows
from pairing_ws.adapters.sql import statements as ask
from pairing_ws.adapters.sql.account_rows import add_activity, lock_account, session_by_id
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Database,
    Statement,
    Store,
    Transaction,
    long_read,
    long_write,
    read,
    single_write,
    write,
)
from pairing_ws.adapters.sql.grant_rows import end_grants, revoke_apps_let_in_by, revoke_apps_let_in_by_others
from pairing_ws.adapters.sql.login_eligibility import approver_gone, login_conditions, login_eligibility
from pairing_ws.adapters.sql.statements import first_of, session_of, struct_of
from pairing_ws.adapters.sql.webhook_rows import SILENT, EventWriter
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.push_addresses import kind_of

DAY_MS = 86_400_000
ACTIVITY_KEPT_MS = 90 * DAY_MS
# Before this is everything.
NEWEST = Position(2**63 - 1, 2**63 - 1)
INVITE = "invite:"
NO_ADDRESS = {"push_kind": None, "push_address": None}
# How the origin of a session begins that an invite has begun.
INVITE = "invite:"


class SqlAccounts(Store):
    """See `accounts.ports.AccountStore` for what each method promises.

    Every transaction takes its rows in one order, so that there is no deadlock: the account, its sessions, its devices,
    its grants. A transaction that holds the account's row has the account for itself: devices are counted, let in and
    revoked one after the other. A refresh does without it, for it only changes a row that exists.
    """

    def __init__(self, database: Database, events: EventWriter = SILENT) -> None:
        super().__init__(database)
        self._events = events

    @read
    def ping(self, db: Transaction) -> None:
        db.rows(ask.PING)

    # Sessions

    async def begin_session(
        self, session: NewSession, device: NewDevice, approved_by: str | None, quarantine_until: int | None, limit: int
    ) -> StartedSession | None:
        try:
            return await self._begin(session, device, approved_by, quarantine_until, limit)
        except Conflict:
            # Another account's login committed a session of this origin first: Redis had forgotten whose it was.
            return None

    @write
    def _begin(
        self,
        db: Transaction,
        session: NewSession,
        device: NewDevice,
        approved_by: str | None,
        quarantine_until: int | None,
        limit: int,
    ) -> StartedSession | None:
        now = session.created_at
        user = lock_account(db, session.user_id)
        if user is None:
            raise Refused(Code.NOT_FOUND, "no such account")
        if user.locked_at is not None:
            raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
        # After the lock, and not with it: only now does everybody else stand still.
        eligibility = login_eligibility(db, user.id, session.device_id, approved_by, now, limit, origin=session.origin)
        if eligibility is None or eligibility.origin_is_used:
            return None
        if approved_by:
            eligibility.conditions.require_approver()
        elif session.origin.startswith(INVITE) and not db.change(
            ask.USE_INVITE, invite=session.origin.removeprefix(INVITE), now=now
        ):
            return None
        eligibility.conditions.require_room(limit)
        if not approved_by and not eligibility.account_has_devices:
            quarantine_until = None
        if eligibility.has_unrevoked_session:
            db.change(ask.END_DEVICE, device=session.device_id, now=now, why="replaced")
        if eligibility.parent_before and eligibility.parent_before != eligibility.conditions.approver:
            db.change(
                ask.ADD_PREVIOUS_PARENT,
                device_id=session.device_id,
                paired_by=eligibility.parent_before,
                user_id=user.id,
            )
        pushed_to = device.push_token
        if pushed_to and not self._take_push_address(
            db, user.id, session.device_id, pushed_to, now, only_if_free=quarantine_until is not None
        ):
            pushed_to = ""
        # As if it had never been there: it inherits neither age nor address from its namesake.
        fresh = Device(
            id=session.device_id,
            user_id=user.id,
            name=eligibility.given_name or device.name,
            reported_name=device.name,
            os=device.os,
            app_version=device.app_version,
            created_at=now,
            last_seen_at=now,
            last_ip=device.ip,
            paired_by=eligibility.conditions.approver,
            quarantine_until=quarantine_until,
        )
        address = {"push_kind": kind_of(pushed_to), "push_address": pushed_to} if pushed_to else NO_ADDRESS
        db.change(ask.REGISTER, **asdict(fresh), **address)
        db.change(ask.BEGIN, **asdict(session), retired=b"[]")
        ended_grants: Sequence[EndedGrant] = ()
        if eligibility.has_unrevoked_session:
            ended_grants = end_grants(db, grant_rows.OF_REPLACED, "replaced", now, device=session.device_id)
        line = Activity(user_id=user.id, at=now, event=LOGIN, device_id=fresh.id, device_name=device.name, ip=device.ip)
        if eligibility.has_live_session:
            # It may have been another machine that has the same code.
            add_activity(db, msgspec.structs.replace(line, event="session.replaced"))
        add_activity(db, line)
        self._events.device_added(db, session, fresh, eligibility.conditions.approver)
        return StartedSession(user, fresh, bool(eligibility.has_unrevoked_session), ended_grants)

    @read
    def check_session(
        self, db: Transaction, user_id: str, device_id: str, approved_by: str, now: int, limit: int
    ) -> None:
        conditions = login_conditions(db, user_id, device_id, approved_by, now, limit)
        if conditions is None:
            raise approver_gone()
        if conditions.locked_at is not None:
            raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
        conditions.require_approver()
        conditions.require_room(limit)

    @read
    def session(self, db: Transaction, session_id: str) -> Session | None:
        return session_by_id(db, session_id)

    @read
    def live_sessions(self, db: Transaction, session_ids: Collection[str], now: int) -> Set[str]:
        return {session_id for (session_id,) in db.rows(ask.LIVE_SESSIONS, now=now, **_padded(session_ids))}

    @write
    def seen(self, db: Transaction, session_ids: Collection[str], now: int, idle_until: int) -> None:
        padded = _padded(session_ids)
        db.change(ask.PROLONG, now=now, until=idle_until, **padded)
        db.change(ask.DEVICES_SEEN, now=now, **padded)

    @read
    def session_of_origin(self, db: Transaction, origin: str) -> Session | None:
        return session_of(db.rows(ask.SESSION_OF_ORIGIN, origin=origin))

    @read
    def session_of_family(self, db: Transaction, family_hash: str) -> Session | None:
        return session_of(db.rows(ask.SESSION_OF_FAMILY, family=family_hash))

    @write
    def rotate(self, db: Transaction, rotation: Rotation) -> bool:
        won = db.rows(
            ask.ROTATE,
            session=rotation.session_id,
            old_hash=rotation.old_hash,
            new_hash=rotation.new_hash,
            retired=msgspec.json.encode(rotation.retired),
            idle_until=rotation.idle_until,
            sealed=rotation.sealed,
            sealed_until=rotation.sealed_until,
        )
        for (device_id,) in won:
            db.change(ask.SEEN, device=device_id, at=rotation.at, ip=rotation.ip)
        return bool(won)

    @single_write
    def forget_sealed(self, db: Transaction, session_id: str, refresh_hash: str, retired: tuple[Retired, ...]) -> None:
        db.change(ask.FORGET_SEALED, session=session_id, key=refresh_hash, retired=msgspec.json.encode(retired))

    @write
    def end_session(self, db: Transaction, session_id: str, at: int, activity: Activity) -> Sequence[EndedGrant]:
        lock_account(db, activity.user_id)
        why = activity.event.removeprefix("session.")
        for (device_id,) in db.rows(ask.END_SESSION, session=session_id, now=at, why=why):
            db.change(ask.DROP_PUSH_OF_DEVICE, device=device_id)
            which = grant_rows.OF_STOLEN if why == "key_reused" else grant_rows.OF_LOGGED_OUT
            add_activity(db, activity)
            self._events.device_revoked(db, activity.user_id, device_id, why, at)
            return end_grants(db, which, why, at, session=session_id)
        return ()

    # Devices

    @read
    def devices(self, db: Transaction, user_id: str, now: int) -> Sequence[Device]:
        return [struct_of(Device, row) for row in db.rows(ask.DEVICES, account=user_id, now=now)]

    @read
    def devices_seen_by(self, db: Transaction, session_id: str, user_id: str, now: int) -> Sequence[Device] | None:
        found = db.rows(ask.DEVICES_AND_SESSIONS, account=user_id, now=now)
        stands = any(its_session == session_id for its_session, *_ in found)
        return [struct_of(Device, row) for _, *row in found] if stands else None

    @write
    def rename(self, db: Transaction, user_id: str, device_id: str, name: str, activity: Activity) -> bool:
        lock_account(db, user_id)
        renamed = db.change(ask.RENAME, account=user_id, device=device_id, name=name) == 1
        if renamed:
            add_activity(db, activity)
        return renamed

    @write
    def set_push_token(
        self, db: Transaction, user_id: str, device_id: str, push_token: str, now: int, *, only_if_free: bool
    ) -> None:
        lock_account(db, user_id)
        if not push_token:
            db.change(ask.DROP_PUSH_OF_DEVICE, device=device_id)
        elif self._take_push_address(db, user_id, device_id, push_token, now, only_if_free=only_if_free):
            db.change(ask.SET_PUSH, account=user_id, device=device_id, kind=kind_of(push_token), address=push_token)

    def _take_push_address(
        self, db: Transaction, user_id: str, device_id: str, address: str, now: int, *, only_if_free: bool
    ) -> bool:
        if only_if_free and db.rows(ask.PUSH_TAKEN, account=user_id, device=device_id, address=address, now=now):
            return False
        db.change(ask.DROP_PUSH_OF_ACCOUNT, account=user_id, address=address)
        return True

    @long_write
    def drop_push_token(self, db: Transaction, push_token: str) -> None:
        db.change(ask.DROP_PUSH, address=push_token)

    @read
    def push_addresses(self, db: Transaction, user_id: str, now: int, *, exclude: str) -> Sequence[str]:
        return [address for (address,) in db.rows(ask.PUSH_ADDRESSES, account=user_id, now=now, exclude=exclude)]

    @long_write
    def revoke(
        self,
        db: Transaction,
        user_id: str,
        device_id: str,
        at: int,
        activity: Activity,
        *,
        by: str,
        descendants: bool,
        passkeys: bool,
    ) -> Revoked | None:
        # First of all: who is let in from now on has an approver that is not among the revoked.
        lock_account(db, user_id)
        names = {row[0]: row[1] for row in db.rows(ask.NAMES, account=user_id)}
        alive = self._live_devices(db, user_id, at)
        if device_id not in names:
            return None
        to_revoke = _descendants(self._children(db, user_id), device_id) if descendants else {device_id}
        ended = [each for each in alive if each in to_revoke and (each != by or by == device_id)]
        line = msgspec.structs.replace(activity, device_id=device_id, device_name=names[device_id])
        self._revoke(db, user_id, ended, at, line)
        grants = revoke_apps_let_in_by(db, user_id, to_revoke - {by} if descendants else ended, at)
        if passkeys and (ended or descendants):
            self._take_passkeys(db, user_id, to_revoke - {by}, by, activity)
        return Revoked(ended, grants)

    def _take_passkeys(self, db: Transaction, user_id: str, device_ids: Set[str], by: str, activity: Activity) -> None:
        for passkey_id, name, added_by in db.rows(ask.PASSKEYS_ADDED, account=user_id):
            if added_by in device_ids:
                db.change(ask.DROP_PASSKEY, passkey=passkey_id)
                line = msgspec.structs.replace(activity, event="passkey.removed", device_name=name)
                add_activity(db, line)
                self._events.passkey_removed(db, user_id, passkey_id, by, line.at)

    @long_write
    def revoke_others(self, db: Transaction, user_id: str, except_device: str, at: int, activity: Activity) -> Revoked:
        lock_account(db, user_id)
        ended = [each for each in self._live_devices(db, user_id, at) if each != except_device]
        self._revoke(db, user_id, ended, at, activity)
        return Revoked(ended, revoke_apps_let_in_by_others(db, user_id, except_device, at))

    @long_read
    def descendants(self, db: Transaction, user_id: str) -> Mapping[str, Set[str]]:
        children = self._children(db, user_id)
        return {each: _descendants(children, each) for each in children}

    def _children(self, db: Transaction, user_id: str) -> Mapping[str, Set[str]]:
        """Of each device that let others in: whom, directly, at any of their logins."""
        children = defaultdict(set)
        for each, by in db.rows(ask.LET_IN, account=user_id):
            children[by].add(each)
        return children

    def _live_devices(self, db: Transaction, user_id: str, now: int) -> Sequence[str]:
        return [struct_of(Device, row).id for row in db.rows(ask.DEVICES, account=user_id, now=now)]

    def _revoke(self, db: Transaction, user_id: str, device_ids: Sequence[str], at: int, line: Activity) -> None:
        if device_ids:
            db.change_each(ask.END_DEVICE, [{"device": each, "now": at, "why": "revoked"} for each in device_ids])
            db.change_each(ask.DROP_PUSH_OF_DEVICE, [{"device": each} for each in device_ids])
            add_activity(db, line)
            for each in device_ids:
                self._events.device_revoked(db, user_id, each, "revoked", at)

    # Activity

    # Of one kind there may be few among many.
    @long_read
    def activity(
        self,
        db: Transaction,
        user_id: str,
        limit: int,
        before: Position | None = None,
        *,
        logins: bool | None = None,
    ) -> Sequence[Activity]:
        at, line_id = before or NEWEST
        found = db.rows(ask.OLDER_LINES[logins], account=user_id, limit=limit, at=at, id=line_id)
        return [struct_of(Activity, row) for row in found]

    @write
    def note(self, db: Transaction, line: Activity, pairing_id: str = "") -> None:
        if lock_account(db, line.user_id):
            add_activity(db, line)
            self._events.pairing_ended(db, line, pairing_id)

    @read
    def invite(self, db: Transaction, code_hash: str) -> Invite | None:
        return first_of(Invite, db.rows(ask.INVITE, code=code_hash))

    async def tidy(self, now: int) -> None:
        for sweep in ask.SWEEPS:
            while await self._sweep(sweep, now) == ask.TIDY_ROWS:
                pass

    @long_write
    def _sweep(self, db: Transaction, sweep: Statement, now: int) -> int:
        return db.change(sweep, now=now, yesterday=now - DAY_MS, long_ago=now - ACTIVITY_KEPT_MS)


def _padded(session_ids: Collection[str]) -> dict[str, str]:
    return dict(zip(ask.SESSION_IDS, [*session_ids, *[""] * len(ask.SESSION_IDS)], strict=False))


def _descendants(children: Mapping[str, Set[str]], root: str) -> set[str]:
    """The device and all that it let in, directly or not. Two may have let each other in, one after the other."""
    family, found = {root}, {root}
    while found:
        found = {each for parent in found for each in children.get(parent, ())} - family
        family |= found
    return family
