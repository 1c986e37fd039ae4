"""A person, two devices, one code: every way in and every way out, through real pages."""

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import FilePayload, WebSocketRoute, expect

from tests.support.client import Api

from .conftest import (
    Camera,
    Device,
    NewDevice,
    heading,
    picture_of_code,
    shown_code,
    type_code,
)
from .steps import allow, is_logged_in_as, scan, shown_number

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_new_device_logs_in_when_the_phone_scans_its_code_with_the_camera(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    await expect(showing.locator("[data-transport=socket]")).to_be_visible()
    camera.show(await picture_of_code(showing))

    scanning = await phone.open("/phone")
    await scan(scanning)
    await heading(scanning, "Let this device in?")
    await expect(scanning.get_by_text("on Linux").first).to_be_visible()
    await expect(scanning.get_by_text("If you did not start this yourself, deny.")).to_be_visible()
    await heading(showing, "Scanned")

    await allow(scanning)
    await is_logged_in_as(showing, "ada")
    await heading(scanning, "Finished")


async def test_a_new_device_logs_in_when_it_scans_the_phones_code_with_its_camera(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    tablet = await new_device()
    showing = await phone.open("/phone")
    await showing.get_by_role("button", name="Show a code instead").click()
    await heading(showing, "Add another device")
    camera.show(await picture_of_code(showing))

    scanning = await tablet.open("/phone")
    await heading(scanning, "Log in this device")
    await scan(scanning)
    await heading(scanning, "Waiting for your other device")

    await expect(showing.get_by_text("It read the code that you showed here.")).to_be_visible()
    await allow(showing)
    await is_logged_in_as(scanning, "ada")
    await heading(showing, "Finished")


async def blocked(socket: WebSocketRoute) -> None:
    await socket.close()


async def test_where_sockets_are_blocked_both_pages_poll_and_say_so(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    for device in (phone, laptop):
        await device.context.route_web_socket(re.compile("/socket$"), blocked)
    showing = await laptop.open("/")
    await expect(showing.locator(".connection")).to_contain_text("The live connection is blocked here.")
    camera.show(await picture_of_code(showing))

    scanning = await phone.open("/phone")
    await scan(scanning)
    await heading(showing, "Scanned")
    await expect(showing.locator("[data-transport=polling]")).to_be_visible()
    await allow(scanning)
    await is_logged_in_as(showing, "ada")
    await heading(scanning, "Finished")


async def test_a_picture_of_the_code_can_be_uploaded_instead_of_scanned(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    await showing.locator(".qr svg path").wait_for()
    reading = await phone.open("/phone")
    picture: FilePayload = {"name": "code.png", "mimeType": "image/png", "buffer": await showing.screenshot()}
    await reading.locator("input[type=file]").set_input_files(picture)
    await allow(reading)
    await is_logged_in_as(showing, "ada")


async def test_a_picture_of_the_code_can_be_pasted(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    picture = base64.b64encode(await picture_of_code(showing)).decode()
    reading = await phone.open("/phone")
    await reading.evaluate(
        """async (picture) => {
            const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
            const blob = new Blob([bytes], { type: 'image/png' });
            await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
        }""",
        picture,
    )
    await reading.get_by_role("button", name="Paste").click()
    await heading(reading, "Let this device in?")
    await heading(showing, "Scanned")


async def test_a_picture_without_a_code_is_refused_in_plain_words(phone: Device) -> None:
    reading = await phone.open("/phone")
    blank = io.BytesIO()
    Image.new("RGB", (200, 200), "white").save(blank, "PNG")
    await reading.locator("input[type=file]").set_input_files(
        {"name": "blank.png", "mimeType": "image/png", "buffer": blank.getvalue()}
    )
    await expect(reading.get_by_text("There is no readable code in this picture.")).to_be_visible()


async def test_a_typed_code_asks_for_the_number_and_forgives_a_slip(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    code = await shown_code(showing)
    reading = await phone.open("/phone")
    await type_code(reading, code.replace("-", " ").lower())
    await allow(reading)
    await heading(reading, "Type this number on the new device")
    number = await shown_number(reading)

    await heading(showing, "Type the number")
    field = showing.get_by_label("Number on your other device")
    await expect(field).to_be_focused()
    await field.fill(f"{(int(number) + 1) % 1000:03d}")
    await field.press("Enter")
    await expect(showing.get_by_role("alert")).to_contain_text("2 tries left")
    await field.fill(number)
    await field.press("Enter")
    await is_logged_in_as(showing, "ada")
    await heading(reading, "Finished")


async def test_three_wrong_numbers_end_the_login(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(showing))
    await allow(reading)
    right = int(await shown_number(reading))
    wrong = [f"{(right + off) % 1000:03d}" for off in (1, 2, 3)]
    field = showing.get_by_label("Number on your other device")
    for number, tries in zip(wrong[:2], ("2 tries left", "One try left"), strict=True):
        await field.fill(number)
        await field.press("Enter")
        await expect(showing.get_by_role("alert")).to_contain_text(tries)
    await field.fill(wrong[2])
    await field.press("Enter")
    for page in (showing, reading):
        await heading(page, "The number was wrong three times")
        await expect(page.get_by_text("Nobody was let in.")).to_be_visible()


async def test_a_code_that_the_phone_shows_can_be_typed_on_the_new_device(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await phone.open("/phone")
    await showing.get_by_role("button", name="Show a code instead").click()
    code = await shown_code(showing)
    typing = await laptop.open("/")
    await typing.get_by_role("button", name="Type it here").click()
    await typing.get_by_label("Code on your other device").fill(code)
    await typing.get_by_role("button", name="Continue").click()
    await allow(showing)
    await typing.get_by_label("Number on your other device").fill(await shown_number(showing))
    await typing.get_by_role("button", name="Log in").click()
    await is_logged_in_as(typing, "ada")


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.14")
async def test_deny_tells_the_new_device_and_leaves_nobody_logged_in(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    camera.show(await picture_of_code(showing))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await scanning.get_by_role("button", name="Deny").click()
    await heading(scanning, "Denied")
    await heading(showing, "The login was refused")
    await showing.reload()
    await heading(showing, "Log in with a device you trust")


async def test_cancel_on_the_new_device_ends_the_question_on_the_phone(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    camera.show(await picture_of_code(showing))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await heading(showing, "Scanned")
    await showing.get_by_role("button", name="Cancel").click()
    await heading(scanning, "Cancelled")
    await heading(showing, "Log in with a device you trust")


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.14")
async def test_not_me_keeps_nothing_and_ends_the_session(phone: Device, new_device: NewDevice, camera: Camera) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    camera.show(await picture_of_code(showing))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await allow(scanning)
    await heading(showing, re.compile("You are now ada", re.IGNORECASE))
    await showing.get_by_role("button", name="Not me").click()
    await heading(showing, "You are logged out again")
    await showing.reload()
    await heading(showing, "Log in with a device you trust")


@pytest.mark.security(19)
async def test_a_reload_before_the_answer_asks_again_who_that_is(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    camera.show(await picture_of_code(showing))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await allow(scanning)
    await heading(showing, re.compile("You are now ada", re.IGNORECASE))
    await showing.reload()
    await is_logged_in_as(showing, "ada")


async def plant(device: Any, path: str) -> None:
    """The cookie of Mallory's session, bound to no key, as a neighbour site below the same domain can put it."""
    async with Api(device.server.url) as api:
        keys = (await api.log_in_by_invite((await device.server.invitation("mallory")).split("#")[1])).keys
    cookie = {"name": "pairing_refresh", "value": keys["refreshKey"], "domain": "localhost", "path": path}
    await device.context.add_cookies([cookie])


@pytest.mark.security(19)
async def test_somebody_elses_cookie_in_place_of_ones_own_is_asked_about_and_never_taken_up_silently(
    new_device: NewDevice,
) -> None:
    victim = await new_device()
    page = await victim.log_in("vera")
    await plant(victim, "/api/v1/sessions")
    # In the middle of things the next renewal brings it in, after a reload the first.
    renewal = (
        "import('/static/session.js').then(async ({ credential }) => credential.authKey(await credential.authKey()))"
    )
    async with page.expect_navigation():
        await page.evaluate(f"void {renewal}.catch(() => {{}})")
    await heading(page, "You are now mallory")
    await expect(page.get_by_text("This browser was logged in as somebody else.")).to_be_visible()
    await page.reload()
    await heading(page, "You are now mallory")
    await page.get_by_role("button", name="Not me").click()
    await heading(page, "You are logged out again")
    await page.reload()
    await heading(page, "Log in with a device you trust")


@pytest.mark.security(19)
async def test_a_second_cookie_beside_ones_own_logs_out_and_leaves_neither(new_device: NewDevice) -> None:
    victim = await new_device()
    page = await victim.log_in("wendy")
    await plant(victim, "/api/")
    await page.goto(victim.server.url)
    await heading(page, "You are logged out")
    await expect(page.get_by_text("another site may have planted one")).to_be_visible()
    assert [each["name"] for each in await victim.context.cookies()] == []
    await page.get_by_role("button", name="Try again").click()
    await heading(page, "Log in with a device you trust")


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.6")
async def test_the_device_that_was_just_let_in_can_be_logged_out_again(
    phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    camera.show(await picture_of_code(showing))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await allow(scanning)
    await is_logged_in_as(showing, "ada")
    async with scanning.expect_request(re.compile(r"/api/v1/devices/[^/?]+\?descendants=true$")):
        await scanning.get_by_role("button", name="Log it out again").click()
    await heading(scanning, "Logged out again")
    await heading(showing, "Log in with a device you trust")


async def test_everything_up_to_allow_works_by_keyboard_alone(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    code = await shown_code(showing)
    page = await phone.open("/phone")
    await heading(page, "Let another device in")

    async def tab_to(name: str) -> None:
        for _ in range(30):
            await page.keyboard.press("Tab")
            focused = await page.evaluate(
                "document.activeElement.labels?.[0]?.textContent || document.activeElement.textContent"
            )
            if focused.strip().startswith(name):
                return
        raise AssertionError(f"Tab does not reach {name!r}")

    await tab_to("Type the code")
    await page.keyboard.type(code)
    await page.keyboard.press("Enter")
    await heading(page, "Let this device in?")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await tab_to("Allow")
    await expect(page.get_by_role("button", name="Allow")).not_to_have_attribute("aria-disabled", "true")
    await page.keyboard.press("Enter")
    await heading(page, "Type this number on the new device")


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.14")
async def test_allow_is_inert_at_first_so_that_a_hasty_press_approves_nothing(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    reading = await phone.open("/phone")
    # What the page draws once its clock stands still stays inert.
    await expect(reading.get_by_role("button", name="Continue")).not_to_have_attribute("aria-disabled", "true")
    await reading.clock.install()
    await reading.clock.pause_at(await reading.evaluate("Date.now() / 1000 + 1"))
    await type_code(reading, await shown_code(showing))
    await heading(reading, "Let this device in?")
    button = reading.get_by_role("button", name="Allow")
    await button.dispatch_event("click")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await heading(reading, "Let this device in?")
    await reading.clock.run_for(700)
    await expect(button).not_to_have_attribute("aria-disabled", "true")
    await button.click()
    await heading(reading, "Type this number on the new device")


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.13", "6.1.14")
async def test_the_card_tells_claims_from_facts_and_to_refuse_is_as_easy_as_to_allow(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(await laptop.open("/")))
    await heading(reading, "Let this device in?")
    await expect(reading.locator(".seen")).to_contain_text("The server sees")
    await expect(reading.locator(".seen")).to_contain_text(re.compile("Network.*Address.*Asked", re.DOTALL))
    claims = re.compile("not verified.*Name.*Browser.*System.*Version", re.DOTALL)
    await expect(reading.locator(".claims")).to_contain_text(claims)
    await expect(reading.get_by_text("If you did not start this yourself, deny.")).to_be_visible()
    await expect(reading.get_by_text("Without an answer nobody gets in.")).to_be_visible()
    deny, allow = (reading.get_by_role("button", name=name) for name in ("Deny", "Allow"))
    one, other = await deny.bounding_box(), await allow.bounding_box()
    assert one
    assert other
    assert one["width"] * one["height"] >= 0.95 * other["width"] * other["height"]
    await expect(deny).not_to_have_attribute("aria-disabled", "true")
    await deny.click()
    await heading(reading, "Denied")


@pytest.mark.mitigation("6.1.13", "6.1.14")
async def test_a_code_of_another_site_is_named_and_not_opened(phone: Device, camera: Camera) -> None:
    import qrcode

    page = await phone.open("/phone")
    camera.show(qrcode.make("https://evil.example/pair/abc#def").get_image())
    await scan(page)
    await expect(page.get_by_text("This code belongs to another site: evil.example.")).to_be_visible()
    assert page.url.endswith("/phone")
    await expect(page.get_by_role("link", name=re.compile("evil"))).to_have_count(0)


async def test_what_is_typed_and_no_code_is_answered_with_what_to_type(phone: Device) -> None:
    page = await phone.open("/phone")
    await type_code(page, "ABCD-EF")
    await expect(page.get_by_role("alert")).to_contain_text("Type the eight letters and digits")


async def test_a_phones_code_scanned_by_a_logged_in_device_is_explained(phone: Device, camera: Camera) -> None:
    showing = await phone.open("/phone")
    await showing.get_by_role("button", name="Show a code instead").click()
    await heading(showing, "Add another device")
    camera.show(await picture_of_code(showing))
    page = await phone.open("/phone")
    await scan(page)
    await expect(page.get_by_text("Scan it with the device that you want to add.")).to_be_visible()


async def test_a_browser_does_not_let_itself_in(phone: Device) -> None:
    page = await phone.open("/phone")
    link = await page.evaluate("""async () => {
        const { createPairing, newSecret } = await import('/static/pairing.js');
        const { deviceHeaders } = await import('/static/device.js');
        return (await createPairing({ secret: newSecret(), device: deviceHeaders() })).qr.text;
    }""")
    await type_code(page, link)
    await expect(page.get_by_role("alert")).to_contain_text("this very browser")
    await heading(page, "Let another device in")
