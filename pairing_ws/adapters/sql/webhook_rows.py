"""How a store writes an event of a webhook: in the transaction of what it tells of, so that there is neither without
the other."""

import sqlalchemy as sa

from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Activity, Device, NewSession
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.sql.executor import Statement, Transaction
from pairing_ws.adapters.sql.statements import param
from pairing_ws.adapters.sql.tables import webhook_events
from pairing_ws.core import codes
from pairing_ws.webhooks import events
from pairing_ws.webhooks.service import OUTCOMES, new_id

# So many may wait of one account: some kinds a device can make happen as often as it likes.
MOST_OF_ACCOUNT = 2000
_NO_BOUND = 2**31 - 1
# What is told of a pairing, by its line of activity.
_OF_PAIRINGS = {each.type: each for each in (events.PairingDenied, events.PairingReported)}

_OWN = sa.select(webhook_events.c.number).where(webhook_events.c.user_id == param("account", sa.String))
_WAITING = sa.select(sa.func.count()).select_from(_OWN.limit(param("most", sa.Integer)).subquery()).scalar_subquery()
WRITE = Statement(
    webhook_events.insert()
    .inline()
    .from_select(
        ["id", "user_id", "type", "body", "created_at", "next_at", "attempts"],
        sa.select(
            param("event", sa.String),
            param("account", sa.String),
            param("kind", sa.String),
            param("content", sa.LargeBinary),
            param("at", sa.BigInteger),
            param("at", sa.BigInteger),
            sa.literal(0),
        ).where(param("most", sa.Integer) > _WAITING),
    )
)


class EventWriter:
    """Without `random`, no webhooks are sent, and nothing is written. The caller of every method holds the account's
    row, which gives its events their order."""

    def __init__(self, random: codes.RandomBytes | None = None) -> None:
        self._random = random

    def device_added(self, db: Transaction, session: NewSession, device: Device, approver: str | None) -> None:
        if self._random:
            data = events.DeviceAdded(
                user_id=session.user_id,
                device_id=device.id,
                device_name=device.name,
                session_id=session.id,
                amr="qr" if approver else session.origin.partition(":")[0],
                approved_by=approver,
            )
            self._write(db, data, session.created_at)

    def device_revoked(self, db: Transaction, user_id: str, device_id: str, reason: str, at: int) -> None:
        """`reason` as `events.DeviceRevoked` has it."""
        if self._random:
            self._write(db, events.DeviceRevoked(user_id=user_id, device_id=device_id, reason=reason), at)

    def pairing_ended(self, db: Transaction, line: Activity, pairing_id: str) -> None:
        kind = _OF_PAIRINGS.get(line.event)
        if self._random and kind:
            data = kind(user_id=line.user_id, pairing_id=pairing_id, by_device_id=line.device_id or "")
            self._write(db, data, line.at)

    def passkey_added(self, db: Transaction, passkey: Passkey) -> None:
        if self._random:
            data = events.PasskeyAdded(user_id=passkey.user_id, passkey_id=passkey.id, by_device_id=passkey.device_id)
            self._write(db, data, passkey.created_at)

    def passkey_removed(self, db: Transaction, user_id: str, passkey_id: str, by: str, at: int) -> None:
        """`by` is the device, "" for the operator."""
        if self._random:
            data = events.PasskeyRemoved(user_id=user_id, passkey_id=passkey_id, by_device_id=by or None)
            self._write(db, data, at)

    def user_locked(self, db: Transaction, user_id: str, at: int) -> None:
        if self._random:
            self._write(db, events.UserLocked(user_id=user_id), at)

    def user_deleted(self, db: Transaction, user_id: str, at: int) -> None:
        if self._random:
            self._write(db, events.UserDeleted(user_id=user_id), at)

    def _write(self, db: Transaction, data: events.Data, at: int) -> None:
        assert self._random
        most = _NO_BOUND if data.by_operator else MOST_OF_ACCOUNT
        values = {"event": new_id(self._random), "account": data.user_id, "kind": data.type, "at": at, "most": most}
        if not db.change(WRITE, **values, content=events.body(data.type, at, data)):
            OUTCOMES.labels("dropped").inc()
            audit("webhook.dropped", events=1, account=data.user_id, type=data.type, why=f"{most} of the account wait")


SILENT = EventWriter()
