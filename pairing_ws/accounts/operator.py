"""What the operator does with accounts, by the command line or an embedding app; and what this asks of its store."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pairing_ws.accounts import ended, names
from pairing_ws.accounts.announcements import Announcements
from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.ports import Account, AccountStore, Invite, User
from pairing_ws.accounts.refusals import no_such_user
from pairing_ws.accounts.types import NewInvite
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock, iso
from pairing_ws.core.errors import Code, Refused

INVITE_MS = 15 * 60_000


class ChangedUser(NamedTuple):
    """A user as stored, or as it was, and the grants of applications that ended."""

    user: User
    grants: Sequence[EndedGrant]


class UserStore(Protocol):
    """Users, invites, what applications are told. Every method is one transaction; a cancelled one leaves nothing.

    Names are compared as by `names.compared`. Of several accounts that have shared one since before that, each has to
    be written as it is: else BAD_REQUEST is raised. Any call raises Unavailable when the database is away.
    """

    async def add_invite(self, invite: Invite, user: User, *, existing: bool = False) -> User | None:
        """Store the invite for the user of that name, creating the user if there is none; the user as stored. With
        `existing` none is created: then None, and no invite is stored."""

    async def accounts(self) -> Sequence[Account]:
        """Every account, by name."""

    async def account_named(self, username: str) -> Account | None: ...

    async def change_profile(self, username: str, changes: Mapping[str, object]) -> Account | None:
        """Change these fields of its `Profile` as `profiles.changed` does, and raise what it does; the account as
        stored, None if there is none of that name."""

    async def lock(self, username: str, at: int | None) -> ChangedUser | None:
        """Lock the account at that time, or unlock it (None). None if there is none of that name.
        Its sessions stay: a locked account has none that is taken for alive. What applications were granted ends."""

    async def delete_user(self, username: str, at: int) -> ChangedUser | None:
        """Delete the account with all that belongs to it. None if there is none of that name."""


class Operator:
    """`public_url` is where an invite's link leads."""

    def __init__(
        self,
        store: AccountStore,
        users: UserStore,
        announce: Announcements,
        public_url: str,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
    ) -> None:
        self._store = store
        self._users = users
        self._announce = announce
        self._public_url = public_url
        self._clock = clock
        self._random = random
        self._audit = audit

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
        user = await self._users.add_invite(invite, fresh, existing=existing)
        if user is None:
            raise no_such_user()
        if user.id == fresh.id:
            self._audit("account.created", account=user.id, username=user.username)
        self._audit("invite.created", account=user.id, username=user.username, expires_at=iso(expires_at))
        url = f"{self._public_url}/join/invite#{code}"
        return NewInvite(user, code, url, expires_at, is_new=user.id == fresh.id)

    async def accounts(self) -> Sequence[Account]:
        return await self._users.accounts()

    async def account(self, username: str) -> Account:
        """Raises NOT_FOUND."""
        return _existing(await self._users.account_named(_existing_name(username)))

    async def change_profile(self, username: str, changes: Mapping[str, object]) -> Account:
        """Change what applications are told, see `profiles.changed`. Raises BAD_REQUEST and NOT_FOUND."""
        account = _existing(await self._users.change_profile(_existing_name(username), changes))
        self._audit(
            "account.profile_changed",
            account=account.user.id,
            username=account.user.username,
            changed=" ".join(sorted(changes)),
        )
        return account

    async def lock(self, username: str, *, locked: bool) -> User:
        now = self._clock()
        user = await self._changed_user(await self._users.lock(_existing_name(username), now if locked else None))
        self._audit("account.locked" if locked else "account.unlocked", account=user.id, username=user.username)
        if locked:
            await self._announce.devices_ended([each.id for each in await self._store.devices(user.id, now)])
        return user

    async def delete_user(self, username: str) -> User:
        # First, so that no device can log in any more, and what waits for this account ends.
        await self.lock(username, locked=True)
        user = await self._changed_user(await self._users.delete_user(_existing_name(username), self._clock()))
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


def _existing_name(username: str) -> str:
    """The name as it is stored. Raises NOT_FOUND for one that no account can have: the database might not encode it."""
    name = names.written(username)
    if not names.usable(name):
        raise no_such_user()
    return name
