"""Clients of Node.js as npm has them: what each does by itself, against two processes."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.stock_clients.conftest import ADA, Program, Register, printed, program
from tests.support.person import Person
from tests.support.servers import Server


async def converse(node: Program, person: Person) -> list[dict[str, Any]]:
    """Do what the program asks of a person, until it is done; what it said."""
    said: list[dict[str, Any]] = []
    while True:
        heard = await node.hear()
        if "done" in heard:
            return said
        if "authorize" in heard:
            await node.answer(callback=await person.allows(heard["authorize"]))
        elif "logout" in heard:
            await node.answer(callback=await person.logs_out(heard["logout"]))
        elif "device" in heard:
            await person.lets_in(heard["device"])
            await node.answer(allowed=True)
            said.append(heard)
        else:
            said.append(heard)


def user(said: dict[str, Any]) -> tuple[Any, ...]:
    claims = said["user"]
    return claims["name"], claims["email"], claims["email_verified"]


ADAS = (ADA.name, ADA.email, True)


async def test_openid_client_does_all_it_can(
    tmp_path: Path, deployment: Server, register: Register, ada: Person
) -> None:
    app = await register()
    async with program("openid-client", tmp_path, deployment.public_url, app) as node:
        first, same, active, revoked, bound, again, bound_same, device, on_device, left = await converse(node, ada)
    assert user(first) == user(again) == ADAS
    assert first["user"]["groups"] == list(ADA.groups)
    assert (active["active"], revoked["active"]) == (True, False)
    assert bound["type"] == "dpop"
    assert same["same"]
    assert bound_same["same"]
    assert on_device["same"]
    assert device["complete"] == f"{device['at']}?user_code={device['device']}"
    assert left["left"] == f"{app.app.redirect_uri}?state=left"


async def test_oauth4webapi_does_all_it_can(
    tmp_path: Path, deployment: Server, register: Register, ada: Person
) -> None:
    async with program("oauth4webapi", tmp_path, deployment.public_url, await register()) as node:
        found, first, same, active, revoked, bound, again, waits, _, on_device = await converse(node, ada)
    assert found["same"]
    assert user(first) == user(again) == ADAS
    assert (active["active"], revoked["active"]) == (True, False)
    assert bound["type"] == "dpop"
    assert waits["error"] == "authorization_pending"
    assert same["same"]
    assert on_device["same"]


async def test_next_auth_logs_a_person_in_and_keeps_a_session_of_its_own(
    tmp_path: Path, deployment: Server, register: Register, ada: Person
) -> None:
    app = await register("/api/auth/callback/qr")
    pasted = printed("next-auth", deployment.public_url, app)
    (tmp_path / "provider.mjs").write_text(f"export default\n{pasted}\n")
    async with program("next-auth", tmp_path, deployment.public_url, app) as node:
        assert await node.hear() == {"ready": True}
        own = urlsplit(app.app.redirect_uri)
        async with httpx2.AsyncClient(base_url=f"http://{own.netloc}") as browser:
            token = (await browser.get("/api/auth/csrf")).json()["csrfToken"]
            asked = await browser.post("/api/auth/signin/qr", data={"csrfToken": token, "json": "true"})
            callback = await browser.get(await ada.allows(asked.json()["url"]))
            assert callback.status_code == 302
            shown = (await browser.get("/api/auth/session")).json()["user"]
    assert (shown["name"], shown["email"]) == ADAS[:2]


async def test_better_auth_logs_a_person_in_and_keeps_a_session_of_its_own(
    tmp_path: Path, deployment: Server, register: Register, ada: Person
) -> None:
    app = await register("/api/auth/callback/pairing")
    async with program("better-auth", tmp_path, deployment.public_url, app) as node:
        assert await node.hear() == {"ready": True}
        own = urlsplit(app.app.redirect_uri)
        site = f"http://{own.netloc}"
        async with httpx2.AsyncClient(base_url=site, headers={"Origin": site}) as browser:
            wanted = {"provider": "pairing", "callbackURL": "/in", "disableRedirect": True}
            asked = await browser.post("/api/auth/sign-in/social", json=wanted)
            callback = await browser.get(await ada.allows(asked.json()["url"]))
            assert (callback.status_code, callback.headers["Location"].endswith("/in")) == (302, True)
            shown = (await browser.get("/api/auth/get-session")).json()["user"]
    assert (shown["name"], shown["email"], shown["emailVerified"]) == ADAS
