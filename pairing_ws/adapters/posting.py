"""Posts to addresses that somebody else has named, where `targets` allows it: no redirects, no proxy, no waiting."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import httpx2

from pairing_ws.adapters.checked_transport import CheckedTransport
from pairing_ws.adapters.targets import Targets

TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 100


class PostFailed(OSError):
    """No answer came. The text says why."""


class PostTimedOut(PostFailed):
    """None came in time."""


class Answer(NamedTuple):
    """All that is read of an answer. `retry_after` is that header as it came, "" where there is none; `content` is
    empty unless some was asked for."""

    status: int
    retry_after: str
    content: bytes


class Poster:
    """Of an answer no more is read than is asked for."""

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
        return (await self.exchange(url, content, headers)).status

    async def exchange(self, url: str, content: bytes, headers: Mapping[str, str], most: int = 0) -> Answer:
        """The answer, with up to `most` bytes of content. Raises ForbiddenTarget, and PostFailed, also where there is
        more. What is compressed comes as it is."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", url, content=content, headers=headers) as response,
            ):
                found = await _content(response, most) if most else b""
                return Answer(response.status_code, response.headers.get("Retry-After", ""), found)
        except PostFailed:
            raise
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise PostTimedOut(f"no answer within {self._timeout:g} s") from error
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise PostFailed(f"{type(error).__name__}: {error}") from error


async def _content(response: httpx2.Response, most: int) -> bytes:
    found = b""
    async for part in response.aiter_raw():
        found += part
        if len(found) > most:
            raise PostFailed(f"the answer has more than {most} bytes")
    return found
