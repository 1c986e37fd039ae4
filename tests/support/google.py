"""A local server that is Google's token endpoint and FCM in one, and can be unkind."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pairing_ws.adapters.fcm import SCOPE
from tests.support.servers import eventually, free_port

PROJECT = "my-project"


@dataclass
class Google:
    """`answer` is what it says to messages that it would take; None: nothing, ever. Before that, each of `first` once.
    `tokens` False refuses tokens."""

    url: str
    key: rsa.RSAPrivateKey
    answer: tuple[int, Any] | None = (200, {"name": "projects/my-project/messages/1"})
    first: list[tuple[int, Any]] = field(default_factory=list)
    tokens: bool = True
    given: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0

    async def token(self, request: Request) -> Response:
        """RFC 7523: a bearer for an assertion that the service account signed."""
        form = parse_qs((await request.body()).decode())
        assertion = jwt.decode(form["assertion"][0], RSAKey.import_key(self.key.public_key()), algorithms=["RS256"])
        # Google's own endpoint, wherever it is asked: the assertion is worth nothing anywhere else.
        assert assertion.claims["aud"] == "https://oauth2.googleapis.com/token"
        assert assertion.claims["iss"] == "push@my-project.iam.gserviceaccount.com"
        assert assertion.claims["scope"] == SCOPE
        if not self.tokens:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.given.append(secrets.token_urlsafe(16))
        return JSONResponse({"access_token": self.given[-1], "expires_in": 3600, "token_type": "Bearer"})

    async def send(self, request: Request) -> Response:
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        if request.headers.get("authorization") not in [f"Bearer {each}" for each in self.given]:
            return JSONResponse({"error": {"code": 401, "status": "UNAUTHENTICATED"}}, 401)
        body = await request.body()
        message = json.loads(body)["message"]
        if why := _malformed(message, body):
            error = {"code": 400, "status": "INVALID_ARGUMENT", "message": why}
            return JSONResponse({"error": error}, 400)
        status, content = self.first.pop(0) if self.first else self.answer
        if status == 200:
            self.messages.append({"message": message})
        return content if isinstance(content, Response) else JSONResponse(content, status)


def _malformed(message: dict[str, Any], body: bytes) -> str:
    """What FCM would have against it; "" if nothing."""
    if len({"fid", "token", "topic", "condition"} & message.keys()) != 1:
        return "a message has one target"
    if "fid" in message and not re.fullmatch(r"[A-Za-z0-9_-]{22}", message["fid"]):
        return "no Firebase installation id"
    if not all(isinstance(each, str) for each in message["data"].values()):
        return "data is text"
    if not re.fullmatch(r"[0-9]+s", message["android"]["ttl"]):
        return "a duration is written as 60s"
    return "too large" if len(body) > 4096 else ""


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@asynccontextmanager
async def standing_in(key: rsa.RSAPrivateKey) -> AsyncIterator[Google]:
    port = free_port()
    google = Google(f"http://127.0.0.1:{port}", key)
    app = Starlette(
        routes=[
            Route("/token", google.token, methods=["POST"]),
            Route(f"/v1/projects/{PROJECT}/messages:send", google.send, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=0))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the stand-in's start")
    yield google
    server.should_exit = True
    await serving


def credentials(folder: Path, google: Google) -> Path:
    path = folder / "service-account.json"
    pem = google.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    content = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "push@my-project.iam.gserviceaccount.com",
        "token_uri": f"{google.url}/token",
    }
    path.write_text(json.dumps(content))
    return path
