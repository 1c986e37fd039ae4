"""How grants end, inside the transactions of the stores that end them: whose they are, and that their clients are owed
a logout token."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.adapters.sql.executor import Statement, Transaction
from pairing_ws.adapters.sql.statements import NOW, param
from pairing_ws.adapters.sql.tables import oauth_clients, oauth_consents, oauth_grants, oauth_logouts


def _ending(which: sa.ColumnElement[bool]) -> Statement:
    """End such grants, in the order of their ids: who removes a client ends grants of many accounts, and does not hold
    the accounts."""
    some = sa.select(oauth_grants.c.id).where(which, oauth_grants.c.ended_at.is_(None)).order_by(oauth_grants.c.id)
    return Statement(
        oauth_grants.update()
        .where(oauth_grants.c.id.in_(some.with_for_update()), oauth_grants.c.ended_at.is_(None))
        .values(ended_at=NOW, ended_why=param("why"), sealed=None)
        .returning(oauth_grants.c.id, oauth_grants.c.user_id, oauth_grants.c.client_id)
    )


_OF_DEVICE = oauth_grants.c.device_id == param("device")
_OF_SESSION = oauth_grants.c.session_id == param("session")
_BY_LOGIN = oauth_grants.c.offline.is_(False)
_OF_ACCOUNT = oauth_grants.c.user_id == param("account")

# What each way to end takes along. The caller holds the account's row, but for a client's.
GRANT = _ending(oauth_grants.c.id == param("grant"))
OF_LOGGED_OUT = _ending(_OF_SESSION & _BY_LOGIN)
# Who had a login's keys may have let in whatever came of it.
OF_STOLEN = _ending(_OF_SESSION)
OF_REPLACED = _ending(_OF_DEVICE & _BY_LOGIN)
OF_DEVICE = _ending(_OF_ACCOUNT & _OF_DEVICE)
OF_OTHER_DEVICES = _ending(_OF_ACCOUNT & (oauth_grants.c.device_id != param("device")))
OF_ACCOUNT = _ending(_OF_ACCOUNT)
OF_CLIENT = _ending(oauth_grants.c.client_id == param("client"))

_OWE = Statement(
    oauth_logouts.insert()
    .inline()
    .from_select(
        ["client_id", "uri", "alg", "user_id", "grant_id", "created_at", "next_at", "attempts"],
        sa.select(
            oauth_clients.c.id,
            oauth_clients.c.backchannel_logout_uri,
            oauth_clients.c.id_token_alg,
            oauth_grants.c.user_id,
            oauth_grants.c.id,
            NOW,
            NOW,
            sa.literal(0),
        )
        .join_from(oauth_grants, oauth_clients, oauth_clients.c.id == oauth_grants.c.client_id)
        .where(oauth_grants.c.id == param("grant"), oauth_clients.c.backchannel_logout_uri.is_not(None)),
    )
)
_CONSENTS = oauth_consents.delete().where(oauth_consents.c.user_id == param("account"))
FORGET_CONSENTS_ON = Statement(_CONSENTS.where(oauth_consents.c.device_id == param("device")))
FORGET_CONSENTS_ON_OTHERS = Statement(_CONSENTS.where(oauth_consents.c.device_id != param("device")))


def end_grants(db: Transaction, which: Statement, why: str, at: int, **of: str) -> Sequence[EndedGrant]:
    """End the live grants among `which` and owe their clients a logout token each; which that were."""
    ended = [EndedGrant(grant, user, client, why) for grant, user, client in db.rows(which, now=at, why=why, **of)]
    if ended:
        db.change_each(_OWE, [{"grant": each.id, "now": at} for each in ended])
    return ended


def revoke_apps_let_in_by(db: Transaction, user_id: str, device_ids: Iterable[str], at: int) -> Sequence[EndedGrant]:
    """End the grants that these devices consented to, and forget what they consented to."""
    ended: list[EndedGrant] = []
    for each in sorted(device_ids):
        ended += end_grants(db, OF_DEVICE, "device_revoked", at, account=user_id, device=each)
        db.change(FORGET_CONSENTS_ON, account=user_id, device=each)
    return ended


def revoke_apps_let_in_by_others(db: Transaction, user_id: str, device_id: str, at: int) -> Sequence[EndedGrant]:
    """The same for all devices but this one."""
    ended = end_grants(db, OF_OTHER_DEVICES, "device_revoked", at, account=user_id, device=device_id)
    db.change(FORGET_CONSENTS_ON_OTHERS, account=user_id, device=device_id)
    return ended
