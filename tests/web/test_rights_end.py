"""What a session may see ends with it: on its sockets, its long polls, and for the device that waits for its answer.

On each kind of store. The command line is another process: without Redis nothing tells the server what it has done.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import websockets

from pairing_ws.accounts.service import AccountService
from pairing_ws.components import build
from tests.support.client import Api, Phone, code_of, device_headers, socket, until
from tests.support.embedded import Embedded, embedded, invite_in
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.postgres import Postgres
from tests.support.servers import RedisServer
from tests.web.conftest import refusal

# The server looks for ended sessions every 2 s. Not the bound of the contract (5 s), for the machine may be busy.
SOON = 20
SESSION_SECONDS = 300


@pytest.fixture(scope="module", params=["sqlite", "postgres", "sqlite and redis", "postgres and redis"])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder: Path = tmp_path_factory.mktemp("rights")
    settings: dict[str, Any] = {"quarantine_seconds": 0, "session_seconds": SESSION_SECONDS, **NO_LIMITS_INSIDE}
    if "postgres" in request.param:
        postgres: Postgres = request.getfixturevalue("postgres_server")
        settings["database_url"] = postgres.database()
    if "redis" in request.param:
        redis: RedisServer = request.getfixturevalue("redis_server")
        settings["redis_url"] = redis.url
    with embedded(folder, **settings) as server:
        yield server


@pytest.fixture
async def api(stores: Embedded) -> AsyncIterator[Api]:
    async with Api(stores.url) as client:
        yield client


async def phone_of(api: Api, stores: Embedded, username: str, device: str | None = None) -> Phone:
    code = await invite_in(stores.folder, username, stores.clock, stores.settings.database_url)
    headers = device_headers(device, name=device or "Test device")
    answer = await api.http.post("/invites/accept", json={"code": code}, headers=headers)
    assert answer.status_code == 200, answer.text
    return Phone(api, answer.json())


async def by_command_line(stores: Embedded, act: Callable[[AccountService], Awaitable[object]]) -> None:
    """In a process of its own, as far as the server can tell: they share the database, and Redis where there is one."""
    async with build(stores.settings, clock=stores.clock).running() as services:
        await act(services.accounts)


async def lock(phone: Phone, _: Phone, stores: Embedded) -> None:
    await by_command_line(stores, lambda accounts: accounts.operator.lock(phone.keys["user"]["username"], locked=True))


async def delete(phone: Phone, _: Phone, stores: Embedded) -> None:
    await by_command_line(stores, lambda accounts: accounts.operator.delete_user(phone.keys["user"]["username"]))


async def revoke(phone: Phone, other: Phone, _: Embedded) -> None:
    device_id = phone.keys["device"]["id"]
    assert (await other.api.http.delete(f"/devices/{device_id}", headers=other.headers)).status_code == 204


async def log_out(phone: Phone, _: Phone, __: Embedded) -> None:
    assert (await phone.api.http.delete("/sessions/current", headers=phone.headers)).status_code == 204


async def log_in_again(phone: Phone, _: Phone, stores: Embedded) -> None:
    await phone_of(phone.api, stores, phone.keys["user"]["username"], phone.keys["device"]["name"])


async def expire(_: Phone, __: Phone, stores: Embedded) -> None:
    stores.clock.advance(31)


Ending = Callable[[Phone, Phone, Embedded], Awaitable[None]]


async def close_code(connection: websockets.ClientConnection) -> int | None:
    """After which nothing more can come; what came before must not say who asks to be let in."""
    try:
        while True:
            message = json.loads(await connection.recv())
            assert "newDevice" not in message.get("pairing", {}), message
    except websockets.ConnectionClosed:
        return connection.close_code


@pytest.mark.security(16, 36)
@pytest.mark.parametrize("ending", [lock, delete, revoke, log_out, log_in_again, expire])
async def test_what_a_session_may_see_ends_with_it_and_the_device_that_waits_for_it_hears_so(
    api: Api, stores: Embedded, ending: Ending
) -> None:
    username = ending.__name__
    phone = await phone_of(api, stores, username, "phone")
    stores.clock.advance(SESSION_SECONDS - 30)
    other = await phone_of(api, stores, username)
    shown = await phone.show_code()
    waiting = await api.new_pairing()
    assert (await phone.claim(waiting.pairing)).status_code == 200
    async with AsyncExitStack() as stack:
        auth_key = phone.keys["authKey"]
        on_shown = await stack.enter_async_context(socket(stores.ws_url, shown["id"], authKey=auth_key))
        assert json.loads(await on_shown.recv())["pairing"]["status"] == "pending"
        of_account = await stack.enter_async_context(websockets.connect(f"{stores.ws_url}/api/v1/socket"))
        await of_account.send(json.dumps({"type": "auth", "authKey": auth_key}))
        at_waiting = await stack.enter_async_context(waiting.socket())
        await until(at_waiting, "scanned")
        poll = asyncio.create_task(phone.get(f"/pairings/{shown['id']}?since=1&wait=25"))
        await asyncio.sleep(0.05)  # most likely it waits by now; the answer must be the same if not

        await ending(phone, other, stores)
        # At once, before anything but the database can know. Where it is refused, nothing can be seen anyway.
        body = {"code": code_of(shown)}
        await api.http.post(f"/pairings/{shown['id']}/claim", json=body, headers=device_headers(name="Secret name"))

        async with asyncio.timeout(SOON):
            answer = await poll
            assert refusal(answer) in [(401, "unauthenticated"), (403, "account_locked")], answer.text
            assert "Secret name" not in answer.text
            assert await close_code(on_shown) == 4401
            assert await close_code(of_account) == 4401
            await until(at_waiting, "denied")


@pytest.mark.security(36)
async def test_a_device_that_scans_for_a_session_that_has_ended_hears_that_nobody_can_answer(
    api: Api, stores: Embedded
) -> None:
    phone = await phone_of(api, stores, "expires-first")
    stores.clock.advance(SESSION_SECONDS - 30)
    shown = await phone.show_code()
    stores.clock.advance(31)
    device = await api.join(shown)
    async with asyncio.timeout(SOON), device.socket() as connection:
        await until(connection, "denied")
