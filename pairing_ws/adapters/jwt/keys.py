"""What verifies tokens, wherever its keys come from: a file, the environment, an issuer's address."""

from collections.abc import Mapping
from typing import Protocol

from joserfc.jwk import ECKey, RSAKey

SigningKey = ECKey | RSAKey


class Keys(Protocol):
    """What verifies: the keys of this server's own ring, or an issuer's (`key_ring`, `issuer_keys`)."""

    # Grows when the keys change: what was verified before has to be verified again.
    version: int

    def reload(self) -> None:
        """Look whether they have changed, if the last look is long enough ago."""

    def of(self, algorithm: str) -> Mapping[str, SigningKey]:
        """The keys of ES256 or RS256 by `kid`, the one that signs first; none of any other algorithm."""

    def find(self, algorithm: str, kid: str) -> SigningKey | None: ...
