"""A `posting.Poster` that is loaded when it is first used: httpx is 100 ms of a start, and many post nothing."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from pairing_ws.adapters.targets import Targets

if TYPE_CHECKING:
    from pairing_ws.adapters.posting import Answer, Poster


class LazyPoster:
    """`timeout` in seconds; None: that of `posting`."""

    def __init__(self, targets: Targets, timeout: float | None = None) -> None:
        self._targets = targets
        self._options = {} if timeout is None else {"timeout": timeout}
        self._poster: Poster | None = None
        self._loading = asyncio.Lock()

    async def aclose(self) -> None:
        if self._poster:
            await self._poster.aclose()

    async def exchange(self, url: str, content: bytes, headers: Mapping[str, str], most: int = 0) -> "Answer":
        """See `posting.Poster.exchange`."""
        async with self._loading:
            if self._poster is None:
                # In a thread, where it holds up nobody.
                posting = await asyncio.to_thread(import_module, "pairing_ws.adapters.posting")
                self._poster = posting.Poster(self._targets, **self._options)
        return await self._poster.exchange(url, content, headers, most)
