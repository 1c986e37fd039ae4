"""The story at the authorization endpoint: whether the person has to log in or to be asked, and the code in the end."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.accounts.sessions import Sessions
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits
from pairing_ws.oauth import authorization
from pairing_ws.oauth.authorization import AuthorizationError, AuthorizationRequest, Destination, Prompt
from pairing_ws.oauth.browser_login import STALE_MS, BrowserLogins, Started, is_renewed, proved_at
from pairing_ws.oauth.errors import Error
from pairing_ws.oauth.ports import AuthorizationCode, Client, ClientsById, ClientTokens, CodeStore, GrantStore
from pairing_ws.oauth.redirects import scheme_of
from pairing_ws.oauth.types import Acr

CODE_MS = 60_000

Decision = Literal["approve", "deny"]
# What the person has to do: log in (for the first time, again, as another account), or say yes.
Needs = Literal["login", "fresh_login", "other_account", "consent"]


class Redirect(NamedTuple):
    """The answer to the client: where the browser goes."""

    to: str


class Question(NamedTuple):
    """The person's turn. `missing`: the scopes that they have not let the client have before. `started` has to come
    back with the decision."""

    needs: Needs
    client: Client
    redirect_uri: str
    scopes: Sequence[str]
    missing: Sequence[str]
    started: str


class Authorizations:
    """`logins` knows browsers' marks. `issuer` is the public address. `audit` gets every event for the audit log."""

    def __init__(
        self,
        clients: ClientsById,
        grants: GrantStore,
        code_store: CodeStore,
        tokens: ClientTokens,
        sessions: Sessions,
        limits: Limits,
        logins: BrowserLogins,
        issuer: str,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._codes = code_store
        self._tokens = tokens
        self._sessions = sessions
        self._limits = limits
        self._logins = logins
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._audit = audit

    def mark(self, session: Session) -> str:
        """See `BrowserLogins.mark`."""
        return self._logins.mark(session.id)

    async def begin(self, query: str, marks: Sequence[str], ip: str) -> Redirect | Question:
        """A browser was sent here. `marks` are the values of its cookie.

        With `prompt=none` it is never the person's turn. Raises Unanswerable, and Refused: RATE_LIMITED, UNAVAILABLE.
        """
        try:
            return await self._begin(query, marks, ip)
        except Refused as refused:
            # Where nobody looks, the client is told, if only it can be looked up.
            found = await self._read(query)
            if isinstance(found, Redirect):
                return found
            if Prompt.NONE not in found[0].prompt:
                raise
            return Redirect(found[1].with_error(Error.TEMPORARILY_UNAVAILABLE, f"{refused.code}: try again later"))

    async def _begin(self, query: str, marks: Sequence[str], ip: str) -> Redirect | Question:
        await self._limits.hit("authorize", block(ip))
        found = await self._read(query)
        if isinstance(found, Redirect):
            return found
        request, where = found
        session = await self._session_of(marks)
        question = await self._question(request, session, None)
        if question is None and session:
            return await self._grant(request, where, session, ip)
        needs, missing = question or ("login", ())
        if Prompt.NONE in request.prompt:
            # OpenID Connect Core, section 3.1.2.6.
            error = Error.CONSENT_REQUIRED if needs == "consent" else Error.LOGIN_REQUIRED
            return Redirect(where.with_error(error, f"the person would have to be asked for: {needs}"))
        return self._asked(request, query, needs, missing, session)

    async def decide(
        self, query: str, session: Session, decision: Decision | None, started: str | None, ip: str
    ) -> Redirect | Question:
        """A page of ours asks for the person that is logged in, with their decision once they have made it.

        `started`: from the page, or the question before; what wants a fresh login gets no further without. Raises
        Unanswerable, and Refused: AUTHORIZATION_STALE, UNAUTHENTICATED, RATE_LIMITED, UNAVAILABLE.
        """
        await self._limits.hit("authorize", session.id)
        found = await self._read(query)
        if isinstance(found, Redirect):
            return found
        request, where = found
        came_in = self._came_in(query, started)
        if decision == "deny":
            self._told("consent.refused", request.client, session, ip)
            return Redirect(where.with_error(Error.ACCESS_DENIED, "the person said no"))
        # As it is now: how fresh the login is may have changed at another process.
        alive = await self._sessions.reload_if_alive(session.id, session.signed_by)
        if alive is None:
            raise unauthenticated()
        question = await self._question(request, alive, came_in)
        if question and not (question[0] == "consent" and decision == "approve"):
            # A login that counts already has to count with the decision too; one that does not is compared from now on.
            kept = started if question[0] != "fresh_login" else None
            return self._asked(request, query, *question, alive, kept, came_in.at if came_in else None)
        if question:
            await self._grants.consent(alive.user.id, request.client.id, request.scopes, alive.device.id, self._clock())
            self._told("consent.given", request.client, alive, ip, scopes=" ".join(request.scopes))
        return await self._grant(request, where, alive, ip)

    async def _read(self, query: str) -> tuple[AuthorizationRequest, Destination] | Redirect:
        given = authorization.read(query)
        client = await self._clients.get(authorization.client_id(given))
        where = authorization.destination(given, client, self._issuer)
        assert client, "without one there is no destination"
        try:
            return authorization.checked(given, client, self._subject_of), where
        except AuthorizationError as refused:
            return Redirect(where.with_error(refused.error, refused.description))

    def _subject_of(self, hint: str) -> str | None:
        claims = self._tokens.verify_id_token_hint(hint)
        return str(claims["sub"]) if claims else None

    async def _session_of(self, marks: Sequence[str]) -> Session | None:
        """The browser's login. Of several marks somebody else has planted one: then none counts."""
        session_id = self._logins.session_of(marks[0]) if len(marks) == 1 else None
        return await self._sessions.reload_if_alive(session_id) if session_id else None

    def _came_in(self, query: str, started: str | None) -> Started | None:
        if started is None:
            return None
        came_in = self._logins.unseal(started, query)
        if came_in is None:
            raise Refused(Code.AUTHORIZATION_STALE, "started belongs to another request")
        if self._clock() - came_in.at >= STALE_MS:
            raise Refused(Code.AUTHORIZATION_STALE, "begin again at the application")
        return came_in

    async def _question(
        self, request: AuthorizationRequest, session: Session | None, came_in: Started | None
    ) -> tuple[Needs, Sequence[str]] | None:
        """What the person has to do first, and which scopes they have not allowed yet; None if there is nothing."""
        if session is None:
            return "login", ()
        if request.subject not in (None, session.user.id):
            return "other_account", ()
        if self._has_to_be_fresh(request, session) and not (came_in and is_renewed(session, came_in)):
            return "fresh_login", ()
        known = await self._grants.consented(session.user.id, request.client.id)
        missing = [scope for scope in request.scopes if scope not in known]
        asked_for = request.prompt & {Prompt.CONSENT, Prompt.SELECT_ACCOUNT}
        if asked_for or _can_be_impersonated(request) or (missing and not request.client.trusted):
            return "consent", missing
        return None

    def _has_to_be_fresh(self, request: AuthorizationRequest, session: Session) -> bool:
        if Prompt.LOGIN in request.prompt:
            return True
        return request.max_age is not None and self._clock() - proved_at(session) >= request.max_age * 1000

    def _asked(
        self,
        request: AuthorizationRequest,
        query: str,
        needs: Needs,
        missing: Sequence[str],
        session: Session | None,
        started: str | None = None,
        came_in_at: int | None = None,
    ) -> Question:
        if started is None:
            login = (session.id, proved_at(session)) if session else (None, 0)
            started = self._logins.seal(Started(came_in_at or self._clock(), *login), query)
        return Question(needs, request.client, request.redirect_uri, request.scopes, missing, started)

    async def _grant(self, request: AuthorizationRequest, where: Destination, session: Session, ip: str) -> Redirect:
        code = codes.token(self._random, 32)
        is_verified = (session.verified_at or 0) > session.created_at
        kept = AuthorizationCode(
            client_id=request.client.id,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            user_id=session.user.id,
            session_id=session.id,
            device_id=session.device.id,
            scopes=request.scopes,
            auth_time=proved_at(session) // 1000,
            # RFC 8176: `user`, that a person was there.
            amr=(session.amr, "user") if is_verified else (session.amr,),
            acr=Acr.PERSON if is_verified else Acr.DEVICE,
            nonce=request.nonce,
            dpop_thumbprint=request.dpop_jkt,
        )
        await self._codes.keep(codes.digest(code), kept, CODE_MS)
        self._told("authorization.granted", request.client, session, ip)
        return Redirect(where.with_code(code))

    def _told(self, event: str, client: Client, session: Session, ip: str, **facts: str) -> None:
        self._audit(
            event,
            account=session.user.id,
            session=session.id,
            device=session.device.id,
            client=client.id,
            client_name=client.name,
            ip=ip,
            **facts,
        )


def _can_be_impersonated(request: AuthorizationRequest) -> bool:
    """Whether any application on the person's device may get the answer, and needs no secret to redeem it (RFC 8252,
    section 8.6): then the person is asked each time. Only an https address has one owner; plain http is for this very
    machine, where any program may listen."""
    return request.client.is_public and scheme_of(request.redirect_uri) != "https"
