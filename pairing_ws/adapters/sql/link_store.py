"""Who an account's person is at other issuers."""

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec.structs import asdict

from pairing_ws.accounts.names import compared
from pairing_ws.accounts.ports import User
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Statement,
    Store,
    Transaction,
    long_read,
    read,
    single_write,
    write,
)
from pairing_ws.adapters.sql.statements import columns_of, first_of, param, struct_of
from pairing_ws.adapters.sql.tables import links, users
from pairing_ws.upstream.ports import Link

_THIS = (links.c.issuer == param("its_issuer"), links.c.subject == param("its_subject"))
USER_OF = Statement(
    sa.select(*columns_of(User, users)).join_from(users, links, links.c.user_id == users.c.id).where(*_THIS)
)
LINKS_OF = Statement(
    sa.select(*columns_of(Link, links))
    .where(links.c.user_id == param("account"))
    .order_by(links.c.created_at, links.c.issuer, links.c.subject)
)
ADD = Statement(links.insert())
REMOVE = Statement(links.delete().where(*_THIS, links.c.user_id == param("account")))
ADD_USER = Statement(users.insert())


class SqlLinks(Store):
    """See `upstream.ports.LinkStore`."""

    @read
    def user_of(self, db: Transaction, issuer: str, subject: str) -> User | None:
        return first_of(User, db.rows(USER_OF, its_issuer=issuer, its_subject=subject))

    @long_read
    def links_of(self, db: Transaction, user_id: str) -> Sequence[Link]:
        return [struct_of(Link, row) for row in db.rows(LINKS_OF, account=user_id)]

    async def add(self, link: Link) -> bool:
        try:
            await self._add(link)
        except Conflict:
            return False
        return True

    @single_write
    def _add(self, db: Transaction, link: Link) -> None:
        db.change(ADD, **asdict(link))

    @single_write
    def remove(self, db: Transaction, link: Link) -> bool:
        return db.change(REMOVE, its_issuer=link.issuer, its_subject=link.subject, account=link.user_id) == 1

    async def open_account(self, user: User, link: Link) -> User | None:
        try:
            await self._open(user, link)
        except Conflict:
            # Another login of this person was first, or another account has the name.
            return await self.user_of(link.issuer, link.subject)
        return user

    @write
    def _open(self, db: Transaction, user: User, link: Link) -> None:
        # SQLite is given every column.
        unset = {"email": None, "email_verified": False, "name": None, "groups": None}
        db.change(ADD_USER, **asdict(user), **unset, compared_name=compared(user.username), namesake=0)
        db.change(ADD, **asdict(link))
