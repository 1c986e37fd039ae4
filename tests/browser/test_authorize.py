"""Logging in to an application at `/oauth/authorize`, through real pages: the code, the number, the question, the way
back."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from pairing_ws.core import codes
from tests.support.applications import Application, answer_in, register
from tests.support.embedded import embedded, invite_in
from tests.support.limits import NO_LIMITS_INSIDE

from .conftest import Device, NewDevice, Server, heading, shown_code, type_code
from .steps import Finger, add_passkey, allow, shown_number, sideways

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def answer_any(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = b"<!doctype html><title>The Shop</title><link rel=icon href=data:,><h1>The Shop</h1>"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + body)
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def callback() -> AsyncIterator[str]:
    """Where the application waits: Playwright answers nothing that a redirect leads to."""
    server = await asyncio.start_server(answer_any, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"


@pytest_asyncio.fixture(loop_scope="session")
async def laptop(new_device: NewDevice) -> Device:
    """Not logged in."""
    return await new_device()


@pytest_asyncio.fixture(loop_scope="session")
async def shop(server: Server, callback: str) -> Application:
    # With a secret: without one, what listens on this machine is never let in silently.
    return await register(server.folder, redirect_uris=(callback,), secret_hash=codes.digest("x"))


async def sent_by(application: Application, device: Device, **more: Any) -> Page:
    return await device.open(f"/oauth/authorize?{application.query(**more)}")


async def let_in(phone: Device, asking: Page, username: re.Pattern[str] = re.compile("^You are now ada")) -> None:
    """The phone allows what the page asks, the number is typed, and the person says who they are."""
    page = await phone.open("/phone")
    await type_code(page, await shown_code(asking))
    await allow(page)
    await asking.get_by_label("Number on your other device").fill(await shown_number(page))
    await asking.get_by_role("button", name="Log in").click()
    await heading(asking, username)
    await asking.get_by_role("button", name="Continue").click()
    await page.close()


async def answer_at(page: Page) -> dict[str, str]:
    """What the application is told."""
    await page.wait_for_url(re.compile("/callback\\?"))
    return answer_in(page.url)


async def test_a_person_scans_the_code_says_yes_and_is_back_at_the_application_with_a_code(
    laptop: Device, phone: Device, shop: Application, server: Server
) -> None:
    page = await sent_by(shop, laptop)
    await heading(page, "Log in with a device you trust")
    asks = page.get_by_role("complementary", name="Which application asks")
    await expect(asks).to_contain_text("The Shop asks you to log in.")
    await expect(asks).to_contain_text(urlsplit(shop.redirect_uri).netloc)
    await let_in(phone, page)
    await heading(page, "Share with The Shop?")
    await expect(page.get_by_role("listitem")).to_have_text(
        ["know that you are the same person each time", "see your name and user name"]
    )
    await page.get_by_role("button", name="Allow").click()
    answer = await answer_at(page)
    assert answer.keys() == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("a-state", server.url)


async def test_what_was_allowed_once_is_not_asked_again_and_prompt_none_shows_nothing(
    laptop: Device, phone: Device, shop: Application
) -> None:
    silent = await sent_by(shop, laptop, prompt="none")
    assert (await answer_at(silent))["error"] == "login_required"
    page = await sent_by(shop, laptop)
    await let_in(phone, page)
    await page.get_by_role("button", name="Allow").click()
    first = await answer_at(page)
    again = await answer_at(await sent_by(shop, laptop))
    assert again["code"] != first["code"]
    assert "code" in await answer_at(await sent_by(shop, laptop, prompt="none"))
    more = await sent_by(shop, laptop, prompt="none", scope="openid email")
    assert (await answer_at(more))["error"] == "consent_required"
    # Logged out, the browser is known no more.
    home = await laptop.open("/")
    await home.get_by_role("button", name="Log out").click()
    await heading(home, "Log in with a device you trust")
    assert (await answer_at(await sent_by(shop, laptop, prompt="none")))["error"] == "login_required"


async def test_a_person_who_says_no_is_back_without_anything(phone: Device, shop: Application) -> None:
    page = await sent_by(shop, phone)
    await heading(page, "Share with The Shop?")
    await page.get_by_role("button", name="Deny").click()
    answer = await answer_at(page)
    assert (answer["error"], answer["state"]) == ("access_denied", "a-state")
    assert (await answer_at(await sent_by(shop, phone, prompt="none")))["error"] == "login_required"


async def test_a_phone_that_is_logged_in_needs_one_press_on_one_screen(
    new_device: NewDevice, shop: Application
) -> None:
    device = await new_device(viewport={"width": 390, "height": 844})
    await device.enter(f"ada-{secrets.token_hex(4)}")
    page = await sent_by(shop, device, scope="openid profile email groups offline_access")
    await heading(page, "Share with The Shop?")
    for answer in ("Deny", "Allow"):
        await expect(page.get_by_role("button", name=answer)).to_be_in_viewport(ratio=1)
    assert await sideways(page) == []
    await page.get_by_role("button", name="Allow").click()
    assert "code" in await answer_at(page)


async def test_a_logo_that_does_not_come_leaves_the_first_letter(laptop: Device, server: Server) -> None:
    shop = await register(server.folder, logo_uri="https://nowhere.invalid/logo.png")
    page = await sent_by(shop, laptop)
    await expect(page.locator(".client span.logo")).to_have_text("T")
    await expect(page.locator(".client img")).to_have_count(0)


async def test_a_small_screen_shows_who_asks_and_a_code_that_leads_nowhere_else(
    new_device: NewDevice, shop: Application
) -> None:
    device = await new_device(viewport={"width": 390, "height": 844})
    page = await sent_by(shop, device)
    await page.locator(".qr svg path").wait_for()
    assert await sideways(page) == []
    await expect(page.get_by_role("link")).to_have_text(["To the content"])


async def test_with_keys_alone_the_question_is_read_and_answered(phone: Device, shop: Application) -> None:
    page = await sent_by(shop, phone)
    await heading(page, "Share with The Shop?")
    await expect(page.locator("h1")).to_be_focused()
    for name in ("Deny", "Allow"):
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name=name)).to_be_focused()
    await expect(page.get_by_role("button", name="Allow")).to_have_accessible_description(re.compile("your name"))
    await expect(page.get_by_role("button", name="Allow")).not_to_have_attribute("aria-disabled", "true")
    await page.keyboard.press("Enter")
    assert "code" in await answer_at(page)


async def test_of_two_tabs_the_one_that_waited_goes_on_when_the_other_has_logged_in(
    laptop: Device, phone: Device, shop: Application
) -> None:
    one, two = await sent_by(shop, laptop), await sent_by(shop, laptop, state="of two")
    await heading(two, "Log in with a device you trust")
    await let_in(phone, one)
    await heading(one, "Share with The Shop?")
    await heading(two, "Share with The Shop?")
    await two.get_by_role("button", name="Allow").click()
    assert (await answer_at(two))["state"] == "of two"
    await one.get_by_role("button", name="Allow").click()
    assert (await answer_at(one))["state"] == "a-state"


async def test_back_from_the_application_the_person_is_not_stuck_at_a_spent_answer(
    phone: Device, shop: Application
) -> None:
    page = await sent_by(shop, phone)
    await page.get_by_role("button", name="Allow").click()
    first = await answer_at(page)
    # It took the question's place: behind it is what was there before.
    await page.go_back()
    assert page.url == "about:blank"
    assert (await answer_at(await sent_by(shop, phone)))["code"] != first["code"]


async def test_somebody_else_can_log_in_at_the_same_browser(
    laptop: Device, phone: Device, new_device: NewDevice, shop: Application
) -> None:
    bobs = await new_device()
    await bobs.enter(f"bob-{secrets.token_hex(4)}")
    page = await sent_by(shop, laptop)
    await let_in(phone, page)
    await heading(page, "Share with The Shop?")
    await page.get_by_role("button", name="Log in as somebody else").click()
    await heading(page, "Log in with a device you trust")
    await let_in(bobs, page, re.compile("^You are now bob"))
    await expect(page.get_by_text("You are logged in as bob")).to_be_visible()
    await page.get_by_role("button", name="Allow").click()
    assert "code" in await answer_at(page)


async def test_an_application_that_wants_a_new_login_gets_one_by_a_new_code(
    laptop: Device, phone: Device, shop: Application
) -> None:
    page = await sent_by(shop, laptop)
    await let_in(phone, page)
    await page.get_by_role("button", name="Allow").click()
    await answer_at(page)
    page = await sent_by(shop, laptop, prompt="login")
    await heading(page, "Show that it is you")
    await page.get_by_role("button", name="Show a code to scan").click()
    await heading(page, "Log in with a device you trust")
    await let_in(phone, page)
    assert "code" in await answer_at(page)
    page = await sent_by(shop, laptop, prompt="login")
    await page.get_by_role("button", name="Cancel").click()
    assert (await answer_at(page))["error"] == "access_denied"


async def test_an_application_that_wants_a_new_login_gets_one_by_a_passkey(phone: Device, shop: Application) -> None:
    page = await phone.open("/")
    finger = await Finger.at(page)
    await add_passkey(page, "Ada's finger")
    await page.goto(f"{phone.server.url}/oauth/authorize?{shop.query(prompt='login')}")
    await heading(page, "Show that it is you")
    await finger.known(False)
    await page.get_by_role("button", name="Use your passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("You did not use a passkey")
    await finger.known(True)
    await page.get_by_role("button", name="Use your passkey").click()
    await heading(page, "Share with The Shop?")
    await page.get_by_role("button", name="Allow").click()
    assert "code" in await answer_at(page)


async def test_an_application_that_means_another_account_says_so(phone: Device, shop: Application) -> None:
    claims = '{"id_token": {"sub": {"value": "somebody-else"}}}'
    page = await sent_by(shop, phone, claims=claims)
    await heading(page, "Another account is meant")
    await page.get_by_role("button", name="Cancel").click()
    assert (await answer_at(page))["error"] == "access_denied"


async def test_a_page_that_was_left_open_too_long_says_so_and_begins_again(
    new_device: NewDevice, tmp_path: Path, callback: str
) -> None:
    with embedded(tmp_path, **NO_LIMITS_INSIDE) as clocked:
        url = clocked.settings.public_url
        shop, device = await register(tmp_path, redirect_uris=(callback,)), await new_device()
        page = await device.open(f"{url}/join/invite#{await invite_in(tmp_path, 'ada', clocked.clock)}")
        await page.get_by_role("button", name="Log in this device").click()
        await page.get_by_role("button", name="Continue").click()
        await page.goto(f"{url}/oauth/authorize?{shop.query()}")
        await heading(page, "Share with The Shop?")
        clocked.clock.advance(1800)
        await page.get_by_role("button", name="Allow").click()
        await heading(page, "That took a while")
        await page.get_by_role("button", name="Start again").click()
        await heading(page, "Share with The Shop?")
        await page.get_by_role("button", name="Allow").click()
        assert "code" in await answer_at(page)
        await page.close()


async def test_without_javascript_a_plain_sentence_says_what_is_needed_and_who_asks(
    new_device: NewDevice, shop: Application
) -> None:
    page = await sent_by(shop, await new_device(java_script_enabled=False))
    await expect(page.get_by_text("The Shop asks you to log in.")).to_be_visible()
    await expect(page.get_by_text("Logging in here needs JavaScript")).to_be_visible()


@pytest.mark.security(40)
async def test_the_question_cannot_be_framed_by_another_site(laptop: Device, shop: Application, server: Server) -> None:
    frame = f'<iframe src="{server.url}/oauth/authorize?{shop.query()}"></iframe>'.replace("&", "&amp;")

    async def framing(route: Route) -> None:
        await route.fulfill(content_type="text/html", body=f"<!doctype html><title>Evil</title>{frame}")

    await laptop.context.route("https://evil.example/", framing)
    page = await laptop.open("https://evil.example/")
    framed = page.frame_locator("iframe")
    await expect(framed.get_by_text("The Shop")).to_have_count(0)
    assert [each.url for each in page.frames[1:]] == ["chrome-error://chromewebdata/"]
    # What Chromium says of it.
    assert all("frame" in each for each in laptop.complaints)
    laptop.complaints.clear()
