"""What the stores of accounts, passkeys and grants all do with an account's rows, inside their transactions."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import asdict

from pairing_ws.accounts.ports import (
    AT_WILL,
    LINES_AT_WILL,
    LOGIN,
    REPEATED_MS,
    Account,
    Activity,
    Profile,
    Session,
    User,
)
from pairing_ws.adapters.sql import statements as ask
from pairing_ws.adapters.sql.executor import Statement, Transaction
from pairing_ws.adapters.sql.statements import columns_of, first_of, param, session_of, struct_of
from pairing_ws.adapters.sql.tables import users

_ACCOUNT = sa.select(*columns_of(User, users), *columns_of(Profile, users))
ACCOUNT = Statement(_ACCOUNT.where(users.c.id == param("account")))
ACCOUNTS = Statement(_ACCOUNT.order_by(users.c.compared_name, users.c.username))
ACCOUNTS_AFTER = Statement(
    _ACCOUNT.where(users.c.id > param("after")).order_by(users.c.id).limit(param("limit", sa.Integer))
)
# A line that is repeated is among the newest.
LINES_COMPARED = 20


def lock_account(db: Transaction, user_id: str) -> User | None:
    """Hold the account's row until the transaction ends; None if there is no such account."""
    return first_of(User, db.rows(ask.LOCK_ACCOUNT, account=user_id))


def session_by_id(db: Transaction, session_id: str) -> Session | None:
    return session_of(db.rows(ask.SESSION, session=session_id))


def add_activity(db: Transaction, line: Activity) -> None:
    """Write the line, or count it in one that says the same. The caller holds the account's lock."""
    repeated = None if line.event == LOGIN else _repeated_line(db, line)
    if repeated:
        said = {"its_name": line.device_name, "its_ip": line.ip, "its_by": line.by_name}
        db.change(ask.REPEAT, line=repeated, now=line.at, **said)
    else:
        row = asdict(line)
        del row["id"]
        db.change(ask.NOTE, **row)


def _repeated_line(db: Transaction, line: Activity) -> int | None:
    """The id of the line in which this one counts, if it gets none of its own."""
    found = db.rows(
        ask.LINES_SINCE,
        account=line.user_id,
        its_event=line.event,
        device=line.device_id,
        since=line.at - REPEATED_MS,
        limit=LINES_COMPARED,
    )
    lines = [struct_of(Activity, row) for row in found]
    said = (line.device_name, line.ip, line.by_name)
    same = next((each.id for each in lines if (each.device_name, each.ip, each.by_name) == said), None)
    full = line.event in AT_WILL and len(lines) >= LINES_AT_WILL
    return lines[0].id if full and same is None else same


def account_of(db: Transaction, user_id: str) -> Account | None:
    """The account with what it tells applications; None if there is no such account."""
    return next((_account(row) for row in db.rows(ACCOUNT, account=user_id)), None)


def all_accounts(db: Transaction) -> Sequence[Account]:
    """By name."""
    return [_account(row) for row in db.rows(ACCOUNTS)]


def accounts_after(db: Transaction, user_id: str, limit: int) -> Sequence[Account]:
    """By id, from the first one behind this id on."""
    return [_account(row) for row in db.rows(ACCOUNTS_AFTER, after=user_id, limit=limit)]


def _account(row: Sequence[Any]) -> Account:
    values, cut = tuple(row), len(User.__struct_fields__)
    return Account(struct_of(User, values[:cut]), _profile(values[cut:]))


def _profile(row: Sequence[Any]) -> Profile:
    values = dict(zip(Profile.__struct_fields__, row, strict=True))
    values["email_verified"] = bool(values["email_verified"])
    values["groups"] = msgspec.json.decode(values["groups"] or b"[]", type=tuple[str, ...])
    return Profile(**values)
