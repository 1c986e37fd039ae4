"""JSON documents at addresses that an operator or another document has named: discovery, key sets. One request each,
within bounds of time and size, without redirects, where `targets` allows it."""

import asyncio
from importlib import import_module
from typing import Any

from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.core.json_reader import read_json

TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 20
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class NoDocument(OSError):
    """No such document came. The text says why."""


class Documents:
    """Nothing is connected, or loaded, before the first is asked for."""

    def __init__(self, targets: Targets, timeout: float = TIMEOUT_SECONDS) -> None:
        self._targets = targets
        self._timeout = timeout
        self._client: Any = None
        self._loading = asyncio.Lock()

    async def __aenter__(self) -> "Documents":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client:
            await self._client.aclose()

    async def read(self, url: str) -> dict[str, Any]:
        """The JSON object there. Raises NoDocument."""
        client, failures = await self._loaded()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await client.get(url)
        except TimeoutError as error:
            raise NoDocument(f"{url}: no answer within {self._timeout:g} s") from error
        except failures as error:
            raise NoDocument(f"{url}: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            raise NoDocument(f"{url}: it answered {answer.status_code}")
        try:
            found = read_json(answer.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise NoDocument(f"{url}: it is no JSON object")
        return found

    async def _loaded(self) -> tuple[Any, tuple[type[Exception], ...]]:
        """A client, and what it raises."""
        # Not needed before another issuer is asked: 100 ms of a start. In a thread, where they hold up nobody.
        httpx2 = await asyncio.to_thread(import_module, "httpx2")
        checked = await asyncio.to_thread(import_module, "pairing_ws.adapters.checked_transport")
        if self._client is None:
            limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)
            self._client = httpx2.AsyncClient(
                transport=checked.CheckedTransport(self._targets, limits),
                headers=HEADERS,
                timeout=self._timeout,
                follow_redirects=False,
                trust_env=False,
            )
        return self._client, (OSError, ForbiddenTarget, httpx2.HTTPError, httpx2.InvalidURL)
