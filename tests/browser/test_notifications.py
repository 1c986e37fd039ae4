"""Notifications on `/devices`: asked for after a press, on a subscription that a stand-in for the browser's own push
service gives, and shown by the service worker, to which Chromium delivers what that service has opened."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Worker, expect

from pairing_ws.adapters.jwt.vapid import VapidKey
from tests.support.client import Api
from tests.support.embedded import invite_in
from tests.support.example_pages import blocks, laid_out, started, until_it_listens
from tests.support.push_service import PushServer, Subscriber, decoded, push_serving
from tests.support.servers import eventually, free_port

from .conftest import PATIENCE, Device, NewDevice, Server, heading, serving
from .steps import sideways

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.browser]

KEY = VapidKey.new()
# Chromium's own push service is far away: in its place one on this machine gives the subscription.
SUBSCRIBES = """([json, key]) => {
    const NAME = 'subscribed';
    const subscription = () => ({
        options: { applicationServerKey: Uint8Array.from(key).buffer },
        toJSON: () => json,
        unsubscribe: async () => localStorage.removeItem(NAME),
    });
    Object.defineProperty(Notification, 'permission', { get: () => 'granted' });
    PushManager.prototype.getSubscription = async () => (localStorage.getItem(NAME) ? subscription() : null);
    PushManager.prototype.subscribe = async (options) => {
        localStorage.setItem(NAME, JSON.stringify(options));
        return subscription();
    };
}"""
# Nor has it a screen to show notifications on: what they would be is taken down.
TAKES_DOWN = """() => {
    self.shown = [];
    self.registration.showNotification = async (title, options) => {
        self.shown = self.shown.filter(({ tag }) => tag !== options.tag).concat({ title, ...options });
    };
}"""
SHOWN = """async (count) => {
    while (self.shown.length < count) await new Promise((go) => setTimeout(go, 20));
    return self.shown;
}"""
PRESS = """async (data) => {
    const opened = [];
    self.clients.openWindow = async (url) => opened.push(url);
    const close = () => opened.push('closed');
    self.dispatchEvent(Object.assign(new ExtendableEvent('notificationclick'), { notification: { data, close } }));
    for (let left = 50; left && opened.length < 2; left--) await new Promise((go) => setTimeout(go, 20));
    return opened;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pushing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {
        "PAIRING_VAPID_PRIVATE_KEY": KEY.text(),
        "PAIRING_VAPID_SUBJECT": "mailto:ops@example.com",
        "PAIRING_ALLOW_PRIVATE_TARGETS": "true",
    }
    async with serving(tmp_path_factory.mktemp("pushing"), **settings) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[PushServer]:
    async with push_serving() as found:
        yield found


async def subscribing(context: BrowserContext, subscriber: Subscriber, key: str) -> None:
    given = json.dumps([subscriber.json, list(decoded(key))])
    await context.add_init_script(f"({SUBSCRIBES})({given})")


async def let_in(server: Server, username: str) -> None:
    """Another device of that account, by an invite."""
    async with Api(f"http://127.0.0.1:{server.port}") as api:
        await api.log_in_by_invite(await invite_in(server.folder, username))


async def delivered(context: BrowserContext, page: Page, origin: str, message: object, scope: str = "/static/") -> None:
    """As the browser does with what its push service has sent."""
    session = await context.new_cdp_session(page)
    found: dict[str, str] = {}
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: found.update({each["scopeURL"]: each["registrationId"] for each in event["registrations"]}),
    )
    await session.send("ServiceWorker.enable")
    await eventually(lambda: origin + scope in found, "the registration")
    await session.send(
        "ServiceWorker.deliverPushMessage",
        {
            "origin": origin,
            "registrationId": found[origin + scope],
            "data": message if isinstance(message, str) else json.dumps(message),
        },
    )
    await session.detach()


async def shown(worker: Worker, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE):
        found: list[dict[str, Any]] = await worker.evaluate(SHOWN, count)
    assert len(found) == count
    return found


