"""What the operator does with accounts, by the command line, the calls of `/api/v1/admin` or an embedding app; and what
this asks of its store."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pairing_ws.accounts import ended, names, profiles
from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.ports import Account, AccountStore, Activity, Device, Invite, Position, Profile, User
from pairing_ws.accounts.refusals import no_such_device, no_such_user
from pairing_ws.accounts.types import NewInvite
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock, iso
from pairing_ws.core.errors import Code, Refused

INVITE_MS = 15 * 60_000
# In one page.
USERS, LINES = 100, 100
# What a backend may call an account. It is part of addresses, and of the names of channels and keys.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class UserId(NamedTuple):
    """Means an account by its id: a bare text is its name."""

    id: str


Who = str | UserId


class ChangedUser(NamedTuple):
    """A user as stored, or as it was, and the grants of applications that ended."""

    user: User
    grants: Sequence[EndedGrant]


class AddedUser(NamedTuple):
    account: Account
    is_new: bool


class AddedInvite(NamedTuple):
    """The invite's account as stored; the invite, or the one of that code that was there before."""

    user: User
    invite: Invite


class NumberedActivity(NamedTuple):
    """A line with its place in the order of all accounts' lines."""

    seq: int
    line: Activity


class UserStore(Protocol):
    """Users, invites, what applications are told. Every method is one transaction; a cancelled one leaves nothing.

    Names are compared as by `names.compared`. Of several accounts that have shared one since before that, each has to
    be written as it is: else BAD_REQUEST is raised. Where an account is asked for (`who`), None says that there is
    none. Any call raises Unavailable when the database is away.
    """

    async def add_user(self, account: Account) -> AddedUser | None:
        """Create it. The one that has its id, if there is one; None if another one has its name."""

    async def add_invite(self, invite: Invite, who: UserId | User, *, existing: bool = False) -> AddedInvite | None:
        """Store the invite for the account of that id or, of a `User`, that name: it is created if there is none.
        With `existing` none is created. None, and no invite, where there is no account."""

    async def accounts(self) -> Sequence[Account]:
        """Every account, by name."""

    async def accounts_after(self, user_id: str, limit: int) -> Sequence[Account]:
        """By id, from the first one behind this id on."""

    async def account(self, who: Who) -> Account | None: ...

    async def owner_of(self, device_id: str) -> str | None:
        """The id of the account that has this device."""

    async def change_profile(self, who: Who, changes: Mapping[str, object]) -> Account | None:
        """Change these fields of its `Profile` as `profiles.changed` does, and raise what it does; the account as
        stored."""

    async def lock(self, who: Who, at: int | None) -> ChangedUser | None:
        """Lock the account at that time, or unlock it (None). One that is locked keeps the time since when it is.
        Its sessions stay: a locked account has none that is taken for alive. What applications were granted ends."""

    async def delete_user(self, who: Who, at: int) -> ChangedUser | None:
        """Delete the account with all that belongs to it."""

    async def lines_after(self, seq: int, limit: int) -> Sequence[NumberedActivity]:
        """Lines of all accounts, in the order in which they were written. Once a line was given, none with a lower
        number comes any more; one that is repeated comes again, with a new number."""


