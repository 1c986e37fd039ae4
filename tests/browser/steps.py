"""What a person does and sees on the way in, page after page."""

import re

from playwright.async_api import CDPSession, Page, expect

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


async def add_passkey(page: Page, name: str) -> None:
    await page.get_by_role("link", name="Your devices").first.click()
    await page.get_by_label("Name for a new passkey").fill(name)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=name)).to_be_visible()


class Finger:
    """The authenticator of one page. Its passkeys can be taken to another, as a synced one's are."""

    def __init__(self, cdp: CDPSession, own: str) -> None:
        self._cdp = cdp
        self._own = {"authenticatorId": own}

    @classmethod
    async def at(cls, page: Page) -> "Finger":
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return cls(cdp, made["authenticatorId"])

    async def passkeys(self) -> list[dict[str, object]]:
        return list((await self._cdp.send("WebAuthn.getCredentials", self._own))["credentials"])

    async def take(self, passkeys: list[dict[str, object]]) -> None:
        for each in passkeys:
            await self._cdp.send("WebAuthn.addCredential", {**self._own, "credential": each})

    async def known(self, verified: bool) -> None:
        await self._cdp.send("WebAuthn.setUserVerified", {**self._own, "isUserVerified": verified})


async def sideways(page: Page) -> list[str]:
    """What is wider than the screen."""
    return list(
        await page.evaluate("""() => [...document.querySelectorAll('body *:not(.unseen):not(.skip)')]
            .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
            .map((each) => `${each.localName}.${each.className}: ${each.textContent.slice(0, 40)}`)""")
    )
