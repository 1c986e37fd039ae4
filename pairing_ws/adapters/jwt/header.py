"""What a JWT says of itself, before anything of it is believed."""

import base64
import binascii
import json
from typing import Any

from pairing_ws.core.json_depth import is_deep

# A header of ours fits many times; longer ones are not worth parsing.
MAX_TOKEN = 4096


def read_header(token: str, most: int = MAX_TOKEN) -> dict[str, Any] | None:
    """A JWT's header, unverified; None if it can't be one, or the token has more than `most` letters."""
    if len(token) > most or token.count(".") != 2:
        return None
    first = token.partition(".")[0]
    try:
        raw = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))
        header = None if is_deep(raw) else json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return header if isinstance(header, dict) else None
