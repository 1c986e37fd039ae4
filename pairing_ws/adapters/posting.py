"""Posts to addresses that somebody else has named, where `targets` allows it: no redirects, no proxy, no waiting."""

import asyncio
from collections.abc import Mapping

import httpx2

from pairing_ws.adapters.checked_transport import CheckedTransport
from pairing_ws.adapters.targets import Targets

TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 100


class PostFailed(OSError):
    """No answer came. The text says why."""


class Poster:
    """Of all that an answer holds, its status alone is read."""

    def __init__(self, targets: Targets, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        # No connection is kept: the next request's address is checked again.
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)
        transport = CheckedTransport(targets, limits)
        self._client = httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status. Raises ForbiddenTarget, and PostFailed."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", url, content=content, headers=headers) as response,
            ):
                return response.status_code
        except TimeoutError as error:
            raise PostFailed(f"no answer within {self._timeout:g} s") from error
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise PostFailed(f"{type(error).__name__}: {error}") from error
