"""Passkeys, challenges, and when a session was last verified."""

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec.structs import asdict, replace

from pairing_ws.accounts.passkeys import Added, Passkey, Purpose
from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql.account_rows import add_activity, lock_account, session_by_id
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Database,
    Statement,
    Store,
    Transaction,
    Upsert,
    read,
    single_write,
    write,
)
from pairing_ws.adapters.sql.statements import columns_of, param, struct_of
from pairing_ws.adapters.sql.tables import challenges, passkeys, sessions
from pairing_ws.adapters.sql.webhook_rows import SILENT, EventWriter

PASSKEYS_OF_ACCOUNT = passkeys.c.user_id == param("account")
PASSKEYS = Statement(
    sa.select(*columns_of(Passkey, passkeys)).where(PASSKEYS_OF_ACCOUNT).order_by(passkeys.c.created_at, passkeys.c.id)
)
COUNT = Statement(sa.select(sa.func.count()).select_from(passkeys).where(PASSKEYS_OF_ACCOUNT))
ADD_PASSKEY = Statement(passkeys.insert())
REMOVE_PASSKEY = Statement(
    passkeys.delete()
    .where(PASSKEYS_OF_ACCOUNT, passkeys.c.id == param("passkey"))
    .returning(*columns_of(Passkey, passkeys))
)
PUT_CHALLENGE = Upsert(challenges, ["session_id", "purpose"])
TAKE_CHALLENGE = Statement(
    challenges.delete()
    .where(challenges.c.session_id == param("session"), challenges.c.purpose == param("its_purpose"))
    .returning(challenges.c.challenge, challenges.c.expires_at)
)
ITS_PASSKEY = passkeys.c.id == param("passkey")
# An authenticator that doesn't count always says 0.
GROWN = sa.or_(passkeys.c.sign_count < param("count"), sa.and_(param("count") == 0, passkeys.c.sign_count == 0))
USE_PASSKEY = Statement(
    passkeys.update().where(ITS_PASSKEY, GROWN).values(sign_count=param("count"), last_used_at=param("now"))
)
IS_THERE = Statement(sa.select(passkeys.c.id).where(ITS_PASSKEY))
VERIFIED_AT = Statement(sa.select(sessions.c.verified_at).where(sessions.c.id == param("session")))
VERIFY_SESSION = Statement(
    sessions.update()
    .where(
        sessions.c.id == param("session"),
        sessions.c.verified_at.is_(None) | (sessions.c.verified_at < param("at")),
    )
    .values(verified_at=param("at"))
)
VERIFY_BY_HOST = Statement(
    sessions.update()
    .where(
        sessions.c.id == param("session"),
        sessions.c.verified_at.is_(None) | (sessions.c.verified_at < param("at")),
        sessions.c.vouched_at.is_(None) | (sessions.c.vouched_at < param("asserted_at")),
    )
    .values(verified_at=param("at"), vouched_at=param("asserted_at"))
)


class SqlPasskeys(Store):
    """See `accounts.passkeys.PasskeyStore`. Takes its rows in the order of all the others."""

    def __init__(self, database: Database, events: EventWriter = SILENT) -> None:
        super().__init__(database)
        self._events = events

    @read
    def verified_at(self, db: Transaction, session_id: str) -> int | None:
        found = db.rows(VERIFIED_AT, session=session_id)
        return found[0][0] if found else None

    @read
    def passkeys(self, db: Transaction, user_id: str) -> Sequence[Passkey]:
        return [struct_of(Passkey, row) for row in db.rows(PASSKEYS, account=user_id)]

    async def add_passkey(self, passkey: Passkey, session_id: str, limit: int, line: Activity, *, first: bool) -> Added:
        try:
            return await self._add_passkey(passkey, session_id, limit, line, first=first)
        except Conflict:
            return Added.KNOWN

    @write
    def _add_passkey(
        self, db: Transaction, passkey: Passkey, session_id: str, limit: int, line: Activity, *, first: bool
    ) -> Added:
        lock_account(db, passkey.user_id)
        session = session_by_id(db, session_id)
        if session is None or not session.alive_at(passkey.created_at):
            return Added.ENDED
        ((count,),) = db.rows(COUNT, account=passkey.user_id)
        if first and count:
            return Added.NOT_FIRST
        if count >= limit:
            return Added.FULL
        db.change(ADD_PASSKEY, **asdict(passkey))
        add_activity(db, line)
        self._events.passkey_added(db, passkey)
        return Added.DONE

    @write
    def remove_passkey(self, db: Transaction, user_id: str, passkey_id: str, line: Activity) -> Passkey | None:
        lock_account(db, user_id)
        found = db.rows(REMOVE_PASSKEY, account=user_id, passkey=passkey_id)
        if not found:
            return None
        removed = struct_of(Passkey, found[0])
        add_activity(db, replace(line, device_name=removed.name))
        self._events.passkey_removed(db, user_id, passkey_id, line.device_id or "", line.at)
        return removed

    # SQL and not Redis: a failover there can bring back what was taken, and one row per session and purpose needs
    # no bound of its own.

    @single_write
    def put_challenge(
        self, db: Transaction, session_id: str, purpose: Purpose, challenge: bytes, expires_at: int
    ) -> None:
        row = {"session_id": session_id, "purpose": purpose.value, "challenge": challenge, "expires_at": expires_at}
        db.change(PUT_CHALLENGE, **row)

    @single_write
    def take_challenge(self, db: Transaction, session_id: str, purpose: Purpose, now: int) -> bytes | None:
        for challenge, expires_at in db.rows(TAKE_CHALLENGE, session=session_id, its_purpose=purpose.value):
            if now < expires_at:
                return bytes(challenge)
        return None

    @write
    def use_passkey(
        self, db: Transaction, passkey: Passkey, sign_count: int, session_id: str, now: int, copied: Activity
    ) -> bool:
        lock_account(db, passkey.user_id)
        if db.change(USE_PASSKEY, passkey=passkey.id, count=sign_count, now=now):
            db.change(VERIFY_SESSION, session=session_id, at=now)
            return True
        if db.rows(IS_THERE, passkey=passkey.id):
            add_activity(db, copied)
        return False

    @single_write
    def verify_session(self, db: Transaction, session_id: str, at: int, asserted_at: int) -> bool:
        return db.change(VERIFY_BY_HOST, session=session_id, at=at, asserted_at=asserted_at) == 1
