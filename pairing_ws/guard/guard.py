"""The guard of a host application's own routes: takes an authKey or a client's access token, or says why not."""

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from pairing_ws.adapters.jwt.issuer_keys import IssuerKeys
from pairing_ws.core.clock import Clock, system_clock
from pairing_ws.core.errors import Refused
from pairing_ws.guard.authorities import Authority, RemoteIssuer
from pairing_ws.guard.caller import Caller
from pairing_ws.guard.refusals import (
    denied,
    denied_by_story,
    insufficient_scope,
    invalid_token,
    no_token,
    several_tokens,
)
from pairing_ws.oauth.errors import OAuthError

JWKS = "/.well-known/jwks.json"
_SCHEMES = {"bearer": "Bearer", "dpop": "DPoP"}

Endpoint = Callable[[Request, Caller], Awaitable[Response]]


class Guard:
    """`Guard(login)` in the app that mounts `login`, which `create_app` made; `Guard(issuer=…)` in one beside it.

    `audience`: the `aud` of clients' access tokens that are taken, by default of none. `scopes`: all that a client's
    token has to have. A person's own authKey needs no scope; `auth_keys=False` takes none. `public_url`: where this
    application is found, which proofs have to name (`htu`); if it is mounted beside `login`, that is known. Without it
    a guard beside takes no token that is bound to a key, for `Host` is anybody's word. `jwks_url` is where the keys
    are, if not below the issuer's own address.

    Raises TypeError unless it is given one of `app` and `issuer`; ValueError if keys would come neither by https nor
    from this machine.
    """

    def __init__(
        self,
        app: Starlette | None = None,
        *,
        issuer: str = "",
        audience: str | Sequence[str] = (),
        scopes: Sequence[str] = (),
        auth_keys: bool = True,
        public_url: str = "",
        jwks_url: str = "",
        clock: Clock = system_clock,
    ) -> None:
        if (app is None) == (not issuer):
            raise TypeError("a guard needs the application that create_app made, or its issuer")
        self._authority: Authority
        if app is None:
            issuer = issuer.rstrip("/")
            self._authority = RemoteIssuer(issuer, IssuerKeys(jwks_url or issuer + JWKS, clock), public_url, clock)
        elif hasattr(app.state, "authority"):
            self._authority = app.state.authority
        else:
            raise TypeError("this is no application that create_app made")
        self._audience = frozenset([audience] if isinstance(audience, str) else audience)
        self.scopes = tuple(scopes)
        self._auth_keys = auth_keys
        own = public_url or self._authority.public_url
        self._proofs = self._authority.proofs(own.rstrip("/")) if own else None

    def needs(self, *scopes: str) -> "Guard":
        """The same guard, for a route that needs these scopes as well."""
        more = copy.copy(self)
        more.scopes = (*self.scopes, *scopes)
        return more

    async def __call__(self, connection: HTTPConnection) -> Caller:
        """A dependency of FastAPI: `Annotated[Caller, Depends(guard)]`. Raises Denied."""
        scope = connection.scope
        return await self.check(scope.get("method", "GET"), scope["path"], connection.headers.items())

    def protect(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """A decorator for an endpoint of Starlette, which gets the caller as its second argument."""

        @wraps(endpoint)
        async def protected(request: Request) -> Response:
            return await endpoint(request, await self(request))

        return protected

    async def check(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Caller:
        """For any framework, on any event loop: who sends this request. `path` is decoded and without the query.

        Raises Denied: 400 for several tokens at once; 401 for a token that is missing, unknown, over, for another
        audience or without the proof it needs; 403 for a scope that it lacks; 503 with `Retry-After`.
        """
        try:
            shown = _shown(headers)
        except OAuthError as error:
            raise denied(error) from None
        try:
            claims = await self._authority.verified(shown.token)
            if claims is None:
                raise invalid_token("the access token is unknown, expired or revoked", shown.scheme)
            self._check_audience(claims, shown)
            await self._check_binding(claims, shown, method, path)
            await self._authority.confirm(shown.token, claims)
            caller = Caller.named_by(claims)
            if caller.client_id is not None and not caller.scopes.issuperset(self.scopes):
                raise insufficient_scope(" ".join(self.scopes), shown.scheme)
        except OAuthError as error:
            raise denied(error) from None
        except Refused as refused:
            raise denied_by_story(refused, shown.scheme) from None
        return caller

    def _check_audience(self, claims: Mapping[str, Any], shown: "_Shown") -> None:
        """An authKey's audience is its issuer, which was checked with it."""
        taken = claims["aud"] in self._audience if "client_id" in claims else self._auth_keys
        if not taken:
            raise invalid_token("the access token is for another audience", shown.scheme)

    async def _check_binding(self, claims: Mapping[str, Any], shown: "_Shown", method: str, path: str) -> None:
        """RFC 9449, section 7: a bound token needs its proof and its own scheme, another one must not come by it."""
        if claims.get("cnf") is None:
            if shown.scheme == "DPoP":
                raise invalid_token("the access token is bound to no key", shown.scheme)
            return
        thumbprint = claims["cnf"].get("jkt") if isinstance(claims["cnf"], dict) else None
        if not isinstance(thumbprint, str) or (shown.scheme == "Bearer" and not shown.by_auth_key):
            raise invalid_token("the access token is bound to a key: send it by DPoP, with a proof", "DPoP")
        if self._proofs is None:
            raise invalid_token("this application takes no access token that is bound to a key", "DPoP")
        await self._proofs.verify(shown.proofs, method, quote(path), thumbprint, shown.token)


class _Shown(NamedTuple):
    """`scheme` is the one that challenges name. `Auth-Key` is no scheme, so its token may be bound to a key or not."""

    token: str
    scheme: str
    by_auth_key: bool
    proofs: Sequence[str]


def _shown(headers: Iterable[tuple[str, str]]) -> _Shown:
    """What a request shows. Raises OAuthError unless it has one token."""
    found: list[tuple[str, str]] = []
    proofs = []
    for name, value in headers:
        match name.lower():
            case "authorization":
                scheme, _, token = value.partition(" ")
                if scheme.lower() in _SCHEMES:
                    found.append((_SCHEMES[scheme.lower()], token.strip()))
            case "auth-key":
                found.append(("", value))
            case "dpop":
                proofs.append(value)
    if not found:
        raise no_token()
    if len(found) > 1:
        raise several_tokens()
    scheme, token = found[0]
    return _Shown(token, scheme or "Bearer", not scheme, proofs)
