"""Security events as lines of the log."""

import structlog

from pairing_ws.core.audit import OFTEN

log = structlog.get_logger()


def audit(event: str, /, **facts: str | int | None) -> None:
    """See `audit.Audit`."""
    told = {name: value for name, value in facts.items() if value or value == 0}
    # Strangers can make and cancel any number of pairings.
    often = event in OFTEN or (event.startswith("pairing.") and "account" not in told)
    (log.debug if often else log.info)(event, audit=True, **told)
