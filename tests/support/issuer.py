"""Somebody else's OpenID provider, of a few lines and without pages: whoever is sent there is logged in. It can lie."""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

import uvicorn
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.keys import spelt
from tests.support.servers import wait_for

CLIENT = "our-login"
SECRET = "s3cret of ours"
Answer = Callable[[Request], Any]
# Making one takes a tenth of a second.
RSA = RSAKey.generate_key(2048, private=True, parameters={"kid": "rsa"})
KEYS: Mapping[str, RSAKey | ECKey | OKPKey] = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ECKey.generate_key("P-256", private=True, parameters={"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", private=True, parameters={"kid": "okp"}),
}
PUBLIC_KEYS = {"keys": [key.as_dict(private=False) for key in {id(key): key for key in KEYS.values()}.values()]}


@dataclass
class Issuer:
    """`now` is its time in ms. What is changed makes it lie: members of `metadata`, `claims` and `answer` replace its
    own (None takes one out), and `instead` answers in place of a path. `asked` counts requests by path."""

    url: str = ""
    now: Callable[[], int] = lambda: int(time.time() * 1000)
    subject: str = "ada"
    metadata: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    instead: dict[str, Answer] = field(default_factory=dict)
    alg: str = "RS256"
    header: dict[str, Any] = field(default_factory=dict)
    keys: Any = field(default_factory=lambda: PUBLIC_KEYS)
    asked: dict[str, int] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def honest(self) -> None:
        """As it was in the beginning."""
        for each in (self.metadata, self.claims, self.answer, self.instead, self.header, self.asked):
            each.clear()
        self.alg, self.keys, self.subject = "RS256", PUBLIC_KEYS, "ada"

    def token(self, **claims: Any) -> str:
        """An id_token of its own."""
        now = self.now() // 1000
        own = {
            "iss": self.url, "sub": self.subject, "aud": CLIENT, "iat": now, "exp": now + 300, "auth_time": now,
            "jti": secrets.token_urlsafe(8),
        }  # fmt: skip
        return self.signed(_without_none(own | claims | self.claims))

    def signed(self, claims: Mapping[str, Any]) -> str:
        if self.alg not in KEYS:
            # By hand, for no library signs what must be refused.
            return f"{spelt({'alg': self.alg, 'typ': 'JWT'})}.{spelt(dict(claims))}."
        key = KEYS[self.alg]
        header = _without_none({"alg": self.alg, "kid": key.kid, "typ": "JWT"} | self.header)
        # In ASCII: what is no Unicode has to get there, too.
        return jws.serialize_compact(header, json.dumps(dict(claims)), key, algorithms=[self.alg])

    async def serve(self, request: Request) -> Response:
        path = request.url.path
        self.asked[path] = self.asked.get(path, 0) + 1
        if path in self.instead:
            answer = self.instead[path](request)
            return answer if isinstance(answer, Response) else await answer
        if path == "/.well-known/openid-configuration":
            return JSONResponse(_without_none(self._metadata() | self.metadata))
        if path == "/jwks":
            return JSONResponse(self.keys)
        if path == "/authorize":
            return self._authorize(request)
        return self._token(request, parse_qs((await request.body()).decode(), strict_parsing=True))

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "authorization_response_iss_parameter_supported": True,
        }

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT
        assert len(asked["state"]) >= 22
        assert len(asked["nonce"]) >= 22
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        told = {"code": code, "state": asked["state"], "iss": self.url} | self.answer
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(_without_none(told))}", 302)

    def _token(self, request: Request, form: Mapping[str, list[str]]) -> Response:
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        assert [unquote_plus(each) for each in basic.split(":")] == [CLIENT, SECRET]
        asked = self.codes.pop(form["code"][0], None)
        if asked is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        assert form["redirect_uri"] == [asked["redirect_uri"]]
        given = {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token(nonce=asked["nonce"])}
        return JSONResponse(given)


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def hmac_token(claims: Mapping[str, Any], secret: bytes) -> str:
    """Signed with HS256, as by who takes a public key for a secret."""
    text = f"{spelt({'alg': 'HS256', 'kid': RSA.kid})}.{spelt(dict(claims))}"
    return f"{text}.{spelt(hmac.digest(secret, text.encode(), 'sha256'))}"


@contextmanager
def issuing(**settings: Any) -> Iterator[Issuer]:
    """One in a thread of its own, on this machine."""
    issuer = Issuer(**settings)
    app = Starlette(routes=[Route("/{path:path}", issuer.serve, methods=["GET", "POST"])])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        issuer.url = f"http://localhost:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the issuer")
            yield issuer
        finally:
            server.should_exit = True
            thread.join()
