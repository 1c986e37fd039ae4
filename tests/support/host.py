"""The host application, whose word counts as a proof."""

import hmac
import json
import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.authenticator import b64
from tests.support.client import Phone
from tests.support.tokens import parts

STEP_UP = "/sessions/current/step-up"
HOST = ECKey.generate_key("P-256", {"kid": "host-1"})


def word(phone: Phone, key: Any = HOST, header: Any = None, **claims: Any) -> str:
    """Claims are values, or functions of the present second."""
    now = int(time.time())
    said = {
        "aud": phone.api.url.replace("127.0.0.1", "localhost"),
        "sub": phone.keys["user"]["id"],
        "sid": session_of(phone),
        "auth_time": now - 5,
        "exp": now + 120,
        **claims,
    }
    present = {name: value(now) if callable(value) else value for name, value in said.items()}
    plain = {name: value for name, value in present.items() if value is not None}
    kind = {"alg": "ES256", "typ": "step-up+jwt", **(header or {})}
    if isinstance(key, ECKey):
        return jwt.encode(kind, plain, key, algorithms=["ES256"])
    signed = ".".join(b64(json.dumps(part).encode()) for part in (kind, plain))
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), 'sha256')) if key else ''}"


def session_of(phone: Phone) -> str:
    return str(parts(phone.keys["authKey"])[1]["sid"])
