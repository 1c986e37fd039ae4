"""The statements on what clients were granted, and how their rows are read. `grant_store.py` runs them, and says in
which order."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pairing_ws.accounts.ports import Retired, User
from pairing_ws.adapters.sql.executor import Statement, Upsert
from pairing_ws.adapters.sql.statements import ALIVE, NOW, columns_of, param, sweep
from pairing_ws.adapters.sql.tables import (
    devices,
    oauth_clients,
    oauth_consents,
    oauth_grants,
    oauth_logouts,
    sessions,
    users,
)
from pairing_ws.oauth.ports import Grant, LogoutNotice

_GRANT_ID = oauth_grants.c.id == param("grant")
# Begin

# Nobody removes it meanwhile.
HOLD_CLIENT = Statement(
    sa.select(oauth_clients.c.name)
    .where(oauth_clients.c.id == param("client"))
    .with_for_update(read=True, key_share=True)
)
# All that decides about it: whether the origin was used, whether the login stands, and the name of its device.
ELIGIBILITY = Statement(
    sa.select(
        sa.exists().where(oauth_grants.c.origin == param("origin")),
        sa.exists().where(sessions.c.id == param("session"), sessions.c.user_id == param("account"), *ALIVE),
        sa.select(devices.c.name).where(devices.c.id == param("device")).scalar_subquery(),
    )
)
BEGIN = Statement(oauth_grants.insert())

# Know it, renew it, end it

_LOGIN = ("revoked_at", "idle_until", "ends_at")
_OWN = [name for name in Grant.__struct_fields__ if name in oauth_grants.c]
_GRANT = (
    sa.select(
        *(oauth_grants.c[name] for name in _OWN), *columns_of(User, users), *(sessions.c[each] for each in _LOGIN)
    )
    .join_from(oauth_grants, users, users.c.id == oauth_grants.c.user_id)
    .outerjoin(sessions, sessions.c.id == oauth_grants.c.session_id)
)
GET = Statement(_GRANT.where(_GRANT_ID))
OF_ORIGIN = Statement(_GRANT.where(oauth_grants.c.origin == param("origin")))
OF_FAMILY = Statement(_GRANT.where(oauth_grants.c.family_hash == param("family")))
# The SQL of `Grant.alive_at`.
_LIVE = (
    oauth_grants.c.user_id == param("account"),
    oauth_grants.c.ended_at.is_(None),
    oauth_grants.c.idle_until > NOW,
    oauth_grants.c.ends_at > NOW,
    users.c.locked_at.is_(None),
    oauth_grants.c.offline | sa.and_(*ALIVE),
)
LIVE_OF_USER = Statement(_GRANT.where(*_LIVE).order_by(oauth_grants.c.created_at.desc(), oauth_grants.c.id.desc()))
BY_LAST_USE = Statement(
    sa.select(oauth_grants.c.id)
    .join_from(oauth_grants, users, users.c.id == oauth_grants.c.user_id)
    .outerjoin(sessions, sessions.c.id == oauth_grants.c.session_id)
    .where(*_LIVE)
    .order_by(oauth_grants.c.last_used_at.desc(), oauth_grants.c.created_at.desc(), oauth_grants.c.id)
)
ROTATE = Statement(
    oauth_grants.update()
    .where(_GRANT_ID, oauth_grants.c.refresh_hash == param("old_hash"), oauth_grants.c.ended_at.is_(None))
    .values(
        refresh_hash=param("new_hash"),
        retired=param("its_retired"),
        idle_until=param("until"),
        sealed=param("its_sealed"),
        sealed_until=param("repeat_until"),
        last_used_at=param("at"),
        last_ip=param("ip"),
        key_thumbprint=param("key"),
    )
)
FORGET_SEALED = Statement(
    oauth_grants.update()
    .where(_GRANT_ID, oauth_grants.c.refresh_hash == param("token"), oauth_grants.c.sealed.is_not(None))
    .values(sealed=None, retired=param("its_retired"))
)
TOUCH = Statement(
    oauth_grants.update()
    .where(_GRANT_ID, oauth_grants.c.last_used_at < param("at"))
    .values(last_used_at=param("at"), last_ip=param("ip"))
)
OWNER = Statement(sa.select(oauth_grants.c.user_id).where(_GRANT_ID))

# Consents

_MINE = (oauth_consents.c.user_id == param("account"), oauth_consents.c.client_id == param("client"))
CONSENTED = Statement(sa.select(oauth_consents.c.scope).where(*_MINE))
# An update that changes nothing: what another device consented to before stays its.
CONSENT = Upsert(oauth_consents, ["user_id", "client_id", "scope"], change=["scope"])
FORGET_CONSENT = Statement(oauth_consents.delete().where(*_MINE))

# Logouts

_DUE = (
    sa.select(oauth_logouts.c.id)
    .where(oauth_logouts.c.next_at <= NOW, oauth_logouts.c.created_at > param("yesterday", sa.BigInteger))
    .order_by(oauth_logouts.c.next_at, oauth_logouts.c.id)
    .limit(param("most", sa.Integer))
    .with_for_update(skip_locked=True)
)
TAKE_DUE = Statement(
    oauth_logouts.update()
    .where(oauth_logouts.c.id.in_(_DUE))
    .values(next_at=param("until"))
    .returning(*columns_of(LogoutNotice, oauth_logouts))
)
_NOTICE = oauth_logouts.c.id == param("notice")
TOLD = Statement(oauth_logouts.delete().where(_NOTICE))
FAILED = Statement(
    oauth_logouts.update().where(_NOTICE).values(next_at=param("at"), attempts=oauth_logouts.c.attempts + 1)
)

_YESTERDAY = param("yesterday", sa.BigInteger)
SWEEPS = (
    sweep(
        oauth_grants.delete(),
        oauth_grants.c.id,
        (oauth_grants.c.ended_at < _YESTERDAY)
        | (oauth_grants.c.idle_until < _YESTERDAY)
        | (oauth_grants.c.ends_at < _YESTERDAY),
    ),
    sweep(
        oauth_grants.update().values(sealed=None),
        oauth_grants.c.id,
        (oauth_grants.c.sealed_until < NOW) & oauth_grants.c.sealed.is_not(None),
    ),
    sweep(oauth_logouts.delete(), oauth_logouts.c.id, oauth_logouts.c.created_at < _YESTERDAY),
)


def grants_of(found: Sequence[Sequence[Any]]) -> list[Grant]:
    return [_grant(row) for row in found]


def grant_of(found: Sequence[Sequence[Any]]) -> Grant | None:
    return _grant(found[0]) if found else None


def _grant(row: Sequence[Any]) -> Grant:
    values = iter(row)
    own = {name: next(values) for name in _OWN}
    user = User(**{name: next(values) for name in User.__struct_fields__})
    revoked_at, idle_until, ends_at = values
    # Without a session: it ended so long ago that it was tidied away.
    own["login_until"] = 0 if revoked_at is not None or ends_at is None else min(idle_until, ends_at)
    own["scopes"] = tuple(own["scopes"].split())
    own["amr"] = tuple(own["amr"].split())
    # SQLite's truth is a number.
    own["offline"] = bool(own["offline"])
    own["retired"] = msgspec.json.decode(own["retired"], type=tuple[Retired, ...])
    return Grant(user=user, **own)


def notice_of(row: Sequence[Any]) -> LogoutNotice:
    return msgspec.convert(dict(zip(LogoutNotice.__struct_fields__, row, strict=True)), LogoutNotice)
