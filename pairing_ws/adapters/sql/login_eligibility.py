"""Whether a login may happen: what may refuse it, and all that decides about it, each in one read."""

from typing import NamedTuple

from pairing_ws.adapters.sql import statements as ask
from pairing_ws.adapters.sql.executor import Transaction
from pairing_ws.core.errors import Code, Refused


class LoginConditions(NamedTuple):
    """The columns of `statements.LOGIN_CONDITIONS`."""

    locked_at: int | None
    # The device whose session approved, if that still stands.
    approver: str | None
    # Counted up to the limit.
    others: int

    def require_approver(self) -> None:
        if self.approver is None:
            raise approver_gone()

    def require_room(self, limit: int) -> None:
        if limit and self.others >= limit:
            raise Refused(Code.DEVICE_LIMIT, f"the account has {limit} devices; log one out first")


class LoginEligibility(NamedTuple):
    """The columns of `statements.LOGIN_ELIGIBILITY`, which begin with the conditions'."""

    conditions: LoginConditions
    account_has_devices: bool
    has_unrevoked_session: bool
    origin_is_used: bool
    # Whether it comes again while its last session is alive.
    has_live_session: bool
    # The device that let it in the last time.
    parent_before: str | None
    # By a person.
    given_name: str | None


def login_conditions(
    db: Transaction, user_id: str, device_id: str, approved_by: str, now: int, limit: int
) -> LoginConditions | None:
    """Asked up to three times before a login begins, on an approval's way too: hence without what only the login itself
    needs, which is a quarter of the read."""
    found = db.rows(
        ask.LOGIN_CONDITIONS, account=user_id, device=device_id, approved_by=approved_by, now=now, limit=limit
    )
    return LoginConditions(*found[0]) if found else None


def login_eligibility(
    db: Transaction,
    user_id: str,
    device_id: str,
    approved_by: str | None,
    now: int,
    limit: int,
    origin: str,
) -> LoginEligibility | None:
    found = db.rows(
        ask.LOGIN_ELIGIBILITY,
        account=user_id,
        device=device_id,
        approved_by=approved_by,
        now=now,
        limit=limit,
        origin=origin,
    )
    if not found:
        return None
    cut = len(LoginConditions._fields)
    return LoginEligibility(LoginConditions(*found[0][:cut]), *found[0][cut:])


def approver_gone() -> Refused:
    return Refused(Code.PAIRING_DENIED, "the device that approved is no longer logged in")
