"""A picture that rotates, drawn by real pages. Clocks of the server and of the showing page move only when told to."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Page, Request, Response, expect

from tests.support.client import code_after
from tests.support.clock import FakeClock
from tests.support.embedded import Embedded, embedded, invite_in
from tests.support.limits import NO_LIMITS_INSIDE

from .conftest import (
    PATIENCE,
    Camera,
    Device,
    NewDevice,
    adas,
    heading,
    picture_of_code,
    shown_link,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


class StandingStill:
    """What devices need of a server, and its clock."""

    def __init__(self, inside: Embedded, clock: FakeClock) -> None:
        self.url, self._folder, self._clock = inside.settings.public_url, inside.folder, clock

    async def invitation(self, username: str) -> str:
        return f"{self.url}/join/invite#{await invite_in(self._folder, username, self._clock)}"

    async def show(self, device: Device, path: str) -> Page:
        """That page, whose clock stands still as well: it shows a code."""
        page = await device.context.new_page()
        await page.clock.install(time=0)
        await page.clock.pause_at(1)
        await page.goto(self.url + path)
        return page

    async def press(self, page: Page, name: str) -> None:
        """On such a page what has just been drawn stays without effect until time goes on."""
        await page.get_by_role("button", name=name).wait_for()
        await page.clock.run_for(500)
        await page.get_by_role("button", name=name).click()

    async def let_pass(self, seconds: int, *pages: Page) -> None:
        self._clock.forward(seconds=seconds)
        for page in pages:
            await page.clock.run_for(seconds * 1000)

    async def sleep(self, seconds: int, page: Page) -> None:
        """The wall clock goes on, the page's own does not, and no timer fires: a closed lid."""
        self._clock.forward(seconds=seconds)
        await page.clock.set_system_time(await page.evaluate("Date.now() / 1000") + seconds)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rotating(tmp_path_factory: pytest.TempPathFactory) -> Any:
    clock = FakeClock()
    folder = tmp_path_factory.mktemp("rotating")
    with embedded(folder, clock=clock, demo=True, qr_rotate_seconds=5, **NO_LIMITS_INSIDE) as inside:
        yield StandingStill(inside, clock)


@pytest_asyncio.fixture(loop_scope="session")
async def phone(new_device: NewDevice, rotating: Any) -> Any:
    return await adas(await new_device(rotating))


@pytest_asyncio.fixture(loop_scope="session")
async def showing_phone(new_device: NewDevice, rotating: Any) -> Any:
    """A second one, which shows: the clock stands still for all pages of a context."""
    return await adas(await new_device(rotating))


async def shows(page: Page) -> str:
    await page.locator(".qr svg path").wait_for()
    return await shown_link(page)


async def shows_another(page: Page, than: str) -> str:
    async with asyncio.timeout(PATIENCE):
        while (now := await shows(page)) == than:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return now


async def upload(page: Page, picture: bytes) -> None:
    await page.locator("input[type=file]").set_input_files(
        {"name": "code.png", "mimeType": "image/png", "buffer": picture}
    )


