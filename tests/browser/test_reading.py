"""How pages read codes: by whichever detector works, from what a camera or a file gives, typed in any script."""

import io
import json
from pathlib import Path

import pytest
import qrcode
from PIL import Image
from playwright.async_api import expect

from .conftest import heading, shown_link, type_code

pytestmark = pytest.mark.asyncio(loop_scope="session")

TYPED = json.loads((Path(__file__).resolve().parents[1] / "typed.json").read_text())

# Detectors that are announced and do not work.
BROKEN = {
    "rejects": "class { static getSupportedFormats = async () => ['qr_code']; detect = async () => { throw 1 } }",
    "throws": "class { static getSupportedFormats = async () => ['qr_code']; detect() { throw new Error('no') } }",
    "finds nothing for ever": "class { static getSupportedFormats = async () => ['qr_code']; detect = async () => [] }",
    "throws in its constructor": """class {
        static getSupportedFormats = async () => ['qr_code'];
        constructor() { throw new TypeError('no') }
    }""",
    "never answers": """class {
        static getSupportedFormats = async () => ['qr_code'];
        detect = () => new Promise(() => {});
    }""",
    "answers nonsense": "class { static getSupportedFormats = async () => ['qr_code']; detect = async () => null }",
    "never says its formats": "class { static getSupportedFormats = () => new Promise(() => {}) }",
    "rejects its formats": "class { static getSupportedFormats = async () => { throw 1 } }",
    "has no formats": "class { static getSupportedFormats() {} }",
    "is no class": "{}",
}
# Before modules came to workers; a worker that starts and stays silent.
NO_MODULE_WORKER = """
    window.Worker = class { constructor() { throw new TypeError('module workers are not supported') } };
"""
SILENT_WORKER = "window.Worker = class extends EventTarget { postMessage() {} terminate() { window.ended = true } };"


def png(image: Image.Image) -> dict[str, object]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"name": "code.png", "mimeType": "image/png", "buffer": file.getvalue()}


def code_of_server(server, code="x" * 22) -> Image.Image:
    """A code of this site that leads nowhere: reading it ends in a refusal by the server."""
    return qrcode.make(f"{server.url}/pair/{'A' * 22}#{code}").get_image().convert("L")


async def upload(page, picture: dict[str, object]) -> None:
    await page.locator("input[type=file]").set_input_files(picture)


@pytest.mark.parametrize("detector", BROKEN.values(), ids=BROKEN)
async def test_where_the_browsers_detector_does_not_work_ours_reads_the_picture(phone, server, detector):
    page = await phone.context.new_page()
    await page.add_init_script(f"window.BarcodeDetector = {detector}")
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


@pytest.mark.parametrize("name", ["rejects", "finds nothing for ever", "throws in its constructor", "never answers"])
async def test_and_it_reads_what_the_camera_sees(phone, server, camera, name):
    camera.show(code_of_server(server))
    page = await phone.context.new_page()
    await page.add_init_script(f"window.BarcodeDetector = {BROKEN[name]}")
    await page.goto(f"{server.url}/phone")
    await page.get_by_role("button", name="Scan with the camera").click()
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


async def test_a_second_result_of_the_browsers_detector_counts_too(phone, server):
    page = await phone.context.new_page()
    await page.add_init_script(f"""window.BarcodeDetector = class {{
        static getSupportedFormats = async () => ['qr_code'];
        detect = async () => ['WIFI:S:home', '{server.url}/pair/{"A" * 22}#abc'].map((rawValue) => ({{ rawValue }}));
    }}""")
    await page.goto(f"{server.url}/phone")
    await upload(page, png(Image.new("L", (200, 200), 255)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


@pytest.mark.parametrize("script", [NO_MODULE_WORKER, SILENT_WORKER], ids=["no module worker", "silent worker"])
async def test_where_no_worker_runs_the_page_itself_reads(phone, server, camera, script):
    page = await phone.context.new_page()
    await page.add_init_script(script)
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")
    camera.show(code_of_server(server, "y" * 22))
    async with page.expect_request("**/claim"):
        await page.get_by_role("button", name="Scan with the camera").click()


async def test_where_the_workers_file_is_missing_the_page_itself_reads(phone, server):
    page = await phone.context.new_page()
    await page.route("**/scanner-worker.js", lambda route: route.fulfill(status=404))
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


async def test_where_nothing_can_read_the_page_says_so_and_reads_once_it_can(phone, server, camera):
    camera.show(code_of_server(server))
    page = await phone.context.new_page()
    await page.route("**/vendor/qr/decode.js", lambda route: route.fulfill(status=404))
    await page.goto(f"{server.url}/phone")
    missing = "A part of this page is missing: it cannot read pictures."
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text(missing)
    await page.get_by_role("button", name="Scan with the camera").click()
    await expect(page.get_by_role("alert")).to_contain_text(missing)
    await expect(page.get_by_role("button", name="Scan with the camera")).to_be_visible()
    assert await page.evaluate("document.querySelector('video').srcObject") is None


async def test_typed_codes_numbers_and_pasted_links_are_folded_as_the_server_folds_them(phone, server):
    page = await phone.open("/phone")
    read = await page.evaluate(
        """async ({ codes, numbers, links }) => {
            const { readCode, readNumber } = await import('/static/link.js');
            const userCode = (typed) => readCode(typed).userCode?.replace('-', '') ?? null;
            return {
                codes: codes.map(([typed]) => [typed, userCode(typed)]),
                numbers: numbers.map(([typed]) => [typed, readNumber(typed)]),
                links: links.map(([text]) => [text, readCode(text.replaceAll('{root}', location.origin + '/'))]),
            };
        }""",
        TYPED,
    )
    assert read == TYPED


async def test_a_code_in_full_width_letters_and_a_number_in_arabic_digits_log_in(phone, new_device):
    laptop = await new_device()
    showing = await laptop.open("/")
    code = await showing.locator(".user-code [aria-hidden]").inner_text()
    reading = await phone.open("/phone")
    await type_code(reading, "\u200b" + "".join(chr(ord(each) + 0xFEE0) for each in code) + "\ufeff")
    await heading(reading, "Let this device in?")
    await reading.get_by_role("button", name="Allow").click()
    number = await reading.locator("#verification-number [aria-hidden]").inner_text()
    field = showing.get_by_label("Number on your other device")
    await field.fill("".join(chr(0x660 + int(digit)) for digit in number))
    await field.press("Enter")
    await heading(showing, "You are now ada")


async def test_a_link_is_found_in_the_text_around_it(phone, new_device):
    laptop = await new_device()
    showing = await laptop.open("/")
    link = await shown_link(showing)
    reading = await phone.open("/phone")
    await type_code(reading, f"Please open \u201c\u200b{link}\u201d. Ada")
    await heading(reading, "Let this device in?")
