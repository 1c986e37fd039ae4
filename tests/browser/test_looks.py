"""How the pages look to those who see them otherwise: forced colours, large text, small screens, translators."""

import io
import re
import secrets

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import expect

from .conftest import (
    Device,
    NewDevice,
    Server,
    heading,
    shown_code,
    type_code,
)
from .steps import sideways

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Text twice as large, as a person sets it.
LARGE = "document.addEventListener('DOMContentLoaded', () => { document.documentElement.style.fontSize = '200%'; })"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_in_forced_colours_the_code_is_readable_and_every_mark_has_a_line(
    new_device: NewDevice, scheme: str
) -> None:
    device = await new_device(forced_colors="active", color_scheme=scheme)
    page = await device.open("/")
    await page.locator(".qr svg path").wait_for()
    assert zxingcpp.read_barcodes(Image.open(io.BytesIO(await page.locator(".qr").screenshot())))
    for mark in (".dot", ".step"):
        assert await page.locator(mark).evaluate("(each) => getComputedStyle(each).borderTopWidth") == "1px"
    line = "getComputedStyle(document.querySelector('.steps li'), '::before').borderTopWidth"
    assert await page.evaluate(line) == "1px"
    page = await device.open("/devices")
    await heading(page, "You are not logged in")
    current = page.locator("nav [aria-current]")
    assert await current.evaluate("(each) => getComputedStyle(each).borderBottomWidth") == "3px"
    assert await page.locator(".mark").evaluate("(each) => getComputedStyle(each).borderTopWidth") == "1px"


async def test_in_forced_colours_badges_have_a_line(phone: Device) -> None:
    page = await phone.open("/devices")
    await page.emulate_media(forced_colors="active")
    assert await page.locator(".badge").evaluate("(each) => getComputedStyle(each).borderTopWidth") == "1px"


@pytest.mark.parametrize("width", [390, 1280])
async def test_text_of_twice_the_size_stays_on_the_screen(phone: Device, new_device: NewDevice, width: int) -> None:
    laptop = await new_device(viewport={"width": width, "height": 844})
    await laptop.context.add_init_script(LARGE)
    await phone.context.add_init_script(LARGE)
    showing = await laptop.open("/")
    await showing.locator(".qr svg path").wait_for()
    assert await sideways(showing) == []
    page = await phone.open("/phone")
    await page.set_viewport_size({"width": width, "height": 844})
    await type_code(page, await shown_code(showing))
    await heading(page, "Let this device in?")
    assert await sideways(page) == []
    await page.get_by_role("button", name="Allow").click()
    await heading(page, "Type this number on the new device")
    await heading(showing, "Type the number")
    assert await sideways(page) + await sideways(showing) == []


async def test_names_of_any_length_make_no_page_wider_than_a_small_screen(new_device: NewDevice) -> None:
    device = await new_device(viewport={"width": 320, "height": 640})
    page = await device.log_in("w" * 60)
    assert await sideways(page) == []
    await page.goto(f"{device.server.url}/devices")
    await page.get_by_role("button", name=re.compile("^Rename")).click()
    await page.get_by_label("New name").fill("W" * 128)
    await page.get_by_label("New name").press("Enter")
    await expect(page.get_by_role("heading", name="WWWW")).to_be_visible()
    assert await sideways(page) == []
    await page.get_by_role("button", name=re.compile("^Log out")).click()
    assert await sideways(page) == []
    await page.goto(device.server.url)
    await heading(page, re.compile("You are already logged in as w+", re.IGNORECASE))
    assert await sideways(page) == []


UNTRANSLATED = """(text) => {
    const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (all.nextNode())
        if (all.currentNode.data.includes(text)) found.push(all.currentNode.parentElement.translate);
    return found.length > 0 && !found.includes(true);
}"""


ISOLATED = """(name) => {
    const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (all.nextNode())
        if (all.currentNode.data.includes(name)) found.push(all.currentNode.parentElement);
    return found.map((node) => node.data ?? `${getComputedStyle(node).unicodeBidi} ${node.translate}`);
}"""


async def test_the_name_of_the_account_stands_untranslated_in_its_own_direction_in_every_sentence(
    new_device: NewDevice,
) -> None:
    device, name = await new_device(), f"مریم {secrets.token_hex(4)}"
    invite = await device.server.invitation(name)
    page = await device.open(invite)
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, f"You are now {name}")
    seen = [await page.evaluate(ISOLATED, name)]
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
    seen.append(await page.evaluate(ISOLATED, name))
    for path, title in ("/", f"You are already logged in as {name}"), (invite, "This invitation was not used"):
        page = await device.open(path)
        await heading(page, title)
        await expect(page).to_have_title(f"{title} · Pairing")
        seen.append(await page.evaluate(ISOLATED, name))
    assert all(len(each) > 1 and set(each) == {"isolate false"} for each in seen), seen


async def test_codes_addresses_and_names_are_not_translated(
    phone: Device, new_device: NewDevice, server: Server
) -> None:
    showing = await (await new_device()).open("/")
    code, host = await shown_code(showing), server.url.split("//")[1]
    assert await showing.evaluate(UNTRANSLATED, code)
    assert await showing.evaluate(UNTRANSLATED, host)
    page = await phone.open("/phone")
    await type_code(page, code)
    await heading(page, "Let this device in?")
    for text in ("ada-", "127.0.0.1", host, "“Chrome on Linux”"):
        assert await page.evaluate(UNTRANSLATED, text), text
    await page.get_by_role("button", name="Allow").click()
    number = await page.locator("#verification-number [aria-hidden]").inner_text()
    assert await page.evaluate(UNTRANSLATED, number)
