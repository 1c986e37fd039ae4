"""Events of webhooks until they are delivered. `webhook_rows.py` writes them."""

from collections.abc import Sequence

import sqlalchemy as sa

from pairing_ws.adapters.sql.executor import Statement, Store, Transaction, long_read, long_write, single_write, write
from pairing_ws.adapters.sql.statements import NOW, TIDY_ROWS, columns_of, param, struct_of, sweep
from pairing_ws.adapters.sql.tables import webhook_events
from pairing_ws.webhooks.ports import Backlog, Event

_OF_ACCOUNT = webhook_events.alias("of_account")
# By a look at the index for each that is due, until there are enough; as an anti-join it would be one over all.
_OLDEST = sa.select(sa.func.min(_OF_ACCOUNT.c.number)).where(_OF_ACCOUNT.c.user_id == webhook_events.c.user_id)
_DUE = (
    sa.select(webhook_events.c.number)
    .where(webhook_events.c.next_at <= NOW, webhook_events.c.number == _OLDEST.scalar_subquery())
    .order_by(webhook_events.c.next_at)
    .limit(param("most", sa.Integer))
    .with_for_update(skip_locked=True, of=webhook_events)
)
TAKE_DUE = Statement(
    webhook_events.update()
    .where(webhook_events.c.number.in_(_DUE))
    .values(next_at=param("until", sa.BigInteger))
    .returning(*columns_of(Event, webhook_events))
)
FORGET = Statement(webhook_events.delete().where(webhook_events.c.id == param("event")))
FAILED = Statement(
    webhook_events.update()
    .where(webhook_events.c.id == param("event"), webhook_events.c.next_at == param("taken_until", sa.BigInteger))
    .values(next_at=param("until", sa.BigInteger), attempts=webhook_events.c.attempts + 1)
)
# They can't be sent before it, and are not looked at in vain each time.
PUT_OFF_NEXT = Statement(
    webhook_events.update()
    .where(webhook_events.c.user_id == param("account"), webhook_events.c.next_at < param("until", sa.BigInteger))
    .values(next_at=param("until", sa.BigInteger))
)
BACKLOG = Statement(sa.select(sa.func.count(), sa.func.min(webhook_events.c.created_at)).select_from(webhook_events))


_NUMBERS = sa.select(webhook_events.c.number).limit(TIDY_ROWS)
DROP_OLDEST = Statement(
    webhook_events.delete().where(
        webhook_events.c.number.in_(_NUMBERS.order_by(webhook_events.c.number.desc()).offset(param("keep", sa.Integer)))
    )
)
DROP_BEFORE = sweep(
    webhook_events.delete(), webhook_events.c.number, webhook_events.c.created_at < param("at", sa.BigInteger)
)


class SqlWebhooks(Store):
    """See `webhooks.ports.WebhookStore`."""

    @single_write
    def take_due(self, db: Transaction, now: int, lease_ms: int, most: int) -> Sequence[Event]:
        found = db.rows(TAKE_DUE, now=now, until=now + lease_ms, most=most)
        return [struct_of(Event, row) for row in found]

    @single_write
    def forget(self, db: Transaction, owed: Event) -> None:
        db.change(FORGET, event=owed.id)

    @write
    def put_off(self, db: Transaction, owed: Event, until: int) -> None:
        if db.change(FAILED, event=owed.id, taken_until=owed.next_at, until=until):
            db.change(PUT_OFF_NEXT, account=owed.user_id, until=until)

    @long_read
    def backlog(self, db: Transaction) -> Backlog:
        ((waiting, oldest),) = db.rows(BACKLOG)
        return Backlog(waiting, oldest or 0)

    async def drop_oldest(self, keep: int) -> int:
        dropped = 0
        while some := await self._drop(DROP_OLDEST, {"keep": keep}):
            dropped += some
        return dropped

    async def drop_before(self, at: int) -> int:
        dropped = 0
        while some := await self._drop(DROP_BEFORE, {"at": at}):
            dropped += some
        return dropped

    @long_write
    def _drop(self, db: Transaction, which: Statement, values: dict[str, int]) -> int:
        return db.change(which, **values)
