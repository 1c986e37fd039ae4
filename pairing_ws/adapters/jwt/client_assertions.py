"""Assertions by which clients authenticate (`private_key_jwt`, RFC 7523): JWTs under a client's own registered key."""

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from pairing_ws.adapters.jwt.header import read_claims, read_header, signed_claims
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.oauth.registration import NotRegistrable

# Asymmetric ones alone; FAPI's choice and what stock clients sign with by default.
ALGORITHMS = ("RS256", "PS256", "ES256")
# An operator registers one or two.
MAX_KEYS = 8

MIN_RSA_BITS = 2048


def require_usable(jwks: Mapping[str, Any]) -> None:
    """Raises NotRegistrable unless each of the keys can check an assertion."""
    try:
        keys = list(KeySet.import_key_set({"keys": list(jwks["keys"])}))
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise NotRegistrable(f"the key set can't be read: {error}", "the key set can't be read") from None
    for each in keys:
        long_enough = isinstance(each, RSAKey) and each.raw_value.key_size >= MIN_RSA_BITS
        if not long_enough and not (isinstance(each, ECKey) and each.curve_name == "P-256"):
            raise NotRegistrable(f"a key has to be RSA of {MIN_RSA_BITS} bits or more, or EC P-256")


class JwtClientAssertions:
    """See `oauth.ports.ClientAssertions`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def subject(self, assertion: str) -> str | None:
        if read_header(assertion) is None:
            return None
        subject = (read_claims(assertion) or {}).get("sub")
        return subject if isinstance(subject, str) else None

    def verify(self, assertion: str, jwks: Mapping[str, Any]) -> Mapping[str, Any] | None:
        header = read_header(assertion)
        if header is None or header.get("alg") not in ALGORITHMS or "crit" in header:
            return None
        for key in self._keys(jwks, header.get("kid")):
            try:
                claims = signed_claims(assertion, key, [header["alg"]])
                # joserfc's decode checks the signature only.
                jwt.JWTClaimsRegistry(
                    now=self._clock() // 1000, leeway=SKEW_MS // 1000, exp={"essential": True}
                ).validate(claims)
            except (JoseError, ValueError, TypeError):
                # The wrong kind of key, or the wrong key of several.
                continue
            return claims
        return None

    def _keys(self, jwks: Mapping[str, Any], kid: object) -> list[Any]:
        """By its id; any where the assertion names none."""
        try:
            keys = list(KeySet.import_key_set({"keys": list(jwks["keys"])[:MAX_KEYS]}))
        except (JoseError, ValueError, KeyError, TypeError):
            return []
        return [key for key in keys if kid is None or key.kid == kid]
