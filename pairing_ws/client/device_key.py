"""A key of the device's own, and its proofs (DPoP, RFC 9449)."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping

from joserfc import jwt
from joserfc.jwk import ECKey

_PUBLIC = ("kty", "crv", "x", "y")


class DeviceKey:
    """On P-256. A session that is bound to it is worth nothing without it."""

    def __init__(self, pair: ECKey, clock: Callable[[], float] = time.time) -> None:
        self._pair = pair
        self._clock = clock
        self.public = {name: str(pair.as_dict(private=False)[name]) for name in _PUBLIC}

    @classmethod
    def make(cls) -> "DeviceKey":
        return cls(ECKey.generate_key("P-256", private=True))

    @classmethod
    def read(cls, private: Mapping[str, str]) -> "DeviceKey":
        """From what `private` has said. Raises ValueError."""
        return cls(ECKey.import_key(dict(private)))

    @property
    def private(self) -> dict[str, str]:
        """The whole key as a JWK (RFC 7517): to be kept where nobody else reads."""
        return {name: str(value) for name, value in self._pair.as_dict(private=True).items() if name in (*_PUBLIC, "d")}

    @property
    def thumbprint(self) -> str:
        """RFC 7638: the `jkt` in an authKey's `cnf`."""
        return self._pair.thumbprint()

    def proof(self, method: str, url: str, auth_key: str | None = None, nonce: str | None = None) -> str:
        """What a request sends as the header `DPoP`, once. `nonce` is what that server's `DPoP-Nonce` said last."""
        address = url.partition("#")[0].partition("?")[0]
        claims = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": address, "iat": int(self._clock())}
        if nonce is not None:
            claims["nonce"] = nonce
        if auth_key is not None:
            digest = hashlib.sha256(auth_key.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.public}
        return jwt.encode(header, claims, self._pair, algorithms=["ES256"])
