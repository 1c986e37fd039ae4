"""Proving that somebody is there, through real pages; Chromium's virtual authenticator stands for finger or PIN."""

import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from .conftest import (
    Device,
    NewDevice,
    Server,
    heading,
    serving,
    shown_code,
    type_code,
)
from .steps import Finger, add_passkey

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADDED = re.compile("Another device has just added a passkey")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An approval needs a proof; an invite is one, a scan is none."""
    settings = {"PAIRING_STEP_UP_SECONDS": "3600", "PAIRING_VERIFY": "never", "PAIRING_LIMIT_CREATE": "0"}
    async with serving(tmp_path_factory.mktemp("strict"), **settings) as server:
        yield server


async def let_in(by: Page, device: Device) -> Page:
    """Flow 2, from code to login; ends on the new device's page."""
    showing = await device.open("/")
    await by.goto(device.server.url + "/phone")
    await type_code(by, await shown_code(showing))
    await by.get_by_role("button", name="Allow").click()
    await showing.get_by_role("button", name="Continue").click()
    await heading(showing, "You are logged in")
    return showing


async def test_a_scanned_in_device_lets_another_in_after_the_passkey_and_not_before(
    strict_server: Server, new_device: NewDevice
) -> None:
    owner, guest, third = [await new_device(strict_server) for _ in range(3)]
    first = await owner.log_in("ada")
    key = await Finger.at(first)
    await add_passkey(first, "Ada's finger")
    second = await let_in(first, guest)

    finger = await Finger.at(second)
    showing = await third.open("/")
    await second.goto(strict_server.url + "/phone")
    await type_code(second, await shown_code(showing))
    # The passkey is somewhere else.
    await second.get_by_role("button", name="Allow").click()
    await expect(second.get_by_role("alert")).to_contain_text("You did not use a passkey")
    await heading(showing, "Scanned")

    await finger.take(await key.passkeys())
    await finger.known(False)
    await second.get_by_role("button", name="Allow").click()
    await expect(second.get_by_role("alert")).to_contain_text("You did not use a passkey")
    await finger.known(True)
    await second.get_by_role("button", name="Allow").click()
    await heading(second, "Finished")
    await heading(showing, re.compile("You are now ada", re.IGNORECASE))


async def test_without_any_passkey_the_person_is_told_what_to_do(strict_server: Server, new_device: NewDevice) -> None:
    owner, guest, third = [await new_device(strict_server) for _ in range(3)]
    page = await let_in(await owner.log_in("eve"), guest)
    await Finger.at(page)
    showing = await third.open("/")
    await page.goto(strict_server.url + "/phone")
    await type_code(page, await shown_code(showing))
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_role("alert")).to_contain_text("This needs a passkey, and your account has none.")
    await page.get_by_role("button", name="Deny").click()
    await heading(page, "Denied")

    # Nor can one be added that way.
    await page.goto(strict_server.url + "/devices")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("Ask the people who run this server for an invitation")


async def press(button: Locator) -> None:
    """By keyboard, once it has stood there for a moment."""
    await expect(button).to_be_enabled()
    await button.press("Enter")


async def test_passkeys_are_added_listed_and_removed_by_keyboard_and_other_devices_hear_of_it(
    strict_server: Server, new_device: NewDevice
) -> None:
    owner, guest = await new_device(strict_server), await new_device(strict_server)
    page = await owner.log_in("joe")
    await Finger.at(page)
    other = await let_in(page, guest)
    await other.goto(strict_server.url + "/devices")
    await expect(other.get_by_role("heading", name="Chrome on Linux")).to_have_count(2)

    await add_passkey(page, "Joe's finger")
    await expect(page.locator("#announcements")).to_have_text(re.compile("The passkey .“Joe's finger”. was added"))
    alarm = other.get_by_role("alert").filter(has_text=ADDED)
    await expect(alarm).to_contain_text("Joe's finger")
    await expect(other.get_by_role("heading", name="Joe's finger")).to_be_visible()
    await alarm.get_by_role("button", name="It was me").click()
    await expect(page.get_by_role("alert").filter(has_text=ADDED)).to_have_count(0)

    # The same authenticator has one already.
    await press(page.get_by_role("button", name="Add a passkey"))
    await expect(page.get_by_role("alert")).to_contain_text("in your account already")

    await press(page.get_by_role("button", name=re.compile("^Remove the passkey .“Joe's finger”.$")))
    await expect(page.locator("p:focus")).to_have_text("Remove the passkey “Joe's finger”?")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Tab")
    await press(page.locator("button:focus"))
    await expect(page.get_by_role("heading", name="Joe's finger")).to_have_count(0)
    await expect(page.get_by_label("Name for a new passkey")).to_be_focused()
    await expect(other.get_by_role("heading", name="Joe's finger")).to_have_count(0)
    told = other.get_by_role("alert").filter(has_text="A passkey was removed from your account")
    await expect(told).to_contain_text("“Joe's finger”, by “Chrome on Linux”")
    await told.get_by_role("button", name="I know").click()
    await expect(page.get_by_role("alert").filter(has_text="was removed")).to_have_count(0)
    for event in ("A passkey was added", "A passkey was removed"):
        await expect(other.locator(".activity").get_by_text(event)).to_be_visible()
