"""A browser's subscription, and a local push service that judges what comes for it as RFC 8030, 8291 and 8292 say: the
token of the sender, the headers, the size, and whether its body opens. It decrypts with its own hands, not with the
library that encrypted."""

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.servers import eventually, free_port

DAY = 86_400
MAX_BODY = 4096


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Subscriber:
    """One browser's subscription: what it keeps (`key`, `auth`) and what it gives away (`address`)."""

    def __init__(self, endpoint: str, key: ec.EllipticCurvePrivateKey | None = None, auth: bytes | None = None) -> None:
        self.endpoint = endpoint
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.auth = auth or secrets.token_bytes(16)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def json(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` gives it."""
        keys = {"p256dh": base64url(self.public), "auth": base64url(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    @property
    def address(self) -> str:
        return json.dumps(self.json, separators=(",", ":"))

    def opened(self, body: bytes) -> bytes:
        """The message in it (RFC 8291, section 3.4, in RFC 8188's one record). Raises InvalidTag and ValueError."""
        salt, size, length = body[:16], int.from_bytes(body[16:20]), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        if length != 65 or len(record) > size:
            raise ValueError("no key of P-256, or more than one record")
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        secret = _derived(self.auth, shared, b"WebPush: info\0" + self.public + sender, 32)
        key = _derived(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derived(salt, secret, b"Content-Encoding: nonce\0", 12)
        content, delimiter, _ = AESGCM(key).decrypt(nonce, record, None).rpartition(b"\2")
        if not delimiter:
            raise ValueError("no delimiter of the last record")
        return content


def _derived(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


@dataclass
class PushServer:
    """`answers` are the next ones, each once: a status, with headers if it is a pair, or None for silence; then it does
    what is right. `messages` are those it took, by endpoint; `refused` says why it did not take others."""

    url: str
    answers: list[int | tuple[int, dict[str, str]] | None] = field(default_factory=list)
    subscribers: dict[str, Subscriber] = field(default_factory=dict)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    senders: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    asked: int = 0

    def subscribe(self) -> Subscriber:
        subscriber = Subscriber(f"{self.url}/push/{secrets.token_urlsafe(16)}?for=a%2Fb")
        self.subscribers[subscriber.endpoint] = subscriber
        return subscriber

    async def push(self, request: Request) -> Response:
        self.asked += 1
        body = await request.body()
        if self.answers:
            answer = self.answers.pop(0)
            if answer is None:
                await asyncio.Event().wait()
            assert answer is not None
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            return Response(status_code=status, headers=headers)
        status, why = self._judge(request, body)
        if why:
            self.refused.append(why)
        return Response(why, status, {"Location": f"{self.url}/message/1"})

    def _judge(self, request: Request, body: bytes) -> tuple[int, str]:
        subscriber = self.subscribers.get(str(request.url))
        if subscriber is None:
            return 404, "no such subscription"
        if why := self._forged(request.headers.get("authorization", "")):
            return 401, why
        if request.headers.get("content-encoding") != "aes128gcm" or not request.headers.get("ttl", "").isdecimal():
            return 400, "RFC 8030 wants a TTL, RFC 8291 wants aes128gcm"
        if len(body) > MAX_BODY:
            return 413, "too large"
        try:
            message = json.loads(subscriber.opened(body))
        except (ValueError, InvalidTag) as error:
            return 400, repr(error)
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        self.messages.append((subscriber.endpoint, message))
        return 201, ""

    def _forged(self, authorization: str) -> str:
        """Why this is no sender's word (RFC 8292); "" if it is."""
        parts = re.fullmatch(r"vapid t=([^,]+), ?k=([A-Za-z0-9_-]{87})", authorization)
        if not parts:
            return "no VAPID"
        public = decoded(parts[2])
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        try:
            token = jwt.decode(parts[1], ECKey.import_key(point), algorithms=["ES256"])
        except JoseError as error:
            return repr(error)
        claims = token.claims
        if claims["aud"] != self.url:
            return "for another push service"
        if not time.time() < claims["exp"] <= time.time() + DAY:
            return "expired, or valid for more than a day"
        if not str(claims["sub"]).startswith(("mailto:", "https:")):
            return "nobody to turn to"
        self.senders.add(parts[2])
        return ""


@asynccontextmanager
async def push_serving() -> AsyncIterator[PushServer]:
    port = free_port()
    found = PushServer(f"http://127.0.0.1:{port}")
    app = Starlette(routes=[Route("/push/{id}", found.push, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=0))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the push service's start")
    yield found
    server.should_exit = True
    await serving
