"""Security events as lines of the log."""

import logging

import structlog

from pairing_ws.core.audit import OFTEN

log = structlog.get_logger()

# A device chooses its name; a line stays a line.
_MOST = 128


def audit(event: str, /, **facts: str | int | None) -> None:
    """See `audit.Audit`."""
    told = {name: _bounded(value) for name, value in facts.items() if value not in (None, "")}
    # Strangers can make and cancel any number of pairings.
    often = event in OFTEN or (event.startswith("pairing.") and "account" not in told)
    log.log(logging.DEBUG if often else logging.INFO, event, audit=True, **told)


def _bounded(value: str | int | None) -> str | int | None:
    return value[:_MOST] if isinstance(value, str) else value
