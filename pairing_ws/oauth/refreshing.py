"""How a client renews its tokens: refresh tokens rotate, with the grace of our own refreshKeys (RFC 6749, section 6;
RFC 9700, section 4.14.2; RFC 9449, section 5)."""

from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.ports import Account
from pairing_ws.accounts.refresh_keys import RefreshKey, RefreshOutcome
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.ports import Limits
from pairing_ws.oauth import protocol
from pairing_ws.oauth.claims import Issuer, Occasion
from pairing_ws.oauth.endings import Endings
from pairing_ws.oauth.errors import Error, OAuthError, invalid_grant
from pairing_ws.oauth.ports import Grant, GrantRotation, GrantStore
from pairing_ws.oauth.types import Policy, TokenRequest, TokenSet


class Refreshing:
    """`here` names this process's clock in what it dates."""

    def __init__(
        self,
        grants: GrantStore,
        issuer: Issuer,
        endings: Endings,
        limits: Limits,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        here: str,
        audit: Audit,
    ) -> None:
        self._grants = grants
        self._issuer = issuer
        self._endings = endings
        self._limits = limits
        self._policy = policy
        self._clock = clock
        self._random = random
        self._here = here
        self._audit = audit

    async def refresh(self, request: TokenRequest) -> TokenSet:
        """New tokens for the current refresh token, of fewer scopes if fewer are asked for.

        The token before it gets the same answer again, while nothing of that was used. One that is older still is a
        copy's: the grant ends. Raises OAuthError, `invalid_grant` for all of that, and Refused RATE_LIMITED.
        """
        token = RefreshKey.parse(request.form.get("refresh_token", ""))
        key: str | None = None
        is_first = True
        while True:
            grant = await self._grants.of_family(token.family_hash) if token else None
            now = self._clock()
            granted = protocol.refresh(request, grant)
            # Or Authlib had refused.
            assert token
            assert grant
            if not grant.alive_at(now):
                raise invalid_grant("the refresh token has expired or was revoked")
            if is_first:
                # Before it is counted: who has stolen the token alone can't use up its owner's rate.
                key = await self._proven_key(request, grant)
                await self._limits.hit("refresh", grant.id)
                is_first = False
            secret = "\n".join([str(token), " ".join(granted), key or ""])
            outcome = keys.classify(grant, token, now, self._here)
            if outcome is RefreshOutcome.ROTATE:
                tokens = await self._rotate(request, grant, token, Occasion(granted, token, now, key), secret)
                if tokens is None:
                    continue
                return tokens
            if outcome is RefreshOutcome.REPEAT and (tokens := keys.unseal(grant.sealed, secret, TokenSet)):
                return await self._with_valid_access_token(request, grant, tokens, Occasion(granted, token, now, key))
            if outcome is not RefreshOutcome.STOLEN:
                raise invalid_grant("the refresh token was exchanged, and its successor is in use")
            await self._endings.reused(grant, request.client, request.ip)
            raise invalid_grant("the refresh token was used before; the grant has ended")

    async def _proven_key(self, request: TokenRequest, grant: Grant) -> str | None:
        """Which key the new access token is bound to. A public client has nothing but that key to prove that the
        refresh token is its own (RFC 9449, section 5)."""
        key = await request.proven_key(None)
        if grant.key_thumbprint is None:
            return key
        if key is None or (request.client.is_public and key != grant.key_thumbprint):
            raise OAuthError(Error.INVALID_DPOP_PROOF, "a DPoP proof by the key that the grant is bound to is needed")
        return key

    async def _rotate(
        self, request: TokenRequest, grant: Grant, token: RefreshKey, occasion: Occasion, secret: str
    ) -> TokenSet | None:
        new = token.successor(self._random)
        account = await self._account(grant)
        tokens = self._issuer.issue(request.client, account, grant, occasion._replace(refresh_token=new))
        rotation = GrantRotation(
            grant_id=grant.id,
            old_hash=token.hash,
            new_hash=new.hash,
            retired=keys.retire(grant, token, occasion.now, self._here),
            idle_until=occasion.now + self._policy.refresh_token,
            sealed=keys.seal(tokens, secret, self._random),
            sealed_until=occasion.now + self._policy.refresh_repeat,
            ip=request.ip,
            at=occasion.now,
            # A public client's refresh token is bound to the first key that it proves (RFC 9449, section 5).
            key_thumbprint=grant.key_thumbprint or (occasion.key_thumbprint if request.client.is_public else None),
        )
        if not await self._grants.rotate(rotation):
            return None
        self._audit(
            "grant.refreshed",
            account=grant.user.id,
            username=grant.user.username,
            client=grant.client_id,
            grant=grant.id,
            ip=request.ip,
        )
        return tokens

    async def _with_valid_access_token(
        self, request: TokenRequest, grant: Grant, tokens: TokenSet, occasion: Occasion
    ) -> TokenSet:
        """The answer with other tokens beside the same refresh token, if its own have expired: the client may have
        slept for hours."""
        current = RefreshKey.parse(tokens.refresh_token)
        if current is None or occasion.now < tokens.expires_at:
            return tokens
        account = await self._account(grant)
        return self._issuer.issue(request.client, account, grant, occasion._replace(refresh_token=current))

    async def _account(self, grant: Grant) -> Account:
        account = await self._grants.account(grant.user.id)
        if account is None:
            raise invalid_grant("the account is gone")
        return account
