"""An application's own server, which hears of logouts: over HTTP on loopback, and unkind if a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.support.servers import eventually, free_port


@dataclass
class Listener:
    """`statuses` are its next answers, the last one for ever; None: no answer at all. `heard` are the forms that came,
    `hosts` and `types` their headers."""

    port: int
    statuses: list[int | None] = field(default_factory=lambda: [200])
    heard: list[dict[str, list[str]]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    elsewhere: int = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/logout"

    @property
    def tokens(self) -> list[str]:
        return [form["logout_token"][0] for form in self.heard]

    async def logout(self, request: Request) -> Response:
        self.heard.append(parse_qs((await request.body()).decode(), strict_parsing=True))
        self.hosts.append(request.headers["host"])
        self.types.append(request.headers["content-type"])
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            await asyncio.Event().wait()
        assert status is not None
        return RedirectResponse("/elsewhere", status) if 300 <= status < 400 else Response(status_code=status)

    async def other(self, _: Request) -> Response:
        self.elsewhere += 1
        return Response()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener(free_port())
    app = Starlette(
        routes=[
            Route("/logout", listener.logout, methods=["POST"]),
            Route("/elsewhere", listener.other, methods=["GET", "POST"]),
        ]
    )
    config = uvicorn.Config(app, port=listener.port, log_config=None, timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the application's server")
    try:
        yield listener
    finally:
        server.should_exit = True
        await serving
