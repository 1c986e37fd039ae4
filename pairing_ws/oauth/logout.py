"""The story at the logout endpoint: an application sends a person here to be logged out (OpenID Connect RP-Initiated
Logout 1.0)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.sessions import Sessions
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits
from pairing_ws.oauth.authorization import MAX_FIELDS, MAX_STATE, Unanswerable
from pairing_ws.oauth.browser_login import BrowserLogins
from pairing_ws.oauth.endings import Endings
from pairing_ws.oauth.ports import Client, ClientsById, ClientTokens, GrantStore
from pairing_ws.oauth.redirects import answer_address, is_registered_to_the_letter

# In characters, of a query or a form: an id_token can be long, and nothing else of it.
MAX_LOGOUT = 16_384
# All that are read; `logout_hint` and `ui_locales` are wishes that change nothing here.
PARAMETERS = frozenset({"id_token_hint", "client_id", "post_logout_redirect_uri", "state"})


class Leave(NamedTuple):
    """There is nothing to ask: the browser goes there."""

    to: str


class Ask(NamedTuple):
    """The person's turn: whether this browser is to be logged out as well. `ended`: the application's own session has
    ended, which its id_token was reason enough for. `to`: where to go afterwards, if anywhere."""

    client: Client | None
    to: str | None
    ended: bool


class Logouts:
    """`logins` knows browsers' marks."""

    def __init__(
        self,
        clients: ClientsById,
        grants: GrantStore,
        endings: Endings,
        tokens: ClientTokens,
        sessions: Sessions,
        limits: Limits,
        logins: BrowserLogins,
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._endings = endings
        self._tokens = tokens
        self._sessions = sessions
        self._limits = limits
        self._logins = logins

    async def begin(self, query: str, marks: Sequence[str], ip: str) -> Leave | Ask:
        """A browser was sent here. `marks` are the values of its cookie.

        Without an id_token of ours nothing ends before the person has said so on the page: any site can send a browser
        here. Raises Unanswerable, and Refused: RATE_LIMITED, UNAVAILABLE.
        """
        await self._limits.hit("authorize", block(ip))
        given = _read(query)
        hint = self._tokens.verify_id_token_hint(given["id_token_hint"]) if "id_token_hint" in given else None
        client_id = _client_id(given, hint)
        client = await self._clients.get(client_id) if client_id else None
        if client_id and client is None and "post_logout_redirect_uri" in given:
            raise Unanswerable("unknown_client")
        to = _destination(given, client)
        if hint is None:
            return Ask(client, to, ended=False)
        await self._end_grant(hint, client, ip)
        session = await self._session_of(marks)
        # Another person's login is none of this application's business.
        if to and (session is None or session.user.id != hint["sub"]):
            return Leave(to)
        return Ask(client, to, ended=True)

    async def _end_grant(self, hint: Mapping[str, Any], client: Client | None, ip: str) -> None:
        grant = await self._grants.get(hint["sid"]) if client and hint.get("sid") else None
        # The grants of a client that was removed ended with it.
        if client and grant and (grant.client_id, grant.user.id) == (client.id, hint["sub"]):
            await self._endings.logged_out(grant, client, ip)

    async def _session_of(self, marks: Sequence[str]) -> Session | None:
        """As at the authorization endpoint: of several marks none counts."""
        session_id = self._logins.session_of(marks[0]) if len(marks) == 1 else None
        return await self._sessions.reload_if_alive(session_id) if session_id else None


def _read(query: str) -> Mapping[str, str]:
    """The parameters; one without a value is as if it were not there. Raises Unanswerable."""
    try:
        if len(query) > MAX_LOGOUT:
            raise ValueError("too long")
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise Unanswerable("malformed") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in PARAMETERS:
            if name in found or not value.isprintable():
                raise Unanswerable("malformed")
            found[name] = value
    if len(found.get("state", "")) > MAX_STATE:
        raise Unanswerable("malformed")
    return {name: value for name, value in found.items() if value}


def _client_id(given: Mapping[str, str], hint: Mapping[str, Any] | None) -> str | None:
    """Raises Unanswerable where the two name different ones (section 2)."""
    client_id = given.get("client_id")
    if hint and client_id not in (None, hint["aud"]):
        raise Unanswerable("other_client")
    return str(hint["aud"]) if hint else client_id


def _destination(given: Mapping[str, str], client: Client | None) -> str | None:
    """Section 3: an address that the client has registered, to the letter. Raises Unanswerable for any other."""
    uri = given.get("post_logout_redirect_uri")
    if uri is None:
        return None
    if client is None:
        raise Unanswerable("no_client")
    if not is_registered_to_the_letter(uri, client.post_logout_redirect_uris):
        raise Unanswerable("foreign_return")
    return answer_address(uri, {"state": given.get("state")}) if "state" in given else uri
