"""The story of forward auth: a proxy asks of each request to a protected host whose it is, and sends browsers here that
have not logged in there.

That login is an authorization code of ours, asked for by the protected host and redeemed here: from the login host's
address to the protected one's goes a code that is worth something once, for a minute, there, and to the browser that
began (RFC 6749, section 4.1; RFC 7636). What the browser keeps at the protected host then stands for the session by
which it is logged in at the login host, and ends with that. It is no grant and no app with access.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from pairing_ws.accounts.ports import Account, Session
from pairing_ws.accounts.sessions import Sessions
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits, SharedCounters
from pairing_ws.oauth.authorization import MAX_FIELDS, MAX_QUERY
from pairing_ws.oauth.consent import CODE_MS
from pairing_ws.oauth.ports import CodeStore, GrantStore
from pairing_ws.oauth.protected_hosts import OWN_PATHS, ProtectedHost, ProtectedHosts

# A login that ended elsewhere is over here so soon after; the contract allows 5 s.
KNOWN_MS = 2_000
MAX_KNOWN = 50_000
# Of the path and query that a person is led back to, in characters: they travel as `state`, encoded.
MAX_TO = 1500
_TO = re.compile(r"/[\x21-\x7e]*")
_NONCE_BYTES, _NONCE_LETTERS = 16, 22


class Begun(NamedTuple):
    """`secret` is for the browser alone; `query` is of the authorization request that it is sent on to."""

    secret: str
    query: str


class Entered(NamedTuple):
    """`mark` is what the browser keeps at this host; `to` is where the person wanted to go: a path and query."""

    mark: str
    to: str


class NotEntered(Exception):
    """A browser came back without a login that counts. `reason` is one of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


# For those who run it; people read other words.
REASONS = {
    "malformed": "the address is none that the login leads back to",
    "other_browser": "the login was begun in another browser, or its cookie is gone",
    "denied": "the person said no",
    "failed": "the authorization endpoint refused",
    "stale": "the code is unknown, used, over a minute old, or of another host or browser; or its login has ended",
    "not_allowed": "the account is in none of the groups that may open this host",
}


