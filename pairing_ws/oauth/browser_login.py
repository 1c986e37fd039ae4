"""What a browser at the authorization endpoint shows of its login, and how fresh that login is.

Both values are made here and given back to us: a cookie's, which says whose browser it is, and a page's, which says how
things stood when its request came in.
"""

import hashlib
import hmac
from typing import NamedTuple

from pairing_ws.accounts.ports import Session
from pairing_ws.core import codes

# No page waits longer for its person: then the application has forgotten its request as well.
STALE_MS = 1_800_000
_NOBODY = "-"


class Started(NamedTuple):
    """A request as it came in: `at` (ms), and the browser's login then, if it showed one; `proved_at` as below."""

    at: int
    session_id: str | None
    proved_at: int


def proved_at(session: Session) -> int:
    """When a person last showed to be there, in ms: by this login itself, or by a passkey or the host since."""
    return max(session.created_at, session.verified_at or 0)


def is_renewed(session: Session, started: Started) -> bool:
    """Whether the person has shown to be there since the request came in.

    Times of logins are compared where that can be: the server that saw the request may have another clock. Where the
    browser showed no login then, one that is dated by a clock behind has to be repeated.
    """
    if started.session_id:
        return proved_at(session) > started.proved_at
    return proved_at(session) >= started.at


class BrowserLogins:
    """`key` is the pepper of keyed digests."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mark(self, session_id: str) -> str:
        """The cookie's value. It is worth something while that session is alive, at the authorization endpoint alone:
        there it takes an application further that the person has let in before."""
        return f"{session_id}.{self._mac('login-mark', session_id)}"

    def session_of(self, mark: str) -> str | None:
        """The id of the session, which may have ended; None if the mark is none of ours."""
        session_id, _, mac = mark.partition(".")
        return session_id if self._is(mac, "login-mark", session_id) else None

    def seal(self, started: Started, query: str) -> str:
        """The page's value, for this request alone."""
        fields = f"{started.at}.{started.session_id or _NOBODY}.{started.proved_at}"
        return f"{fields}.{self._mac('authorization-started', _bound(fields, query))}"

    def unseal(self, sealed: str, query: str) -> Started | None:
        """None if it is none of ours, or of another request."""
        fields, _, mac = sealed.rpartition(".")
        if not self._is(mac, "authorization-started", _bound(fields, query)):
            return None
        at, session_id, proved = fields.split(".")
        return Started(int(at), None if session_id == _NOBODY else session_id, int(proved))

    def _mac(self, purpose: str, value: str) -> str:
        return codes.base64url(codes.keyed_digest(self._key, purpose, value))

    def _is(self, mac: str, purpose: str, value: str) -> bool:
        return hmac.compare_digest(mac.encode(), self._mac(purpose, value).encode())


def _bound(fields: str, query: str) -> str:
    return f"{fields}.{hashlib.sha256(query.encode()).hexdigest()}"
