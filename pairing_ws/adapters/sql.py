"""Users, devices, sessions, invites and activity in SQL: SQLite here, PostgreSQL by another URL. Core, no ORM."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib import import_module
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pairing_ws.accounts.ports import Activity, Device, Invite, NewSession, Retired, Rotation, Session, User
from pairing_ws.adapters.database import PATIENCE
from pairing_ws.adapters.tables import activity, devices, invites, sessions, users
from pairing_ws.errors import Code, Refused, Unavailable
from pairing_ws.parties import NewDevice

StructT = TypeVar("StructT", bound=msgspec.Struct)

log = structlog.get_logger()

DAY_MS = 86_400_000
ACTIVITY_KEPT_MS = 90 * DAY_MS
# Few enough that nobody waits long for the one writer of SQLite, nor a row of PostgreSQL's.
TIDY_ROWS = 1000


class SqlAccounts:
    """See `accounts.ports.AccountStore` for what each method promises.

    Every transaction takes its rows in one order, so that none waits in a circle: the account, its sessions, its
    devices. Whoever holds the account's row has the account for itself: devices are counted, let in and revoked one
    after the other. A refresh goes without, for it changes what exists and makes nothing.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        on_postgresql = engine.dialect.name == "postgresql"
        # A lone SELECT needs no transaction, which costs two more round trips.
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT") if on_postgresql else engine
        self._writer = engine.execution_options(writes=True)
        self._patience = PATIENCE if on_postgresql else None
        # Both dialects spell ON CONFLICT alike, but share no type that says so. The engine has loaded the one that it
        # speaks; PostgreSQL's is 25 ms of a start.
        self._insert: Any = import_module(f"sqlalchemy.dialects.{engine.dialect.name}").insert
        # SQLite has one writer at a time; queueing here is fairer than its busy handler.
        self._turn = nullcontext() if on_postgresql else asyncio.Lock()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """For one statement."""
        try:
            async with asyncio.timeout(self._patience), self._reader.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise self._unavailable(error) from error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back by any exception, a cancellation included."""
        try:
            async with asyncio.timeout(self._patience), self._turn, self._writer.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        # Never the error's text: it quotes the statement's parameters.
        cause = error.driver_exception if isinstance(error, DBAPIError) else error
        log.warning("sql.failed", error=type(cause).__name__)
        return Unavailable("the database")

    async def ping(self) -> None:
        async with self._reading() as connection:
            await connection.execute(sa.select(1))

    # Sessions

    async def begin_session(
        self, session: NewSession, device: NewDevice, approved_by: str | None, quarantine_until: int | None, limit: int
    ) -> Session | None:
        now = session.created_at
        try:
            async with self._writing() as connection:
                user = await self._lock_account(connection, session.user_id)
                if user is None:
                    raise Refused(Code.NOT_FOUND, "no such account")
                if user.locked_at is not None:
                    raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
                known = sa.select(sessions.c.id).where(sessions.c.origin == session.origin)
                if (await connection.execute(known)).first():
                    return None
                paired_by = await self._approving_device(connection, approved_by, now) if approved_by else None
                if not approved_by and not await self._use_invite(connection, session.origin, now):
                    return None
                present = {each.id for each in await self._devices(connection, session.user_id, now)}
                if limit and len(present - {session.device_id}) >= limit:
                    raise Refused(Code.DEVICE_LIMIT, f"the account has {limit} devices; log one out first")
                if not approved_by and not present:
                    quarantine_until = None
                await self._register(connection, session, device, paired_by, quarantine_until)
                row = msgspec.structs.asdict(session)
                await connection.execute(sessions.insert().values(row | {"retired": b"[]"}))
                line = Activity(
                    user_id=session.user_id,
                    at=now,
                    event="device.added",
                    device_id=session.device_id,
                    device_name=device.name,
                    ip=device.ip,
                )
                await self._note(connection, line)
                return await self._session(connection, sessions.c.id == session.id)
        except IntegrityError:
            # Another account's login committed a session of this origin first: Redis had forgotten whose it was.
            return None

    async def _lock_account(self, connection: AsyncConnection, user_id: str) -> Any:
        """Have the account for oneself until the transaction ends: its row, or None if it is gone."""
        # Not against those who merely refer to it: a foreign key's check would wait, and could close a circle.
        held = sa.select(users.c.locked_at).where(users.c.id == user_id).with_for_update(key_share=True)
        return (await connection.execute(held)).first()

    async def _approving_device(self, connection: AsyncConnection, session_id: str, now: int) -> str:
        alive = sa.select(sessions.c.device_id).where(sessions.c.id == session_id, *_alive(now))
        approver = (await connection.execute(alive)).first()
        if approver is None:
            raise Refused(Code.PAIRING_DENIED, "the device that approved is no longer logged in")
        return str(approver.device_id)

    async def _use_invite(self, connection: AsyncConnection, origin: str, now: int) -> bool:
        unused = (
            invites.update()
            .where(invites.c.code_hash == origin.removeprefix("invite:"), invites.c.used_at.is_(None))
            .values(used_at=now)
        )
        return (await connection.execute(unused)).rowcount == 1

    async def _register(
        self,
        connection: AsyncConnection,
        session: NewSession,
        device: NewDevice,
        paired_by: str | None,
        quarantine_until: int | None,
    ) -> None:
        """Write the device as if it had never been there: it inherits neither age nor address from its namesake."""
        row = {
            "id": session.device_id,
            "user_id": session.user_id,
            "name": device.name,
            "os": device.os,
            "app_version": device.app_version,
            "created_at": session.created_at,
            "last_seen_at": session.created_at,
            "last_ip": device.ip,
            "paired_by": paired_by,
            "quarantine_until": quarantine_until,
            "push_kind": "fcm-token" if device.push_token else None,
            "push_address": device.push_token or None,
        }
        await self._end(connection, sessions.c.device_id == session.device_id, at=session.created_at)
        if device.push_token:
            await self._take_push_address(connection, session.user_id, device.push_token)
        upsert = self._insert(devices).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
        await connection.execute(upsert)

    async def session(self, session_id: str) -> Session | None:
        return await self._read_session(sessions.c.id == session_id)

    async def session_of_origin(self, origin: str) -> Session | None:
        return await self._read_session(sessions.c.origin == origin)

    async def session_of_family(self, family_hash: str) -> Session | None:
        return await self._read_session(sessions.c.family_hash == family_hash)

    async def _read_session(self, which: sa.ColumnElement[bool]) -> Session | None:
        async with self._reading() as connection:
            return await self._session(connection, which)

    async def _session(self, connection: AsyncConnection, which: sa.ColumnElement[bool]) -> Session | None:
        query = (
            sa.select(*_labelled(sessions, "s"), *_labelled(users, "u"), *_labelled(devices, "d"))
            .join_from(sessions, users, users.c.id == sessions.c.user_id)
            .join(devices, devices.c.id == sessions.c.device_id)
            .where(which)
        )
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        return Session(
            user=_from_row(User, row, "u"),
            device=_from_row(Device, row, "d"),
            retired=msgspec.json.decode(row["s_retired"], type=tuple[Retired, ...]),
            **{
                name: row[f"s_{name}"]
                for name in Session.__struct_fields__
                if name not in ("user", "device", "retired")
            },
        )

    async def rotate(self, rotation: Rotation) -> bool:
        swap = (
            sessions.update()
            .where(
                sessions.c.id == rotation.session_id,
                sessions.c.refresh_hash == rotation.old_hash,
                sessions.c.revoked_at.is_(None),
            )
            .values(
                refresh_hash=rotation.new_hash,
                retired=msgspec.json.encode(rotation.retired),
                idle_until=rotation.idle_until,
                sealed=rotation.sealed,
                sealed_until=rotation.sealed_until,
            )
        )
        of_session = sa.select(sessions.c.device_id).where(sessions.c.id == rotation.session_id).scalar_subquery()
        seen = devices.update().where(devices.c.id == of_session).values(last_seen_at=rotation.at, last_ip=rotation.ip)
        async with self._writing() as connection:
            won = (await connection.execute(swap)).rowcount == 1
            if won:
                await connection.execute(seen)
            return won

    async def forget_sealed(self, session_id: str, refresh_hash: str) -> None:
        of_key = (sessions.c.id == session_id) & (sessions.c.refresh_hash == refresh_hash)
        async with self._writing() as connection:
            await connection.execute(sessions.update().where(of_key).values(sealed=None))

    async def end_session(self, session_id: str, at: int, activity: Activity) -> None:
        of_session = sa.select(sessions.c.device_id).where(sessions.c.id == session_id).scalar_subquery()
        async with self._writing() as connection:
            await self._lock_account(connection, activity.user_id)
            if await self._end(connection, sessions.c.id == session_id, at=at):
                await self._drop_push(connection, devices.c.id == of_session)
                await self._note(connection, activity)

    async def _end(self, connection: AsyncConnection, which: sa.ColumnElement[bool], at: int) -> int:
        ended = sessions.update().where(which, sessions.c.revoked_at.is_(None)).values(revoked_at=at, sealed=None)
        return (await connection.execute(ended)).rowcount

    # Devices

    async def devices(self, user_id: str, now: int) -> Sequence[Device]:
        async with self._reading() as connection:
            return await self._devices(connection, user_id, now)

    async def _devices(self, connection: AsyncConnection, user_id: str, now: int) -> Sequence[Device]:
        with_session = sa.select(sessions.c.device_id).where(sessions.c.user_id == user_id, *_alive(now))
        query = (
            sa.select(*_labelled(devices, "d"))
            .where(devices.c.user_id == user_id, devices.c.id.in_(with_session))
            .order_by(devices.c.created_at, devices.c.id)
        )
        return [_from_row(Device, row, "d") for row in (await connection.execute(query)).mappings()]

    async def rename(self, user_id: str, device_id: str, name: str, activity: Activity) -> bool:
        mine = devices.update().where(devices.c.user_id == user_id, devices.c.id == device_id).values(name=name)
        async with self._writing() as connection:
            await self._lock_account(connection, user_id)
            renamed = (await connection.execute(mine)).rowcount == 1
            if renamed:
                await self._note(connection, activity)
            return renamed

    async def set_push_token(self, user_id: str, device_id: str, push_token: str) -> bool:
        mine = devices.update().where(devices.c.user_id == user_id, devices.c.id == device_id)
        async with self._writing() as connection:
            await self._lock_account(connection, user_id)
            await self._take_push_address(connection, user_id, push_token)
            changed = mine.values(push_kind="fcm-token", push_address=push_token)
            return (await connection.execute(changed)).rowcount == 1

    async def _take_push_address(self, connection: AsyncConnection, user_id: str, push_token: str) -> None:
        mine = devices.c.user_id == user_id
        await self._drop_push(connection, mine & (devices.c.push_address == push_token))

    async def drop_push_token(self, push_token: str) -> None:
        async with self._writing() as connection:
            await self._drop_push(connection, devices.c.push_address == push_token)

    async def push_addresses(self, user_id: str, now: int, *, but: str) -> Sequence[str]:
        with_session = sa.select(sessions.c.device_id).where(sessions.c.user_id == user_id, *_alive(now))
        query = sa.select(devices.c.push_address).where(
            devices.c.user_id == user_id,
            devices.c.id.in_(with_session),
            devices.c.id != but,
            devices.c.push_address.is_not(None),
        )
        async with self._reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def _drop_push(self, connection: AsyncConnection, which: sa.ColumnElement[bool]) -> None:
        await connection.execute(devices.update().where(which).values(push_kind=None, push_address=None))

    async def revoke(
        self, user_id: str, device_id: str, at: int, activity: Activity, *, descendants: bool, spared: str | None
    ) -> Sequence[str] | None:
        records = sa.select(devices.c.id, devices.c.name, devices.c.paired_by).where(devices.c.user_id == user_id)
        async with self._writing() as connection:
            # First of all: who is let in from now on has an approver that is not among the revoked.
            await self._lock_account(connection, user_id)
            known = {row.id: row for row in await connection.execute(records)}
            alive = [each.id for each in await self._devices(connection, user_id, at)]
            if device_id not in (known if descendants else alive):
                return None
            doomed = _family(known.values(), device_id) if descendants else {device_id}
            ended = [each for each in alive if each in doomed and each != spared]
            line = msgspec.structs.replace(activity, device_id=device_id, device_name=known[device_id].name)
            await self._revoke(connection, user_id, ended, at, line)
            return ended

    async def revoke_others(self, user_id: str, spared: str, at: int, activity: Activity) -> Sequence[str]:
        async with self._writing() as connection:
            await self._lock_account(connection, user_id)
            alive = [each.id for each in await self._devices(connection, user_id, at)]
            ended = [each for each in alive if each != spared]
            await self._revoke(connection, user_id, ended, at, activity)
            return ended

    async def _revoke(
        self, connection: AsyncConnection, user_id: str, device_ids: Sequence[str], at: int, line: Activity
    ) -> None:
        if device_ids:
            await self._end(connection, sessions.c.device_id.in_(device_ids), at=at)
            await self._drop_push(connection, devices.c.id.in_(device_ids))
            await self._note(connection, line)

    # Activity

    async def activity(self, user_id: str, limit: int) -> Sequence[Activity]:
        query = (
            sa.select(*_labelled(activity, "a"))
            .where(activity.c.user_id == user_id)
            .order_by(activity.c.at.desc(), activity.c.id.desc())
            .limit(limit)
        )
        async with self._reading() as connection:
            return [_from_row(Activity, row, "a") for row in (await connection.execute(query)).mappings()]

    async def note(self, line: Activity) -> None:
        async with self._writing() as connection:
            if await self._lock_account(connection, line.user_id):
                await self._note(connection, line)

    async def _note(self, connection: AsyncConnection, line: Activity) -> None:
        await connection.execute(activity.insert().values(msgspec.structs.asdict(line)))

    # Users and invites

    async def add_invite(self, invite: Invite, user: User) -> User:
        async with self._writing() as connection:
            fresh = self._insert(users).values(msgspec.structs.asdict(user))
            # An update that changes nothing, so that the row found here is still there in the end.
            kept = {"username": user.username}
            await connection.execute(fresh.on_conflict_do_update(index_elements=["username"], set_=kept))
            named = await self._user(connection, user.username)
            assert named is not None
            row = msgspec.structs.asdict(invite) | {"user_id": named.id}
            await connection.execute(invites.insert().values(row))
            return named

    async def invite(self, code_hash: str) -> Invite | None:
        query = sa.select(*_labelled(invites, "i")).where(invites.c.code_hash == code_hash)
        async with self._reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return _from_row(Invite, row, "i") if row else None

    async def users(self) -> Sequence[User]:
        async with self._reading() as connection:
            query = sa.select(*_labelled(users, "u")).order_by(users.c.username)
            return [_from_row(User, row, "u") for row in (await connection.execute(query)).mappings()]

    async def lock(self, username: str, at: int | None) -> User | None:
        async with self._writing() as connection:
            await connection.execute(users.update().where(users.c.username == username).values(locked_at=at))
            return await self._user(connection, username)

    async def delete_user(self, username: str) -> User | None:
        held = sa.select(users.c.id).where(users.c.username == username).with_for_update()
        async with self._writing() as connection:
            await connection.execute(held)
            user = await self._user(connection, username)
            if user:
                # Left to the foreign keys, devices would go first.
                await connection.execute(sessions.delete().where(sessions.c.user_id == user.id))
                await connection.execute(users.delete().where(users.c.id == user.id))
            return user

    async def _user(self, connection: AsyncConnection, username: str) -> User | None:
        query = sa.select(*_labelled(users, "u")).where(users.c.username == username)
        row = (await connection.execute(query)).mappings().first()
        return _from_row(User, row, "u") if row else None

    async def tidy(self, now: int) -> None:
        yesterday = now - DAY_MS
        over = (
            (sessions.c.revoked_at < yesterday) | (sessions.c.idle_until < yesterday) | (sessions.c.ends_at < yesterday)
        )
        stale = (sessions.c.sealed_until < now) & sessions.c.sealed.is_not(None)
        await self._sweep(sessions.delete(), sessions.c.id, over)
        await self._sweep(sessions.update().values(sealed=None), sessions.c.id, stale)
        await self._sweep(invites.delete(), invites.c.code_hash, invites.c.expires_at < yesterday)
        await self._sweep(activity.delete(), activity.c.id, activity.c.at < now - ACTIVITY_KEPT_MS)

    async def _sweep(self, change: Any, key: sa.Column[Any], which: sa.ColumnElement[bool]) -> None:
        """Apply it to all such rows, some at a time, passing over those that somebody holds: another process sweeps
        too, and a row held now is swept in an hour."""
        some = sa.select(key).where(which).limit(TIDY_ROWS).with_for_update(skip_locked=True)
        swept = TIDY_ROWS
        while swept == TIDY_ROWS:
            async with self._writing() as connection:
                swept = (await connection.execute(change.where(key.in_(some)))).rowcount


def _alive(now: int) -> tuple[sa.ColumnElement[bool], ...]:
    """The SQL of `Session.alive_at`."""
    return (sessions.c.revoked_at.is_(None), sessions.c.idle_until > now, sessions.c.ends_at > now)


def _family(records: Collection[Any], root: str) -> set[str]:
    """The device and all that it let in, directly or not. Two may have let each other in, one after the other."""
    family, before = {root}, 0
    while before < len(family):
        before = len(family)
        family |= {each.id for each in records if each.paired_by in family}
    return family


def _labelled(table: sa.Table, prefix: str) -> list[sa.Label[Any]]:
    return [column.label(f"{prefix}_{column.name}") for column in table.c]


def _from_row(kind: type[StructT], row: Any, prefix: str) -> StructT:
    return kind(**{name: row[f"{prefix}_{name}"] for name in kind.__struct_fields__})