class Operator:
    """`public_url` is where an invite's link leads, `pepper` the key of what is digested at rest.

    An account that is asked for by a name or id that none has raises NOT_FOUND.
    """

    def __init__(
        self,
        store: AccountStore,
        users: UserStore,
        announce: Announcements,
        public_url: str,
        clock: Clock,
        random: codes.RandomBytes,
        pepper: bytes,
        audit: Audit,
    ) -> None:
        self._store = store
        self._users = users
        self._announce = announce
        self._public_url = public_url
        self._clock = clock
        self._random = random
        self._pepper = pepper
        self._audit = audit

    async def add_user(self, user_id: str, username: str | None, changes: Mapping[str, object]) -> AddedUser:
        """An account with an id of its backend's own, by which the tokens of its devices will name it (`sub`). Without
        a name it is called by its id. `changes` are of its profile.

        The account of that id as it is, if there is one of that name: the call is repeated. Raises BAD_REQUEST, and
        USER_EXISTS for an id or name of another account.
        """
        if not ID.fullmatch(user_id):
            raise Refused(Code.BAD_REQUEST, "an id is 1 to 64 letters, digits, - or _")
        name = _usable_name(user_id if username is None else username)
        user = User(id=user_id, username=name, display_name=name, created_at=self._clock())
        added = await self._users.add_user(Account(user, profiles.changed(Profile(), changes)))
        if added is None or (not added.is_new and names.compared(added.account.user.username) != names.compared(name)):
            raise Refused(Code.USER_EXISTS, "another account has this id or this name")
        if added.is_new:
            self._audit("account.created", account=user.id, username=user.username)
        return added

    async def invite(self, who: Who, *, existing: bool = False, idempotency_key: str | None = None) -> NewInvite:
        """A link that logs one device in, for 15 minutes, once. Makes the account if there is none of that name, but
        with `existing`: then raises NOT_FOUND.

        The same link again for the same account and idempotency key; raises INVITE_USED and INVITE_EXPIRED then.
        """
        now = self._clock()
        given = f"{who!r} {idempotency_key!r}"
        code = codes.base64url(
            codes.keyed_digest(self._pepper, "invite", given)[:24] if idempotency_key else self._random(24)
        )
        fresh_id = codes.token(self._random)
        if isinstance(who, str):
            name = _usable_name(who)
            wanted: UserId | User = User(id=fresh_id, username=name, display_name=name, created_at=now)
        else:
            wanted = who
        invite = Invite(code_hash=codes.digest(code), user_id=fresh_id, expires_at=now + INVITE_MS)
        added = await self._users.add_invite(invite, wanted, existing=existing)
        if added is None:
            raise no_such_user()
        user, stored = added
        if stored.used_at is not None:
            raise Refused(Code.INVITE_USED, "this invite has been used to log in already")
        if now >= stored.expires_at:
            raise Refused(Code.INVITE_EXPIRED, "the invite of this key has expired; make another one")
        is_new = user.id == fresh_id
        if is_new:
            self._audit("account.created", account=user.id, username=user.username)
        self._audit("invite.created", account=user.id, username=user.username, expires_at=iso(stored.expires_at))
        url = f"{self._public_url}/join/invite#{code}"
        return NewInvite(user, code, url, stored.expires_at, is_new=is_new)

    async def accounts(self) -> Sequence[Account]:
        return await self._users.accounts()

    async def accounts_after(self, user_id: str) -> Sequence[Account]:
        """A page of all accounts, by id: one of `USERS` may have another one behind it."""
        return await self._users.accounts_after(user_id, USERS)

    async def account(self, who: Who) -> Account:
        return _existing(await self._users.account(_as_stored(who)))

    async def devices(self, who: UserId) -> Sequence[Device]:
        """Those that are logged in, oldest first; none while the account is locked."""
        user, _ = await self.account(who)
        return [] if user.locked_at is not None else await self._store.devices(user.id, self._clock())

    async def activity(self, who: UserId, before: Position | None, limit: int) -> Sequence[Activity]:
        """The newest lines first."""
        return await self._store.activity(who.id, limit, before)

    async def lines_after(self, seq: int) -> Sequence[NumberedActivity]:
        """See `UserStore.lines_after`. A page of `LINES` may have another one behind it."""
        return await self._users.lines_after(seq, LINES)

    async def revoke_device(self, device_id: str, ip: str, *, descendants: bool = False) -> str:
        """Log it out, with the passkeys that it has added, and with `descendants` all that it let in; the id of its
        account. Raises NOT_FOUND."""
        user_id = await self._users.owner_of(device_id)
        if user_id is None:
            raise no_such_device()
        line = Activity(user_id=user_id, at=self._clock(), event="device.revoked")
        revoked = await self._store.revoke(
            user_id, device_id, line.at, line, by="", descendants=descendants, passkeys=True
        )
        if revoked is None:
            raise no_such_device()
        self._audit("device.revoked", account=user_id, revoked=device_id, sessions_of=len(revoked.devices), ip=ip)
        await self._announce.ended(user_id, revoked, ip)
        if revoked.devices:
            self._announce.push("device.revoked", user_id, device_id, exclude="")
        return user_id

    async def change_profile(self, who: Who, changes: Mapping[str, object]) -> Account:
        """Change what applications are told, see `profiles.changed`. Raises BAD_REQUEST."""
        account = _existing(await self._users.change_profile(_as_stored(who), changes))
        self._audit(
            "account.profile_changed",
            account=account.user.id,
            username=account.user.username,
            changed=" ".join(sorted(changes)),
        )
        return account

    async def lock(self, who: Who, *, locked: bool) -> User:
        now = self._clock()
        user = await self._changed_user(await self._users.lock(_as_stored(who), now if locked else None))
        self._audit("account.locked" if locked else "account.unlocked", account=user.id, username=user.username)
        if locked:
            await self._announce.devices_ended([each.id for each in await self._store.devices(user.id, now)])
        return user

    async def delete_user(self, who: Who) -> User:
        # First, so that no device can log in any more, and what waits for this account ends.
        await self.lock(who, locked=True)
        user = await self._changed_user(await self._users.delete_user(_as_stored(who), self._clock()))
        self._audit("account.deleted", account=user.id, username=user.username)
        return user

    async def _changed_user(self, changed: ChangedUser | None) -> User:
        if changed is None:
            raise no_such_user()
        ended.report(self._audit, changed.grants)
        await self._announce.changed(changed.user.id)
        return changed.user

    async def tidy(self) -> None:
        await self._store.tidy(self._clock())


def _existing(account: Account | None) -> Account:
    if account is None:
        raise no_such_user()
    return account


def _as_stored(who: Who) -> Who:
    """A name as it is stored. Raises NOT_FOUND for one that no account can have: the database might not encode it."""
    if isinstance(who, UserId):
        return who
    name = names.written(who)
    if not names.usable(name):
        raise no_such_user()
    return name


def _usable_name(username: str) -> str:
    name = names.written(username)
    if not names.usable(name):
        raise Refused(Code.BAD_REQUEST, "a user name is 1 to 64 printable characters")
    return name
