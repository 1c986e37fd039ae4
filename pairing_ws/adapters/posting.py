"""Posts to addresses that somebody else has named, where `targets` allows it: no redirects, no proxy, no waiting."""

import asyncio
from collections.abc import Mapping, Sequence

import httpx2

from pairing_ws.adapters.targets import Target, Targets

TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 100


class PostFailed(OSError):
    """No answer came. The text says why."""


class Poster:
    """Of all that an answer holds, its status alone is read."""

    def __init__(self, targets: Targets, timeout: float = TIMEOUT_SECONDS) -> None:
        self._targets = targets
        self._timeout = timeout
        # No connection is kept: the next request's address is checked again. The environment's proxies would resolve
        # the name again, and its netrc has passwords for it.
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False, limits=limits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status. Raises ForbiddenTarget, and PostFailed."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._first_answer(await self._targets.checked(url), content, headers)
        except TimeoutError as error:
            raise PostFailed(f"no answer within {self._timeout:g} s") from error
        except (OSError, httpx2.HTTPError) as error:
            raise PostFailed(f"{type(error).__name__}: {error}") from error

    async def _first_answer(self, targets: Sequence[Target], content: bytes, headers: Mapping[str, str]) -> int:
        for target in targets[:-1]:
            try:
                return await self._answer(target, content, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                # It has other addresses, of which one may be of a family that leads somewhere.
                continue
        return await self._answer(targets[-1], content, headers)

    async def _answer(self, target: Target, content: bytes, headers: Mapping[str, str]) -> int:
        default = {"https": 443, "http": 80}[target.scheme]
        host = f"[{target.host}]" if ":" in target.host else target.host
        address = f"[{target.address}]" if ":" in target.address else target.address
        async with self._client.stream(
            "POST",
            f"{target.scheme}://{address}:{target.port}{target.path}",
            content=content,
            headers={**headers, "Host": host if target.port == default else f"{host}:{target.port}"},
            # The certificate has to be the name's.
            extensions={"sni_hostname": target.host},
        ) as response:
            return response.status_code
