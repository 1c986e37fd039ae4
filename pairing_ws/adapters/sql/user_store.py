"""Accounts as their operator sees them: users, invites, locks, and what applications are told of them."""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa
from msgspec.structs import asdict

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.names import compared
from pairing_ws.accounts.operator import AddedInvite, AddedUser, ChangedUser, NumberedActivity, UserId, Who
from pairing_ws.accounts.ports import Account, Invite, Profile, User
from pairing_ws.accounts.profiles import changed
from pairing_ws.adapters.sql import grant_rows
from pairing_ws.adapters.sql import statements as ask
from pairing_ws.adapters.sql.account_rows import account_of, accounts_after, all_accounts
from pairing_ws.adapters.sql.activity_feed import lines_after
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Database,
    Statement,
    Store,
    Transaction,
    Upsert,
    long_read,
    long_write,
    read,
    write,
)
from pairing_ws.adapters.sql.grant_rows import end_grants
from pairing_ws.adapters.sql.statements import OF_ACCOUNT, USER, first_of, param, struct_of
from pairing_ws.adapters.sql.tables import devices, invites, sessions, users
from pairing_ws.adapters.sql.webhook_rows import SILENT, EventWriter
from pairing_ws.core.errors import Code, Refused

ADD_INVITE = Statement(invites.insert())
# An update that changes nothing, so that the row found there is still there in the end.
ADD_USER = Upsert(users, ["compared_name", "namesake"], change=["compared_name"])
USERS_CALLED = Statement(
    USER.where((users.c.username == param("name")) | (users.c.compared_name == param("compared")))
    .order_by(users.c.username)
    .with_for_update()
)
USER_OF_ID = Statement(USER.where(users.c.id == param("account")).with_for_update())
INSERT_USER = Statement(users.insert())
OWNER = Statement(sa.select(devices.c.user_id).where(devices.c.id == param("device")))
LOCK_USER = Statement(users.update().where(users.c.id == param("account")).values(locked_at=param("at")))
DELETE_SESSIONS = Statement(sessions.delete().where(OF_ACCOUNT))
DELETE_USER = Statement(users.delete().where(users.c.id == param("account")))
SET_PROFILE = Statement(
    users.update()
    .where(users.c.id == param("account"))
    .values(
        email=param("its_email"),
        email_verified=param("is_verified"),
        name=param("its_name"),
        groups=param("its_groups"),
    )
)


