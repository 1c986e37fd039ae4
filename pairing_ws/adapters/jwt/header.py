"""What a JWT says, before anything of it is believed; and what it says once its signature holds."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from joserfc import jws

from pairing_ws.core.json_reader import read_json

# A header of ours fits many times; longer ones are not worth parsing.
MAX_TOKEN = 4096


def read_header(token: str, most: int = MAX_TOKEN) -> dict[str, Any] | None:
    """A JWT's header, unverified; None if it can't be one, or the token has more than `most` letters."""
    return _part(token, 0, most)


def read_claims(token: str, most: int = MAX_TOKEN) -> dict[str, Any] | None:
    """Its claims in the same way, unverified."""
    return _part(token, 1, most)


def signed_claims(
    token: str, key: Any, algorithms: Sequence[str], registry: jws.JWSRegistry | None = None
) -> dict[str, Any]:
    """The claims of a token that this key has signed, by one of these algorithms; nothing else of it is checked. Read
    strictly, which joserfc's own `jwt.decode` does not: a claim of theirs may go into an answer or a database. Raises
    JoseError, ValueError and TypeError."""
    found = read_json(jws.deserialize_compact(token, key, list(algorithms), registry).payload)
    if not isinstance(found, dict):
        raise ValueError("no claims")
    return found


def _part(token: str, number: int, most: int) -> dict[str, Any] | None:
    if len(token) > most or token.count(".") != 2:
        return None
    part = token.split(".")[number]
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = read_json(raw)
    except (ValueError, binascii.Error):
        return None
    return found if isinstance(found, dict) else None
