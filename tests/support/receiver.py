"""The operator's own application, which receives webhooks: by the library of Standard Webhooks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import uvicorn
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.servers import eventually, free_port

SECRET = "whsec_" + 32 * "A"


class Heard(NamedTuple):
    id: str
    type: str
    data: dict[str, Any]


@dataclass
class Receiver:
    """`statuses` are its next answers, the last one for ever; None: no answer at all. `heard` is all that came, each
    signed as it should be, or the test fails; `taken` what was answered with success."""

    port: int
    statuses: list[int | None] = field(default_factory=lambda: [204])
    heard: list[Heard] = field(default_factory=list)
    taken: list[Heard] = field(default_factory=list)
    unsigned: int = 0

    @property
    def env(self) -> dict[str, Any]:
        """What a server needs to send there."""
        return {
            "PAIRING_WEBHOOK_URL": f"http://127.0.0.1:{self.port}/hooks/?from=here",
            "PAIRING_WEBHOOK_SECRET": SECRET,
            "PAIRING_ALLOW_PRIVATE_TARGETS": "true",
        }

    def of(self, user_id: str) -> list[Heard]:
        """What it has taken about that account, each once, in the order in which it first came."""
        return list({each.id: each for each in self.taken if each.data.get("userId") == user_id}.values())

    async def types_of(self, user_id: str, *expected: str) -> list[Heard]:
        await eventually(lambda: len(self.of(user_id)) >= len(expected), f"{expected} (so far: {self.taken})", 30)
        found = self.of(user_id)
        assert [each.type for each in found] == list(expected)
        return found

    async def receive(self, request: Request) -> Response:
        assert request.query_params["from"] == "here"
        try:
            said = Webhook(SECRET).verify(await request.body(), dict(request.headers))
        except Exception:
            self.unsigned += 1
            raise
        heard = Heard(request.headers["webhook-id"], said["type"], said["data"])
        self.heard.append(heard)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            await asyncio.Event().wait()
        assert status is not None
        if 200 <= status < 300:
            self.taken.append(heard)
        return Response(status_code=status)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver(free_port())
    app = Starlette(routes=[Route("/hooks/", receiver.receive, methods=["POST"])])
    config = uvicorn.Config(app, port=receiver.port, log_config=None, timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the receiver")
    try:
        yield receiver
    finally:
        server.should_exit = True
        await serving
    assert receiver.unsigned == 0
