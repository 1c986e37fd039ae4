"""Tokens that come back: at UserInfo, to be revoked, to be described (OpenID Connect Core, section 5.3; RFC 7009; RFC
7662; RFC 6750; RFC 9449, section 7)."""

from collections.abc import Mapping
from typing import Any

from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.ports import Account
from pairing_ws.accounts.refresh_keys import RefreshKey
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits
from pairing_ws.oauth import protocol, scopes
from pairing_ws.oauth.endings import Endings
from pairing_ws.oauth.errors import Error, OAuthError, invalid_client
from pairing_ws.oauth.ports import ClientTokens, Grant, GrantStore
from pairing_ws.oauth.protocol_records import ShownToken
from pairing_ws.oauth.types import Policy, ProvenKey, TokenRequest

# What introspection tells of an access token's claims (RFC 7662, section 2.2; RFC 9449, section 6.2).
DESCRIBED = ("scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti", "sid", "auth_time", "acr", "cnf")
# How often a grant's last use is stored.
TOUCH_MS = 60_000


class ShownTokens:
    """Every answer is from SQL, whatever the token says: what has ended counts for nothing at once, at every process.
    `here` names this process's clock in what it dates."""

    def __init__(
        self,
        tokens: ClientTokens,
        grants: GrantStore,
        endings: Endings,
        limits: Limits,
        policy: Policy,
        clock: Clock,
        here: str,
    ) -> None:
        self._tokens = tokens
        self._grants = grants
        self._endings = endings
        self._limits = limits
        self._policy = policy
        self._clock = clock
        self._here = here

    async def user_info(self, token: str, scheme: str, ip: str, proven_key: ProvenKey) -> Mapping[str, Any]:
        """What the token's scopes tell of its account. `scheme` is the one it came by: `bearer` or `dpop`.

        Raises OAuthError with a challenge, `invalid_token`, `insufficient_scope` or of DPoP; Refused RATE_LIMITED.
        """
        await self._limits.hit("oauth", block(ip))
        now = self._clock()
        claims = self._tokens.verify_access_token(token, now)
        if claims is None:
            raise _invalid_token(scheme)
        bound_to = (claims.get("cnf") or {}).get("jkt")
        if bool(bound_to) != (scheme == "dpop"):
            raise _invalid_token(scheme)
        if bound_to and await proven_key(token) != bound_to:
            raise OAuthError(
                Error.INVALID_DPOP_PROOF, "the proof is by another key than the token", status=401, challenge="DPoP"
            )
        grant = await self._grants.get(claims["sid"])
        account = await self._grants.account(claims["sub"]) if grant else None
        if grant is None or account is None or not _stands(grant, claims, now):
            raise _invalid_token(scheme)
        granted = claims["scope"].split()
        if scopes.OPENID not in granted:
            raise OAuthError(
                Error.INSUFFICIENT_SCOPE, "the scope openid is needed", status=403, challenge=_challenge(scheme)
            )
        await self._acknowledge(grant, claims, now)
        if now - grant.last_used_at >= TOUCH_MS:
            await self._grants.touch(grant.id, now, ip)
        return _told(account, granted)

    async def accept(self, claims: Mapping[str, Any]) -> None:
        """A resource server in this process was shown the access token with these claims, which hold, by who may show
        it. Raises OAuthError `invalid_token` if its grant has ended."""
        now = self._clock()
        grant = await self._grants.get(claims["sid"])
        if grant is None or not _stands(grant, claims, now):
            raise _invalid_token("dpop" if claims.get("cnf") else "bearer")
        await self._acknowledge(grant, claims, now)

    async def revoke(self, request: TokenRequest) -> None:
        """End the token's grant, and with it all its tokens. One that is unknown or over is no error. Raises
        OAuthError `invalid_grant` for another client's."""
        shown = await self._shown(request.form.get("token", ""))
        if not protocol.revokes(request, shown):
            return
        assert shown
        await self._endings.revoked(shown.grant, request.client, request.ip)

    async def introspect(self, request: TokenRequest) -> Mapping[str, Any]:
        """`{"active": false}` and nothing else, or what the token is. Raises OAuthError `invalid_client` for a public
        client: who asks has to be known."""
        if request.client.is_public:
            raise invalid_client("only a client that authenticates may ask that")
        text = request.form.get("token", "")
        shown = await self._shown(text)
        described = protocol.describe(request, shown)
        if shown and described["active"] and (claims := self._tokens.verify_access_token(text, self._clock())):
            # A resource server has been shown it.
            await self._acknowledge(shown.grant, claims, self._clock())
        return described

    async def _shown(self, token: str) -> ShownToken | None:
        """The token with its grant, whether it counts or not; None if it is none of ours."""
        now = self._clock()
        if claims := self._tokens.verify_access_token(token, now):
            grant = await self._grants.get(claims["sid"])
            if grant is None:
                return None
            described = {name: claims[name] for name in DESCRIBED if name in claims}
            described["token_type"] = "DPoP" if "cnf" in claims else "Bearer"
            return ShownToken(grant, described, _stands(grant, claims, now))
        key = RefreshKey.parse(token)
        grant = await self._grants.of_family(key.family_hash) if key else None
        return self._shown_refresh_token(grant, token, now) if grant else None

    def _shown_refresh_token(self, grant: Grant, token: str, now: int) -> ShownToken:
        described = {
            "scope": " ".join(grant.scopes),
            "client_id": grant.client_id,
            "sub": grant.user.id,
            "iss": self._policy.issuer,
            "exp": min(grant.idle_until, grant.ends_at) // 1000,
            "iat": (grant.retired[-1].at if grant.retired else grant.created_at) // 1000,
            "sid": grant.id,
            **({"cnf": {"jkt": grant.key_thumbprint}} if grant.key_thumbprint else {}),
        }
        return ShownToken(grant, described, grant.alive_at(now) and codes.matches(token, grant.refresh_hash))

    async def _acknowledge(self, grant: Grant, claims: Mapping[str, Any], now: int) -> None:
        """The first use of an answer ends its repetition; an older token's use must not cost a client the answer of a
        refresh that got lost."""
        if grant.sealed and grant.refresh_hash.startswith(claims["rt_hash"]):
            used = keys.successor_used(grant, now, self._here)
            await self._grants.forget_sealed(grant.id, grant.refresh_hash, used)


def _stands(grant: Grant, claims: Mapping[str, Any], now: int) -> bool:
    return grant.alive_at(now) and (grant.user.id, grant.client_id) == (claims["sub"], claims["client_id"])


def _told(account: Account, granted: list[str]) -> Mapping[str, Any]:
    return {"sub": account.user.id, **scopes.claims(account, granted)}


def _challenge(scheme: str) -> str:
    return "DPoP" if scheme == "dpop" else "Bearer"


def _invalid_token(scheme: str) -> OAuthError:
    return OAuthError(
        Error.INVALID_TOKEN, "the access token is unknown, expired or revoked", status=401, challenge=_challenge(scheme)
    )
