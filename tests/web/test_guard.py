"""What a guard refuses to be made of, and what it does where it can't know: in process, with no server."""

from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pairing_ws import Caller, Denied, Guard, create_app
from tests.support.clock import FakeClock
from tests.support.embedded import settings_in
from tests.support.keys import DeviceKey
from tests.support.servers import free_port

HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "unknown"}


def test_a_guard_needs_either_the_application_or_an_issuer(tmp_path: Path) -> None:
    login = create_app(settings_in(tmp_path))
    Guard(login)
    with pytest.raises(TypeError, match="or its issuer"):
        Guard()
    with pytest.raises(TypeError, match="or its issuer"):
        Guard(login, issuer="https://login.example.com")
    with pytest.raises(TypeError, match="create_app"):
        Guard(Starlette())
    with pytest.raises(ValueError, match="by https"):
        Guard(issuer="http://login.example.com")


async def test_while_the_issuer_is_away_the_answer_says_when_to_come_back() -> None:
    guard = Guard(issuer=f"http://127.0.0.1:{free_port()}", clock=FakeClock())

    @guard.protect
    async def never(request: Request, caller: Caller) -> JSONResponse:
        return JSONResponse({})

    app = Starlette(routes=[Route("/", never)])
    token = DeviceKey().signed(HEADER, {"sub": "somebody"})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as client:
        answer = await client.get("/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


async def test_what_is_no_token_asks_nobody() -> None:
    guard = Guard(issuer=f"http://127.0.0.1:{free_port()}", clock=FakeClock())
    with pytest.raises(Denied) as refused:
        await guard.check("GET", "/", [("Authorization", "Bearer word")])
    assert (refused.value.status_code, refused.value.error) == (401, "invalid_token")


def test_a_route_that_needs_a_scope_changes_no_other_route() -> None:
    guard = Guard(issuer="https://login.example.com", scopes=["read"])
    assert guard.needs("write").scopes == ("read", "write")
    assert guard.scopes == ("read",)
