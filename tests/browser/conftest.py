"""What the browser tests stand on: a real server and Chromium, devices (contexts), a camera that sees pictures."""

import asyncio
import io
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import zxingcpp
from PIL import Image
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.support import servers
from tests.support.embedded import invite_in

QUIET = [
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Without motion, so that nothing waits for a button to come to rest.
CONTEXT: dict[str, Any] = {"permissions": ["camera", "clipboard-read", "clipboard-write"], "reduced_motion": "reduce"}

# A bound for what never comes, far above what a slow machine needs for what does.
PATIENCE = 30
expect.set_options(timeout=PATIENCE * 1000)


class Server(servers.Server):
    """Under the address by which browsers trust it without TLS."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.url = self.public_url

    async def invitation(self, username: str) -> str:
        """The URL that logs a first device in."""
        return f"{self.url}/join/invite#{await invite_in(self.folder, username)}"


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Server]:
    """While it starts and ends, what else runs on the loop goes on."""
    server = await asyncio.to_thread(Server, folder, **settings)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


LOG_IN = """async ([root, code]) => {
    const [{ acceptInvite, newSecret }, { deviceHeaders }, session] = await Promise.all(
        ['pairing', 'device', 'session'].map((name) => import(`${root}/static/${name}.js`)),
    );
    session.markVisited();
    session.adopt(await acceptInvite(code, { secret: newSecret(), device: deviceHeaders() }));
}"""


class Device:
    """A browser context with one page, which must stay free of errors and of policy violations."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        self.context = context
        self.server = server
        self.complaints: list[str] = []
        context.on("console", lambda message: self._heard(message.type, message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _heard(self, kind: str, text: str) -> None:
        # A refused call is part of many stories, and Chromium notes each one by itself.
        if kind == "error" and not text.startswith(("Failed to load resource", "WebSocket connection to")):
            self.complaints.append(text)

    async def open(self, path: str) -> Page:
        page = await self.context.new_page()
        await page.goto(path if path.startswith("http") else self.server.url + path)
        return page

    async def log_in(self, username: str) -> Page:
        """By invitation; ends on the page that says so."""
        page = await self.open(await self.server.invitation(username))
        await page.get_by_role("button", name="Log in this device").click()
        await page.get_by_role("button", name="Continue").click()
        await heading(page, "You are logged in")
        return page

    async def enter(self, username: str) -> None:
        """As `log_in`, by the pages' modules without their buttons, and without a page: half the CPU, and none of the
        time in which buttons are inert."""
        code = (await self.server.invitation(username)).split("#")[1]
        page = await self.open("/healthz")
        await page.evaluate(LOG_IN, [self.server.url, code])
        await page.close()

    async def close(self) -> None:
        """With its pages, and the routes of a test that failed while it held a request."""
        await self.context.unroute_all(behavior="ignoreErrors")
        await self.context.close()


# What the fixtures of these names give: they take `at=server`, and what a context takes; and settings.
NewDevice = Callable[..., Awaitable[Device]]
AnotherServer = Callable[..., AbstractAsyncContextManager[Server]]

NOTHING = Image.new("L", (64, 64), 255)


class Camera:
    """The file that Chromium's fake camera plays. A page sees it from the next time that it starts the camera."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.show(NOTHING)

    def show(self, picture: Image.Image | bytes) -> None:
        """Raw YUV needs no encoder: a header, then per frame the grey plane and two colourless ones."""
        image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
        image = image.convert("L")
        image.thumbnail((440, 440))
        frame = Image.new("L", (640, 480), 170)
        frame.paste(image, ((640 - image.width) // 2, (480 - image.height) // 2))
        colourless = b"\x80" * (640 * 480 // 4)
        one = b"FRAME\n" + np.asarray(frame).tobytes() + colourless * 2
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + one * 3)
        os.replace(fresh, self.path)


async def until(page: Page, expression: str, wanted: object = True, step: int = 0) -> None:
    """Until the page says so. Unlike `wait_for_function` it needs no timer of the page, whose clock may stand still.
    With `step`, that clock goes on by so many milliseconds between two looks."""
    async with asyncio.timeout(PATIENCE):
        while await page.evaluate(expression) != wanted:
            await (page.clock.run_for(step) if step else asyncio.sleep(0.02))


async def heading(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def picture_of_code(page: Page) -> bytes:
    """The QR code as this page shows it."""
    await page.locator(".qr svg path").wait_for()
    return await page.locator(".qr").screenshot()


async def shown_code(page: Page) -> str:
    """The code beside the picture, for typing."""
    return await page.locator(".user-code [aria-hidden]").inner_text()


async def shown_link(page: Page) -> str:
    """What an independent reader finds in the picture, as the page shows it."""
    found = zxingcpp.read_barcode(Image.open(io.BytesIO(await picture_of_code(page))))
    assert found
    return found.text


async def type_code(page: Page, code: str) -> None:
    await page.get_by_label("Type the code that it shows").fill(code)
    await page.get_by_role("button", name="Continue").click()


@pytest.fixture(scope="session")
def the_camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    return Camera(tmp_path_factory.mktemp("camera") / "camera.y4m")


@pytest.fixture
def camera(the_camera: Camera) -> Camera:
    """Sees nothing at first."""
    the_camera.show(NOTHING)
    return the_camera


def chromium() -> str:
    """Where it is. The shell is the same engine without a window's inside: half the CPU."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert found, "the browser tests need a `chromium-headless-shell` or a `chromium` on the path"
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(the_camera: Camera) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={the_camera.path}",
                *QUIET,
            ],
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One for all tests, which together do more in a minute than a person may."""
    limits = ("CREATE", "CLAIM", "USER_CODE", "NUMBER", "REFRESH", "DEVICES")
    unlimited = {f"PAIRING_LIMIT_{limit}": "0" for limit in limits}
    async with serving(tmp_path_factory.mktemp("server"), **unlimited) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def new_device(browser: Browser, server: Server) -> AsyncIterator[NewDevice]:
    """Makes devices; each is closed at the end and asked whether anything went wrong in its pages."""
    devices: list[Device] = []
    async with AsyncExitStack() as stack:

        async def make(at: Server = server, **options: Any) -> Device:
            device = Device(await browser.new_context(**CONTEXT, **options), at)
            stack.push_async_callback(device.close)
            devices.append(device)
            return device

        yield make
    assert [complaint for device in devices for complaint in device.complaints] == []


async def adas(device: Device) -> Device:
    """Logged in to an account of its own, whose name starts with "ada", and without a page."""
    await device.enter(f"ada-{secrets.token_hex(4)}")
    return device


@pytest_asyncio.fixture(loop_scope="session")
async def phone(new_device: NewDevice) -> Device:
    """A logged-in device, this test's own as everything else that it may leave behind."""
    return await adas(await new_device())


@pytest.fixture
def another_server(tmp_path: Path) -> AnotherServer:
    """A server with settings of its own, for one test."""
    return partial(serving, tmp_path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Another origin, where the files below `tmp_path/site` are served."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
