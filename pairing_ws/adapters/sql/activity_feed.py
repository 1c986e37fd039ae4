"""What happened in all accounts, in one order that a reader can follow by a number.

A line gets its number, `seq`, when it is written, by a trigger of the database. In SQLite writers take turns, and a
higher number is committed later. In PostgreSQL they do not: each holds the lock `FEED` together with the others from
before it gets its number until it has committed, and a reader takes that lock alone. It then sees every line that has
a number, and those that come later have higher ones.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pairing_ws.accounts.operator import NumberedActivity
from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql.executor import Statement, Transaction
from pairing_ws.adapters.sql.statements import columns_of, param, struct_of
from pairing_ws.adapters.sql.tables import activity

# As in the migration that made the triggers.
FEED = 7237116


class _Alone(Statement):
    """Waits for all that are writing lines, and keeps others from beginning to."""

    def __init__(self) -> None:
        super().__init__(sa.select(sa.literal(1)))

    def for_dialect(self, dialect: str) -> Any:
        return sa.select(sa.func.pg_advisory_xact_lock(FEED)) if dialect == "postgresql" else self._clause


ALONE = _Alone()
LINES_AFTER = Statement(
    sa.select(activity.c.seq, *columns_of(Activity, activity))
    .where(activity.c.seq > param("after", sa.BigInteger))
    .order_by(activity.c.seq)
    .limit(param("limit", sa.Integer))
)


def lines_after(db: Transaction, seq: int, limit: int) -> Sequence[NumberedActivity]:
    """In one transaction that commits, see above."""
    db.rows(ALONE)
    found = db.rows(LINES_AFTER, after=seq, limit=limit)
    return [NumberedActivity(number, struct_of(Activity, row)) for number, *row in found]
