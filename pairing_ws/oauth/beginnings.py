"""How a client's grant begins: by an authorization code, once (RFC 6749, section 4.1.3; RFC 7636; RFC 9449, 10).
Whatever else may begin one does it by `Beginnings.begin`."""

from typing import NamedTuple

import msgspec

from pairing_ws.accounts import ended
from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth import protocol, scopes
from pairing_ws.oauth.claims import Issuer, Occasion
from pairing_ws.oauth.endings import Endings
from pairing_ws.oauth.errors import Error, OAuthError, invalid_grant
from pairing_ws.oauth.ports import CodeStore, Grant, GrantStore, NewGrant
from pairing_ws.oauth.types import AccountChanged, Policy, TokenRequest, TokenSet


class Consented(NamedTuple):
    """The login that let a client in, and to what. `origin` makes it count once: `code:{digest}` or
    `device:{pairing id}`. `auth_time` in seconds."""

    origin: str
    user_id: str
    session_id: str
    device_id: str
    scopes: tuple[str, ...]
    auth_time: int
    amr: tuple[str, ...]
    acr: str | None = None
    nonce: str | None = None
    offline: bool = False


class Beginnings:
    """`here` names this process's clock in what it dates."""

    def __init__(
        self,
        code_store: CodeStore,
        grants: GrantStore,
        issuer: Issuer,
        endings: Endings,
        changed: AccountChanged,
        policy: Policy,
        clock: Clock,
        random: codes.RandomBytes,
        here: str,
        audit: Audit,
    ) -> None:
        self._codes = code_store
        self._grants = grants
        self._issuer = issuer
        self._endings = endings
        self._changed = changed
        self._policy = policy
        self._clock = clock
        self._random = random
        self._here = here
        self._audit = audit

    async def redeem_code(self, request: TokenRequest) -> TokenSet:
        """The tokens for an authorization code: a grant begins, exactly once per code.

        The same request again, by the same key if it was by one, gets the same answer for 30 s, as long as nothing of
        that was used. Any other second request of that client is refused, and ends the grant (RFC 6749, 4.1.2).
        """
        code = request.form.get("code", "")
        origin = f"code:{codes.digest(code)}"
        kept = await self._codes.get(codes.digest(code)) if code else None
        try:
            granted = protocol.redeem(request, kept)
        except OAuthError as refused:
            if code and refused.error == Error.INVALID_GRANT and (before := await self._grants.of_origin(origin)):
                return await self.repeat(request, before, _secret(request, await request.proven_key(None)))
            raise
        assert kept
        key = await request.proven_key(None)
        if kept.dpop_thumbprint not in (None, key):
            raise invalid_grant("the code was asked for with another DPoP key")
        consented = Consented(
            origin=origin,
            user_id=kept.user_id,
            session_id=kept.session_id,
            device_id=kept.device_id,
            scopes=granted,
            auth_time=kept.auth_time,
            amr=kept.amr,
            acr=kept.acr,
            nonce=kept.nonce,
            offline=scopes.OFFLINE_ACCESS in granted,
        )
        return await self.begin(request, consented, key, _secret(request, key))

    async def begin(self, request: TokenRequest, consented: Consented, key: str | None, secret: str) -> TokenSet:
        """The tokens of a new grant, or those of the one that this origin has begun, if they can be repeated.

        `key`: the thumbprint of the DPoP key that the request has proved. `secret` seals the answer: what a client has
        to present again to get it again. Raises OAuthError `invalid_grant`.
        """
        now = self._clock()
        account = await self._grants.account(consented.user_id)
        if account is None:
            raise invalid_grant("the account is gone")
        refresh_token = keys.new_family(self._random)
        grant = NewGrant(
            id=codes.token(self._random),
            user_id=consented.user_id,
            client_id=request.client.id,
            session_id=consented.session_id,
            device_id=consented.device_id,
            origin=consented.origin,
            scopes=consented.scopes,
            offline=consented.offline,
            created_at=now,
            idle_until=now + self._policy.refresh_token,
            ends_at=now + self._policy.grant,
            auth_time=consented.auth_time,
            amr=consented.amr,
            acr=consented.acr,
            ip=request.ip,
            family_hash=refresh_token.family_hash,
            refresh_hash=refresh_token.hash,
            sealed=b"",
            sealed_until=now + keys.GRACE_MS,
            key_thumbprint=key,
        )
        occasion = Occasion(consented.scopes, refresh_token, now, key, consented.nonce)
        tokens = self._issuer.issue(request.client, account, grant, occasion)
        sealed = msgspec.structs.replace(grant, sealed=keys.seal(tokens, secret, self._random))
        try:
            begun = await self._grants.begin(sealed, self._policy.app_limit)
        except Refused as refused:
            if refused.code is Code.UNAVAILABLE:
                raise
            raise invalid_grant("the login that consented no longer stands") from refused
        if begun is None:
            before = await self._grants.of_origin(consented.origin)
            if before is None:
                raise invalid_grant("it was used before")
            return await self.repeat(request, before, secret)
        self._audit(
            "grant.started",
            account=account.user.id,
            username=account.user.username,
            client=request.client.id,
            client_name=request.client.name,
            grant=grant.id,
            scopes=" ".join(grant.scopes),
            device=grant.device_id,
            ip=request.ip,
        )
        ended.report(self._audit, begun.ended, request.ip)
        await self._changed(account.user.id)
        return tokens

    async def repeat(self, request: TokenRequest, before: Grant, secret: str) -> TokenSet:
        """The answer that this grant began with, or else its end: its origin has come a second time."""
        if before.client_id != request.client.id:
            raise invalid_grant("it was issued to another client")
        now = self._clock()
        tokens = keys.unseal(before.sealed, secret, TokenSet) if before.alive_at(now) else None
        if tokens is not None and now < before.created_at + keys.grace(tokens.by, self._here):
            return tokens
        await self._endings.reused(before, request.client, request.ip)
        raise invalid_grant("it was used before; what came of it has ended")


def _secret(request: TokenRequest, key: str | None) -> str:
    """All of a request that has to be the same for the same answer."""
    form = request.form
    return "\n".join([form["code"], form.get("redirect_uri", ""), form.get("code_verifier", ""), key or ""])
