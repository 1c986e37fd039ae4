"""What a person does and sees on the way in, page after page."""

import re

from playwright.async_api import Page

from .conftest import heading


async def scan(page: Page) -> None:
    await page.get_by_role("button", name="Scan with the camera").click()


async def allow(page: Page) -> None:
    await heading(page, "Let this device in?")
    await page.get_by_role("button", name="Allow").click()


async def shown_number(page: Page) -> str:
    return await page.locator("#verification-number [aria-hidden]").inner_text()


async def is_logged_in_as(page: Page, name: str) -> None:
    await heading(page, re.compile(f"You are now {name}", re.IGNORECASE))
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
