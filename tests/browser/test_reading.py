"""How pages read codes: by whichever detector works, from what a camera or a file gives, typed in any script."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import qrcode
from PIL import Image
from playwright.async_api import expect

from pairing_ws.web import qr

from .conftest import (
    Camera,
    Device,
    NewDevice,
    Server,
    heading,
    shown_link,
    type_code,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

TYPED = json.loads((Path(__file__).resolve().parents[1] / "support" / "typed.json").read_text())

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


def code_of_server(server: Server, code: Any = "x" * 22) -> Image.Image:
    """A code of this site that leads nowhere: reading it ends in a refusal by the server."""
    return qrcode.make(f"{server.url}/pair/{'A' * 22}#{code}").get_image().convert("L")


async def upload(page: Any, picture: dict[str, object]) -> None:
    await page.locator("input[type=file]").set_input_files(picture)


@pytest.mark.parametrize("detector", BROKEN.values(), ids=BROKEN)
async def test_where_the_browsers_detector_does_not_work_ours_reads_the_picture(
    phone: Device, server: Server, detector: Any
) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(f"window.BarcodeDetector = {detector}")
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


@pytest.mark.parametrize("name", ["rejects", "finds nothing for ever", "throws in its constructor", "never answers"])
async def test_and_it_reads_what_the_camera_sees(phone: Device, server: Server, camera: Camera, name: str) -> None:
    camera.show(code_of_server(server))
    page = await phone.context.new_page()
    await page.add_init_script(f"window.BarcodeDetector = {BROKEN[name]}")
    await page.goto(f"{server.url}/phone")
    await page.get_by_role("button", name="Scan with the camera").click()
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


async def test_a_second_result_of_the_browsers_detector_counts_too(phone: Device, server: Server) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(f"""window.BarcodeDetector = class {{
        static getSupportedFormats = async () => ['qr_code'];
        detect = async () => ['WIFI:S:home', '{server.url}/pair/{"A" * 22}#abc'].map((rawValue) => ({{ rawValue }}));
    }}""")
    await page.goto(f"{server.url}/phone")
    await upload(page, png(Image.new("L", (200, 200), 255)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


@pytest.mark.parametrize("script", [NO_MODULE_WORKER, SILENT_WORKER], ids=["no module worker", "silent worker"])
async def test_where_no_worker_runs_the_page_itself_reads(
    phone: Device, server: Server, camera: Camera, script: str
) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(script)
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")
    camera.show(code_of_server(server, "y" * 22))
    async with page.expect_request("**/claim"):
        await page.get_by_role("button", name="Scan with the camera").click()


async def test_where_the_workers_file_is_missing_the_page_itself_reads(phone: Device, server: Server) -> None:
    page = await phone.context.new_page()
    await page.route("**/scanner-worker.js", lambda route: route.fulfill(status=404))
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


async def test_where_the_worker_starts_but_does_not_answer_the_page_itself_reads(phone: Device, server: Server) -> None:
    page = await phone.context.new_page()
    await page.route(
        "**/scanner-worker.js",
        lambda route: route.fulfill(body="postMessage({ ready: true })", content_type="text/javascript"),
    )
    await page.goto(f"{server.url}/phone")
    await upload(page, png(code_of_server(server)))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


def poster(*shown: Image.Image) -> Image.Image:
    """Side by side."""
    sheet = Image.new("L", (sum(each.width for each in shown), max(each.height for each in shown)), 255)
    for place, each in enumerate(shown):
        sheet.paste(each, (sum(before.width for before in shown[:place]), 0))
    return sheet


@pytest.mark.parametrize("by", ["camera", "upload"])
@pytest.mark.parametrize("picture", ["mirrored", "among others", "pale"])
async def test_mirrored_and_pale_codes_are_read_and_ours_among_others(
    phone: Device, server: Server, camera: Camera, by: Any, picture: str
) -> None:
    ours = code_of_server(server)
    wifi, menu = (qrcode.make(each).get_image().convert("L") for each in ("WIFI:S:home;;", "https://example.com/menu"))
    shown = {
        "mirrored": ours.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "among others": poster(wifi, ours.resize((330, 330)), menu),
        # Lighter than 235 is all one for the fake camera.
        "pale": ours.point(lambda grey: 200 + grey // 13),
    }[picture]
    camera.show(shown)
    page = await phone.open("/phone")
    async with page.expect_request("**/claim"):
        if by == "camera":
            await page.get_by_role("button", name="Scan with the camera").click()
        else:
            await upload(page, png(shown))
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


async def test_where_nothing_can_read_the_page_says_so_and_reads_once_it_can(
    phone: Device, server: Server, camera: Camera
) -> None:
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


async def test_typed_codes_numbers_and_pasted_links_are_folded_as_the_server_folds_them(
    phone: Device, server: Server
) -> None:
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


async def test_a_code_in_full_width_letters_and_a_number_in_arabic_digits_log_in(
    phone: Device, new_device: NewDevice
) -> None:
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
    await heading(showing, re.compile("You are now ada"))


async def test_a_link_is_found_in_the_text_around_it(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    link = await shown_link(showing)
    reading = await phone.open("/phone")
    await type_code(reading, f"Please open \u201c\u200b{link}\u201d. Ada")
    await heading(reading, "Let this device in?")


def heif(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + bytes(2000)


def photo(kind: str) -> bytes:
    """Whole, and without any code."""
    file = io.BytesIO()
    Image.effect_noise((300, 200), 80).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "word"),
    [
        (b"", "This file is empty."),
        (heif(b"heic"), "This is a HEIC picture"),
        (heif(b"hevc"), "This is a HEIC picture"),
        (b"%PDF-1.7\n%\xe2\xe3", "This is a PDF document"),
        (photo("TIFF"), "This is a TIFF picture"),
        (photo("JPEG")[:4000], "This picture is cut off"),
        (photo("PNG")[:4000], "This picture is cut off"),
        (photo("WEBP")[:4000], "This picture is cut off"),
        (photo("GIF")[:4000], "This picture is cut off"),
        (photo("PNG")[:30] + bytes(50) + photo("PNG")[80:], "This picture is "),
        (b"Hello", "This file is no picture"),
        (b"<svg", "This file is no picture"),
        (photo("JPEG"), "There is no readable code in this picture."),
        (photo("JPEG") + bytes(3000), "There is no readable code in this picture."),
        (photo("PNG"), "There is no readable code in this picture."),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_file_without_a_code_is_named_for_what_it_is(phone: Device, file: Any, word: str) -> None:
    page = await phone.open("/phone")
    await upload(page, {"name": "file", "mimeType": "image/png", "buffer": file})
    await expect(page.get_by_role("alert")).to_contain_text(word)


async def test_a_pasted_file_that_is_no_picture_is_named_too(phone: Device) -> None:
    page = await phone.open("/phone")
    await page.get_by_label("Type the code that it shows").fill("K7QF")
    await page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(['%PDF-1.7'], 'code.pdf', { type: 'application/pdf' }));
        document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
    }""")
    await expect(page.get_by_role("alert")).to_contain_text("This is a PDF document")
    await expect(page.get_by_label("Type the code that it shows")).to_have_value("K7QF")


