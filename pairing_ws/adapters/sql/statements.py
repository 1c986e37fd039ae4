"""The statements on sessions, devices and activity. `account_store.py` runs them, and says in which order.

A statement that reads a struct selects its columns in the order of its fields.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from pairing_ws.accounts.monitor import MOST
from pairing_ws.accounts.ports import LOGIN, Activity, Device, Invite, Retired, Session, User
from pairing_ws.adapters.sql.executor import Statement, Upsert
from pairing_ws.adapters.sql.tables import (
    activity,
    devices,
    invites,
    login_questions,
    passkeys,
    previous_parents,
    sessions,
    users,
)

StructT = TypeVar("StructT", bound=msgspec.Struct)

# Few enough that no call waits long for SQLite's one writer, or for a row of PostgreSQL's.
TIDY_ROWS = 1000


def param(name: str, kind: Any = None) -> Any:
    """A value that comes with each call."""
    return sa.bindparam(name, type_=kind)


def columns_of(kind: type[msgspec.Struct], table: sa.Table) -> list[sa.Column[Any]]:
    return [table.c[name] for name in kind.__struct_fields__]


def struct_of(kind: type[StructT], row: Sequence[Any]) -> StructT:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


def first_of(kind: type[StructT], found: Sequence[Sequence[Any]]) -> StructT | None:
    return struct_of(kind, found[0]) if found else None


NOW = param("now", sa.BigInteger)
# The SQL of `Session.alive_at`.
ALIVE = (sessions.c.revoked_at.is_(None), sessions.c.idle_until > NOW, sessions.c.ends_at > NOW)
OF_ACCOUNT = sessions.c.user_id == param("account")
OF_DEVICE = sessions.c.device_id == param("device")
USER = sa.select(*columns_of(User, users))

PING = Statement(sa.select(1))

# Begin a session

# Not against rows that merely refer to it: a foreign key's check would wait, and could deadlock.
LOCK_ACCOUNT = Statement(USER.where(users.c.id == param("account")).with_for_update(key_share=True))
_APPROVER = sa.select(sessions.c.device_id).where(sessions.c.id == param("approved_by"), *ALIVE).scalar_subquery()
# No more are counted than matter: an account without a limit may have thousands.
_OTHERS = (
    sa.select(sessions.c.device_id).where(OF_ACCOUNT, *ALIVE, ~OF_DEVICE).distinct().limit(param("limit", sa.Integer))
).subquery()
_LOGIN_CONDITIONS = (
    users.c.locked_at,
    _APPROVER,
    sa.select(sa.func.count()).select_from(_OTHERS).scalar_subquery(),
)
# What may refuse a login, and all that decides about it, each in one read: see `login_eligibility.py`.
LOGIN_CONDITIONS = Statement(sa.select(*_LOGIN_CONDITIONS).where(users.c.id == param("account")))
LOGIN_ELIGIBILITY = Statement(
    sa.select(
        *_LOGIN_CONDITIONS,
        sa.exists().where(OF_ACCOUNT, *ALIVE),
        sa.exists().where(OF_DEVICE, sessions.c.revoked_at.is_(None)),
        sa.exists().where(sessions.c.origin == param("origin")),
        sa.exists().where(OF_DEVICE, *ALIVE),
        sa.select(devices.c.paired_by).where(devices.c.id == param("device")).scalar_subquery(),
        sa.select(devices.c.name)
        .where(devices.c.id == param("device"), devices.c.name != devices.c.reported_name)
        .scalar_subquery(),
    ).where(users.c.id == param("account"))
)
USE_INVITE = Statement(
    invites.update().where(invites.c.code_hash == param("invite"), invites.c.used_at.is_(None)).values(used_at=NOW)
)
ADD_PREVIOUS_PARENT = Upsert(previous_parents, ["device_id", "paired_by"])
REGISTER = Upsert(devices, ["id"])
BEGIN = Statement(sessions.insert())

# Know it, renew it, end it

_OWN = [name for name in Session.__struct_fields__ if name in sessions.c]
_SESSION = (
    sa.select(
        *(sessions.c[name] for name in _OWN),
        *columns_of(User, users),
        *columns_of(Device, devices),
    )
    .join_from(sessions, users, users.c.id == sessions.c.user_id)
    .join(devices, devices.c.id == sessions.c.device_id)
)
SESSION = Statement(_SESSION.where(sessions.c.id == param("session")))
# A statement is written once, so it has places for as many as one read may ask for.
SESSION_IDS = [f"session_{number}" for number in range(MOST)]
LIVE_SESSIONS = Statement(
    sa.select(sessions.c.id)
    .join_from(sessions, users, users.c.id == sessions.c.user_id)
    .where(sessions.c.id.in_([param(name) for name in SESSION_IDS]), *ALIVE, users.c.locked_at.is_(None))
)
# A locked row is passed over: it has its turn in a minute, and there is no deadlock.
_SESSIONS_SEEN = (
    sa.select(sessions.c.id)
    .where(
        sessions.c.id.in_([param(name) for name in SESSION_IDS]),
        sessions.c.revoked_at.is_(None),
        sessions.c.ends_at > NOW,
    )
    .with_for_update(skip_locked=True)
)
PROLONG = Statement(
    sessions.update()
    .where(sessions.c.id.in_(_SESSIONS_SEEN), sessions.c.idle_until < param("until", sa.BigInteger))
    .values(idle_until=param("until", sa.BigInteger))
)
_DEVICES_SEEN = (
    sa.select(devices.c.id)
    .join_from(devices, sessions, sessions.c.device_id == devices.c.id)
    .where(sessions.c.id.in_([param(name) for name in SESSION_IDS]), sessions.c.revoked_at.is_(None))
    .with_for_update(skip_locked=True, of=devices)
)
DEVICES_SEEN = Statement(
    devices.update().where(devices.c.id.in_(_DEVICES_SEEN), devices.c.last_seen_at < NOW).values(last_seen_at=NOW)
)
SESSION_OF_ORIGIN = Statement(_SESSION.where(sessions.c.origin == param("origin")))
SESSION_OF_FAMILY = Statement(_SESSION.where(sessions.c.family_hash == param("family")))


def session_of(found: Sequence[Sequence[Any]]) -> Session | None:
    if not found:
        return None
    values = iter(found[0])
    own = {name: next(values) for name in _OWN}
    own["retired"] = msgspec.json.decode(own["retired"], type=tuple[Retired, ...])
    user = User(**{name: next(values) for name in User.__struct_fields__})
    return Session(user=user, device=struct_of(Device, tuple(values)), **own)


ROTATE = Statement(
    sessions.update()
    .where(
        sessions.c.id == param("session"),
        sessions.c.refresh_hash == param("old_hash"),
        sessions.c.revoked_at.is_(None),
    )
    .values(
        refresh_hash=param("new_hash"),
        retired=param("retired"),
        idle_until=param("idle_until"),
        sealed=param("sealed"),
        sealed_until=param("sealed_until"),
    )
    .returning(sessions.c.device_id)
)
SEEN = Statement(
    devices.update().where(devices.c.id == param("device")).values(last_seen_at=param("at"), last_ip=param("ip"))
)
FORGET_SEALED = Statement(
    sessions.update()
    .where(sessions.c.id == param("session"), sessions.c.refresh_hash == param("key"), sessions.c.sealed.is_not(None))
    .values(sealed=None, retired=param("retired"))
)
_END = (
    sessions.update().where(sessions.c.revoked_at.is_(None)).values(revoked_at=NOW, sealed=None, ended_why=param("why"))
)
END_SESSION = Statement(_END.where(sessions.c.id == param("session")).returning(sessions.c.device_id))
END_DEVICE = Statement(_END.where(OF_DEVICE))

# Devices

_MINE = devices.c.user_id == param("account")
_WITH_SESSION = devices.c.id.in_(sa.select(sessions.c.device_id).where(OF_ACCOUNT, *ALIVE))
DEVICES = Statement(
    sa.select(*columns_of(Device, devices)).where(_MINE, _WITH_SESSION).order_by(devices.c.created_at, devices.c.id)
)
# A device has one live session: its next login ends the one before.
DEVICES_AND_SESSIONS = Statement(
    sa.select(sessions.c.id, *columns_of(Device, devices))
    .join_from(devices, sessions, sessions.c.device_id == devices.c.id)
    .join(users, users.c.id == devices.c.user_id)
    .where(_MINE, *ALIVE, users.c.locked_at.is_(None))
    .order_by(devices.c.created_at, devices.c.id)
)
NAMES = Statement(sa.select(devices.c.id, devices.c.name).where(_MINE))
# Who was let in, and by whom: at its latest login and at those before.
LET_IN = Statement(
    sa.select(devices.c.id, devices.c.paired_by)
    .where(_MINE, devices.c.paired_by.is_not(None))
    .union_all(
        sa.select(previous_parents.c.device_id, previous_parents.c.paired_by).where(
            previous_parents.c.user_id == param("account")
        )
    )
)
RENAME = Statement(devices.update().where(_MINE, devices.c.id == param("device")).values(name=param("name")))

PUSH_ADDRESSES = Statement(
    sa.select(devices.c.push_address).where(
        _MINE, _WITH_SESSION, devices.c.id != param("exclude"), devices.c.push_address.is_not(None)
    )
)
PUSH_TAKEN = Statement(
    sa.select(devices.c.id).where(
        _MINE, _WITH_SESSION, devices.c.id != param("device"), devices.c.push_address == param("address")
    )
)
SET_PUSH = Statement(
    devices.update()
    .where(_MINE, devices.c.id == param("device"))
    .values(push_kind=param("kind"), push_address=param("address"))
)
_DROP_PUSH = devices.update().values(push_kind=None, push_address=None)
DROP_PUSH = Statement(_DROP_PUSH.where(devices.c.push_address == param("address")))
DROP_PUSH_OF_ACCOUNT = Statement(_DROP_PUSH.where(_MINE, devices.c.push_address == param("address")))
DROP_PUSH_OF_DEVICE = Statement(_DROP_PUSH.where(devices.c.id == param("device")))

# What passkeys are for stands in `passkey_store.py`; these go with a device.
PASSKEYS_ADDED = Statement(
    sa.select(passkeys.c.id, passkeys.c.name, passkeys.c.device_id).where(passkeys.c.user_id == param("account"))
)
DROP_PASSKEY = Statement(passkeys.delete().where(passkeys.c.id == param("passkey")))

# Activity

NOTE = Statement(activity.insert().inline(), [name for name in Activity.__struct_fields__ if name != "id"])
_LINES = (
    sa.select(*columns_of(Activity, activity))
    .where(activity.c.user_id == param("account"))
    .order_by(activity.c.at.desc(), activity.c.id.desc())
    .limit(param("limit", sa.Integer))
)
_OLDER = _LINES.where(
    sa.tuple_(activity.c.at, activity.c.id) < sa.tuple_(param("at", sa.BigInteger), param("id", sa.BigInteger))
)
# By whether they are to be the logins: all lines, these alone, or all but these.
OLDER_LINES = {
    None: Statement(_OLDER),
    True: Statement(_OLDER.where(activity.c.event == LOGIN)),
    False: Statement(_OLDER.where(activity.c.event != LOGIN)),
}
LINES_SINCE = Statement(
    _LINES.where(
        activity.c.event == param("its_event"),
        activity.c.device_id.is_not_distinct_from(param("device")),
        activity.c.at > param("since", sa.BigInteger),
    )
)
REPEAT = Statement(
    activity.update()
    .where(activity.c.id == param("line"))
    .values(
        at=NOW,
        first_at=sa.func.coalesce(activity.c.first_at, activity.c.at),
        count=activity.c.count + 1,
        device_name=param("its_name"),
        ip=param("its_ip"),
        by_name=param("its_by"),
    )
)

INVITE = Statement(sa.select(*columns_of(Invite, invites)).where(invites.c.code_hash == param("code")))
# Tidying


def sweep(change: Any, key: sa.Column[Any], which: sa.ColumnElement[bool]) -> Statement:
    """Apply it to some such rows, passing over locked ones: another process sweeps too, and a row locked
    now is swept in an hour."""
    some = sa.select(key).where(which).limit(TIDY_ROWS).with_for_update(skip_locked=True)
    return Statement(change.where(key.in_(some)))


_YESTERDAY = param("yesterday", sa.BigInteger)
SWEEPS = (
    sweep(
        sessions.delete(),
        sessions.c.id,
        (sessions.c.revoked_at < _YESTERDAY) | (sessions.c.idle_until < _YESTERDAY) | (sessions.c.ends_at < _YESTERDAY),
    ),
    sweep(
        sessions.update().values(sealed=None),
        sessions.c.id,
        (sessions.c.sealed_until < NOW) & sessions.c.sealed.is_not(None),
    ),
    sweep(invites.delete(), invites.c.code_hash, invites.c.expires_at < _YESTERDAY),
    sweep(login_questions.delete(), login_questions.c.origin, login_questions.c.asked_at < _YESTERDAY),
    sweep(activity.delete(), activity.c.id, activity.c.at < param("long_ago", sa.BigInteger)),
)
