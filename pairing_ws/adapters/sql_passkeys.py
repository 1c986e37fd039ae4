"""The same store's other half: passkeys, challenges, and when a session was last verified."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pairing_ws.accounts.passkeys import Added, Passkey, Purpose
from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql import SqlAccounts
from pairing_ws.adapters.tables import challenges, passkeys, sessions


class SqlPasskeys(SqlAccounts):
    """See `accounts.passkeys.PasskeyStore`. Takes its rows in the order of all the others."""

    async def passkeys(self, user_id: str) -> Sequence[Passkey]:
        mine = sa.select(passkeys).where(passkeys.c.user_id == user_id).order_by(passkeys.c.created_at, passkeys.c.id)
        async with self._reading() as connection:
            return [Passkey(**row) for row in (await connection.execute(mine)).mappings()]

    async def add_passkey(self, passkey: Passkey, session_id: str, limit: int, line: Activity, *, first: bool) -> Added:
        mine = sa.select(sa.func.count()).select_from(passkeys).where(passkeys.c.user_id == passkey.user_id)
        try:
            async with self._writing() as connection:
                await self._lock_account(connection, passkey.user_id)
                session = await self._session(connection, sessions.c.id == session_id)
                if session is None or not session.alive_at(passkey.created_at):
                    return Added.ENDED
                count = (await connection.execute(mine)).scalar_one()
                if first and count:
                    return Added.NOT_FIRST
                if count >= limit:
                    return Added.FULL
                await connection.execute(passkeys.insert().values(msgspec.structs.asdict(passkey)))
                await self._note(connection, line)
                return Added.DONE
        except IntegrityError:
            return Added.KNOWN

    async def remove_passkey(self, user_id: str, passkey_id: str, line: Activity) -> Passkey | None:
        mine = (passkeys.c.user_id == user_id) & (passkeys.c.id == passkey_id)
        async with self._writing() as connection:
            await self._lock_account(connection, user_id)
            row = (await connection.execute(passkeys.delete().where(mine).returning(passkeys))).mappings().first()
            if row is None:
                return None
            await self._note(connection, msgspec.structs.replace(line, device_name=row["name"]))
            return Passkey(**row)

    # SQL and not Redis: a failover there can bring back what was taken, and one row per session and purpose needs
    # no bound of its own.

    async def put_challenge(self, session_id: str, purpose: Purpose, challenge: bytes, expires_at: int) -> None:
        fresh = {"challenge": challenge, "expires_at": expires_at}
        row = {"session_id": session_id, "purpose": purpose.value, **fresh}
        put = self._insert(challenges).values(row)
        put = put.on_conflict_do_update(index_elements=["session_id", "purpose"], set_=fresh)
        async with self._writing() as connection:
            await connection.execute(put)

    async def take_challenge(self, session_id: str, purpose: Purpose, now: int) -> bytes | None:
        its = (challenges.c.session_id == session_id) & (challenges.c.purpose == purpose.value)
        taken = challenges.delete().where(its).returning(challenges.c.challenge, challenges.c.expires_at)
        async with self._writing() as connection:
            row = (await connection.execute(taken)).first()
        return bytes(row.challenge) if row and now < row.expires_at else None

    async def use_passkey(self, passkey: Passkey, sign_count: int, session_id: str, now: int, copied: Activity) -> bool:
        its = passkeys.c.id == passkey.id
        grown = passkeys.c.sign_count < sign_count
        if not sign_count:
            grown = passkeys.c.sign_count == 0
        used = passkeys.update().where(its, grown).values(sign_count=sign_count, last_used_at=now)
        async with self._writing() as connection:
            await self._lock_account(connection, passkey.user_id)
            if (await connection.execute(used)).rowcount:
                await connection.execute(_verified(session_id, now))
                return True
            if (await connection.execute(sa.select(passkeys.c.id).where(its))).first():
                await self._note(connection, copied)
            return False

    async def verify_session(self, session_id: str, at: int) -> bool:
        async with self._writing() as connection:
            return (await connection.execute(_verified(session_id, at))).rowcount == 1


def _verified(session_id: str, at: int) -> sa.Update:
    older = sessions.c.verified_at.is_(None) | (sessions.c.verified_at < at)
    return sessions.update().where(sessions.c.id == session_id, older).values(verified_at=at)
