"""Logging in with another provider through real pages: the button, the way there and back, and what is said where it
leads nowhere. The provider stands on this machine, and asks nothing."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.issuer import CLIENT, SECRET, Issuer, issuing
from tests.upstream.conftest import linked_in

from .conftest import NewDevice, Server, heading, serving
from .steps import is_logged_in_as, sideways

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.security(54)]


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(provider: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {
        "PAIRING_UPSTREAM_ISSUER": provider.url,
        "PAIRING_UPSTREAM_CLIENT_ID": CLIENT,
        "PAIRING_UPSTREAM_CLIENT_SECRET": SECRET,
        "PAIRING_UPSTREAM_NAME": "Example & Co",
        "PAIRING_ALLOW_PRIVATE_TARGETS": "true",
    }
    async with serving(tmp_path_factory.mktemp("with-provider"), **settings) as server:
        yield server


async def person(site: Server, provider: Issuer) -> str:
    """The name of an account, whose person the provider logs in from now on."""
    provider.honest()
    name = f"ada-{secrets.token_hex(4)}"
    provider.subject = name
    await linked_in(site.folder, name, provider.url, name)
    return name


async def log_in_with_provider(page: Page) -> None:
    await page.get_by_role("link", name="Log in with Example & Co").click()


async def test_a_person_logs_their_first_device_in_with_the_provider_and_stays_logged_in(
    new_device: NewDevice, site: Server, provider: Issuer
) -> None:
    name = await person(site, provider)
    page = await (await new_device(at=site)).open("/")
    await log_in_with_provider(page)
    await is_logged_in_as(page, name)
    assert page.url == f"{site.url}/join/upstream"
    await page.goto(f"{site.url}/devices")
    await heading(page, "Your devices")
    # Coming back once more logs nobody else in.
    await person(site, provider)
    await page.goto(f"{site.url}/login/upstream")
    await heading(page, "You are logged in already")
    await page.goto(f"{site.url}/devices")
    await expect(page.locator("#who")).to_have_text(name)


async def test_a_person_without_an_account_reads_so_and_one_who_is_not_that_person_stays_out(
    new_device: NewDevice, site: Server, provider: Issuer
) -> None:
    provider.honest()
    provider.subject = "a stranger"
    page = await (await new_device(at=site, viewport={"width": 390, "height": 844})).open("/")
    await log_in_with_provider(page)
    await heading(page, "You have no account here")
    assert await sideways(page) == []
    await page.get_by_role("link", name="To the start page").click()
    name = await person(site, provider)
    await log_in_with_provider(page)
    await heading(page, f"You are now {name}")
    await page.get_by_role("button", name="Not me").click()
    await heading(page, "You are logged out again")
    await page.goto(f"{site.url}/join/upstream")
    await heading(page, "That took too long")


async def test_who_scans_the_code_of_a_logged_in_device_is_offered_the_provider_too(
    new_device: NewDevice, site: Server
) -> None:
    page = await (await new_device(at=site)).open(f"/join/{'A' * 22}#code")
    await heading(page, "Log in this device?")
    await expect(page.get_by_role("link", name="Log in with Example & Co")).to_be_visible()