@pytest.mark.mitigation("6.1.2")
async def test_the_phone_scans_a_later_picture_and_one_taken_before_is_refused(
    rotating: Any, phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    showing = await rotating.show(await new_device(rotating), "/")
    first, picture = await shows(showing), await picture_of_code(showing)
    assert re.fullmatch(re.escape(rotating.url) + r"/pair/[\w-]{22}#~[\w-]{22}", first)
    await rotating.let_pass(20, showing)
    later = await shows_another(showing, first)
    assert later.split("#")[0] == first.split("#")[0]

    reading = await phone.open("/phone")
    await upload(reading, picture)
    await expect(reading.get_by_text("The code is unknown or too old.")).to_be_visible()

    camera.show(await picture_of_code(showing))
    await reading.get_by_role("button", name="Scan with the camera").click()
    await heading(reading, "Let this device in?")
    await heading(showing, "Scanned")
    await reading.get_by_role("button", name="Allow").click()
    await heading(showing, re.compile("You are now ada", re.IGNORECASE))


def is_creation(answer: Response) -> bool:
    """Not the list of what still waits, which has the same address."""
    return answer.request.method == "POST" and answer.url.endswith("/pairings")


@pytest.mark.mitigation("6.1.2")
async def test_the_phones_own_picture_rotates_and_only_the_present_one_lets_a_device_ask(
    rotating: Any, showing_phone: Any, new_device: NewDevice
) -> None:
    showing = await rotating.show(showing_phone, "/phone")
    async with showing.expect_response(is_creation) as made:
        await rotating.press(showing, "Show a code instead")
    first, picture = await shows(showing), await picture_of_code(showing)
    await rotating.let_pass(20, showing)
    await shows_another(showing, first)

    tablet = await (await new_device(rotating)).open("/phone")
    await heading(tablet, "Log in this device")
    await upload(tablet, picture)
    await expect(tablet.get_by_text("The code is unknown or too old.")).to_be_visible()
    # The page's clock has stopped for a minute of sleep; what it draws then is the server's step nevertheless.
    await rotating.sleep(60, showing)
    await rotating.let_pass(5, showing)
    present = code_after(await (await made.value).json(), 85)
    async with asyncio.timeout(PATIENCE):
        while not (await shows(showing)).endswith(present):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await upload(tablet, await picture_of_code(showing))
    await heading(tablet, "Waiting for your other device")
    await heading(showing, "Let this device in?")


async def test_after_a_sleep_the_time_that_is_left_is_asked_for_again(rotating: Any, new_device: NewDevice) -> None:
    showing = await rotating.show(await new_device(rotating), "/")
    await shows(showing)
    await expect(showing.locator("[data-transport=socket]")).to_be_visible()
    await showing.clock.run_for(1000)
    await expect(showing.locator(".countdown")).to_have_text(re.compile(r"New code in (2:00|1:59)"))
    await rotating.sleep(60, showing)
    await until(showing, "document.querySelector('.countdown').textContent.startsWith('New code in 0:5')", step=100)


async def test_nothing_is_sent_while_the_picture_rotates_and_nothing_but_the_picture_changes(
    rotating: Any, new_device: NewDevice
) -> None:
    device = await new_device(rotating)
    sent: list[str] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda frame: sent.append(str(frame)))
        socket.on("framereceived", lambda frame: sent.append(str(frame)))

    device.context.on("page", lambda page: page.on("websocket", listen))
    showing = await rotating.show(device, "/")
    shown = await shows(showing)
    await expect(showing.locator("[data-transport=socket]")).to_be_visible()
    assert sent
    sent.clear()
    showing.on("request", lambda request: sent.append(request.url))
    await showing.evaluate("""() => {
        window.changes = new Set();
        new MutationObserver((all) => all.forEach(({ type, attributeName, target }) =>
            changes.add(`${target.localName} ${attributeName ?? type} ${target.getAttribute('d') !== ''}`),
        )).observe(document.querySelector('.qr'), { subtree: true, childList: true, attributes: true });
    }""")
    size = await showing.locator(".qr svg").get_attribute("viewBox")
    for _ in range(3):
        await rotating.let_pass(5, showing)
        shown = await shows_another(showing, shown)
    assert sent == []
    # The element stays and is never empty, so there is nothing to flicker.
    assert await showing.evaluate("[...changes].sort()") == ["path d true", "svg viewBox true"]
    assert await showing.locator(".qr svg").get_attribute("viewBox") == size


