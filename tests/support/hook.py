"""A host application's own backend, which is asked about logins: over HTTP on loopback, and unkind if a test wants."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.servers import eventually, free_port

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Hook:
    """`answer` is given to each question until a test changes it: a status and a body, or None: no answer at all. With
    `held`, answers wait for that event. `asked` are the questions whose signature was right, `ids` their messages' ids.
    """

    port: int
    answer: tuple[int, bytes] | None = (200, b"{}")
    headers: dict[str, str] = field(default_factory=dict)
    held: asyncio.Event | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sent: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    forged: int = 0
    elsewhere: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def says(self, status: int = 200, **members: Any) -> None:
        self.answer = (status, json.dumps(members).encode())

    async def hook(self, request: Request) -> Response:
        body, headers = await request.body(), dict(request.headers)
        self.sent.append((headers, body))
        try:
            self.asked.append(Webhook(SECRET).verify(body, headers))
        except Exception:
            self.forged += 1
            return Response(status_code=400)
        self.ids.append(headers["webhook-id"])
        if self.held:
            await self.held.wait()
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer
        status, content = self.answer
        return Response(content, status, self.headers)

    async def other(self, _: Request) -> Response:
        self.elsewhere += 1
        return Response()


@asynccontextmanager
async def hook_server(port: int | None = None) -> AsyncIterator[Hook]:
    hook = Hook(port or free_port())
    routes = [
        Route("/hook", hook.hook, methods=["POST"]),
        Route("/elsewhere", hook.other, methods=["GET", "POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), port=hook.port, log_config=None, timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the application's backend")
    try:
        yield hook
    finally:
        server.should_exit = True
        await serving
