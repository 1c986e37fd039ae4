"""The key by which push services know this server: VAPID (RFC 8292)."""

import base64
import binascii
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey

from pairing_ws.core.clock import Clock

# RFC 8292, section 2: at most a day. Half of it leaves room for clocks that differ.
TOKEN_SECONDS = 12 * 3600
_SCALAR_BYTES = 32


class VapidKey:
    """`public` is what pages subscribe with (`applicationServerKey`): the uncompressed point, as base64url."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = ECKey.import_key(key)
        self._scalar = key.private_numbers().private_value
        self.public = _encoded(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    @classmethod
    def new(cls) -> "VapidKey":
        return cls(generate(SECP256R1()))

    @classmethod
    def parse(cls, text: str) -> "VapidKey":
        """From 32 bytes in base64url, as web push libraries keep it, or PEM. Raises ValueError; it quotes nothing."""
        try:
            if "-----BEGIN" in text:
                key = load_pem_private_key(text.encode(), None)
                if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
                    return cls(key)
            else:
                bare = text.strip().rstrip("=")
                scalar = base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", validate=True)
                if len(scalar) == _SCALAR_BYTES:
                    return cls(derive_private_key(int.from_bytes(scalar), SECP256R1()))
        except (ValueError, TypeError, binascii.Error):
            pass
        raise ValueError("should be a private key on P-256: 32 bytes in base64url, or PEM without a password") from None

    def text(self) -> str:
        """The private key, as `parse` reads it."""
        return _encoded(self._scalar.to_bytes(_SCALAR_BYTES))

    def authorization(self, endpoint: str, subject: str, clock: Clock) -> str:
        """The header's value for one push service, which alone can use it (sections 2 and 3)."""
        parts = urlsplit(endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": clock() // 1000 + TOKEN_SECONDS, "sub": subject}
        token = jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, self._key, algorithms=["ES256"])
        return f"vapid t={token}, k={self.public}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
