"""What a JWT says, before anything of it is believed."""

import base64
import binascii
import json
from typing import Any

from pairing_ws.core.json_depth import is_deep

# A header of ours fits many times; longer ones are not worth parsing.
MAX_TOKEN = 4096


def read_header(token: str, most: int = MAX_TOKEN) -> dict[str, Any] | None:
    """A JWT's header, unverified; None if it can't be one, or the token has more than `most` letters."""
    return _part(token, 0, most)


def read_claims(token: str, most: int = MAX_TOKEN) -> dict[str, Any] | None:
    """Its claims in the same way, unverified."""
    return _part(token, 1, most)


def _part(token: str, number: int, most: int) -> dict[str, Any] | None:
    if len(token) > most or token.count(".") != 2:
        return None
    part = token.split(".")[number]
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = None if is_deep(raw) else json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None
