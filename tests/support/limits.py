"""Rate limits that only tests about limits meet: none, by the names of the environment and of `Settings`."""

from typing import Any

_NAMES = (
    "CREATE", "CLAIM", "USER_CODE", "NUMBER", "REFRESH", "SOCKETS", "DEVICES", "AUTHORIZE", "OAUTH", "CLIENT",
    "CLIENT_FAILURE", "ADMIN", "ADMIN_FAILURE",
)  # fmt: skip

NO_LIMITS: dict[str, Any] = {f"PAIRING_LIMIT_{name}": "0" for name in _NAMES}
NO_LIMITS_INSIDE: dict[str, Any] = {f"limit_{name.lower()}": "0" for name in _NAMES}
