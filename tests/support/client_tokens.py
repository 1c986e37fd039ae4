"""Client tokens without signatures: for tests of what they say, and of what becomes of them."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pairing_ws.oauth.ports import Algorithm


class PlainTokens:
    """Is an `oauth.ports.ClientTokens`."""

    def sign(self, claims: Mapping[str, Any], *, typ: str, alg: Algorithm) -> str:
        return f"{_spelt({'typ': typ, 'alg': alg.value})}.{_spelt(claims)}.x"

    def verify_access_token(self, token: str, now: int) -> Mapping[str, Any] | None:
        try:
            current = header(token)["typ"] == "at+jwt" and claims(token)["exp"] > now // 1000
        except (ValueError, IndexError):
            return None
        return claims(token) if current else None

    def verify_id_token_hint(self, token: str) -> Mapping[str, Any] | None:
        return claims(token) if header(token)["typ"] == "JWT" else None

    def algorithms(self) -> Sequence[Algorithm]:
        return tuple(Algorithm)


def header(token: str) -> dict[str, Any]:
    return _read(token.split(".")[0])


def claims(token: str) -> dict[str, Any]:
    """What any JWT says, whoever signed it."""
    return _read(token.split(".")[1])


def _spelt(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _read(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