@pytest.mark.parametrize("mime", ["image/svg+xml", "application/octet-stream"])
async def test_the_products_own_svg_can_be_uploaded(phone: Device, server: Server, mime: str) -> None:
    page = await phone.open("/phone")
    svg = qr.draw(f"{server.url}/pair/{'A' * 22}#{'x' * 22}", "svg").encode()
    await upload(page, {"name": "code.svg", "mimeType": mime, "buffer": svg})
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")


# Every stream that a page was given, and what it asked for.
WATCHED = """
    window.streams = [];
    window.asked = [];
    const { mediaDevices } = navigator;
    const real = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = async (wanted) => {
        asked.push(wanted.video);
        const stream = await real({ video: true });
        streams.push(stream);
        return stream;
    };
    window.live = () => streams.flatMap((each) => each.getTracks()).filter((each) => each.readyState === 'live').length;
"""


async def scanning_page(phone: Device, server: Server, *scripts: str) -> Any:
    """The page `/phone` in a browser that the scripts have changed, with the camera on or about to be."""
    page = await phone.context.new_page()
    for script in (WATCHED, *scripts):
        await page.add_init_script(script)
    await page.goto(f"{server.url}/phone")
    await page.get_by_role("button", name="Scan with the camera").click()
    return page


async def is_off(page: Any) -> None:
    """No light, no frozen picture, and a button to start again."""
    await expect(page.get_by_role("button", name="Scan with the camera")).to_be_visible()
    await expect(page.locator("video")).to_be_hidden()
    await page.wait_for_function("() => live() === 0")


