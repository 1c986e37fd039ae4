"""The pages and their browser's own key: what they log in with is worth nothing without it."""

import json
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page

from tests.support.keys import payload

from .conftest import (
    Device,
    NewDevice,
    Server,
    heading,
    shown_code,
    type_code,
)
from .steps import allow, is_logged_in_as, shown_number

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What a script that got into the page could read and carry away.
STOLEN = """async () => {
  const { refreshKeys, whoAmI } = await import('/static/pairing.js');
  const { authKey } = await refreshKeys();
  return { authKey, me: await whoAmI(authKey) };
}"""
PRIVATE = """async () => {
  const [{ name }] = (await indexedDB.databases()).filter(({ name }) => name.startsWith('pairing-key'));
  const opening = indexedDB.open(name);
  await new Promise((resolve) => { opening.onsuccess = resolve; });
  const asking = opening.result.transaction('keys').objectStore('keys').get(0);
  await new Promise((resolve) => { asking.onsuccess = resolve; });
  opening.result.close();
  const { privateKey } = asking.result.pair;
  return crypto.subtle.exportKey('jwk', privateKey).then(() => 'exported', (error) => error.name);
}"""


async def refused(device: Device, page: Page, server: Server) -> dict[str, Any]:
    """What the browser sends is refused without a proof; the keys it has now."""
    stolen: dict[str, Any] = await page.evaluate(STOLEN)
    cookies = {each["name"]: each["value"] for each in await device.context.cookies(f"{server.url}/api/v1/sessions")}
    async with httpx2.AsyncClient(base_url=f"{server.url}/api/v1", verify=False) as thief:
        for headers in ({"Auth-Key": stolen["authKey"]}, {"Authorization": f"Bearer {stolen['authKey']}"}):
            answer = await thief.get("/me", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_proof")
        cookie = {"Cookie": f"pairing_refresh={cookies['pairing_refresh']}", "Origin": server.url}
        answer = await thief.post("/sessions/refresh", json={"keys": "cookie"}, headers=cookie)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_proof")
    return stolen


PROVEN = """async () => {
  const { proof, refreshKeys } = await import('/static/pairing.js');
  const { authKey } = await refreshKeys();
  return await Promise.all([proof('GET', 'https://app.example.com/me?x', authKey, 'theirs'),
    proof('GET', 'https://app.example.com/me?x', authKey)]);
}"""


async def test_a_proof_for_a_server_of_ones_own_has_the_nonce_that_it_asked_for(phone: Device) -> None:
    page = await phone.open("/devices")
    theirs, ours = [payload(each) for each in await page.evaluate(PROVEN)]
    assert theirs["htu"] == "https://app.example.com/me"
    assert theirs["nonce"] == "theirs"
    # Which no later proof repeats.
    assert ours.get("nonce") != "theirs"


@pytest.mark.mitigation("6.1.12")
async def test_what_is_stolen_from_a_browser_that_logged_in_by_invite_is_worth_nothing(
    new_device: NewDevice, server: Server
) -> None:
    laptop = await new_device()
    page = await laptop.log_in("greta")
    stolen = await refused(laptop, page, server)
    assert payload(stolen["authKey"])["cnf"]["jkt"] == stolen["me"]["session"]["jkt"]
    assert await page.evaluate(PRIVATE) == "InvalidAccessError"
    # The theft has cost the owner nothing; the next page has the same key, and what the server last said about proofs.
    refusals = []
    laptop.context.on("response", lambda response: refusals.append(response.url) if response.status == 401 else None)
    await page.goto(server.url)
    await heading(page, "You are already logged in as greta")
    assert refusals == []
    again = await refused(laptop, await laptop.open("/devices"), server)
    assert payload(again["authKey"])["cnf"] == payload(stolen["authKey"])["cnf"]


@pytest.mark.mitigation("6.1.12")
@pytest.mark.parametrize("shows", ["the new device", "the phone"])
async def test_what_is_stolen_from_a_browser_that_was_let_in_is_worth_nothing(
    phone: Device, new_device: NewDevice, server: Server, shows: Any
) -> None:
    laptop = await new_device()
    if shows == "the new device":
        page = await laptop.open("/")
        asking = await phone.open("/phone")
        await type_code(asking, await shown_code(page))
    else:
        asking = await phone.open("/phone")
        await asking.get_by_role("button", name="Show a code instead").click()
        await heading(asking, "Add another device")
        page = await laptop.open("/phone")
        await type_code(page, await shown_code(asking))
    await allow(asking)
    await page.get_by_label("Number on your other device").fill(await shown_number(asking))
    await page.get_by_role("button", name="Log in").click()
    await is_logged_in_as(page, "ada")
    stolen = await refused(laptop, page, server)
    assert payload(stolen["authKey"])["cnf"]["jkt"] == stolen["me"]["session"]["jkt"]


async def test_a_browser_without_webcrypto_logs_in_unbound(new_device: NewDevice, server: Server) -> None:
    laptop = await new_device()
    # As over plain http on a network.
    await laptop.context.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page = await laptop.log_in("hans")
    stolen: dict[str, Any] = await page.evaluate(STOLEN)
    assert "cnf" not in payload(stolen["authKey"])
    assert "jkt" not in stolen["me"]["session"]
    await page.reload()
    await heading(page, "You are already logged in as hans")


async def test_a_browser_that_has_lost_its_key_is_logged_out(new_device: NewDevice, server: Server) -> None:
    laptop = await new_device()
    page = await laptop.log_in("ilse")
    await page.evaluate(
        "async () => { for (const { name } of await indexedDB.databases()) indexedDB.deleteDatabase(name); }"
    )
    await page.goto(server.url)
    await heading(page, "Log in with a device you trust")


async def test_a_wrong_clock_logs_in_all_the_same_and_hears_the_news(new_device: NewDevice, server: Server) -> None:
    laptop = await new_device()
    await laptop.context.clock.set_fixed_time("2031-01-01T00:00:00Z")
    sockets = []
    page = await laptop.context.new_page()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: sockets.append(json.loads(frame))))
    await page.goto(await server.invitation("jana"))
    await page.get_by_role("button", name="Log in this device").click()
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
    other = await new_device()
    await other.log_in("jana")
    await page.get_by_text("A new device has just logged in").wait_for()
    assert [each["type"] for each in sockets][-1] == "device.added"
