"""The number of a request, by which all that the log says of it can be found together."""

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar

from starlette.types import Scope

from pairing_ws.config.addresses import Network
from pairing_ws.core.network import parse

# What proxies make: hexadecimal numbers and UUIDs.
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


# The request that is being answered; `str` of it may make its number.
current: "ContextVar[RequestId | None]" = ContextVar("request", default=None)


class RequestId:
    """The `X-Request-Id` of a trusted proxy, or a random one. Made when it is first asked for: most requests leave no
    line."""

    __slots__ = ("_id", "_proxies", "_scope")

    def __init__(self, scope: Scope, proxies: Sequence[Network]) -> None:
        self._scope = scope
        self._proxies = proxies
        self._id = ""

    def __str__(self) -> str:
        if not self._id:
            self._id = self._given() or secrets.token_hex(8)
        return self._id

    def _given(self) -> str:
        peer = parse((self._scope.get("client") or ("",))[0]) if self._proxies else None
        if peer is None or not any(peer in network for network in self._proxies):
            return ""
        values = [value.decode("latin-1") for name, value in self._scope["headers"] if name == b"x-request-id"]
        return values[0] if len(values) == 1 and _GIVEN.fullmatch(values[0]) else ""
