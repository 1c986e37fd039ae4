"""Whose account another issuer's subject is: by issuer and subject, never by an e-mail address or a name."""

from collections.abc import Sequence

from pairing_ws.accounts import names
from pairing_ws.accounts.operator import Operator
from pairing_ws.accounts.ports import User
from pairing_ws.accounts.refusals import no_such_user
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.upstream.ports import MAX_ISSUER, MAX_SUBJECT, Identity, Link, LinkStore

# Until a name is free.
_TRIES = 5
# Between what an issuer calls a person and the letters that nobody chooses.
_MARK, _LETTERS = "~", 8


class UnknownPerson(Exception):
    """No account is linked to that issuer's subject, and none may be opened."""

    def __init__(self, identity: Identity) -> None:
        super().__init__("no account is linked to this login")
        self.identity = identity


class People:
    """`find` is for logins; the rest is for the operator."""

    def __init__(
        self, links: LinkStore, operator: Operator, clock: Clock, random: codes.RandomBytes, audit: Audit
    ) -> None:
        self._links = links
        self._operator = operator
        self._clock = clock
        self._random = random
        self._audit = audit

    async def find(self, identity: Identity) -> User:
        """The account, opened if the identity says so. Raises UnknownPerson."""
        user = await self._links.user_of(identity.issuer, identity.subject)
        if user is None and identity.opens_accounts:
            user = await self._open(identity)
        if user is None:
            raise UnknownPerson(identity)
        return user

    async def _open(self, identity: Identity) -> User:
        wanted = _usable(identity.names)
        for _ in range(_TRIES):
            # At many providers people choose what they are called, and an application behind forward auth believes the
            # name: nobody may come in as its "admin".
            name = f"{wanted}{_MARK}{codes.user_code(self._random).replace('-', '').lower()}"
            now = self._clock()
            fresh = User(id=codes.token(self._random), username=name, display_name=name, created_at=now)
            link = Link(issuer=identity.issuer, subject=identity.subject, user_id=fresh.id, created_at=now)
            user = await self._links.open_account(fresh, link)
            if user is None:
                continue
            if user.id == fresh.id:
                self._audit("account.created", account=user.id, username=user.username)
                self._audit("account.linked", account=user.id, issuer=link.issuer, subject=link.subject)
            return user
        raise Refused(Code.UNAVAILABLE, "no name was free; try again", retry_after=1)

    async def link(self, username: str, issuer: str, subject: str) -> User:
        """Raises NOT_FOUND, and BAD_REQUEST if it is another account's, or can be none."""
        user = (await self._operator.account(username)).user
        link = Link(issuer=_issuer(issuer), subject=_subject(subject), user_id=user.id, created_at=self._clock())
        if await self._links.add(link):
            self._audit("account.linked", account=user.id, username=user.username, issuer=issuer, subject=subject)
            return user
        owner = await self._links.user_of(issuer, subject)
        if owner is None:
            raise no_such_user()
        if owner.id != user.id:
            raise Refused(Code.BAD_REQUEST, f"that login is {owner.username!r}'s; unlink it there first")
        return user

    async def unlink(self, username: str, issuer: str, subject: str) -> User:
        """What it has logged in stays. Raises NOT_FOUND."""
        user = (await self._operator.account(username)).user
        link = Link(issuer=_issuer(issuer), subject=_subject(subject), user_id=user.id, created_at=0)
        if not await self._links.remove(link):
            raise Refused(Code.NOT_FOUND, f"{user.username!r} has no such link")
        self._audit("account.unlinked", account=user.id, username=user.username, issuer=issuer, subject=subject)
        return user

    async def links_of(self, user: User) -> Sequence[Link]:
        """The oldest first."""
        return await self._links.links_of(user.id)


def _usable(offered: Sequence[str]) -> str:
    """With room for the letters."""
    for each in offered:
        name = names.written(each)[: names.MAX_NAME - len(_MARK) - _LETTERS].strip()
        if names.usable(name):
            return name
    return "somebody"


def _issuer(text: str) -> str:
    if not text.startswith(("https://", "http://")) or len(text) > MAX_ISSUER or not text.isprintable():
        raise Refused(Code.BAD_REQUEST, "an issuer is an address such as https://id.example.com, as it stands in `iss`")
    return text


def _subject(text: str) -> str:
    if not 1 <= len(text) <= MAX_SUBJECT or not text.isprintable():
        raise Refused(Code.BAD_REQUEST, f"a subject is 1 to {MAX_SUBJECT} printable characters, as it stands in `sub`")
    return text