class SqlUsers(Store):
    """See `accounts.operator.UserStore`. Takes its rows in the order of all the others."""

    def __init__(self, database: Database, events: EventWriter = SILENT) -> None:
        super().__init__(database)
        self._events = events

    async def add_user(self, account: Account) -> AddedUser | None:
        try:
            return await self._add_user(account)
        except Conflict:
            # Another call has made it, or one of its name, at this moment.
            return await self._add_user(account)

    @write
    def _add_user(self, db: Transaction, account: Account) -> AddedUser | None:
        # First: who has the name by now can be found by its id.
        called = db.rows(USERS_CALLED, **_called(account.user.username))
        there = account_of(db, account.user.id)
        if there is not None:
            return AddedUser(there, is_new=False)
        if called:
            return None
        db.change(INSERT_USER, **_row(account))
        return AddedUser(account, is_new=True)

    async def add_invite(self, invite: Invite, who: UserId | User, *, existing: bool = False) -> AddedInvite | None:
        try:
            return await self._add_invite(invite, who, existing=existing)
        except Conflict:
            # Another call has made the account, or this invite, at this moment.
            return await self._add_invite(invite, who, existing=existing)

    @write
    def _add_invite(self, db: Transaction, invite: Invite, who: UserId | User, *, existing: bool) -> AddedInvite | None:
        name: Who = who.username if isinstance(who, User) else who
        user = self._meant(db, name)
        if user is None and isinstance(who, User) and not existing:
            db.change(ADD_USER, **_row(Account(who, Profile())))
            user = self._meant(db, name)
        if user is None:
            return None
        there = first_of(Invite, db.rows(ask.INVITE, code=invite.code_hash))
        if there is not None and there.user_id != user.id:
            raise Conflict
        if there is None:
            there = msgspec.structs.replace(invite, user_id=user.id)
            db.change(ADD_INVITE, **asdict(there))
        return AddedInvite(user, there)

    def _meant(self, db: Transaction, who: Who) -> User | None:
        """The account, which is then held; None if there is none."""
        if isinstance(who, UserId):
            return first_of(User, db.rows(USER_OF_ID, account=who.id))
        return self._named(db, who)

    def _named(self, db: Transaction, username: str) -> User | None:
        """The account of that name, which is then held; None if there is none."""
        found = db.rows(USERS_CALLED, **_called(username))
        called = [struct_of(User, row) for row in found]
        exact = [each for each in called if each.username == username]
        if len(called) > 1 and not exact:
            names = ", ".join(repr(each.username) for each in called)
            raise Refused(Code.BAD_REQUEST, f"several accounts have that name, write it as one of them: {names}")
        return next(iter(exact or called), None)

    @long_read
    def accounts(self, db: Transaction) -> Sequence[Account]:
        return all_accounts(db)

    @read
    def accounts_after(self, db: Transaction, user_id: str, limit: int) -> Sequence[Account]:
        return accounts_after(db, user_id, limit)

    @write
    def account(self, db: Transaction, who: Who) -> Account | None:
        user = self._meant(db, who)
        return account_of(db, user.id) if user else None

    @read
    def owner_of(self, db: Transaction, device_id: str) -> str | None:
        return next((owner for (owner,) in db.rows(OWNER, device=device_id)), None)

    # For it has to commit, and may wait.
    @write
    def lines_after(self, db: Transaction, seq: int, limit: int) -> Sequence[NumberedActivity]:
        return lines_after(db, seq, limit)

    @write
    def change_profile(self, db: Transaction, who: Who, changes: Mapping[str, object]) -> Account | None:
        user = self._meant(db, who)
        account = account_of(db, user.id) if user else None
        if account is None:
            return None
        profile = changed(account.profile, changes)
        db.change(
            SET_PROFILE,
            account=account.user.id,
            its_email=profile.email,
            is_verified=profile.email_verified,
            its_name=profile.name,
            its_groups=msgspec.json.encode(profile.groups),
        )
        return account._replace(profile=profile)

    @write
    def lock(self, db: Transaction, who: Who, at: int | None) -> ChangedUser | None:
        user = self._meant(db, who)
        if user is None:
            return None
        # A lock that is repeated changes nothing, least of all since when it is.
        since = at if at is None or user.locked_at is None else user.locked_at
        db.change(LOCK_USER, account=user.id, at=since)
        grants: Sequence[EndedGrant] = ()
        if at is not None:
            grants = end_grants(db, grant_rows.OF_ACCOUNT, "locked", at, account=user.id)
            if user.locked_at is None:
                self._events.user_locked(db, user.id, at)
        return ChangedUser(msgspec.structs.replace(user, locked_at=since), grants)

    @long_write
    def delete_user(self, db: Transaction, who: Who, at: int) -> ChangedUser | None:
        user = self._meant(db, who)
        if user is None:
            return None
        grants = end_grants(db, grant_rows.OF_ACCOUNT, "deleted", at, account=user.id)
        # Left to the foreign keys, devices would go first.
        db.change(DELETE_SESSIONS, account=user.id)
        db.change(DELETE_USER, account=user.id)
        self._events.user_deleted(db, user.id, at)
        return ChangedUser(user, grants)


def _called(username: str) -> dict[str, str]:
    """What `USERS_CALLED` asks for."""
    return {"name": username, "compared": compared(username)}


def _row(account: Account) -> dict[str, object]:
    """SQLite is given every column."""
    user, profile = account
    return {
        **asdict(user),
        **asdict(profile),
        "groups": msgspec.json.encode(profile.groups) if profile.groups else None,
        "compared_name": compared(user.username),
        "namesake": 0,
    }
