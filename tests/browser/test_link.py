"""`/link`, where RFC 8628 sends people: typing the code of an application's device, or comparing the one in a link."""

import io
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import qrcode
from playwright.async_api import Page, expect

from tests.support.app_server import AppServer, app_server

from .conftest import AnotherServer, Camera, Device, NewDevice, Server, heading, shown_code, type_code
from .steps import allow, scan, shown_number, sideways

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "Does the device in front of you show this code?"
CARD = "Give this application access?"
LARGE = "document.addEventListener('DOMContentLoaded', () => { document.documentElement.style.fontSize = '200%'; })"


async def television(server: Server, **settings: Any) -> AppServer:
    usual: dict[str, Any] = {"public": True, "device_grant": "on", "name": "Television", "scopes": ("openid", "email")}
    return await app_server(server.url, server.folder, **usual | settings)


@pytest_asyncio.fixture(loop_scope="session")
async def tv(server: Server) -> AsyncIterator[AppServer]:
    async with await television(server) as one:
        yield one


async def asked(tv: AppServer, **form: str) -> dict[str, Any]:
    answer = await tv.ask_as_device(**form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def status(tv: AppServer, made: dict[str, Any]) -> str:
    pairing_id, _, secret = made["device_code"].partition(".")
    answer = await tv.http.get(f"/api/v1/pairings/{pairing_id}", headers={"Pairing-Secret": secret})
    return str(answer.json()["status"])


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


@pytest.mark.security(44)
async def test_a_typed_code_shows_who_asks_and_a_press_gives_access(phone: Device, tv: AppServer) -> None:
    made = await asked(tv)
    page = await phone.open("/link")
    await heading(page, "Connect a device or a program")
    field = page.get_by_label("Code")
    await field.press_sequentially(made["user_code"].replace("-", "").lower())
    await expect(field).to_have_value(made["user_code"].lower())
    await field.press("Enter")
    await heading(page, CARD)
    card = page.locator(".application")
    await expect(card).to_contain_text("Television")
    await expect(card.get_by_role("listitem")).to_have_text(
        [
            "know that you are the same person each time",
            "see your e-mail address",
            "keep this access until you take it away",
        ]
    )
    assert await status(tv, made) == "scanned"
    await press(page, "Allow")
    await heading(page, "Allowed")
    assert (await tv.poll(made["device_code"])).status_code == 200
    await heading(page, "Finished")
    await expect(page.get_by_text("The application now has access to your account.")).to_be_visible()
    await press(page, "Done")
    await heading(page, "Connect a device or a program")


@pytest.mark.security(2, 44)
async def test_a_code_that_came_with_a_link_is_compared_before_anything_happens(phone: Device, tv: AppServer) -> None:
    made = await asked(tv)
    page = await phone.open(made["verification_uri_complete"])
    await heading(page, QUESTION)
    await expect(page.locator(".user-code [aria-hidden]")).to_have_text(made["user_code"])
    assert page.url == made["verification_uri"]
    answers = [page.get_by_role("button", name=name, exact=True) for name in ("No", "Yes")]
    sizes = [await each.evaluate("each => [each.offsetWidth, each.offsetHeight]") for each in answers]
    assert sizes[0] == sizes[1]
    for each in answers:
        await expect(each).to_have_accessible_description(re.compile(" ".join(made["user_code"].replace("-", ""))))
    assert await status(tv, made) == "pending"
    # A reload asks once more, and the first key leads to the refusal.
    await page.reload()
    await heading(page, QUESTION)
    await page.keyboard.press("Tab")
    while not await answers[0].evaluate("each => each === document.activeElement"):
        await page.keyboard.press("Tab")
    await expect(answers[0]).not_to_have_attribute("aria-disabled", "true")
    await page.keyboard.press("Enter")
    await heading(page, "Nobody was let in")
    assert await status(tv, made) == "pending"
    await press(page, "Done")
    await heading(page, "Connect a device or a program")


async def test_a_compared_code_can_still_be_denied(phone: Device, tv: AppServer) -> None:
    made = await asked(tv)
    page = await phone.open(made["verification_uri_complete"])
    await press(page, "Yes")
    await heading(page, CARD)
    await press(page, "Deny")
    await heading(page, "Denied")
    await expect(page.get_by_text("The application has got no access.")).to_be_visible()
    assert (await tv.poll(made["device_code"])).json()["error"] == "access_denied"


async def test_a_card_outlives_a_reload(phone: Device, tv: AppServer) -> None:
    made = await asked(tv)
    page = await phone.open(made["verification_uri_complete"])
    await press(page, "Yes")
    await heading(page, CARD)
    await page.reload()
    await heading(page, CARD)
    await press(page, "Allow")
    await heading(page, "Allowed")
    assert (await tv.poll(made["device_code"])).status_code == 200
    await heading(page, "Finished")


async def test_a_browser_that_is_not_logged_in_says_where_to_go_and_keeps_the_code(
    new_device: NewDevice, tv: AppServer
) -> None:
    made, device = await asked(tv), await new_device()
    page = await device.open(made["verification_uri_complete"])
    await heading(page, "This browser is not logged in")
    await expect(page.locator(".user-code [aria-hidden]")).to_have_text(made["user_code"])
    await expect(page.get_by_text(made["verification_uri"].removeprefix("http://"))).to_be_visible()
    await page.goto(await device.server.invitation("ada-link"))
    await press(page, "Log in this device")
    await press(page, "Continue")
    await heading(page, "You are logged in")
    await page.goto(f"{device.server.url}/link")
    await heading(page, QUESTION)


async def test_who_logs_in_for_a_link_is_led_back_to_it(phone: Device, new_device: NewDevice, tv: AppServer) -> None:
    made, device = await asked(tv), await new_device()
    page = await device.open(made["verification_uri_complete"])
    await page.get_by_role("link", name="Log in this browser").click()
    approving = await phone.open("/phone")
    await type_code(approving, await shown_code(page))
    await allow(approving)
    await page.get_by_label("Number on your other device").fill(await shown_number(approving))
    await press(page, "Log in")
    await press(page, "Continue")
    await heading(page, QUESTION)
    assert page.url == made["verification_uri"]


@pytest.mark.parametrize("typed", ["ABC", "ABCD-EFG!", "0000-00000", "https://example.com/link?user_code=ABCD-EFGH"])
async def test_what_is_no_code_is_told_beside_the_field(phone: Device, typed: str) -> None:
    page = await phone.open("/link")
    field = page.get_by_label("Code")
    await field.fill(typed)
    await press(page, "Continue")
    await expect(field).to_have_accessible_description("The code has eight letters and digits.")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await field.fill("0000-0000")
    await expect(field).to_have_accessible_description("")
    await press(page, "Continue")
    await expect(field).to_have_accessible_description(re.compile("^The code is unknown or too old"))


async def test_a_link_without_a_code_asks_for_one(phone: Device) -> None:
    for query in ("?user_code=", "?user_code=<script>", f"?user_code={'A' * 2000}", "?user_code=ABCD-EFGU"):
        page = await phone.open(f"/link{query}")
        await heading(page, "Connect a device or a program")
        await page.close()


@pytest.mark.security(44)
async def test_the_page_that_scans_asks_the_same(phone: Device, tv: AppServer, camera: Camera) -> None:
    made = await asked(tv)
    picture = io.BytesIO()
    qrcode.make(made["verification_uri_complete"]).save(picture)
    camera.show(picture.getvalue())
    page = await phone.open("/phone")
    await scan(page)
    await heading(page, QUESTION)
    assert await status(tv, made) == "pending"
    await press(page, "Yes")
    await heading(page, CARD)
    await page.goto(f"{phone.server.url}/phone")
    await expect(page.get_by_text("An application waits for your answer.")).to_be_visible()
    made = await asked(tv)
    await type_code(page, made["user_code"])
    await heading(page, CARD)


async def test_a_client_that_takes_numbers_is_given_one(phone: Device, tv: AppServer) -> None:
    made = await asked(tv, number="supported")
    page = await phone.open("/link")
    await page.get_by_label("Code").fill(made["user_code"])
    await press(page, "Continue")
    await expect(page.get_by_text("After that you get a number to type there.")).to_be_visible()
    await press(page, "Allow")
    await heading(page, "Type this number where the application asks for it")
    assert (await tv.poll(made["device_code"], number=await shown_number(page))).status_code == 200
    await heading(page, "Finished")


@pytest.mark.security(44)
async def test_warnings_of_an_application_stand_before_its_card_and_its_buttons_in_reach(
    new_device: NewDevice, another_server: AnotherServer
) -> None:
    # A policy that looks away from networks does not for applications.
    settings = {"PAIRING_TRUSTED_PROXIES": "127.0.0.1", "PAIRING_NETWORK_POLICY": "off"}
    async with another_server(**settings) as server, await television(server, name="W" * 80) as tv:
        here = {"X-Forwarded-For": "8.8.4.4"}
        phone = await new_device(at=server, viewport={"width": 390, "height": 844}, extra_http_headers=here)
        await phone.log_in("ada")
        tv.http.headers["X-Forwarded-For"] = "9.9.9.77"
        page = await phone.open((await asked(tv))["verification_uri_complete"])
        await press(page, "Yes")
        await heading(page, CARD)
        text = "It is in another network than this device."
        await expect(page.locator("#warnings + .card")).to_be_visible()
        allow = page.get_by_role("button", name="Allow", exact=True)
        await expect(allow).to_have_accessible_description(re.compile(re.escape(text)))
        await expect(allow).to_be_in_viewport(ratio=1)
        assert await sideways(page) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_text_of_twice_the_size_stays_on_the_screen(phone: Device, tv: AppServer, width: int) -> None:
    await phone.context.add_init_script(LARGE)
    page = await phone.open("/link")
    await page.set_viewport_size({"width": width, "height": 844})
    assert await sideways(page) == []
    await page.goto((await asked(tv))["verification_uri_complete"])
    await heading(page, QUESTION)
    assert await sideways(page) == []
    await press(page, "Yes")
    await heading(page, CARD)
    assert await sideways(page) == []


async def test_a_logo_that_does_not_come_leaves_the_first_letter(phone: Device, server: Server) -> None:
    async with await television(server, logo_uri="https://nowhere.invalid/logo.png") as tv:
        page = await phone.open((await asked(tv))["verification_uri_complete"])
        await press(page, "Yes")
        await heading(page, CARD)
        await expect(page.locator("span.logo")).to_have_text("T")