class ForwardAuth:
    """`key` is the pepper of keyed digests, `issuer` the public address."""

    def __init__(
        self,
        hosts: ProtectedHosts,
        code_store: CodeStore,
        grants: GrantStore,
        sessions: Sessions,
        limits: Limits,
        counters: SharedCounters,
        key: bytes,
        issuer: str,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
    ) -> None:
        self.hosts = hosts
        self._codes = code_store
        self._grants = grants
        self._sessions = sessions
        self._limits = limits
        self._counters = counters
        self._key = key
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._audit = audit
        # By session: until when it may be used, the account; None once the session has ended.
        self._known: dict[str, tuple[int, Account | None]] = {}

    async def account(self, host: ProtectedHost, marks: Sequence[str]) -> Account | None:
        """Who is logged in at this host, by the values of its cookie; None if nobody is. Of several values somebody
        else has planted one: then none counts.

        The answer was true within the last 2 s. Whether the host lets the account in, `host.lets_in` says. Raises
        Unavailable.
        """
        session_id, _, mac = marks[0].partition(".") if len(marks) == 1 else ("", "", "")
        if not hmac.compare_digest(mac.encode(), self._mac(host, session_id).encode()):
            return None
        now = self._clock()
        until, account = self._known.get(session_id, (0, None))
        # A clock that was set back must not keep what was known for longer.
        if until - KNOWN_MS <= now < until:
            return account
        _, account = await self._read(session_id)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[session_id] = (now + KNOWN_MS, account)
        return account

    def begin(self, host: ProtectedHost, to: str, kept: Sequence[str]) -> Begun:
        """A browser wants to open `to` at this host. `kept` are the values of its cookie from an earlier beginning: one
        secret is for all that it begins, for it may open several pages at once."""
        secret = self._secret(kept) or codes.token(self._random, 32)
        state = codes.token(self._random, _NONCE_BYTES) + (to if _leads_somewhere(to) else "/")
        query = {
            "client_id": host.client_id,
            "redirect_uri": host.callback,
            "response_type": "code",
            "scope": "profile email groups",
            "state": state,
            "code_challenge": _challenge(self._verifier(host, secret, state)),
            "code_challenge_method": "S256",
        }
        return Begun(secret, urlencode(query))

    async def enter(self, host: ProtectedHost, query: str, kept: Sequence[str], ip: str) -> Entered:
        """A browser is back at this host, with a code in the query. Exactly one of many callers with it gets in.

        Raises NotEntered, and Refused: RATE_LIMITED, UNAVAILABLE.
        """
        await self._limits.hit("authorize", block(ip))
        given = _read(query)
        secret, state = self._secret(kept), given.get("state", "")
        if secret is None:
            raise NotEntered("other_browser")
        if given.get("iss") != self._issuer:
            raise NotEntered("malformed")
        if "error" in given:
            raise NotEntered("denied" if given["error"] == "access_denied" else "failed")
        session_id = await self._redeem(host, given.get("code", ""), self._verifier(host, secret, state))
        # Never from what is known: it may have ended since the code was given.
        session, account = await self._read(session_id)
        if session is None or account is None:
            raise NotEntered("stale")
        if not host.lets_in(account.profile.groups):
            self._told("forward_auth.refused", host, session, ip)
            raise NotEntered("not_allowed")
        self._told("forward_auth.entered", host, session, ip)
        return Entered(f"{session.id}.{self._mac(host, session.id)}", state[_NONCE_LETTERS:])

    async def _redeem(self, host: ProtectedHost, code: str, verifier: str) -> str:
        """The session that the code was given to."""
        digest = codes.digest(code)
        found = await self._codes.get(digest) if code else None
        if found is None or (found.client_id, found.redirect_uri) != (host.client_id, host.callback):
            raise NotEntered("stale")
        # Before it is used up: who has only seen the code can't take it from the browser that began.
        if not hmac.compare_digest(found.code_challenge, _challenge(verifier)):
            raise NotEntered("stale")
        if not await self._counters.mark(f"forward-auth:{digest}", 2 * CODE_MS):
            raise NotEntered("stale")
        return found.session_id

    async def _read(self, session_id: str) -> tuple[Session | None, Account | None]:
        session = await self._sessions.reload_if_alive(session_id)
        return session, await self._grants.account(session.user.id) if session else None

    def _secret(self, kept: Sequence[str]) -> str | None:
        return kept[0] if len(kept) == 1 and codes.is_secret(kept[0]) else None

    def _verifier(self, host: ProtectedHost, secret: str, state: str) -> str:
        """Of one host, browser and attempt, and of where that leads: nothing of it has to be stored."""
        bound = "\n".join([host.name, secret, state])
        return codes.base64url(codes.keyed_digest(self._key, "forward-auth-verifier", bound))

    def _mac(self, host: ProtectedHost, session_id: str) -> str:
        bound = f"{host.name}\n{session_id}"
        return codes.base64url(codes.keyed_digest(self._key, "forward-auth-login", bound))

    def _told(self, event: str, host: ProtectedHost, session: Session, ip: str) -> None:
        self._audit(event, account=session.user.id, session=session.id, device=session.device.id, host=host.name, ip=ip)


def _challenge(verifier: str) -> str:
    """RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _leads_somewhere(to: str) -> bool:
    """Whether it is a path of the application: behind the host's own origin it leads nowhere else."""
    return len(to) <= MAX_TO and _TO.fullmatch(to) is not None and not to.startswith(OWN_PATHS)


def _read(query: str) -> Mapping[str, str]:
    """The parameters of an answer of the authorization endpoint. Raises NotEntered."""
    try:
        if len(query) > MAX_QUERY:
            raise ValueError("too long")
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise NotEntered("malformed") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found or not value.isprintable():
            raise NotEntered("malformed")
        found[name] = value
    return found
