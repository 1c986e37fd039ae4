"""The applications that log people in here."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.adapters.sql import grant_rows
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Statement,
    Store,
    Transaction,
    long_read,
    long_write,
    read,
    single_write,
)
from pairing_ws.adapters.sql.grant_rows import end_grants
from pairing_ws.adapters.sql.statements import columns_of, param
from pairing_ws.adapters.sql.tables import oauth_clients
from pairing_ws.oauth.ports import Client

# The columns that hold JSON.
_JSON = frozenset({"jwks", "redirect_uris", "post_logout_redirect_uris", "scopes", "origins"})
_CLIENT = sa.select(*columns_of(Client, oauth_clients))
ADD = Statement(oauth_clients.insert())
GET = Statement(_CLIENT.where(oauth_clients.c.id == param("client")))
ALL = Statement(_CLIENT.order_by(oauth_clients.c.name, oauth_clients.c.id))
REPLACE = Statement(
    oauth_clients.update()
    .where(oauth_clients.c.id == param("client"))
    .values({name: param(f"its_{name}") for name in Client.__struct_fields__ if name != "id"})
)
# A caller that begins a grant of it now has to wait, and finds it gone.
HOLD = Statement(sa.select(oauth_clients.c.id).where(oauth_clients.c.id == param("client")).with_for_update())
REMOVE = Statement(oauth_clients.delete().where(oauth_clients.c.id == param("client")))


class SqlClients(Store):
    """See `oauth.ports.ClientStore`."""

    async def add(self, client: Client) -> bool:
        try:
            await self._add(client)
        except Conflict:
            return False
        return True

    @single_write
    def _add(self, db: Transaction, client: Client) -> None:
        db.change(ADD, **_row(client))

    @read
    def get(self, db: Transaction, client_id: str) -> Client | None:
        return next((_client(row) for row in db.rows(GET, client=client_id)), None)

    @long_read
    def all(self, db: Transaction) -> Sequence[Client]:
        return [_client(row) for row in db.rows(ALL)]

    @single_write
    def replace(self, db: Transaction, client: Client) -> bool:
        row = {f"its_{name}": value for name, value in _row(client).items() if name != "id"}
        return db.change(REPLACE, client=client.id, **row) == 1

    @long_write
    def remove(self, db: Transaction, client_id: str, at: int) -> Sequence[EndedGrant] | None:
        if not db.rows(HOLD, client=client_id):
            return None
        ended = end_grants(db, grant_rows.OF_CLIENT, "client_removed", at, client=client_id)
        db.change(REMOVE, client=client_id)
        return ended


def _row(client: Client) -> Mapping[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(client)
    return {
        name: msgspec.json.encode(value) if name in _JSON and value is not None else value
        for name, value in values.items()
    }


def _client(row: Sequence[Any]) -> Client:
    values = dict(zip(Client.__struct_fields__, row, strict=True))
    decoded = {name: msgspec.json.decode(values[name]) for name in _JSON if values[name] is not None}
    # SQLite's truth is a number.
    return msgspec.convert(values | decoded, Client, strict=False)
