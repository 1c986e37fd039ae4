"""The one table of WebSocket close codes: what each means, and whether a client comes back after it.

The sockets, the problem documents, `/asyncapi.json`, the API's README and `static/client/close-codes.js` read it. Codes
from 4400 on are this protocol's own (RFC 6455, section 7.4.2); the others mean what IANA's registry says.
"""

from enum import IntEnum, StrEnum


class ComeBack(StrEnum):
    """What a client does after a close. Each value is the words that people read."""

    NO = "no"
    REFRESHED = "once, with a refreshed key; else no"
    YES = "yes, with growing pauses"
    SPREAD = "yes, spread over some seconds: every client was closed at once"


class CloseCode(IntEnum):
    """A close code. `error` is the `code` that the client's own error has where it does not come back, else ""."""

    come_back: ComeBack
    meaning: str
    error: str

    def __new__(cls, code: int, come_back: ComeBack, meaning: str, error: str = "") -> "CloseCode":
        self = int.__new__(cls, code)
        self._value_ = code
        self.come_back = come_back
        self.meaning = meaning
        self.error = error
        return self

    DONE = 1000, ComeBack.NO, "the final state was delivered"
    GOING_AWAY = 1001, ComeBack.SPREAD, "the server goes away"
    INTERNAL_ERROR = 1011, ComeBack.YES, "the server failed, or the client did not read for 10 s"
    RESTART = 1012, ComeBack.SPREAD, "the server restarts, or its store went back in time"
    OVERLOADED = 1013, ComeBack.YES, "overloaded, or a store is away: wait for `retryAfter` first, or poll"
    BAD_REQUEST = 4400, ComeBack.NO, "the first message was malformed", "bad_request"
    UNAUTHENTICATED = (
        4401,
        ComeBack.REFRESHED,
        "the credential is missing, late, invalid or expired",
        "unauthenticated",
    )
    NOT_FOUND = 4404, ComeBack.NO, "no such pairing for this holder: make a new one", "not_found"
    TAKEN_OVER = 4409, ComeBack.NO, "a newer socket of the same device took over", "taken_over"
