"""Token exchange (RFC 8693): another issuer's token becomes a session of ours, for a device that is named.

What comes of it is a login, not an application's grant: the account's list of devices, quarantine, step-up and
revocation hold, and its keys are an authKey and a refreshKey.
"""

from pairing_ws.accounts.logins import Logins
from pairing_ws.accounts.types import LoggedIn, Vouched
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import Error, OAuthError, invalid_grant, invalid_request
from pairing_ws.oauth.types import TokenRequest, TokenSet
from pairing_ws.upstream.login import proved_at
from pairing_ws.upstream.people import People, UnknownPerson
from pairing_ws.upstream.ports import Identity, Tokens, Untrusted

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
_KIND = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN = f"{_KIND}access_token"
SUBJECT_TOKENS = frozenset({f"{_KIND}jwt", f"{_KIND}id_token"})
ORIGIN = "exchange"
# A session is remembered for a day after its end, and with it that its token has been used.
MAX_LIFE_SECONDS = 86_400
_REFUSED = {
    Code.UPSTREAM_LOGIN_OVER: "the subject_token was used before",
    Code.ACCOUNT_LOCKED: "the account is locked",
    Code.DEVICE_LIMIT: "the account has too many devices; log one out first",
    Code.LOGIN_REFUSED: "the login was refused",
    # The account was deleted since it was found.
    Code.NOT_FOUND: "no account is linked to this subject",
}


class TokenExchange:
    """`audience` is the one target that there is: the issuer's address."""

    def __init__(
        self, tokens: Tokens, people: People, logins: Logins, audience: str, clock: Clock, audit: Audit
    ) -> None:
        self._tokens = tokens
        self._people = people
        self._logins = logins
        self._audience = audience
        self._clock = clock
        self._audit = audit

    async def exchange(self, request: TokenRequest) -> TokenSet:
        """An authKey, as `access_token`, and a refreshKey. A subject token counts once; the same request again gets the
        same answer for 30 s, as long as nothing of it was used.

        Raises OAuthError: `unauthorized_client`; `invalid_request`, also for a subject token that is not trusted
        (section 2.2.2); `invalid_target`; `invalid_scope`; `invalid_grant` for a token that was used and an account
        that there is none of, or none that may log in. Raises Refused DEVICE_HEADERS_REQUIRED, UNAVAILABLE.
        """
        if not request.client.token_exchange:
            raise OAuthError(Error.UNAUTHORIZED_CLIENT, "the client is not registered for token exchange")
        subject_token = self._subject_token(request)
        # First of all what the caller can see by itself.
        request.device("")
        try:
            identity = await self._tokens.verify(subject_token)
        except Untrusted as refused:
            self._audit("upstream.failed", why=str(refused), client=request.client.id, ip=request.ip)
            raise invalid_request(f"the subject_token is not trusted: {refused}") from refused
        if identity.exp_time - self._clock() // 1000 > MAX_LIFE_SECONDS:
            raise invalid_request("the subject_token lives for more than a day")
        key = await request.proven_key(None)
        return _issued(await self._session(request, identity, subject_token, key), key)

    def _subject_token(self, request: TokenRequest) -> str:
        form = request.form
        if not form.get("subject_token") or not form.get("subject_token_type"):
            raise invalid_request("subject_token and subject_token_type are needed")
        if form["subject_token_type"] not in SUBJECT_TOKENS:
            raise invalid_request(f"subject_token_type has to be one of {', '.join(sorted(SUBJECT_TOKENS))}")
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise invalid_request(f"requested_token_type has to be {ACCESS_TOKEN}")
        if "actor_token" in form or "actor_token_type" in form:
            raise invalid_request("nobody acts for somebody else here: actor_token is not supported")
        if {form.get("audience", self._audience), form.get("resource", self._audience)} != {self._audience}:
            raise OAuthError(Error.INVALID_TARGET, f"the only target here is {self._audience}")
        if "scope" in form:
            raise OAuthError(Error.INVALID_SCOPE, "a device's session has no scopes")
        return form["subject_token"]

    async def _session(self, request: TokenRequest, identity: Identity, token: str, key: str | None) -> LoggedIn:
        device = request.device(key or "")
        try:
            user = await self._people.find(identity)
        except UnknownPerson as unknown:
            self._audit("upstream.unknown", issuer=identity.issuer, subject=identity.subject, ip=request.ip)
            raise invalid_grant("no account is linked to this subject") from unknown
        origin = f"{ORIGIN}:{codes.digest(f'{identity.issuer} {identity.token_id}')}"
        vouched = Vouched(origin, user.id, proved_at(identity.auth_time, self._clock()))
        # All of a request that has to be the same for the same answer.
        sealed_for = "\n".join([token, request.client.id, device.code, key or ""])
        try:
            return await self._logins.log_in_vouched(vouched, device, sealed_for, Code.UPSTREAM_LOGIN_OVER)
        except Refused as refused:
            if refused.code in _REFUSED:
                raise invalid_grant(_REFUSED[refused.code]) from refused
            raise


def _issued(given: LoggedIn, key: str | None) -> TokenSet:
    return TokenSet(
        access_token=given.key_pair.auth_key,
        token_type="DPoP" if key else "Bearer",
        expires_at=given.key_pair.expires_at,
        scope="",
        refresh_token=given.key_pair.refresh_key,
        issued_token_type=ACCESS_TOKEN,
    )
