"""What a JWT says, unverified."""

import base64
import json
from typing import Any


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = token.split(".")
    return unpacked(header), unpacked(claims)


def unpacked(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "==")))
