"""What ends with a login, a device or an account: the stores say which grants of applications were among it, and the
stories write them into the audit log."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pairing_ws.core.audit import Audit


class EndedGrant(NamedTuple):
    """An application's access that has just ended. `why` is as in `oauth.ports.Grant`, or `deleted`."""

    id: str
    user_id: str
    client_id: str
    why: str


class Revoked(NamedTuple):
    """The ids of the devices that were logged out, and what ended along."""

    devices: Sequence[str]
    grants: Sequence[EndedGrant]


def report(audit: Audit, grants: Iterable[EndedGrant], ip: str | None = None) -> None:
    """Write a line of the audit log for each."""
    for each in grants:
        audit("grant.ended", account=each.user_id, client=each.client_id, grant=each.id, why=each.why, ip=ip)
