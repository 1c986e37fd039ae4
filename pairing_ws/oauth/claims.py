"""What tokens say: id_tokens (OpenID Connect Core, section 2) and access tokens (RFC 9068), made for a grant."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from pairing_ws.accounts.ports import Account
from pairing_ws.accounts.refresh_keys import RefreshKey
from pairing_ws.core import codes
from pairing_ws.oauth import scopes
from pairing_ws.oauth.ports import Client, ClientTokens, Grant, NewGrant
from pairing_ws.oauth.types import Policy, TokenSet


class Occasion(NamedTuple):
    """What differs from one answer to the next of the same grant. `key_thumbprint`: what the access token is bound to;
    `nonce`: of the authorization request, for its first id_token alone (OpenID Connect Core, section 12.2)."""

    scopes: Sequence[str]
    refresh_token: RefreshKey
    now: int
    key_thumbprint: str | None = None
    nonce: str | None = None


class Issuer:
    """Makes sets of tokens. `here` names this process's clock in what it dates."""

    def __init__(self, tokens: ClientTokens, policy: Policy, random: codes.RandomBytes, here: str) -> None:
        self._tokens = tokens
        self._policy = policy
        self._random = random
        self._here = here

    def issue(self, client: Client, account: Account, grant: NewGrant | Grant, occasion: Occasion) -> TokenSet:
        expires_at = min(occasion.now + self._policy.access_token, grant.ends_at)
        scope = " ".join(occasion.scopes)
        access_token = self._tokens.sign(
            self._access_claims(client, account, grant, occasion, scope, expires_at),
            typ="at+jwt",
            alg=client.access_token_alg,
        )
        id_token = None
        if scopes.OPENID in occasion.scopes:
            claims = self._id_claims(client, account, grant, occasion, access_token)
            id_token = self._tokens.sign(claims, typ="JWT", alg=client.id_token_alg)
        return TokenSet(
            access_token=access_token,
            token_type="DPoP" if occasion.key_thumbprint else "Bearer",
            expires_at=expires_at,
            scope=scope,
            refresh_token=str(occasion.refresh_token),
            id_token=id_token,
            by=self._here,
        )

    def _access_claims(
        self,
        client: Client,
        account: Account,
        grant: NewGrant | Grant,
        occasion: Occasion,
        scope: str,
        expires_at: int,
    ) -> dict[str, Any]:
        """RFC 9068, section 2.2. `rt_hash` names the answer that it is part of, as an authKey's does."""
        return {
            "iss": self._policy.issuer,
            "sub": account.user.id,
            "aud": client.audience or client.id,
            "client_id": client.id,
            "exp": expires_at // 1000,
            "iat": occasion.now // 1000,
            "jti": codes.token(self._random),
            "scope": scope,
            "sid": grant.id,
            "auth_time": grant.auth_time,
            "rt_hash": occasion.refresh_token.half_hash,
            **({"acr": grant.acr} if grant.acr else {}),
            **({"cnf": {"jkt": occasion.key_thumbprint}} if occasion.key_thumbprint else {}),
        }

    def _id_claims(
        self, client: Client, account: Account, grant: NewGrant | Grant, occasion: Occasion, access_token: str
    ) -> dict[str, Any]:
        return {
            **scopes.claims(account, occasion.scopes),
            "iss": self._policy.issuer,
            "sub": account.user.id,
            "aud": client.id,
            "azp": client.id,
            "exp": (occasion.now + self._policy.id_token) // 1000,
            "iat": occasion.now // 1000,
            "auth_time": grant.auth_time,
            "amr": list(grant.amr),
            "sid": grant.id,
            "at_hash": half_hash(access_token),
            **({"acr": grant.acr} if grant.acr else {}),
            **({"nonce": occasion.nonce} if occasion.nonce else {}),
        }


def half_hash(token: str) -> str:
    """`at_hash` (OpenID Connect Core, section 3.1.3.6): both of our algorithms hash with SHA-256."""
    return codes.base64url(hashlib.sha256(token.encode()).digest()[:16])
