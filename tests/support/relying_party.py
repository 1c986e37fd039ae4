"""A relying party of OpenID Connect that checks all that it gets, and the browser and phone of its person.

It knows the issuer's address and its own credentials; everything else it reads from discovery.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support.app_server import AppServer
from tests.support.applications import answer_in
from tests.support.client import Phone


@dataclass(frozen=True)
class Login:
    """What one authorization brought. `form` is the token request, `id_token` and `user_info` are claims."""

    form: dict[str, str]
    tokens: dict[str, Any]
    id_token: dict[str, Any]
    user_info: dict[str, Any]


@dataclass
class RelyingParty:
    """`browser` asks the issuer's address; `phone` is the login of the person, who says yes. `now` is the server's time
    in ms."""

    app: AppServer
    phone: Phone
    browser: httpx2.AsyncClient
    now: Callable[[], int]
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: Any = None

    async def discover(self) -> None:
        self.metadata = (await self.browser.get("/.well-known/openid-configuration")).json()
        assert self.metadata["issuer"] == str(self.browser.base_url).rstrip("/")
        self.keys = (await self.browser.get(self.metadata["jwks_uri"])).json()

    def of(self, app: AppServer) -> "RelyingParty":
        """Another application that the same person uses in the same browser."""
        return replace(self, app=app)

    def query(self, **more: Any) -> str:
        """An authorization request with a state and a nonce of its own; None leaves a parameter out."""
        own = {"scope": "openid", "state": secrets.token_urlsafe(8), "nonce": secrets.token_urlsafe(8)}
        return self.app.app.query(**own | more)

    async def send(self, query: str) -> httpx2.Response:
        """The browser is sent to the issuer: a redirect, or a page."""
        return await self.browser.get(f"{self.metadata['authorization_endpoint']}?{query}")

    async def answer(self, query: str) -> dict[str, str]:
        """What the application is told in the end. Where a page asks, the person says yes."""
        given = await self.send(query)
        if given.status_code == 200:
            return self.told(query, await self.consent(given, query, self.phone))
        assert given.status_code == 303, given.text
        return self.told(query, given.headers["location"])

    def told(self, query: str, to: str) -> dict[str, str]:
        """The answer to that request, in the address that the browser is sent to."""
        assert to.startswith(f"{self.app.app.redirect_uri}?"), to
        told = answer_in(to)
        asked = answer_in(f"?{query}")
        assert (told.get("state"), told["iss"]) == (asked.get("state"), self.metadata["issuer"])
        return told

    async def consent(self, page: httpx2.Response, query: str, by: Phone) -> str:
        """As the page asks for a person that is logged in; the browser keeps the cookie."""
        started = re.search('data-started="([^"]+)"', page.text)
        assert started, page.text
        decided = await by.post("/authorizations", {"query": query, "decision": "approve", "started": started[1]})
        assert decided.status_code == 200, decided.text
        self.browser.headers["Cookie"] = decided.headers["set-cookie"].partition(";")[0]
        return str(decided.json()["redirectTo"])

    async def log_in(self, query: str | None = None) -> Login:
        """A whole code flow, with each answer checked."""
        query = query or self.query()
        return await self._with_code(query, (await self.answer(query))["code"])

    async def finish(self, query: str, to: str) -> Login:
        """The rest of the flow, of a browser that is sent back to the application."""
        return await self._with_code(query, self.told(query, to)["code"])

    async def _with_code(self, query: str, code: str) -> Login:
        # 128 bits (RFC 6749, section 10.10).
        assert len(code) >= 22
        form = self.app.code_form(code)
        answer = await self.redeem(form)
        assert answer.status_code == 200, answer.text
        return await self._checked(form, answer, answer_in(f"?{query}").get("nonce"))

    async def redeem(self, form: dict[str, str]) -> httpx2.Response:
        return await self.app.post(self.metadata["token_endpoint"], form)

    async def refresh(self, before: Login) -> Login:
        """OpenID Connect Core, section 12."""
        form = {"grant_type": "refresh_token", "refresh_token": before.tokens["refresh_token"]}
        answer = await self.redeem(form)
        assert answer.status_code == 200, answer.text
        renewed = await self._checked(form, answer, None)
        same = ("iss", "sub", "aud", "auth_time", "azp")
        assert [renewed.id_token[name] for name in same] == [before.id_token[name] for name in same]
        return renewed

    async def user_info(self, token: str, method: str = "GET", **body: Any) -> httpx2.Response:
        headers = {} if body else {"Authorization": f"Bearer {token}"}
        return await self.browser.request(method, self.metadata["userinfo_endpoint"], headers=headers, **body)

    async def _checked(self, form: dict[str, str], answer: httpx2.Response, nonce: str | None) -> Login:
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()
        assert tokens["token_type"].lower() == "bearer"
        assert tokens["expires_in"] > 0
        assert re.fullmatch(r"[\x20-\x7e]+", tokens["refresh_token"])
        id_token = self._id_token(tokens, nonce)
        told = await self.user_info(tokens["access_token"])
        assert told.status_code == 200, told.text
        assert told.json()["sub"] == id_token["sub"]
        return Login(form, tokens, id_token, told.json())

    def _id_token(self, tokens: dict[str, Any], nonce: str | None) -> dict[str, Any]:
        """OpenID Connect Core, section 3.1.3.7."""
        token = jwt.decode(tokens["id_token"], KeySet.import_key_set(self.keys), algorithms=["RS256"])
        assert token.header["kid"] in {key["kid"] for key in self.keys["keys"]}
        claims = dict(token.claims)
        now = self.now() / 1000
        assert claims["iss"] == self.metadata["issuer"]
        assert claims["aud"] == claims["azp"] == self.app.id
        assert now - 60 < claims["iat"] <= now < claims["exp"]
        assert 0 < len(claims["sub"]) <= 255
        assert claims["sub"].isascii()
        assert claims.get("nonce") == nonce
        half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(half).decode().rstrip("=")
        return claims