@pytest.mark.security(19, 21)
@pytest.mark.mitigation("6.1.6")
async def test_a_browser_that_was_asked_is_told_of_a_login_while_no_page_listens(
    pushing: Server, new_device: NewDevice, service: PushServer
) -> None:
    subscriber = service.subscribe()
    device = await new_device(at=pushing)
    await subscribing(device.context, subscriber, KEY.public)
    await device.context.grant_permissions(["notifications"], origin=pushing.url)
    await device.enter("ada")
    page = await device.open("/devices")
    # Nothing is asked for before the press.
    button = page.get_by_role("button", name="Turn notifications on")
    await button.wait_for()
    assert await page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
    await button.click()
    off = page.get_by_role("button", name="Turn notifications off")
    await expect(off).to_be_focused()
    asked = json.loads(await page.evaluate("localStorage.getItem('subscribed')"))
    assert asked == {"userVisibleOnly": True, "applicationServerKey": KEY.public}

    await let_in(pushing, "ada")
    await eventually(lambda: service.messages, "the message")
    _, message = service.messages.pop()
    assert message["type"] == "device.added"
    (worker,) = device.context.service_workers
    await worker.evaluate(TAKES_DOWN)
    await delivered(device.context, page, pushing.url, message)
    (notification,) = await shown(worker, 1)
    assert notification["title"] == "A device was logged in to your account"
    assert notification["data"] == f"{pushing.url}/devices"
    # The same one again is no second one, and a later server's and garbage are shown as well.
    await delivered(device.context, page, pushing.url, message)
    await delivered(device.context, page, pushing.url, {"type": "something.else", "at": "2026-01-01T00:00:00.000Z"})
    await delivered(device.context, page, pushing.url, "no JSON")
    titles = [each["title"] for each in await shown(worker, 3)]
    assert sorted(titles)[1:] == ["Something happened in your account"] * 2
    await delivered(device.context, page, pushing.url, {"id": "p", "status": "Approved", "approvedAt": message["at"]})
    assert f"{pushing.url}/" in [each["data"] for each in await shown(worker, 4)]

    # A press takes the notification away and leads to the page.
    assert await worker.evaluate(PRESS, f"{pushing.url}/") == ["closed", f"{pushing.url}/"]

    # It stands after a reload, which says the address again: the server may have forgotten it.
    service.answers = [410]
    await let_in(pushing, "ada")
    await eventually(lambda: not service.answers, "the refusal")
    await page.reload()
    await off.wait_for()
    await let_in(pushing, "ada")
    await eventually(lambda: service.messages, "the message after all")
    service.messages.clear()

    await off.click()
    await expect(button).to_be_focused()
    before = service.asked
    await let_in(pushing, "ada")
    other = service.subscribe()
    async with Api(f"http://127.0.0.1:{pushing.port}") as api:
        phone = await api.log_in_by_invite(await invite_in(pushing.folder, "ada"))
        await api.http.patch(
            f"/devices/{phone.keys['device']['id']}", json={"pushToken": other.address}, headers=phone.headers
        )
    await let_in(pushing, "ada")
    # What comes to the one that stands could have come to the other.
    await eventually(lambda: service.messages, "the message to another")
    assert ([endpoint for endpoint, _ in service.messages], service.asked) == ([other.endpoint], before + 1)


async def test_a_subscription_with_a_key_that_is_no_longer_the_servers_is_offered_again(
    pushing: Server, new_device: NewDevice, service: PushServer
) -> None:
    device = await new_device(at=pushing)
    await subscribing(device.context, service.subscribe(), VapidKey.new().public)
    await device.context.grant_permissions(["notifications"], origin=pushing.url)
    await device.enter("bea")
    page = await device.open("/devices")
    await page.evaluate("localStorage.setItem('subscribed', 'before')")
    await page.reload()
    await page.get_by_role("button", name="Turn notifications on").wait_for()


async def test_a_browser_that_does_not_allow_it_or_has_no_push_service_says_so(
    pushing: Server, new_device: NewDevice
) -> None:
    device = await new_device(at=pushing)
    await device.enter("cleo")
    page = await device.open("/devices")
    button = page.get_by_role("button", name="Turn notifications on")
    await button.click()
    await expect(page.locator(".notifications .problem")).to_contain_text("did not allow notifications")
    await device.context.grant_permissions(["notifications"], origin=pushing.url)
    # This one has none that it could reach.
    await button.click()
    await expect(page.locator(".notifications .problem")).to_contain_text("could not reach its own push service")
    await expect(button).to_be_enabled()
    # Chromium says so itself, as an error, and why.
    assert all("does not support the Push API" in each for each in device.complaints)
    device.complaints.clear()


async def test_nothing_is_offered_where_the_server_has_no_key(server: Server, phone: Device) -> None:
    page = await phone.open("/devices")
    async with page.expect_response("**/api/v1/push"):
        await page.reload()
    await page.locator(".device").first.wait_for()
    await expect(page.get_by_role("heading", name="Notifications")).to_be_hidden()


async def test_the_example_of_an_own_page_is_told_as_its_page_says(
    browser: Browser, service: PushServer, tmp_path: Path
) -> None:
    """`tests/examples/push/`, to the letter."""
    start, invite = (each.replace("8000", "{port}") for each in blocks("tests/examples/push/README.md", "sh"))
    port = str(free_port())
    origin = f"http://localhost:{port}"
    environment = {"PORT": port, "PAIRING_ALLOW_PRIVATE_TARGETS": "true", "PAIRING_QUARANTINE_SECONDS": "0"}
    async with (
        started(laid_out(tmp_path), **environment) as shell,
        await browser.new_context() as context,
    ):
        await shell.run(start.format(port=port))
        await until_it_listens(origin)
        link = re.search(r"http\S+", await shell.run(invite))
        assert link
        page = await context.new_page()
        await subscribing(context, service.subscribe(), KEY.public)
        await page.goto(link[0])
        await page.get_by_role("button", name="Log in this device").click()
        await page.get_by_role("button", name="Continue").click()
        await heading(page, "You are logged in")
        await page.goto(origin)
        await page.get_by_role("button", name="Notify me").click()
        await expect(page.get_by_role("status")).to_have_text("Notifications are on")
        link = re.search(r"invite#(\S+)", await shell.run(invite))
        assert link
        async with Api(f"{origin}/login") as api:
            await api.log_in_by_invite(link[1])
        await eventually(lambda: service.messages, "the message")
        (worker,) = context.service_workers
        await worker.evaluate(TAKES_DOWN)
        await delivered(context, page, origin, service.messages[0][1], scope="/")
        assert [each["title"] for each in await shown(worker, 1)] == ["A device was logged in to your account"]


async def test_the_offer_fits_a_small_screen_in_both_schemes(
    pushing: Server, new_device: NewDevice, tmp_path: Path
) -> None:
    device = await new_device(at=pushing, viewport={"width": 390, "height": 844})
    await device.enter("dora")
    page = await device.open("/devices")
    await page.get_by_role("heading", name="Notifications").wait_for()
    assert await sideways(page) == []
