"""Apps with access: listed, revoked, heard of on the account's sockets, and gone with whatever let them in."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.applications import CALLBACK, Application, answer_in, register
from tests.support.client import Api, Phone, account_socket, event, id_of, let_in
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import Server, running
from tests.web.conftest import NewPhone, refusal

LOGO = "https://app.example.com/logo.png"


@pytest.fixture
async def shop(server: Server) -> Application:
    told = {"backchannel_logout_uri": "https://app.example.com/logout", "logo_uri": LOGO}
    return await register(server.folder, **told)


async def log_in(server: Server, phone: Phone, at: Application, **query: Any) -> dict[str, Any]:
    """The tokens that the application gets once the person has said yes on that phone."""
    wanted = {"query": at.query(**query), "decision": "approve"}
    answer = await phone.post("/authorizations", wanted)
    assert answer.status_code == 200, answer.text
    form = {
        "grant_type": "authorization_code",
        "code": answer_in(answer.json()["redirectTo"])["code"],
        "client_id": at.client.id,
        "redirect_uri": CALLBACK,
        "code_verifier": at.verifier,
    }
    async with httpx2.AsyncClient() as http:
        tokens = await http.post(f"{server.url}/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    return dict(tokens.json())


async def user_info(server: Server, tokens: dict[str, Any]) -> int:
    async with httpx2.AsyncClient() as http:
        answer = await http.get(
            f"{server.url}/oauth/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"}
        )
    return answer.status_code


async def apps(phone: Phone) -> list[dict[str, Any]]:
    answer = await phone.get("/apps")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["apps"])


async def revoke(phone: Phone, app: dict[str, Any]) -> httpx2.Response:
    return await phone.api.http.delete(f"/apps/{app['id']}", headers=phone.headers)


async def lines(phone: Phone, name: str) -> list[dict[str, Any]]:
    return [each for each in (await phone.get("/activity")).json()["activity"] if each["event"] == name]


def owed(server: Server) -> set[str]:
    with closing(sqlite3.connect(server.folder / "pairing.db")) as database:
        return {grant for (grant,) in database.execute("SELECT grant_id FROM oauth_logouts")}


async def test_an_app_is_listed_with_what_it_got_when_and_where(
    server: Server, phone: Phone, shop: Application
) -> None:
    assert await apps(phone) == []
    await log_in(server, phone, shop)
    [app] = await apps(phone)
    assert app["createdAt"] == app["lastUsedAt"]
    assert app == {
        "id": app["id"], "clientId": shop.client.id, "name": "The Shop", "scopes": ["openid", "profile"],
        "createdAt": app["createdAt"], "lastUsedAt": app["createdAt"], "lastIp": "127.0.0.1",
        "letInBy": id_of(phone), "offline": False, "logoUri": LOGO,
    }  # fmt: skip
    [line] = await lines(phone, "app.added")
    assert (line["deviceName"], line["byName"]) == ("The Shop", phone.keys["device"]["name"])
    await log_in(server, phone, shop, scope="openid offline_access")
    assert [each["offline"] for each in await apps(phone)] == [True, False]


async def test_an_app_that_is_revoked_is_refused_told_and_asked_again(
    server: Server, phone: Phone, shop: Application
) -> None:
    tokens = await log_in(server, phone, shop)
    other = await log_in(server, phone, await register(server.folder, name="Another"))
    assert await user_info(server, tokens) == 200
    [app] = [each for each in await apps(phone) if each["clientId"] == shop.client.id]
    assert (await revoke(phone, app)).status_code == 204
    assert await user_info(server, tokens) == 401
    assert await user_info(server, other) == 200
    assert [each["name"] for each in await apps(phone)] == ["Another"]
    assert app["id"] in owed(server)
    [line] = await lines(phone, "app.revoked")
    assert (line["deviceName"], line["byName"]) == ("The Shop", phone.keys["device"]["name"])
    asked = (await phone.post("/authorizations", {"query": shop.query()})).json()
    assert asked["question"]["needs"] == "consent"
    assert refusal(await revoke(phone, app)) == (404, "not_found")


@pytest.mark.security(8)
async def test_another_accounts_apps_are_unknown(server: Server, new_phone: NewPhone, shop: Application) -> None:
    phone, stranger = await new_phone(), await new_phone()
    tokens = await log_in(server, phone, shop)
    [app] = await apps(phone)
    assert await apps(stranger) == []
    for target in (app, {"id": "A" * 22}, {"id": "x"}):
        assert refusal(await revoke(stranger, target)) == (404, "not_found")
    assert await user_info(server, tokens) == 200


async def test_this_was_not_me_takes_along_the_apps_that_the_intruder_let_in(
    api: Api, server: Server, phone: Phone, shop: Application
) -> None:
    intruder = await let_in(api, phone)
    child = await let_in(api, intruder)
    own = await log_in(server, phone, shop)
    stolen = [await log_in(server, each, shop, scope="openid offline_access") for each in (intruder, child)]
    gone = {each["id"] for each in await apps(phone) if each["letInBy"] != id_of(phone)}
    path = f"/devices/{id_of(intruder)}?descendants=true"
    assert (await api.http.delete(path, headers=phone.headers)).status_code == 204
    assert [await user_info(server, each) for each in (own, *stolen)] == [200, 401, 401]
    assert [each["letInBy"] for each in await apps(phone)] == [id_of(phone)]
    assert gone <= owed(server)
    assert len(gone) == 2


async def test_a_log_out_takes_along_what_is_not_offline(
    api: Api, server: Server, phone: Phone, shop: Application
) -> None:
    second = await let_in(api, phone)
    bound = await log_in(server, second, shop)
    free = await log_in(server, second, shop, scope="openid profile offline_access")
    assert (await api.http.delete("/sessions/current", headers=second.headers)).status_code == 204
    assert [await user_info(server, each) for each in (bound, free)] == [401, 200]
    assert [each["offline"] for each in await apps(phone)] == [True]


async def test_every_device_hears_of_an_app_that_comes_and_goes(
    api: Api, server: Server, phone: Phone, shop: Application
) -> None:
    second = await let_in(api, phone)
    async with account_socket(server.ws_url, phone) as one, account_socket(server.ws_url, second) as other:
        await listening(server, phone, shop, one, other)
        await log_in(server, second, shop)
        app = (await apps(phone))[0]
        for each in (one, other):
            await hears(each, {"type": "app.added", "app": app})
        assert (await revoke(second, app)).status_code == 204
        for each in (one, other):
            await hears(each, {"type": "app.revoked", "app": app})


async def listening(server: Server, phone: Phone, at: Application, *sockets: Any) -> None:
    """A fresh socket tells what changes since its first look: apps come until all of them have told of one."""
    heard = {asyncio.create_task(event(each)) for each in sockets}
    while heard:
        await log_in(server, phone, at)
        done, heard = await asyncio.wait(heard, timeout=0.05)
        for each in done:
            await each


async def hears(connection: Any, wanted: dict[str, Any]) -> None:
    """This, after whatever came before it."""
    while await event(connection) != wanted:
        pass


async def test_who_polls_hears_of_an_app_by_another_version(server: Server, phone: Phone, shop: Application) -> None:
    versions = [(await phone.get("/devices")).json()["version"]]
    await log_in(server, phone, shop)
    versions.append((await phone.get(f"/devices?known={versions[0]}&wait=10")).json()["version"])
    await revoke(phone, (await apps(phone))[0])
    versions.append((await phone.get(f"/devices?known={versions[1]}&wait=10")).json()["version"])
    assert versions[1] != versions[0] == versions[2]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """New devices are in quarantine for an hour."""
    folder: Path = tmp_path_factory.mktemp("strict")
    with running(folder, demo=False, **NO_LIMITS) as started:
        yield started


@pytest.fixture
async def strict_api(strict: Server) -> AsyncIterator[Api]:
    async with Api(strict.url) as client:
        yield client


@pytest.mark.security(13)
async def test_from_quarantine_a_device_revokes_what_it_let_in_itself_and_nothing_else(
    strict: Server, strict_api: Api
) -> None:
    shop = await register(strict.folder)
    owner = await fresh_phone(strict_api, strict.folder)
    newcomer = await let_in(strict_api, owner)
    owners, newcomers = await log_in(strict, owner, shop), await log_in(strict, newcomer, shop)
    by = {each["letInBy"]: each for each in await apps(newcomer)}
    assert refusal(await revoke(newcomer, by[id_of(owner)])) == (403, "device_quarantined")
    assert (await revoke(newcomer, by[id_of(newcomer)])).status_code == 204
    assert [await user_info(strict, each) for each in (owners, newcomers)] == [200, 401]
    assert (await revoke(owner, by[id_of(owner)])).status_code == 204
    assert await apps(owner) == []
