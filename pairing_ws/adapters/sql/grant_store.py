"""What clients were granted: grants and their refresh tokens, consents, and logout tokens that are owed."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import asdict

from pairing_ws.accounts.ended import EndedGrant
from pairing_ws.accounts.ports import Account, Activity, Retired
from pairing_ws.adapters.sql import grant_rows
from pairing_ws.adapters.sql import grant_statements as ask
from pairing_ws.adapters.sql.account_rows import account_of, add_activity, lock_account
from pairing_ws.adapters.sql.executor import (
    Conflict,
    Statement,
    Store,
    Transaction,
    long_write,
    read,
    single_write,
    write,
)
from pairing_ws.adapters.sql.grant_rows import end_grants
from pairing_ws.adapters.sql.grant_statements import grant_of, grants_of, notice_of
from pairing_ws.adapters.sql.statements import TIDY_ROWS
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.ports import Grant, GrantRotation, LogoutNotice, NewGrant, StartedGrant

DAY_MS = 86_400_000


class SqlGrants(Store):
    """See `oauth.ports.GrantStore`.

    Rows are taken in the order of all the others, and after them a client and its grants.
    """

    async def begin(self, grant: NewGrant, limit: int) -> StartedGrant | None:
        try:
            return await self._begin(grant, limit)
        except Conflict:
            # Another account's grant of this origin was committed first.
            return None

    @write
    def _begin(self, db: Transaction, grant: NewGrant, limit: int) -> StartedGrant | None:
        now = grant.created_at
        user = lock_account(db, grant.user_id)
        if user is not None and user.locked_at is not None:
            raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
        # After the lock, and not with it: only now does everybody else stand still.
        ((used, login_stands, device_name),) = db.rows(
            ask.ELIGIBILITY,
            origin=grant.origin,
            session=grant.session_id,
            account=grant.user_id,
            device=grant.device_id,
            now=now,
        )
        if used:
            return None
        if user is None or not login_stands:
            raise Refused(Code.PAIRING_DENIED, "the login that consented no longer stands")
        held = db.rows(ask.HOLD_CLIENT, client=grant.client_id)
        if not held:
            raise Refused(Code.PAIRING_DENIED, "the application is no longer registered")
        row = asdict(grant)
        row["last_ip"] = row.pop("ip")
        words = {"scopes": " ".join(grant.scopes), "amr": " ".join(grant.amr)}
        unset = {"retired": b"[]", "ended_at": None, "ended_why": None}
        db.change(ask.BEGIN, **row | words | unset, last_used_at=now)
        ended: list[EndedGrant] = []
        if limit:
            for (older,) in db.rows(ask.BY_LAST_USE, account=grant.user_id, now=now)[limit:]:
                ended += end_grants(db, grant_rows.GRANT, "limit", now, grant=older)
        ((client_name,),) = held
        add_activity(
            db,
            Activity(
                user_id=grant.user_id,
                at=now,
                event="app.added",
                device_id=grant.device_id,
                device_name=client_name,
                ip=grant.ip,
                by_name=device_name,
            ),
        )
        begun = grant_of(db.rows(ask.GET, grant=grant.id))
        return StartedGrant(begun, ended) if begun else None

    @read
    def get(self, db: Transaction, grant_id: str) -> Grant | None:
        return grant_of(db.rows(ask.GET, grant=grant_id))

    @read
    def of_origin(self, db: Transaction, origin: str) -> Grant | None:
        return grant_of(db.rows(ask.OF_ORIGIN, origin=origin))

    @read
    def of_family(self, db: Transaction, family_hash: str) -> Grant | None:
        return grant_of(db.rows(ask.OF_FAMILY, family=family_hash))

    @single_write
    def rotate(self, db: Transaction, rotation: GrantRotation) -> bool:
        changed = db.change(
            ask.ROTATE,
            grant=rotation.grant_id,
            old_hash=rotation.old_hash,
            new_hash=rotation.new_hash,
            its_retired=msgspec.json.encode(rotation.retired),
            until=rotation.idle_until,
            its_sealed=rotation.sealed,
            repeat_until=rotation.sealed_until,
            at=rotation.at,
            ip=rotation.ip,
            key=rotation.key_thumbprint,
        )
        return changed == 1

    @single_write
    def forget_sealed(self, db: Transaction, grant_id: str, refresh_hash: str, retired: tuple[Retired, ...]) -> None:
        db.change(ask.FORGET_SEALED, grant=grant_id, token=refresh_hash, its_retired=msgspec.json.encode(retired))

    @write
    def end(self, db: Transaction, grant_id: str, why: str, at: int, line: Activity | None = None) -> bool:
        for (owner,) in db.rows(ask.OWNER, grant=grant_id):
            lock_account(db, owner)
        ended = end_grants(db, grant_rows.GRANT, why, at, grant=grant_id)
        if ended and line:
            add_activity(db, line)
        return bool(ended)

    @read
    def live_of_user(self, db: Transaction, user_id: str, now: int) -> Sequence[Grant]:
        return grants_of(db.rows(ask.LIVE_OF_USER, account=user_id, now=now))

    @single_write
    def touch(self, db: Transaction, grant_id: str, at: int, ip: str) -> None:
        db.change(ask.TOUCH, grant=grant_id, at=at, ip=ip)

    @read
    def account(self, db: Transaction, user_id: str) -> Account | None:
        return account_of(db, user_id)

    @read
    def consented(self, db: Transaction, user_id: str, client_id: str) -> frozenset[str]:
        return frozenset(scope for (scope,) in db.rows(ask.CONSENTED, account=user_id, client=client_id))

    async def consent(self, user_id: str, client_id: str, scopes: Sequence[str], device_id: str, at: int) -> None:
        # There is nothing to be remembered of a client that is gone.
        with suppress(Conflict):
            await self._consent(user_id, client_id, scopes, device_id, at)

    @write
    def _consent(
        self, db: Transaction, user_id: str, client_id: str, scopes: Sequence[str], device_id: str, at: int
    ) -> None:
        if lock_account(db, user_id) and scopes:
            rows = [
                {"user_id": user_id, "client_id": client_id, "scope": each, "device_id": device_id, "at": at}
                for each in sorted(set(scopes))
            ]
            db.change_each(ask.CONSENT, rows)

    @single_write
    def forget_consent(self, db: Transaction, user_id: str, client_id: str) -> None:
        db.change(ask.FORGET_CONSENT, account=user_id, client=client_id)

    @single_write
    def due_logouts(self, db: Transaction, now: int, lease_ms: int, most: int) -> Sequence[LogoutNotice]:
        found = db.rows(ask.TAKE_DUE, now=now, until=now + lease_ms, most=most, yesterday=now - DAY_MS)
        return sorted(map(notice_of, found), key=lambda each: each.id)

    @single_write
    def logout_told(self, db: Transaction, notice_id: int) -> None:
        db.change(ask.TOLD, notice=notice_id)

    @single_write
    def logout_failed(self, db: Transaction, notice_id: int, next_at: int) -> None:
        db.change(ask.FAILED, notice=notice_id, at=next_at)

    async def tidy(self, now: int) -> None:
        for each in ask.SWEEPS:
            while await self._sweep(each, now) == TIDY_ROWS:
                pass

    @long_write
    def _sweep(self, db: Transaction, each: Statement, now: int) -> int:
        return db.change(each, now=now, yesterday=now - DAY_MS)
