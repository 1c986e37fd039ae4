"""Security events as lines of the log."""

import structlog

from pairing_ws.core.audit import OFTEN

log = structlog.get_logger()

# A device chooses its name; a line stays a line.
_MOST = 128


def audit(event: str, /, **facts: str | int | None) -> None:
    """See `audit.Audit`."""
    told = {
        name: value[:_MOST] if isinstance(value, str) else value
        for name, value in facts.items()
        if value is not None and value != ""
    }
    # Strangers can make and cancel any number of pairings.
    often = event in OFTEN or (event.startswith("pairing.") and "account" not in told)
    (log.debug if often else log.info)(event, audit=True, **told)
