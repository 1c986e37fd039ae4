"""What operators and other services read: health, metrics, public keys, and the two descriptions of this API."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response

from pairing_ws.config import process
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import parse
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse
from pairing_ws.web.wire.operation import Health

RETRIES = 50


class Operation:
    """`ready` raises Unavailable while a store does not answer; `jwks` gives the public keys; `registry` is what this
    process counts, which is told unless several count together."""

    def __init__(
        self, ready: Callable[[], Awaitable[None]], jwks: Callable[[], dict[str, Any]], registry: CollectorRegistry
    ) -> None:
        self._ready = ready
        self._jwks = jwks
        self._registry = registry

    async def healthz(self, _: RequestContext) -> Response:
        """Check that this process answers."""
        return JsonResponse(Health(status="ok"))

    async def readyz(self, _: RequestContext) -> Response:
        """Check that this process and its stores answer."""
        await self._ready()
        return JsonResponse(Health(status="ok"))

    async def keys(self, _: RequestContext) -> Response:
        """List the public keys that authKeys are signed with (RFC 7517)."""
        return JsonResponse(self._jwks(), 200, (b"cache-control", b"public, max-age=60"))

    async def metrics(self, request: RequestContext) -> Response:
        """Read the metrics of all workers together, for Prometheus."""
        readers = request.services.settings.metrics
        peer = parse(request.access_control_ip)
        if readers == "off" or (readers == "private" and (peer is None or peer.is_global)):
            raise Refused(Code.NOT_FOUND, "no such page")
        return Response(await self._exposition(), media_type=CONTENT_TYPE_LATEST)

    async def _exposition(self) -> bytes:
        folder = process.shared_metrics()
        if not folder:
            return generate_latest(self._registry)
        for _ in range(RETRIES):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
            try:
                return generate_latest(registry)
            except struct.error:
                # The file that a worker is making just now is empty for a moment.
                await asyncio.sleep(0.02)
        raise Unavailable("the folder of metrics")


def document(describe: Callable[[], dict[str, Any]]) -> Callable[[RequestContext], Awaitable[Response]]:
    """An endpoint that serves one description, rendered when it is first asked for: 5 ms of a start."""

    @cache
    def rendered() -> bytes:
        return msgspec.json.encode(describe())

    async def endpoint(_: RequestContext) -> Response:
        """Read a machine-readable description of this API."""
        return Response(rendered(), media_type="application/json", headers={"Cache-Control": "no-cache"})

    return endpoint
