"""Pages that are loaded again, left or opened twice while a login goes on: nothing is lost, the other side is told."""

import re

import pytest
from playwright.async_api import Page, expect

from .conftest import (
    Device,
    NewDevice,
    heading,
    shown_code,
    shown_link,
    type_code,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKS = "Let this device in?"
# The server waits 15 s for a page that was left.
GONE = 40_000


async def asked(phone: Device, showing: Page) -> Page:
    """The page of the device that decides, on the card."""
    page = await phone.open("/phone")
    await type_code(page, await shown_code(showing))
    await heading(page, ASKS)
    return page


async def allow(page: Page) -> str:
    """The number that is shown then."""
    button = page.get_by_role("button", name="Allow")
    await expect(button).to_be_enabled()
    await button.click()
    await heading(page, "Type this number on the new device")
    return await page.locator("#verification-number [aria-hidden]").inner_text()


async def test_the_approver_reloads_on_the_card_and_while_the_number_is_shown(
    phone: Device, new_device: NewDevice
) -> None:
    showing = await (await new_device()).open("/")
    page = await asked(phone, showing)
    await page.reload()
    await heading(page, ASKS)
    number = await allow(page)
    await page.reload()
    await expect(page.locator("#verification-number [aria-hidden]")).to_have_text(number)
    await showing.get_by_label("Number on your other device").fill(number)
    await showing.get_by_role("button", name="Log in").click()
    await heading(page, "Finished")
    await page.get_by_role("button", name="Done").click()
    await heading(page, "Let another device in")
    await page.reload()
    await heading(page, "Let another device in")


async def test_a_landing_page_that_is_loaded_again_shows_the_card_and_not_a_broken_link(
    phone: Device, new_device: NewDevice
) -> None:
    showing = await (await new_device()).open("/")
    page = await phone.open(await shown_link(showing))
    await page.get_by_role("button", name="See who asks").click()
    await heading(page, ASKS)
    await page.reload()
    await heading(page, ASKS)
    await page.get_by_role("button", name="Deny").click()
    await heading(showing, "The login was refused")


async def test_another_tab_offers_what_waits_and_does_not_take_it_over(phone: Device, new_device: NewDevice) -> None:
    showing = await (await new_device()).open("/")
    first = await asked(phone, showing)
    await first.close()
    second = await phone.open("/phone")
    await heading(second, "Let another device in")
    await second.get_by_role("button", name="See who asks").click()
    await heading(second, ASKS)
    await allow(second)


async def test_the_new_device_reloads_while_it_waits_and_while_it_asks_for_the_number(
    phone: Device, new_device: NewDevice
) -> None:
    showing = await (await new_device()).open("/")
    page = await asked(phone, showing)
    await heading(showing, "Scanned")
    await showing.reload()
    await heading(showing, "Scanned")
    number = await allow(page)
    await heading(showing, "Type the number")
    await showing.reload()
    await showing.get_by_label("Number on your other device").fill(number)
    await showing.get_by_role("button", name="Log in").click()
    await heading(showing, re.compile("^You are now ada-"))
    await expect(page.get_by_text("The device has left this login.")).to_have_count(0)


async def test_a_code_that_nobody_has_scanned_yet_stays_the_same_over_a_reload(
    phone: Device, new_device: NewDevice
) -> None:
    showing = await (await new_device()).open("/")
    code = await shown_code(showing)
    await showing.reload()
    assert await shown_code(showing) == code
    await asked(phone, showing)
    await heading(showing, "Scanned")


async def test_a_device_that_joins_reloads_while_it_waits(phone: Device, new_device: NewDevice) -> None:
    page = await phone.open("/phone")
    await page.get_by_role("button", name="Show a code instead").click()
    code = await shown_code(page)
    link = await shown_link(page)
    await page.reload()
    assert await shown_code(page) == code
    joining = await (await new_device()).open(link)
    await joining.get_by_role("button", name="Log in this device").click()
    await heading(joining, "Waiting for your other device")
    await joining.reload()
    await heading(joining, "Waiting for your other device")
    await heading(page, ASKS)
    await page.reload()
    await heading(page, ASKS)
    button = page.get_by_role("button", name="Allow")
    await expect(button).to_be_enabled()
    await button.click()
    await heading(joining, re.compile("^You are now ada-"))


async def test_a_new_device_whose_page_is_closed_is_gone_and_the_approver_hears_so(
    phone: Device, new_device: NewDevice
) -> None:
    showing = await (await new_device()).open("/")
    page = await asked(phone, showing)
    await heading(showing, "Scanned")
    await showing.close()
    await expect(page.get_by_text("The device has left this login.")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text("The device is gone", timeout=GONE)
