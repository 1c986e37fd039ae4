"""Apps with access on `/devices`: what a person sees of them, the alarm, and how they take one's access away."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.support.applications import Application, answer_in, register
from tests.support.client_tokens import claims
from tests.support.listener import Listener, listening
from tests.support.servers import eventually

from .conftest import AnotherServer, Device, NewDevice, Server, heading, shown_code, type_code
from .steps import allow, is_logged_in_as, shown_number, sideways

pytestmark = pytest.mark.asyncio(loop_scope="session")

GRANT = """async (query) => {
    const [session, pairing] = await Promise.all(
        ['session', 'pairing'].map((name) => import(new URL(`static/${name}.js`, location.origin))));
    const { redirectTo } = await session.withKey((key) => pairing.authorize({ query, decision: 'approve' }, key));
    return redirectTo;
}"""


async def log_in(server: Server, phone: Device, at: Application) -> None:
    """At that application, with the person's yes on the phone."""
    page = await phone.open("/devices")
    code = answer_in(await page.evaluate(GRANT, at.query()))["code"]
    await page.close()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": at.client.id,
        "redirect_uri": at.redirect_uri,
        "code_verifier": at.verifier,
    }
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"http://127.0.0.1:{server.port}/oauth/token", data=form)
    assert answer.status_code == 200, answer.text


async def test_an_app_is_shown_with_its_name_and_removed_after_a_question(
    server: Server, phone: Device, tmp_path: Path
) -> None:
    shop = await register(server.folder)
    page = await phone.open("/devices")
    await page.locator(".device").first.wait_for()
    await expect(page.get_by_role("heading", name="Apps with access")).to_be_hidden()
    await log_in(server, phone, shop)
    # The page that is open hears of it.
    app = page.locator("[data-app]")
    await expect(app).to_contain_text("The Shop")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await sideways(page) == []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.get_by_role("heading", name="Apps with access").scroll_into_view_if_needed()
        await page.screenshot(path=tmp_path / f"apps-{scheme}.png", full_page=True)
    await app.get_by_role("button", name=re.compile("^Remove the access of .*The Shop")).click()
    await expect(app).to_contain_text("Remove the access of “The Shop”?")
    await app.get_by_role("button", name="Remove").click()
    await expect(page.locator(".activity")).to_contain_text("An application lost its access: “The Shop”")
    await expect(app).to_have_count(0)


LOGO = "https://cdn.example.com/logo.svg"
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><circle cx="4" cy="4" r="4" fill="teal"/></svg>'


@pytest_asyncio.fixture(loop_scope="session")
async def shop() -> AsyncIterator[Listener]:
    """The application's own server, which hears of logouts."""
    async with listening() as listener:
        yield listener


@pytest_asyncio.fixture(loop_scope="session")
async def private(another_server: AnotherServer) -> AsyncIterator[Server]:
    """It may tell applications on this machine."""
    async with another_server(PAIRING_ALLOW_PRIVATE_TARGETS="true") as server:
        yield server


async def let_in(phone: Device, other: Device) -> None:
    """By its code, with the number typed."""
    showing, reading = await other.open("/"), await phone.open("/phone")
    await type_code(reading, await shown_code(showing))
    await allow(reading)
    await showing.get_by_label("Number on your other device").fill(await shown_number(reading))
    await showing.get_by_role("button", name="Log in", exact=True).click()
    await is_logged_in_as(showing, "ada")
    await heading(reading, "Finished")
    await showing.close()
    await reading.close()


async def told(shop: Listener, logouts: int) -> None:
    await eventually(lambda: len(shop.heard) == logouts, "the application hears of the logout", 10)


async def test_an_app_whose_access_is_removed_hears_of_it_within_ten_seconds(
    private: Server, shop: Listener, new_device: NewDevice
) -> None:
    phone = await new_device(at=private)
    page = await phone.log_in("ada")
    await log_in(private, phone, await register(private.folder, backchannel_logout_uri=shop.uri))
    await page.goto(f"{private.url}/devices")
    app = page.locator("[data-app]")
    await app.get_by_role("button", name=re.compile("^Remove the access of")).click()
    await app.get_by_role("button", name="Remove").click()
    await expect(app).to_have_count(0)
    await told(shop, 1)


async def test_a_device_that_was_not_me_takes_along_the_apps_that_it_let_in(
    private: Server, shop: Listener, new_device: NewDevice
) -> None:
    phone, intruder = await new_device(at=private), await new_device(at=private)
    await phone.enter("ada")
    await let_in(phone, intruder)
    own = await register(private.folder, name="My Own", backchannel_logout_uri=shop.uri)
    stolen = await register(private.folder, name="The Shop", backchannel_logout_uri=shop.uri)
    await log_in(private, phone, own)
    await log_in(private, intruder, stolen)
    page = await phone.open("/devices")
    await expect(page.locator("[data-app]")).to_have_count(2)
    gone = await page.locator("[data-app]").filter(has_text="The Shop").get_attribute("data-app")
    device = page.locator("[data-device]").filter(has_not=page.get_by_text("This device"))
    await device.get_by_role("button", name=re.compile("This wasn’t me")).click()
    await expect(device).to_contain_text("Apps that lose access: “The Shop”")
    await device.get_by_role("button", name=re.compile("^Log out ")).click()
    await expect(page.locator("[data-app]")).to_have_count(1)
    await expect(page.locator("[data-app]")).to_contain_text("My Own")
    await told(shop, 1)
    assert claims(shop.tokens[0])["sid"] == gone


async def test_an_app_that_another_device_lets_in_is_an_alarm_and_its_undoing_takes_both_away(
    private: Server, shop: Listener, new_device: NewDevice
) -> None:
    phone, intruder = await new_device(at=private), await new_device(at=private)
    page = await phone.log_in("ada")
    await let_in(phone, intruder)
    await page.goto(f"{private.url}/devices")
    await expect(page.locator("[data-device]")).to_have_count(2)
    mine = await register(private.folder, name="My Own")
    await log_in(private, phone, mine)
    await expect(page.locator("[data-app]")).to_have_count(1)
    stolen = await register(private.folder, name="The Shop", backchannel_logout_uri=shop.uri)
    # Once, however often it logs in there.
    for number in (2, 3):
        await log_in(private, intruder, stolen)
        await expect(page.locator("[data-app]")).to_have_count(number)
    # Of one's own there is none.
    alarm = page.get_by_role("alert").filter(has_text="application")
    await expect(alarm).to_have_count(1)
    await expect(alarm).to_contain_text("Another device has just given an application access: “The Shop”")
    await alarm.get_by_role("button", name=re.compile("^This wasn’t me")).click()
    await expect(alarm).to_have_count(0)
    await expect(page.locator("[data-device]")).to_have_count(1)
    await expect(page.locator("[data-app]")).to_have_count(1)
    await told(shop, 2)


async def stand_in(page: Page) -> None:
    """The site that has the logo, as far as this page knows it."""

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="image/svg+xml", body=PICTURE)

    await page.route(LOGO, answer)


async def test_the_logo_of_an_app_is_shown(server: Server, phone: Device, tmp_path: Path) -> None:
    await log_in(server, phone, await register(server.folder, logo_uri=LOGO))
    page = await phone.open("/")
    await stand_in(page)
    await page.goto(f"{server.url}/devices")
    logo = page.locator("[data-app] img.logo")
    await expect(logo).to_have_js_property("naturalWidth", 8)
