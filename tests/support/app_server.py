"""An application's own server, as it asks ours without a browser: its credentials, and the endpoints below `/oauth`."""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_plus

import httpx2

from pairing_ws.core import codes
from tests.support.applications import Application, answer_in, register
from tests.support.client import Phone

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
SCOPES = ("openid", "profile", "email", "groups", "offline_access")


@dataclass
class AppServer:
    """`url` is the process that it asks. Without a `secret` it is a public client."""

    url: str
    app: Application
    secret: str | None
    http: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        # As in `client.Api`.
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=1)
        self.http = httpx2.AsyncClient(base_url=self.url, timeout=60, limits=limits, verify=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    @property
    def id(self) -> str:
        return self.app.client.id

    def at(self, url: str) -> "AppServer":
        """The same application, asking another process."""
        return AppServer(url, self.app, self.secret)

    async def code(self, phone: Phone, scope: str = "openid groups", **of_request: Any) -> str:
        """An authorization code, to which this login consents."""
        query = self.app.query(scope=scope, **of_request)
        answer = await phone.post("/authorizations", {"query": query, "decision": "approve"})
        assert answer.status_code == 200, answer.text
        return answer_in(answer.json()["redirectTo"])["code"]

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """A form to this endpoint, by Basic where there is a secret."""
        named = form if self.secret else {"client_id": self.id} | form
        return await self.http.post(path, data=named, headers=self.basic() | headers)

    def basic(self) -> dict[str, str]:
        if not self.secret:
            return {}
        pair = f"{quote_plus(self.id)}:{quote_plus(self.secret)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def code_form(self, code: str) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.app.redirect_uri,
            "code_verifier": self.app.verifier,
        }

    async def redeem(self, code: str, /, headers: dict[str, str] | None = None, **form: str) -> httpx2.Response:
        return await self.post("/oauth/token", self.code_form(code) | form, **headers or {})

    async def ask_as_device(self, **form: str) -> httpx2.Response:
        """A device authorization (RFC 8628)."""
        return await self.post("/oauth/device_authorization", form)

    async def poll(self, device_code: str, headers: dict[str, str] | None = None, **form: str) -> httpx2.Response:
        asked = {"grant_type": DEVICE_CODE, "device_code": device_code}
        return await self.post("/oauth/token", asked | form, **headers or {})

    async def refresh(self, token: str, headers: dict[str, str] | None = None, **form: str) -> httpx2.Response:
        asked = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.post("/oauth/token", asked | form, **headers or {})

    async def user_info(self, token: str) -> httpx2.Response:
        return await self.http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {token}"})

    async def introspect(self, token: str) -> httpx2.Response:
        return await self.post("/oauth/introspect", {"token": token})

    async def revoke(self, token: str) -> httpx2.Response:
        return await self.post("/oauth/revoke", {"token": token})

    async def tokens(self, phone: Phone, scope: str = "openid groups", **of_request: Any) -> dict[str, Any]:
        """The answer for a fresh code."""
        answer = await self.redeem(await self.code(phone, scope, **of_request))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def app_server(
    url: str, folder: Path, database_url: str | None = None, *, public: bool = False, **settings: Any
) -> AppServer:
    """A new application, on the database in `folder` or another one."""
    secret = None if public else secrets.token_urlsafe(32)
    ours = {"secret_hash": codes.digest(secret) if secret else None, "scopes": SCOPES}
    return AppServer(url, await register(folder, database_url, **ours | settings), secret)


def error(answer: httpx2.Response) -> tuple[int, str]:
    """In OAuth's own words."""
    return answer.status_code, answer.json()["error"]


def assert_come_back(answer: httpx2.Response) -> None:
    """A store that is away is never a final answer of OAuth's."""
    assert error(answer) == (503, "temporarily_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


async def insist(call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """As a client does: again, until it is told something else than to come back. Of a hundred calls at once some may
    have to, where the machine is slow."""
    async with asyncio.timeout(40):
        while (answer := await call()).status_code >= 500:
            assert_come_back(answer)
            await asyncio.sleep(0.05)
    return answer