@pytest.mark.parametrize(
    ("name", "message", "word"),
    [
        ("NotAllowedError", "Permission denied", "Allow it in the address bar"),
        ("NotAllowedError", "Permission denied by system", "This device\u2019s own settings"),
        ("NotFoundError", "", "No camera was found."),
        ("NotReadableError", "", "another program may be using it"),
        ("AbortError", "", "another program may be using it"),
        ("SecurityError", "", "The browser forbids cameras on this page."),
        ("OverconstrainedError", "", "No camera could be started."),
        ("TypeError", "", "No camera could be started."),
    ],
)
async def test_why_there_is_no_camera_is_said_in_its_own_words(
    phone: Device, server: Server, name: str, message: Any, word: str
) -> None:
    script = f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('{message}', '{name}') }};"
    page = await scanning_page(phone, server, script)
    await expect(page.get_by_role("alert")).to_contain_text(word)
    await is_off(page)


async def test_a_video_that_may_not_play_leaves_no_light_on(phone: Device, server: Server, camera: Camera) -> None:
    refusing = "HTMLMediaElement.prototype.play = async () => { throw new DOMException('no', 'NotAllowedError') };"
    page = await scanning_page(phone, server, refusing)
    await expect(page.get_by_role("alert")).to_contain_text("The browser did not show the camera\u2019s picture")
    await is_off(page)


