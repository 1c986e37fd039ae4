"""`<qr-login>`, in the example's page of another origin: what a person sees, and what the page is told."""

import io
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Page, expect

from .conftest import AnotherServer, Camera, Device, NewDevice, Server, adas
from .steps import allow, scan, shown_number

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Path(__file__).parents[1] / "examples/qr_login/index.html"


async def open_example(device: Device, server: Server, site: str, folder: Path, **changes: str) -> Page:
    """As it is in the repository, but for the server's address."""
    page = EXAMPLE.read_text().replace("http://localhost:8000", server.url)
    for old, new in changes.items():
        assert old in page
        page = page.replace(old, new)
    (folder / "site/index.html").write_text(page)
    return await device.open(f"{site}/index.html")


async def picture(page: Page) -> bytes:
    await page.locator("qr-login svg path").wait_for()
    return await page.locator("qr-login svg").screenshot()


async def test_the_page_of_another_origin_logs_in_by_the_camera_and_asks_who_it_is_first(
    tmp_path: Path, site: str, another_server: AnotherServer, new_device: NewDevice, camera: Camera
) -> None:
    async with another_server(PAIRING_ALLOWED_ORIGINS=site) as server:
        phone = await adas(await new_device(at=server))
        page = await open_example(await new_device(at=server), server, site, tmp_path)
        camera.show(await picture(page))
        scanning = await phone.open("/phone")
        await scan(scanning)
        await expect(scanning.get_by_text("The shop on my television")).to_be_visible()
        await allow(scanning)
        await page.get_by_text("Is that you?").wait_for()
        await expect(page.locator("#who")).to_be_empty()
        await page.keyboard.press("Enter")
        await expect(page.locator("#who")).to_contain_text("Welcome, ada-")
        await expect(page.locator("qr-login")).to_have_count(0)


async def test_a_typed_code_takes_the_number_and_no_stranger_s_account_is_kept(
    tmp_path: Path, site: str, another_server: AnotherServer, new_device: NewDevice
) -> None:
    async with another_server(PAIRING_ALLOWED_ORIGINS=site) as server:
        phone = await adas(await new_device(at=server))
        page = await open_example(await new_device(at=server), server, site, tmp_path)
        await page.locator("qr-login svg path").wait_for()
        code = await page.locator("qr-login output").inner_text()
        approving = await phone.open("/phone")
        await approving.get_by_label("Type the code that it shows").fill(code)
        await approving.get_by_role("button", name="Continue").click()
        await allow(approving)
        number = await shown_number(approving)
        field = page.get_by_label("Number on your other device")
        await expect(field).to_be_focused()
        await field.fill("12")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("The number has three digits.")
        await field.fill(number)
        await page.keyboard.press("Enter")
        async with page.expect_response("**/sessions/current") as left:
            await page.get_by_role("button", name="Not me").click()
        assert (await left.value).status == 204
        await expect(page.get_by_text("Nothing was kept")).to_be_visible()
        await expect(page.locator("#who")).to_be_empty()
        await page.get_by_role("button", name="Show a new code").click()
        await page.locator("qr-login svg path").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
async def test_its_picture_is_read_on_a_dark_page_and_its_texts_are_the_pages(
    tmp_path: Path, site: str, another_server: AnotherServer, new_device: NewDevice, width: int
) -> None:
    texts = "{&quot;typed&quot;: &quot;Kein Scanner? Dort eintippen:&quot;}"
    async with another_server(PAIRING_ALLOWED_ORIGINS=site) as server:
        device = await new_device(at=server, color_scheme="dark", viewport={"width": width, "height": 844})
        changes = {
            "<qr-login ": f'<style>body {{ background: #111; color: #eee }}</style><qr-login texts="{texts}" ',
        }
        page = await open_example(device, server, site, tmp_path, **changes)
        await page.locator("qr-login svg path").wait_for()
        await expect(page.get_by_text("Kein Scanner?")).to_be_visible()
        shown = await page.screenshot(path=tmp_path / f"dark-{width}.png", full_page=True)
        found = zxingcpp.read_barcode(Image.open(io.BytesIO(shown)))
        assert found
        assert found.text.startswith(f"{server.url}/pair/")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
