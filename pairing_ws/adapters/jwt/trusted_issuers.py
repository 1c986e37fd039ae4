"""Tokens of other issuers: whose they are, whom they are for, and whether they are signed and in time (RFC 7519; RFC
8725; OpenID Connect Core, section 3.1.3.7)."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning

from pairing_ws.adapters.documents import Documents, NoDocument
from pairing_ws.adapters.jwt.header import read_claims, read_header, signed_claims
from pairing_ws.adapters.jwt.published_keys import ALGORITHMS, FetchedKeys, FileKeys, KeySource
from pairing_ws.config.settings import Settings
from pairing_ws.config.trusted_issuers import TrustedIssuer, parse
from pairing_ws.config.values import SettingsError
from pairing_ws.core import codes
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.upstream.ports import MAX_SUBJECT, Identity, Untrusted

# A form that holds one has at most 16 KiB.
MAX_TOKEN = 16_384
MAX_HEADER = 4096
LEEWAY = SKEW_MS // 1000
# Of `typ`: what is no statement about a person has another one (RFC 8725, section 3.11).
TYPES = frozenset({"", "jwt", "at+jwt", "id_token"})

# RFC 9864 has another name for it, which few issuers know yet.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class _Claims(msgspec.Struct, frozen=True):
    """What is read of them, beyond what `JWTClaimsRegistry` checks. Of numbers, any that JSON has."""

    iss: str
    exp: int | float
    aud: str | list[str]
    iat: int | float | None = None
    nbf: int | float | None = None
    azp: str | None = None
    nonce: str | None = None
    jti: str | None = None
    auth_time: int | float | None = None
    preferred_username: str | None = None
    name: str | None = None


class IssuerTokens:
    """The tokens of one issuer. See `upstream.ports.Tokens`."""

    def __init__(self, trusted: TrustedIssuer, keys: KeySource, clock: Clock) -> None:
        self._trusted = trusted
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str) -> Identity:
        header = read_header(token, MAX_TOKEN)
        if header is None:
            raise Untrusted("it is no JWT of at most 16 KiB")
        alg, kid = header.get("alg"), header.get("kid")
        if not isinstance(alg, str) or alg not in ALGORITHMS:
            raise Untrusted(f"its algorithm is none of {', '.join(ALGORITHMS)}")
        if "crit" in header or str(header.get("typ") or "").lower().removeprefix("application/") not in TYPES:
            raise Untrusted("it is another kind of token")
        key = await self._keys.find(kid if isinstance(kid, str) else None, alg)
        if key is None:
            raise Untrusted("its issuer has no such key")
        registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
        registry.max_header_length = MAX_HEADER
        try:
            claims = signed_claims(token, key, [alg], registry)
        except (JoseError, ValueError, TypeError) as error:
            raise Untrusted("its signature is wrong, or its claims are no strict JSON") from error
        return self._identity(token, claims)

    def _identity(self, token: str, claims: Mapping[str, Any]) -> Identity:
        try:
            found = msgspec.convert(claims, _Claims)
        except msgspec.ValidationError as error:
            raise Untrusted("a claim of it is missing, or not what it has to be") from error
        now = self._clock() / 1000
        audience = {found.aud} if isinstance(found.aud, str) else set(found.aud)
        if found.iss != self._trusted.issuer:
            raise Untrusted("it is another issuer's")
        if self._trusted.audience not in audience:
            raise Untrusted("it is for another audience")
        if len(audience) > 1 and found.azp is None:
            raise Untrusted("it is for several audiences, and does not say whose it is")
        if found.azp not in (None, self._trusted.audience):
            raise Untrusted("it was made for another application")
        # Not negated: a number may be none.
        if not found.exp > now - LEEWAY:
            raise Untrusted("it has expired")
        if not all(0 <= each <= now + LEEWAY for each in (found.iat, found.nbf, found.auth_time) if each is not None):
            raise Untrusted("it is not valid yet")
        subject = claims.get(self._trusted.subject_claim)
        if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise Untrusted(f"its {self._trusted.subject_claim} names nobody")
        if "events" in claims:
            raise Untrusted("it is another kind of token")
        return Identity(
            issuer=found.iss,
            subject=subject,
            # What is signed: a signature can often be written in several ways.
            token_id=f"jti {found.jti}" if found.jti else codes.digest(token.rpartition(".")[0]),
            exp_time=int(min(found.exp, 2**53)),
            nonce=found.nonce or "",
            auth_time=None if found.auth_time is None else int(found.auth_time),
            names=tuple(each for each in (found.preferred_username, found.name) if each),
            opens_accounts=self._trusted.opens_accounts,
        )


class TrustedIssuers:
    """Those of `PAIRING_TRUSTED_ISSUERS`. See `upstream.ports.Tokens`."""

    def __init__(self, issuers: Mapping[str, IssuerTokens]) -> None:
        self._issuers = issuers

    async def verify(self, token: str) -> Identity:
        issuer = (read_claims(token, MAX_TOKEN) or {}).get("iss")
        tokens = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if tokens is None:
            raise Untrusted("its issuer is not trusted here")
        return await tokens.verify(token)


def trusted_issuers(settings: Settings, documents: Documents, clock: Clock) -> TrustedIssuers | None:
    """None if none is trusted. Raises SettingsError for a file that can't be used."""
    if not settings.trusted_issuers:
        return None
    found = parse(settings.trusted_issuers)
    return TrustedIssuers({each.issuer: IssuerTokens(each, _keys(each, documents, clock), clock) for each in found})


def _keys(trusted: TrustedIssuer, documents: Documents, clock: Clock) -> KeySource:
    if trusted.jwks_file:
        try:
            return FileKeys(Path(trusted.jwks_file), clock)
        except (OSError, ValueError) as error:
            raise SettingsError(f"PAIRING_TRUSTED_ISSUERS has a jwks_file that can't be used: {error}") from None
    if trusted.jwks_uri:
        address = trusted.jwks_uri
        return FetchedKeys(lambda: documents.read(address), clock)
    return FetchedKeys(lambda: discovered_keys(trusted.issuer, documents), clock)


async def discovered(issuer: str, documents: Documents) -> dict[str, Any]:
    """The issuer's discovery document (OpenID Connect Discovery 1.0, section 4). Raises NoDocument."""
    found = await documents.read(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        # Section 4.3.
        raise NoDocument(f"{issuer}: its discovery document is another issuer's")
    return found


async def discovered_keys(issuer: str, documents: Documents) -> dict[str, Any]:
    """The key set that it names. Raises NoDocument."""
    address = (await discovered(issuer, documents)).get("jwks_uri")
    if not isinstance(address, str):
        raise NoDocument(f"{issuer}: its discovery document names no keys")
    return await documents.read(address)
