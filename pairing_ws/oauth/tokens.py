"""The token endpoint: what is exchanged for tokens, and how each kind of it counts once (RFC 6749, section 4.1.3 and 6;
RFC 9449, section 5)."""

from collections.abc import Awaitable, Callable, Mapping

from pairing_ws.oauth.errors import Error, OAuthError, invalid_request
from pairing_ws.oauth.types import TokenRequest, TokenSet

# Carries out one kind of grant. Raises OAuthError and Unavailable.
GrantHandler = Callable[[TokenRequest], Awaitable[TokenSet]]


class TokenEndpoint:
    """`handlers`: by `grant_type`."""

    def __init__(self, handlers: Mapping[str, GrantHandler]) -> None:
        self._handlers = dict(handlers)

    def add(self, grant_type: str, handler: GrantHandler) -> None:
        """A kind of grant whose rules are another story's."""
        self._handlers[grant_type] = handler

    @property
    def grant_types(self) -> tuple[str, ...]:
        """Those that there are, for the metadata."""
        return tuple(self._handlers)

    async def exchange(self, request: TokenRequest) -> TokenSet:
        """Raises OAuthError; with `invalid_grant`, what a code or a token that came again had led to has ended."""
        grant_type = request.form.get("grant_type")
        if grant_type is None:
            raise invalid_request("grant_type is missing")
        if (handler := self._handlers.get(grant_type)) is None:
            raise OAuthError(Error.UNSUPPORTED_GRANT_TYPE, f"grant_type has to be one of {', '.join(self._handlers)}")
        return await handler(request)
