"""Refusals that several stories of accounts share."""

from pairing_ws.core.errors import Code, Refused

# By `Session.ended_why`, for people.
END_REASONS = {
    "replaced": "this device's code has logged in again, on this machine or on another one that has it",
    "revoked": "another device has logged this one out",
    "logged_out": "this session was logged out",
    "key_reused": "a key that was exchanged long ago has come again, and ended the session",
}


def unauthenticated(why: str | None = None) -> Refused:
    """One answer for every key that is missing, wrong or expired; a true one's holder learns why the session ended."""
    if why in END_REASONS:
        return Refused(Code.UNAUTHENTICATED, END_REASONS[why], reason=why)
    return Refused(Code.UNAUTHENTICATED, "no valid credential")


def no_such_user() -> Refused:
    return Refused(Code.NOT_FOUND, "no such user")


def no_such_device() -> Refused:
    return Refused(Code.NOT_FOUND, "no such device in this account")