async def test_a_camera_that_is_unplugged_is_said_to_have_stopped_and_can_be_started_again(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await scanning_page(phone, server)
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    await expect(page.get_by_text("Searching for a code")).to_be_visible()
    await page.evaluate("streams[0].getTracks()[0].dispatchEvent(new Event('ended'))")
    await expect(page.get_by_role("alert")).to_contain_text("The camera has stopped: it was disconnected")
    await is_off(page)
    await page.get_by_role("button", name="Scan with the camera").click()
    await expect(page.get_by_text("Searching for a code")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_camera_that_gives_no_picture_for_a_while_is_said_to_and_goes_on_by_itself(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(WATCHED)
    await page.add_init_script("""
        Object.defineProperty(MediaStreamTrack.prototype, 'muted', { get: () => Boolean(window.call) });
        const begun = performance.now.bind(performance);
        performance.now = () => begun() + (window.later ?? 0);
    """)
    await page.goto(f"{server.url}/phone")
    await page.get_by_role("button", name="Scan with the camera").click()
    searching = page.locator(".searching")
    await expect(searching).to_have_text("Searching for a code…")
    await page.evaluate("window.call = true; window.later = 60_000")
    await expect(searching).to_contain_text("The camera gives no picture right now.")
    await page.evaluate("window.call = false")
    await expect(searching).to_have_text("Searching for a code…")


HIDE = """(state) => {
    Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


async def test_a_hidden_page_turns_the_camera_off_and_goes_on_when_it_is_seen_again(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await scanning_page(phone, server)
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    await page.evaluate(HIDE, "hidden")
    await is_off(page)
    await page.evaluate(HIDE, "visible")
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    assert await page.evaluate("live()") == 1
    await page.get_by_role("button", name="Stop the camera").click()
    await is_off(page)
    for state in ("hidden", "visible"):
        await page.evaluate(HIDE, state)
    assert await page.evaluate("asked.length") == 2


async def test_a_camera_that_starts_when_the_page_has_turned_to_something_else_is_stopped(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await scanning_page(
        phone,
        server,
        """
        const now = mediaDevices.getUserMedia;
        const allowed = new Promise((resolve) => { window.allow = resolve });
        mediaDevices.getUserMedia = (wanted) => allowed.then(() => now(wanted));
        """.replace("mediaDevices", "navigator.mediaDevices"),
    )
    await page.get_by_role("button", name="Show a code instead").click()
    await heading(page, "Add another device")
    await page.evaluate("allow()")
    await page.wait_for_function("() => streams.length === 1 && live() === 0")


async def test_a_decoder_that_never_loads_keeps_no_light_on_when_the_page_turns_to_something_else(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(WATCHED)
    held = []
    await page.route("**/vendor/qr/decode.js", lambda route: held.append(route))
    await page.goto(f"{server.url}/phone")
    await page.get_by_role("button", name="Scan with the camera").click()
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    await page.get_by_role("button", name="Show a code instead").click()
    await page.wait_for_function("() => streams.length === 1 && live() === 0")


async def test_a_camera_that_ends_without_an_event_is_noticed(phone: Device, server: Server, camera: Camera) -> None:
    page = await scanning_page(phone, server)
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    await page.evaluate("streams[0].getTracks()[0].stop()")
    await expect(page.get_by_role("alert")).to_contain_text("The camera has stopped: it was disconnected")
    await is_off(page)


TWO_CAMERAS = """
    navigator.mediaDevices.enumerateDevices = async () => [
        { kind: 'audioinput', deviceId: 'm', label: 'Microphone' },
        { kind: 'videoinput', deviceId: 'front', label: 'Front' },
        { kind: 'videoinput', deviceId: 'back', label: '' },
    ];
    MediaStreamTrack.prototype.getSettings = () => ({ deviceId: asked.at(-1).deviceId?.exact ?? 'front' });
"""


async def test_another_camera_can_be_chosen(phone: Device, server: Server, camera: Camera) -> None:
    page = await scanning_page(phone, server, TWO_CAMERAS)
    choice = page.get_by_label("Camera", exact=True)
    await expect(choice).to_have_value("front")
    await choice.select_option("Camera 2")
    await expect(choice).to_have_value("back")
    assert await page.evaluate("asked.map(({ deviceId }) => deviceId?.exact ?? null)") == [None, "back"]
    assert await page.evaluate("live()") == 1


async def test_one_camera_is_no_choice_and_without_a_light_there_is_no_button_for_it(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await scanning_page(phone, server)
    await expect(page.get_by_role("button", name="Stop the camera")).to_be_visible()
    await expect(page.get_by_label("Camera", exact=True)).to_have_count(0)
    await expect(page.get_by_role("button", name="Light")).to_have_count(0)


async def test_a_cameras_light_can_be_turned_on_and_off(phone: Device, server: Server, camera: Camera) -> None:
    page = await scanning_page(
        phone,
        server,
        """
        window.light = [];
        MediaStreamTrack.prototype.getCapabilities = () => ({ torch: true });
        MediaStreamTrack.prototype.applyConstraints = async ({ advanced: [{ torch }] }) => {
            if (window.broken) throw new DOMException('no', 'OverconstrainedError');
            light.push(torch);
        };
        """,
    )
    button = page.get_by_role("button", name="Light")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "false")
    assert await page.evaluate("light") == [True, False]
    await page.evaluate("window.broken = true")
    await button.click()
    await expect(page.get_by_role("alert")).to_contain_text("The light does not work with this camera.")
    await expect(button).to_have_attribute("aria-pressed", "false")


async def test_a_code_in_view_can_be_felt(phone: Device, server: Server, camera: Camera) -> None:
    camera.show(code_of_server(server))
    felt = "window.felt = []; Navigator.prototype.vibrate = (milliseconds) => Boolean(felt.push(milliseconds));"
    page = await scanning_page(phone, server, felt)
    await expect(page.get_by_role("alert")).to_contain_text("The code is unknown or too old.")
    assert await page.evaluate("felt.length") == 1


async def test_what_a_screen_reader_was_told_of_the_camera_ends_with_it(
    phone: Device, server: Server, camera: Camera
) -> None:
    page = await scanning_page(phone, server)
    told = page.locator("#announcements")
    await expect(told).to_have_text("The camera is on. Point it at the code.")
    await page.get_by_role("button", name="Stop the camera").click()
    await expect(told).to_have_text("")


async def test_a_link_that_was_opened_with_something_unseen_at_its_end_works(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    link = await shown_link(await laptop.open("/"))
    landing = await phone.open(f"{link}\u200b\u2069")
    await landing.get_by_role("button", name="See who asks").click()
    await heading(landing, "Let this device in?")
