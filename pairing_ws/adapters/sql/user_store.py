"""Accounts as their operator sees them: users, invites, locks, and what applications are told of them."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import asdict

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.names import compared
from pairing_ws.accounts.operator import ChangedUser
from pairing_ws.accounts.ports import Account, Invite, User
from pairing_ws.accounts.profiles import changed
from pairing_ws.adapters.sql import grant_rows
from pairing_ws.adapters.sql.account_rows import account_of, all_accounts
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Database,
    Statement,
    Store,
    Transaction,
    Upsert,
    long_read,
    long_write,
    write,
)
from pairing_ws.adapters.sql.grant_rows import end_grants
from pairing_ws.adapters.sql.statements import OF_ACCOUNT, USER, param, struct_of
from pairing_ws.adapters.sql.tables import invites, sessions, users
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

    async def add_invite(self, invite: Invite, user: User, *, existing: bool = False) -> User | None:
        try:
            return await self._add_invite(invite, user, existing=existing)
        except Conflict:
            # Another call has made the account at this moment.
            return await self._add_invite(invite, user, existing=existing)

    @write
    def _add_invite(self, db: Transaction, invite: Invite, user: User, *, existing: bool) -> User | None:
        named = self._named(db, user.username)
        if named is None and not existing:
            # SQLite is given every column.
            unset = {"email": None, "email_verified": False, "name": None, "groups": None}
            db.change(ADD_USER, **asdict(user), **unset, compared_name=compared(user.username), namesake=0)
            named = self._named(db, user.username)
        if named is not None:
            db.change(ADD_INVITE, **asdict(invite) | {"user_id": named.id})
        return named

    def _named(self, db: Transaction, username: str) -> User | None:
        """The account of that name, which is then held; None if there is none."""
        found = db.rows(USERS_CALLED, name=username, compared=compared(username))
        called = [struct_of(User, row) for row in found]
        exact = [each for each in called if each.username == username]
        if len(called) > 1 and not exact:
            names = ", ".join(repr(each.username) for each in called)
            raise Refused(Code.BAD_REQUEST, f"several accounts have that name, write it as one of them: {names}")
        return next(iter(exact or called), None)

    @long_read
    def accounts(self, db: Transaction) -> Sequence[Account]:
        return all_accounts(db)

    @write
    def account_named(self, db: Transaction, username: str) -> Account | None:
        user = self._named(db, username)
        return account_of(db, user.id) if user else None

    @write
    def change_profile(self, db: Transaction, username: str, changes: Mapping[str, object]) -> Account | None:
        user = self._named(db, username)
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
    def lock(self, db: Transaction, username: str, at: int | None) -> ChangedUser | None:
        user = self._named(db, username)
        if user is None:
            return None
        db.change(LOCK_USER, account=user.id, at=at)
        grants: Sequence[EndedGrant] = ()
        if at is not None:
            grants = end_grants(db, grant_rows.OF_ACCOUNT, "locked", at, account=user.id)
            # A lock that is repeated changes nothing, but when it was.
            if user.locked_at is None:
                self._events.user_locked(db, user.id, at)
        return ChangedUser(msgspec.structs.replace(user, locked_at=at), grants)

    @long_write
    def delete_user(self, db: Transaction, username: str, at: int) -> ChangedUser | None:
        user = self._named(db, username)
        if user is None:
            return None
        grants = end_grants(db, grant_rows.OF_ACCOUNT, "deleted", at, account=user.id)
        # Left to the foreign keys, devices would go first.
        db.change(DELETE_SESSIONS, account=user.id)
        db.change(DELETE_USER, account=user.id)
        self._events.user_deleted(db, user.id, at)
        return ChangedUser(user, grants)
