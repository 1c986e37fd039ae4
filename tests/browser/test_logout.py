"""Being sent to `/oauth/logout` by an application, through real pages: the question, and the way back. The application
is an address that Chromium is told to answer itself."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.support.applications import Application, id_token, register

from .conftest import Device, NewDevice, Server, adas, heading

pytestmark = pytest.mark.asyncio(loop_scope="session")

BYE = "https://app.example.com/bye"


async def stand_in(device: Device) -> Device:
    """The application, as far as this device knows it."""

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="text/html", body="<!doctype html><title>The Shop</title><h1>Bye</h1>")

    await device.context.route(re.compile("^https://app\\.example\\.com/"), answer)
    return device


@pytest_asyncio.fixture(loop_scope="session")
async def laptop(new_device: NewDevice) -> Device:
    """Not logged in."""
    return await stand_in(await new_device())


@pytest_asyncio.fixture(loop_scope="session")
async def adas_laptop(new_device: NewDevice) -> Device:
    return await stand_in(await adas(await new_device()))


@pytest_asyncio.fixture(loop_scope="session")
async def shop(server: Server) -> Application:
    return await register(server.folder, post_logout_redirect_uris=(BYE,))


async def sent_to_log_out(device: Device, **parameters: Any) -> Page:
    return await device.open(f"/oauth/logout?{urlencode(parameters)}")


async def is_logged_in(device: Device) -> bool:
    page = await device.open("/devices")
    titles = ["Your devices", "You are not logged in"]
    await expect(page.get_by_role("heading", level=1, name=re.compile("|".join(titles)))).to_be_visible()
    found = await page.get_by_role("heading", level=1).inner_text()
    await page.close()
    return found == titles[0]


async def test_a_person_whom_any_site_can_send_here_stays_logged_in_if_they_want(
    adas_laptop: Device, shop: Application
) -> None:
    page = await sent_to_log_out(adas_laptop, client_id=shop.client.id, post_logout_redirect_uri=BYE, state="s")
    await heading(page, "Log out of this browser?")
    assert await is_logged_in(adas_laptop)
    await page.get_by_role("button", name="Stay logged in").click()
    await page.wait_for_url(f"{BYE}?state=s")
    assert await is_logged_in(adas_laptop)


async def test_a_person_who_agrees_is_logged_out_and_back_at_the_application(
    adas_laptop: Device, shop: Application
) -> None:
    page = await sent_to_log_out(adas_laptop, client_id=shop.client.id, post_logout_redirect_uri=BYE)
    await page.get_by_role("button", name="Log out", exact=True).click()
    await page.wait_for_url(BYE)
    assert not await is_logged_in(adas_laptop)


async def test_the_page_says_whom_the_application_has_logged_out_and_of_what(
    adas_laptop: Device, shop: Application, server: Server
) -> None:
    page = await sent_to_log_out(adas_laptop, id_token_hint=id_token(server.folder, server.url, shop))
    await heading(page, "Log out of this browser too?")
    await expect(page.get_by_text("You are logged out of The Shop. This browser is still logged in")).to_be_visible()
    await page.get_by_role("button", name="Stay logged in").click()
    await heading(page, "You stay logged in")
    await expect(page.get_by_role("link", name="See your devices")).to_be_visible()


async def test_a_person_who_is_not_logged_in_is_told_so_or_goes_straight_on(laptop: Device, shop: Application) -> None:
    page = await sent_to_log_out(laptop)
    await heading(page, "You are logged out")
    await expect(page.get_by_role("link", name="Log in")).to_be_visible()
    page = await sent_to_log_out(laptop, client_id=shop.client.id, post_logout_redirect_uri=BYE)
    await page.wait_for_url(BYE)


async def test_the_question_is_answered_by_keyboard_alone(adas_laptop: Device, shop: Application) -> None:
    page = await sent_to_log_out(adas_laptop, client_id=shop.client.id, post_logout_redirect_uri=BYE)
    await heading(page, "Log out of this browser?")
    stay = page.get_by_role("button", name="Stay logged in")
    # From the top of the page, or from the heading where the server was slow.
    for _ in range(3):
        await page.keyboard.press("Tab")
        if await stay.evaluate("node => node === document.activeElement"):
            break
    await expect(stay).to_be_focused()
    # A press on what has just been drawn does not count.
    await expect(stay).to_be_enabled()
    await page.keyboard.press("Enter")
    await page.wait_for_url(BYE)
