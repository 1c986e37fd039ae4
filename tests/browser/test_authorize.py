"""Logging in to an application at `/oauth/authorize`, through real pages: the code, the number, the question, the way
back. The application is an address that Chromium is told to answer itself."""

import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.support.applications import CALLBACK, Application, answer_in, register

from .conftest import Device, NewDevice, Server, heading, shown_code, type_code

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWERED = re.compile(re.escape(CALLBACK))


async def stand_in(device: Device) -> Device:
    """The application, as far as this device knows it."""

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="text/html", body="<!doctype html><title>The Shop</title><h1>The Shop</h1>")

    await device.context.route(re.compile("^https://app\\.example\\.com/"), answer)
    return device


@pytest_asyncio.fixture(loop_scope="session")
async def laptop(new_device: NewDevice) -> Device:
    """Not logged in."""
    return await stand_in(await new_device())


@pytest_asyncio.fixture(loop_scope="session")
async def shop(server: Server) -> Application:
    return await register(server.folder)


async def sent_by(application: Application, device: Device, **more: Any) -> Page:
    return await device.open(f"/oauth/authorize?{application.query(**more)}")


async def let_in(phone: Device, asking: Page, username: re.Pattern[str] = re.compile("^You are now ada")) -> None:
    """The phone allows what the page asks, the number is typed, and the person says who they are."""
    page = await phone.open("/phone")
    await type_code(page, await shown_code(asking))
    await page.get_by_role("button", name="Allow").click()
    number = await page.locator("#verification-number [aria-hidden]").inner_text()
    await asking.get_by_label("Number on your other device").fill(number)
    await asking.get_by_role("button", name="Log in").click()
    await heading(asking, username)
    await asking.get_by_role("button", name="Continue").click()
    await page.close()


async def answer_at(page: Page) -> dict[str, str]:
    """What the application is told."""
    await page.wait_for_url(ANSWERED)
    return answer_in(page.url)


async def test_a_person_scans_the_code_says_yes_and_is_back_at_the_application_with_a_code(
    laptop: Device, phone: Device, shop: Application, server: Server
) -> None:
    page = await sent_by(shop, laptop)
    await heading(page, "Log in with a device you trust")
    asks = page.get_by_role("complementary", name="Which application asks")
    await expect(asks).to_contain_text("The Shop asks you to log in.")
    await expect(asks).to_contain_text("app.example.com")
    await let_in(phone, page)
    await heading(page, "Share with The Shop?")
    await expect(page.get_by_role("listitem")).to_have_text(
        ["know that you are the same person each time", "see your name and user name"]
    )
    await page.get_by_role("button", name="Allow").click()
    answer = await answer_at(page)
    assert answer.keys() == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("a-state", server.url)
