"""How long another server wants to be left alone."""

from email.utils import parsedate_to_datetime

from pairing_ws.core.clock import Clock


def retry_after(value: str, clock: Clock) -> float | None:
    """The seconds of a header `Retry-After`, a number or a date (RFC 9110, section 10.2.3); None if it is neither."""
    if value.isascii() and value.isdecimal():
        # What is longer than a year is longer than anybody waits.
        return float(value[:8])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - clock() / 1000)
    except (ValueError, TypeError, OverflowError):
        return None