@pytest.mark.security(19, 23)
async def test_who_lands_by_the_camera_app_may_take_their_time_to_press_but_not_to_land(
    rotating: Any, phone: Device, showing_phone: Any, new_device: NewDevice
) -> None:
    laptop, tablet = await new_device(rotating), await new_device(rotating)
    for path, who, press, then in [
        ("/", phone, "See who asks", "Let this device in?"),
        ("/phone", tablet, "Log in this device", "Waiting for your other device"),
    ]:
        showing = await rotating.show(laptop if who is phone else showing_phone, path)
        if who is tablet:
            await rotating.press(showing, "Show a code instead")
        link = await shows(showing)
        landing = await who.context.new_page()
        async with landing.expect_response("**/keep") as kept:
            await landing.goto(link)
        assert (await kept.value).status == 200
        before = await showing.get_by_role("heading", level=1).inner_text()
        await rotating.let_pass(40, showing)
        await heading(showing, before)
        await landing.get_by_role("button", name=press).click()
        await heading(landing, then)
    # A picture that was taken a while ago: no press would help.
    showing = await rotating.show(laptop, "/")
    link = await shows(showing)
    await rotating.let_pass(15, showing)
    late = await phone.open(link)
    await heading(late, "This code is too old")
    await expect(late.get_by_role("button", name="See who asks")).to_have_count(0)


async def test_a_camera_takes_the_next_code_if_it_met_one_too_late_and_else_says_once_what_is_wrong(
    rotating: Any, phone: Device, new_device: NewDevice, camera: Camera
) -> None:
    laptop = await new_device(rotating)
    showing = await rotating.show(laptop, "/")
    # Where the browser's detector finds nothing, ours looks too.
    camera.show(Image.new("L", (64, 64), 255))
    reading = await phone.context.new_page()
    await reading.add_init_script("""
        window.BarcodeDetector = class {
            static getSupportedFormats = async () => ['qr_code'];
            detect = async () => {
                window.looks = (window.looks ?? 0) + 1;
                return window.inView ? [{ rawValue: window.inView }] : [];
            };
        };
    """)
    await reading.goto(f"{rotating.url}/phone")
    await reading.get_by_role("button", name="Scan with the camera").click()
    stale = await shows(showing)
    await rotating.let_pass(15, showing)
    fresh = await shows_another(showing, stale)
    claims: list[str] = []

    def noted(request: Request) -> None:
        if "/claim" in request.url:
            claims.append(request.post_data or "")

    reading.on("request", noted)

    async def see(text: str) -> None:
        await reading.evaluate("(text) => { window.inView = text; window.looks = 0 }", text)
        await until(reading, "looks >= 3")

    refusals = reading.get_by_role("alert")
    await reading.evaluate("""() => {
        window.told = 0;
        new MutationObserver(() => told++).observe(document.querySelector('.trouble'), { childList: true });
    }""")
    # A picture of a logged-in device, for which this one is the wrong reader, whatever its code.
    for code in ("a", "b", "c"):
        await see(f"{rotating.url}/join/{'x' * 22}#~{code}")
        await expect(refusals).to_contain_text("Scan it with the device that you want to add.")
    assert await reading.evaluate("told") == 1
    await see(stale)
    await expect(refusals).to_contain_text("The code is unknown or too old.")
    await reading.evaluate("(text) => { window.inView = text }", fresh)
    await heading(reading, "Let this device in?")
    assert [json.loads(claim)["code"] for claim in claims] == [link.split("#")[1] for link in (stale, fresh)]


@pytest.fixture
def vector() -> Any:
    manual = (Path(__file__).resolve().parents[2] / "pairing_ws/web/README.md").read_text()
    found = re.search(r"<!-- rotating -->\n```json\n(.*?)```", manual, re.DOTALL)
    assert found
    return json.loads(found[1])


async def test_pages_reckon_the_codes_that_the_manual_says(new_device: NewDevice, vector: dict[str, Any]) -> None:
    page = await (await new_device()).open("/devices")
    for elapsed, code in vector["codes"].items():
        drawn = await page.evaluate(
            """async ([rotate, elapsed]) => {
                const { drawCode } = await import('/static/pairing.js');
                const qr = { text: 'https://example.com/pair/id#~', rotate };
                return new Promise((draw) => drawCode({ qr }, { elapsed }, (text) => draw(text) ?? false));
            }""",
            [vector, int(elapsed)],
        )
        assert drawn == f"https://example.com/pair/id#{code}"
