"""What pages owe a person beside the flows: readable and fresh codes, landings that wait for a press, devices, tabs."""

import asyncio
import io
import json
import re
from typing import Any

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import BrowserContext, Route, WebSocketRoute, expect

from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import invite_in

from .conftest import (
    PATIENCE,
    AnotherServer,
    Device,
    NewDevice,
    Server,
    heading,
    shown_code,
    shown_link,
    type_code,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

HIDE = """() => {
    Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
}"""
SHOW = """() => {
    delete document.visibilityState;
    document.dispatchEvent(new Event('visibilitychange'));
}"""


WATCH = """async () => {
    const { createPairing, newSecret, watchPairing } = await import('/static/pairing.js');
    const by = { secret: newSecret(), device: { 'X-Device-Code': 'rolled-back', 'X-Device-Name': 'Rolled back' } };
    const pairing = await createPairing(by);
    window.seen = [];
    watchPairing(pairing, by, { onPairing: ({ status }) => seen.push(status) });
    return pairing;
}"""


def calls_of(page: Any, method: str = "POST") -> list[str]:
    """The calls that the page makes from now on, renewal of keys apart."""
    calls: list[str] = []

    def note(request: Any) -> None:
        if request.method == method and "/api/" in request.url and not request.url.endswith("/sessions/refresh"):
            calls.append(request.url)

    page.on("request", note)
    return calls


# --- The code


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_an_independent_reader_finds_the_link_in_a_screenshot_of_the_page(
    new_device: NewDevice, server: Server, width: int, scheme: Any
) -> None:
    device = await new_device(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await device.open("/")
    await page.locator(".qr svg path").wait_for()
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(await page.screenshot(full_page=True))))
    assert re.fullmatch(re.escape(server.url) + r"/pair/[\w-]{20,}#[\w-]{20,}", found.text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_the_phones_code_is_as_readable(phone: Device, server: Server, width: int, scheme: Any) -> None:
    page = await phone.open("/phone")
    await page.set_viewport_size({"width": width, "height": 800})
    await page.emulate_media(color_scheme=scheme)
    await page.get_by_role("button", name="Show a code instead").click()
    await page.locator(".qr svg path").wait_for()
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(await page.screenshot(full_page=True))))
    assert found.text.startswith(f"{server.url}/join/")


async def test_a_successor_appears_before_the_end_and_the_first_code_still_wins(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    showing = await laptop.context.new_page()
    await showing.clock.install()
    await showing.goto(laptop.server.url)
    first = await shown_code(showing)
    # Time stands still there, so that only the early renewal can bring the new code.
    await showing.clock.pause_at(await showing.evaluate("Date.now() / 1000 + 106"))
    await expect(showing.locator(".user-code [aria-hidden]")).not_to_have_text(first)
    await showing.clock.resume()

    reading = await phone.open("/phone")
    await type_code(reading, first)
    await heading(reading, "Let this device in?")
    await heading(showing, "Scanned")


async def test_no_code_is_renewed_while_nobody_can_see_it(new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    await page.clock.install()
    await page.goto(laptop.server.url)
    first = await shown_code(page)
    calls = calls_of(page)
    await page.evaluate(HIDE)
    await page.clock.fast_forward(110_000)
    await page.clock.run_for(3000)
    assert calls == []
    await page.evaluate(SHOW)
    await expect(page.locator(".user-code [aria-hidden]")).not_to_have_text(first)


async def test_waking_up_reads_before_it_renews(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    await page.route_web_socket(re.compile("/socket$"), lambda socket: None)
    await page.clock.install()
    await page.goto(laptop.server.url)
    code = await shown_code(page)
    calls = calls_of(page)
    await page.evaluate(HIDE)
    await page.route("**/api/v1/pairings/*", lambda route: route.abort())

    reading = await phone.open("/phone")
    await type_code(reading, code)
    await heading(reading, "Let this device in?")
    await page.clock.fast_forward(118_000)
    await page.unroute("**/api/v1/pairings/*")
    await page.evaluate(SHOW)
    await heading(page, "Scanned")
    assert [call for call in calls if call.endswith("/pairings")] == []


async def test_after_ten_minutes_a_new_code_needs_a_press(new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    await page.clock.install()
    await page.goto(laptop.server.url)
    first = await shown_code(page)
    await page.clock.fast_forward(601_000)
    await heading(page, "Still there?")
    await page.get_by_role("button", name="Show a new code").click()
    await expect(page.locator(".user-code [aria-hidden]")).not_to_have_text(first)


async def move_clock(page: Any, seconds: int) -> None:
    """Somebody sets the clock, or the network does: no time has passed."""
    await page.clock.set_system_time(await page.evaluate("Date.now() / 1000") + seconds)


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_clock_that_is_set_changes_no_code_and_no_countdown(
    phone: Device, new_device: NewDevice, seconds: int
) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    await page.clock.install()
    await page.goto(laptop.server.url)
    code = await shown_code(page)
    await expect(page.locator(".countdown")).to_have_text(re.compile(r"New code in [12]:\d\d"))
    await move_clock(page, seconds)
    await page.clock.run_for(3000)
    await heading(page, "Log in with a device you trust")
    await expect(page.locator(".countdown")).to_have_text(re.compile(r"New code in 1:\d\d"))
    assert await shown_code(page) == code
    # A kiosk whose clock has just been set goes on making codes, and logs in.
    await page.clock.run_for(110_000)
    await expect(page.locator(".user-code [aria-hidden]")).not_to_have_text(code)
    await expect(page.locator(".countdown")).to_have_text(re.compile(r"New code in [12]:\d\d"))
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(page))
    await heading(page, "Scanned")
    await move_clock(page, -seconds)
    await page.clock.run_for(1000)
    await expect(page.locator(".countdown")).to_have_text(re.compile(r"Time left to decide: [12]:\d\d"))


async def test_a_clock_that_is_set_costs_no_renewal_of_keys(phone: Device) -> None:
    await phone.context.clock.install()
    page = await phone.open("/devices")
    await expect(page.locator(".device")).to_have_count(1)
    renewals: list[str] = []
    page.on("request", lambda each: renewals.append(each.url) if each.url.endswith("/refresh") else None)
    await move_clock(page, 3600)
    await page.evaluate("import('/static/session.js').then(({ withKey }) => withKey(async () => {}))")
    assert renewals == []


@pytest.mark.mitigation("6.1.2")
async def test_a_code_whose_time_is_over_is_put_away(new_device: NewDevice, another_server: AnotherServer) -> None:
    async with another_server(PAIRING_TTL_SECONDS="10") as server:
        phone = await new_device(at=server)
        await phone.log_in("thea")
        page = await phone.open("/phone")
        await page.get_by_role("button", name="Show a code instead").click()
        await page.locator(".qr svg path").wait_for()
        await heading(page, "The code is too old")
        await page.get_by_role("button", name="Show a new code").click()
        await page.locator(".qr svg path").wait_for()


# --- The connection


async def test_the_page_returns_by_itself_when_the_server_restarts(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    opened: list[WebSocketRoute] = []

    def restarts_once(socket: WebSocketRoute) -> None:
        opened.append(socket)
        socket.connect_to_server()

    await page.route_web_socket(re.compile("/socket$"), restarts_once)
    await page.goto(laptop.server.url)
    await expect(page.locator("[data-transport=socket]")).to_be_visible()
    code = await shown_code(page)
    await opened[0].close(code=1012)
    reading = await phone.open("/phone")
    await type_code(reading, code)
    await heading(page, "Scanned")
    assert len(opened) > 1


STORM = """async (count) => {
    const { createPairing, newSecret, watchPairing } = await import('/static/pairing.js');
    const Real = WebSocket;
    window.opened = [];
    window.fell = 0;
    window.WebSocket = class extends Real {
        constructor(...given) {
            super(...given);
            opened.push(Date.now());
            this.addEventListener('close', () => fell++);
        }
    };
    // Evenly spread, in no order: what is tested is how much the pages let chance decide, not chance.
    let drawn = 0;
    Math.random = () => (++drawn * 0.618034) % 1;
    for (let each = 0; each < count; each++) {
        const by = { secret: newSecret(), device: { 'X-Device-Code': `storm-${each}`, 'X-Device-Name': 'Storm' } };
        watchPairing(await createPairing(by), by, {});
    }
}"""


@pytest.mark.security(28)
async def test_devices_that_fell_together_do_not_return_together(new_device: NewDevice) -> None:
    device = await new_device()
    page = await device.context.new_page()
    await page.clock.install(time=0)
    await page.clock.pause_at(1)
    sockets: list[WebSocketRoute] = []

    def remember(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    await page.route_web_socket(re.compile("pairings/.*/socket$"), remember)
    await page.goto(f"{device.server.url}/devices")
    await page.evaluate(STORM, 40)
    await until(page, "opened.length", 40)
    for each in list(sockets):
        await each.close(code=1012)
    await until(page, "fell", 40)
    await page.clock.run_for(3000)
    await until(page, "opened.length", 80)
    back = sorted((await page.evaluate("opened"))[40:])
    # Three seconds are for the return of all; of 40, some 13 come within any one of them.
    assert max(sum(start <= each < start + 1000 for each in back) for start in back) < 20


async def test_a_page_follows_a_server_that_lost_its_last_moments_in_a_failover(
    new_device: NewDevice, another_server: AnotherServer, redis_server: Any
) -> None:
    async with another_server(REDIS_URL=redis_server.url) as server, Api(server.url) as api:
        phone = await api.log_in_by_invite((await server.invitation("rosa")).split("#")[1])
        page = await (await new_device(at=server)).open("/")
        pairing = await page.evaluate(WATCH)
        assert (await phone.claim(pairing)).status_code == 200
        key = f"pairing:{{{pairing['id']}}}"
        with redis_server.client() as redis:
            before = redis.dump(key)
            assert (await phone.approve(pairing["id"])).status_code == 200
            await until(page, "seen.at(-1)", "approved")
            redis.restore(key, 60_000, before, replace=True)
            redis.publish(key, "")
            await until(page, "seen.at(-1)", "scanned")
            # Its version is the one that the page has seen the approval with.
            assert (await phone.deny(pairing["id"])).status_code == 200
            await until(page, "seen.at(-1)", "denied")


async def test_a_login_that_was_taken_over_stops_and_can_be_fetched_back(new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    opened: list[WebSocketRoute] = []

    def remember(socket: WebSocketRoute) -> None:
        opened.append(socket)
        socket.connect_to_server()

    await page.route_web_socket(re.compile("/socket$"), remember)
    await page.goto(laptop.server.url)
    await expect(page.locator("[data-transport=socket]")).to_be_visible()
    await opened[0].close(code=4409)
    await heading(page, "This login goes on elsewhere")
    assert len(opened) == 1
    await page.get_by_role("button", name="Use here").click()
    await expect(page.locator("[data-transport=socket]")).to_be_visible()


async def test_an_overloaded_server_is_polled_after_the_pause_it_asked_for(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()

    async def overloaded(socket: WebSocketRoute) -> None:
        socket.send(json.dumps({"type": "retry", "retryAfter": 1}))
        await socket.close(code=1013)

    await page.route_web_socket(re.compile("/socket$"), overloaded)
    await page.goto(laptop.server.url)
    await expect(page.locator("[data-transport=polling]")).to_be_visible()
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(page))
    await heading(page, "Scanned")


def goes_dumb(opened: list[WebSocketRoute]) -> Any:
    """Sockets of which the first dies without a close: after its first message nothing more arrives from the server."""

    def handle(socket: WebSocketRoute) -> None:
        opened.append(socket)
        first, heard = len(opened) == 1, []

        def pass_on(message: str | bytes) -> None:
            heard.append(message)
            if not first or len(heard) == 1:
                socket.send(message)

        socket.connect_to_server().on_message(pass_on)

    return handle


async def test_waking_up_replaces_a_socket_that_died_without_a_word(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    opened: list[WebSocketRoute] = []
    await page.route_web_socket(re.compile("/socket$"), goes_dumb(opened))
    await page.goto(laptop.server.url)
    await expect(page.locator("[data-transport=socket]")).to_be_visible()
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(page))
    await heading(reading, "Let this device in?")
    await heading(page, "Log in with a device you trust")

    await page.evaluate("dispatchEvent(new Event('online'))")
    await heading(page, "Scanned")
    await expect(page.locator("[data-transport=socket]")).to_be_visible()
    reads = calls_of(page, "GET")
    await reading.get_by_role("button", name="Allow").click()
    await heading(page, "Type the number")
    await reading.get_by_role("button", name="Stop it after all").click()
    await heading(page, "The login was refused")
    assert len(opened) == 2
    assert reads == []


async def test_a_socket_that_died_without_a_word_is_found_out_without_any_event(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    opened: list[WebSocketRoute] = []
    await page.route_web_socket(re.compile("/socket$"), goes_dumb(opened))
    await page.clock.install()
    await page.goto(laptop.server.url)
    await expect(page.locator("[data-transport=socket]")).to_be_visible()
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(page))
    await heading(reading, "Let this device in?")
    assert len(opened) == 1

    # By the second: in one go, the page's time for the new socket's greeting could run out before it had begun.
    for _ in range(31):
        await page.clock.run_for(1000)
        if len(opened) > 1:
            break
    await heading(page, "Scanned")
    await reading.get_by_role("button", name="Allow").click()
    await heading(page, "Type the number")
    assert len(opened) == 2


async def test_a_proxy_that_cuts_polls_short_gets_shorter_ones_and_nobody_hears_of_it(new_device: NewDevice) -> None:
    laptop = await new_device()
    page = await laptop.context.new_page()
    waits: list[int] = []

    async def impatient(route: Route) -> None:
        found = re.search(r"wait=(\d+)", route.request.url)
        assert found
        wait = int(found[1])
        waits.append(wait)
        if wait <= 4:
            return await route.continue_()
        await page.clock.run_for(5000)
        await (route.abort() if len(waits) == 1 else route.fulfill(status=504, body="<h1>Gateway time-out</h1>"))

    await page.clock.install(time=0)
    await page.clock.pause_at(1)
    await page.add_init_script("""
        window.told = [];
        const tell = () => {
            told.push(document.querySelector('.connection')?.dataset.transport);
            told.push(document.querySelector('#announcements')?.textContent);
        };
        new MutationObserver(tell).observe(document, { subtree: true, childList: true, attributes: true });
    """)
    await page.route_web_socket(re.compile("/socket$"), lambda socket: socket.close())
    await page.route(re.compile("[?&]wait="), impatient)
    await page.goto(laptop.server.url)
    async with asyncio.timeout(PATIENCE):
        while len(waits) < 2:
            await page.clock.run_for(100)
    # Of the wait that fits, the answer is news of nothing.
    assert waits[:2] == [25, 4]
    await expect(page.locator("[data-transport=polling]")).to_be_visible()
    told = await page.evaluate("told")
    assert "polling" in told
    assert "offline" not in told
    assert not [each for each in told if each and "No connection" in each]


async def test_where_sockets_are_blocked_a_locked_account_ends_the_wait_in_plain_words(
    new_device: NewDevice, server: Server
) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.log_in("lotte")
    showing = await laptop.open("/")
    page = await phone.context.new_page()
    await page.route_web_socket(re.compile("/socket$"), lambda socket: socket.close(code=1011))
    await page.goto(f"{server.url}/phone")
    await type_code(page, await shown_code(showing))
    await page.get_by_role("button", name="Allow").click()
    await expect(page.locator("[data-transport=polling]")).to_be_visible()
    assert server.cli("user", "lock", "lotte").returncode == 0
    # A poll that already waits ends by itself; a wake asks at once.
    told = "dispatchEvent(new Event('online')), document.querySelector('h1').textContent"
    await until(page, told, "The account is locked")


async def test_a_page_under_a_foreign_name_is_told_so_without_an_endless_try_again(phone: Device) -> None:
    page = await phone.context.new_page()
    problem = {"status": 403, "code": "foreign_origin", "title": "This origin is not allowed"}
    await page.route("**/sessions/refresh", lambda route: route.fulfill(status=403, json=problem))
    await page.goto(phone.server.url)
    await heading(page, "Open this site by its own address")
    await expect(page.get_by_role("button")).to_have_count(0)


# --- Landings


@pytest.mark.security(19, 23)
@pytest.mark.mitigation("6.1.14")
async def test_the_landing_page_strips_the_code_and_claims_only_on_a_press(
    phone: Device, new_device: NewDevice
) -> None:
    laptop = await new_device()
    showing = await laptop.open("/")
    link = await shown_link(showing)
    page = await phone.context.new_page()
    calls = calls_of(page)
    await page.goto(link)
    await heading(page, "A device wants to log in")
    assert page.url == link.partition("#")[0]
    assert calls == []
    await heading(showing, "Log in with a device you trust")

    await page.get_by_role("button", name="See who asks").click()
    await heading(page, "Let this device in?")
    await heading(showing, "Scanned")


async def test_a_landing_in_a_browser_that_is_not_logged_in_explains_what_to_do(new_device: NewDevice) -> None:
    laptop, stranger = await new_device(), await new_device()
    showing = await laptop.open("/")
    page = await stranger.context.new_page()
    calls = calls_of(page)
    await page.goto(await shown_link(showing))
    await heading(page, "This browser is not logged in")
    await expect(page.get_by_text("type the code that stands beside the picture")).to_be_visible()
    assert calls == []


@pytest.mark.security(19)
async def test_joining_waits_for_a_press_too(phone: Device, new_device: NewDevice) -> None:
    laptop = await new_device()
    showing = await phone.open("/phone")
    await showing.get_by_role("button", name="Show a code instead").click()
    link = await shown_link(showing)
    page = await laptop.context.new_page()
    calls = calls_of(page)
    await page.goto(link)
    await heading(page, "Log in this device?")
    assert calls == []
    assert "#" not in page.url
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, "Waiting for your other device")
    await heading(showing, "Let this device in?")


@pytest.mark.security(19)
async def test_a_logged_in_browser_never_joins_again(phone: Device, server: Server) -> None:
    showing = await phone.open("/phone")
    await showing.get_by_role("button", name="Show a code instead").click()
    page = await phone.context.new_page()
    calls = calls_of(page)
    await page.goto(await shown_link(showing))
    await heading(page, "This code is for a new device")
    await page.goto("about:blank")
    await page.goto(await server.invitation("mallory"))
    await heading(page, "This invitation was not used")
    assert calls == []


@pytest.mark.security(19)
async def test_an_invitation_is_used_by_a_press_and_only_once(new_device: NewDevice, server: Server) -> None:
    first, second = await new_device(), await new_device()
    link = await server.invitation("yara")
    page = await first.context.new_page()
    calls = calls_of(page)
    await page.goto(link)
    await heading(page, "You have an invitation")
    assert calls == []
    assert "#" not in page.url
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, re.compile("You are now yara", re.IGNORECASE))

    late = await second.open(link)
    await late.get_by_role("button", name="Log in this device").click()
    await heading(late, "This invitation is not valid")


async def test_a_reload_on_the_landing_page_asks_again_who_that_is(new_device: NewDevice, server: Server) -> None:
    device = await new_device()
    page = await device.open(await server.invitation("ria"))
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, re.compile("You are now ria", re.IGNORECASE))
    await page.reload()
    await heading(page, re.compile("You are now ria", re.IGNORECASE))
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
    await page.reload()
    await heading(page, re.compile("You are already logged in as ria", re.IGNORECASE))


async def test_an_incomplete_link_is_explained_with_and_without_a_session(phone: Device, new_device: NewDevice) -> None:
    stranger = await new_device()
    for device in (phone, stranger):
        page = await device.open("/pair/abcdefgh")
        await heading(page, "This link is incomplete")


# --- Second taps


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_second_tap_on_what_has_just_been_drawn_does_nothing(
    new_device: NewDevice, server: Server, width: int
) -> None:
    device = await new_device(viewport={"width": width, "height": 844})
    page = await device.open(await server.invitation(f"tamara-{width}"))
    await heading(page, "You have an invitation")
    await page.clock.install()
    await page.clock.pause_at(await page.evaluate("Date.now() / 1000 + 1"))
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, re.compile("You are now tamara", re.IGNORECASE))
    for name in ("Not me", "Continue"):
        button = page.get_by_role("button", name=name)
        await expect(button).to_have_attribute("aria-disabled", "true")
        await button.dispatch_event("click")
        box = await button.bounding_box()
        assert box
        await page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.clock.run_for(500)
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
    # Links that look like buttons are tapped twice as well.
    await page.get_by_role("link", name="Your devices See").dispatch_event("click")
    await heading(page, "You are logged in")
    await page.clock.run_for(500)
    await page.get_by_role("link", name="Your devices See").click()
    await heading(page, "Your devices")


def overlap(one: Any, other: Any) -> bool:
    return not (
        one["x"] + one["width"] <= other["x"]
        or other["x"] + other["width"] <= one["x"]
        or one["y"] + one["height"] <= other["y"]
        or other["y"] + other["height"] <= one["y"]
    )


@pytest.mark.parametrize("width", [1280, 390])
async def test_nothing_destructive_takes_the_place_of_what_was_pressed(
    new_device: NewDevice, server: Server, width: int
) -> None:
    first, second = await new_device(viewport={"width": width, "height": 844}), await new_device()
    name = f"tatjana-{width}"
    link = await server.invitation(name)
    page = await first.open(link)
    pressed = page.get_by_role("button", name="Log in this device")
    before = await pressed.bounding_box()
    await pressed.click()
    await heading(page, re.compile("You are now tatjana", re.IGNORECASE))
    assert not overlap(before, await page.get_by_role("button", name="Not me").bounding_box())
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "You are logged in")
    await second.log_in(name)
    await page.goto(f"{server.url}/devices")
    await expect(page.locator(".device")).to_have_count(2)
    item = page.locator(".device").filter(has_not_text="This device")
    for where, name in ((item, "Log out"), (item, "This wasn’t me"), (page.locator(".all"), "Log out all other")):
        pressed = where.get_by_role("button", name=re.compile(f"^{name}"))
        await pressed.scroll_into_view_if_needed()
        before = await pressed.bounding_box()
        await pressed.click()
        assert not overlap(before, await page.locator("button.danger").bounding_box())
        await page.get_by_role("button", name="Cancel").click()


# --- Sessions and devices


@pytest.mark.parametrize("path", ["/", "/phone", "/devices", "/pair/abcdefgh#code", "/join/abcdefgh#code"])
async def test_a_first_visit_asks_for_no_session_and_is_refused_nothing(
    new_device: NewDevice, server: Server, path: str
) -> None:
    device = await new_device()
    page = await device.context.new_page()
    answers = []
    page.on("response", lambda response: answers.append((response.url, response.status)))
    await page.goto(server.url + path)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    if path == "/":
        await page.locator(".qr svg path").wait_for()
    assert [answer for answer in answers if "/refresh" in answer[0] or answer[1] >= 400] == []


async def test_a_reload_before_the_answer_leads_to_the_page_that_was_asked_for(
    new_device: NewDevice, server: Server
) -> None:
    device = await new_device()
    page = await device.open(await server.invitation("petra"))
    await page.get_by_role("button", name="Log in this device").click()
    await heading(page, re.compile("You are now petra", re.IGNORECASE))
    await page.goto(f"{server.url}/devices")
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "Your devices")
    await expect(page.locator(".device")).to_have_count(1)


@pytest.mark.security(18, 19)
async def test_an_alarm_reaches_every_tab_however_many_there_are(new_device: NewDevice) -> None:
    phone, laptop = await new_device(), await new_device()
    first = await phone.log_in("thekla")
    await first.close()
    taken_over: list[int] = []
    phone.context.on(
        "page", lambda page: page.on("websocket", lambda socket: socket.on("close", lambda _: taken_over.append(1)))
    )
    tabs = [await phone.open("/devices") for _ in range(7)]
    for tab in tabs:
        await expect(tab.locator(".device")).to_have_count(1)
    async with asyncio.timeout(PATIENCE):
        while len(taken_over) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await laptop.log_in("thekla")
    for tab in tabs:
        await expect(tab.get_by_role("alert")).to_have_count(1)
        await expect(tab.locator(".device")).to_have_count(2)


async def test_a_tab_whose_socket_gave_way_takes_one_again_when_it_is_looked_at(phone: Device) -> None:
    page = await phone.context.new_page()
    opened: list[WebSocketRoute] = []

    async def gives_way_once(socket: WebSocketRoute) -> None:
        opened.append(socket)
        if len(opened) == 1:
            await socket.close(code=4409)
        else:
            socket.connect_to_server()

    await page.route_web_socket(re.compile("/api/v1/socket$"), gives_way_once)
    await page.goto(f"{phone.server.url}/devices")
    await expect(page.locator(".device")).to_have_count(1)
    await page.evaluate(HIDE)
    assert len(opened) == 1
    await page.evaluate(SHOW)
    async with asyncio.timeout(PATIENCE):
        while len(opened) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.security(18)
async def test_where_sockets_are_blocked_the_list_and_the_alarms_come_by_asking(new_device: NewDevice) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.enter("tilda")
    page = await phone.context.new_page()
    await page.clock.install()
    await page.route_web_socket(re.compile("/api/v1/socket$"), lambda socket: socket.close(code=1011))
    async with page.expect_response(re.compile("/passkeys$")):
        await page.goto(f"{phone.server.url}/devices")
    await expect(page.locator(".device")).to_have_count(1)
    elsewhere = await laptop.log_in("tilda")
    count = "document.querySelectorAll('.device').length"
    await until(page, count, 2, step=1000)
    await expect(page.get_by_role("alert")).to_contain_text("A new device has just logged in")
    await elsewhere.get_by_role("button", name="Log out").click()
    await heading(elsewhere, "Log in with a device you trust")
    await until(page, count, 1, step=1000)


@pytest.mark.security(18)
async def test_a_login_that_the_socket_came_too_late_for_is_told_all_the_same(new_device: NewDevice) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.enter("tobias")
    page = await phone.context.new_page()
    await page.clock.install()
    # Up, and without a word: what happens meanwhile, happens before the server knows of it.
    await page.route_web_socket(re.compile("/api/v1/socket$"), lambda socket: None)
    await page.goto(f"{phone.server.url}/devices")
    await expect(page.locator(".device")).to_have_count(1)
    await page.wait_for_load_state("networkidle")
    await laptop.log_in("tobias")
    await until(page, "document.querySelectorAll('.device').length", 2, step=1000)
    await expect(page.get_by_role("alert")).to_contain_text("A new device has just logged in")
    await page.clock.run_for(60_000)
    await expect(page.get_by_role("alert")).to_have_count(1)


async def test_logging_out_a_device_that_is_gone_already_is_no_error_about_a_code(new_device: NewDevice) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.log_in("tanja")
    await laptop.log_in("tanja")
    page = await phone.open("/devices")
    gone = {"status": 404, "code": "not_found", "title": "x"}
    other = page.locator(".device").filter(has_not_text="This device")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=404, content_type="application/problem+json", body=json.dumps(gone))

    await page.route(re.compile(r"/api/v1/devices/[^/]+$"), refuse)
    await other.get_by_role("button", name=re.compile("^Rename")).click()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("It is logged out already.")
    await page.get_by_role("button", name="Cancel").click()
    await other.get_by_role("button", name=re.compile("^Log out")).click()
    await other.locator("button.danger").click()
    await expect(page.locator("#announcements")).to_contain_text("Logged out")
    await expect(page.get_by_role("alert")).to_have_count(0)


def too_often(seconds: int, times: int = 1) -> Any:
    """Answers with 429 so many times, then lets the call through."""
    left = [times]

    async def handle(route: Route) -> None:
        if route.request.method != "OPTIONS" and left[0]:
            left[0] -= 1
            problem = json.dumps({"status": 429, "code": "rate_limited", "title": "x"})
            headers = {"Retry-After": str(seconds)}
            await route.fulfill(status=429, headers=headers, content_type="application/problem+json", body=problem)
        else:
            await route.continue_()

    return handle


@pytest.mark.parametrize("call", ["/pairings", "/sessions/refresh", "/invites/accept"])
async def test_a_page_that_asked_too_often_says_how_long_it_waits_and_goes_on_by_itself(
    phone: Device, new_device: NewDevice, server: Server, call: Any
) -> None:
    device = phone if call == "/sessions/refresh" else await new_device()
    page = await device.context.new_page()
    await page.clock.install()
    await page.route(f"**/api/v1{call}", too_often(30))
    await page.goto(await server.invitation("tom") if call == "/invites/accept" else server.url)
    if call == "/invites/accept":
        await page.get_by_role("button", name="Log in this device").click()
    await expect(page.get_by_text(re.compile(r"This goes on by itself in 0:[23]\d"))).to_be_visible()
    await page.clock.run_for(31_000)
    if call == "/pairings":
        await page.locator(".qr svg path").wait_for()
        await expect(page.get_by_text("This goes on by itself")).to_have_count(0)
    else:
        await heading(page, re.compile("You are (now tom|already logged in as ada)", re.IGNORECASE))


@pytest.mark.security(18, 19)
async def test_a_device_that_logs_in_again_is_news_again(new_device: NewDevice) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.log_in("zora")
    page = await phone.open("/devices")
    for _ in range(2):
        elsewhere = await laptop.log_in("zora")
        await expect(page.get_by_role("alert")).to_contain_text("A new device has just logged in")
        await page.get_by_role("button", name="It was me").click()
        await expect(page.get_by_role("alert")).to_have_count(0)
        await elsewhere.get_by_role("button", name="Log out").click()
        await heading(elsewhere, "Log in with a device you trust")


async def test_a_name_that_nobody_can_see_is_refused_in_plain_words(new_device: NewDevice) -> None:
    phone = await new_device()
    await phone.log_in("inge")
    page = await phone.open("/devices")
    await page.get_by_role("button", name=re.compile("^Rename")).click()
    await page.get_by_label("New name").fill("\u200b")
    await page.get_by_label("New name").press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("A name needs a visible character.")


@pytest.mark.security(19)
async def test_a_logged_in_browser_is_told_so_instead_of_being_logged_in_again(phone: Device) -> None:
    page = await phone.open("/")
    await heading(page, re.compile("You are already logged in as ada", re.IGNORECASE))
    await expect(page.locator(".qr")).to_have_count(0)


async def renew_together(device: Device) -> None:
    tabs = await asyncio.gather(*(device.open("/devices") for _ in range(6)))
    for _ in range(3):
        await asyncio.gather(*(tab.reload() for tab in tabs))
        await asyncio.gather(*(heading(tab, "Your devices") for tab in tabs))
    await asyncio.gather(*(expect(tab.locator(".device").first).to_be_visible() for tab in tabs))


async def test_many_tabs_renew_together_and_all_stay_logged_in(phone: Device) -> None:
    await renew_together(phone)


async def test_they_do_so_without_web_locks_too(new_device: NewDevice) -> None:
    phone = await new_device()
    await phone.context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined })")
    await phone.log_in("tabea")
    await renew_together(phone)


async def age(context: BrowserContext) -> None:
    """All pages of the context, to where their keys have to be renewed; from then on their clock stands still."""
    (page, *_) = context.pages
    await context.clock.pause_at(await page.evaluate("Date.now() / 1000 + 590"))


async def test_tabs_whose_keys_have_aged_share_one_renewal(phone: Device) -> None:
    await phone.context.clock.install()
    tabs = [await phone.open("/devices") for _ in range(4)]
    for tab in tabs:
        await heading(tab, "Your devices")
        await expect(tab.locator(".device").first).to_be_visible()
    renewed: list[str] = []
    all_ask = asyncio.Event()

    async def hold(route: Route) -> None:
        await all_ask.wait()
        await route.continue_()

    # Before they age: a page whose socket happens to reconnect renews by itself.
    await phone.context.route("**/sessions/refresh", hold)
    phone.context.on("response", lambda each: renewed.append(each.url) if each.url.endswith("/refresh") else None)
    await age(phone.context)
    ask = "import('/static/session.js').then(({ withKey }) => withKey(async (key) => key))"
    keys = asyncio.gather(*(tab.evaluate(ask) for tab in tabs))
    await until(tabs[0], "navigator.locks.query().then(({ pending }) => pending.length)", len(tabs) - 1)
    all_ask.set()
    assert len(set(await keys)) == 1
    assert len(renewed) == 1


async def test_what_one_person_has_asked_for_is_not_done_as_the_next_one(phone: Device) -> None:
    asked, others = asyncio.Event(), asyncio.Event()

    async def log_somebody_else_in(route: Route) -> None:
        asked.set()
        await others.wait()
        login = {"authKey": "theirs", "expiresIn": 600, "user": {"id": "somebody-else"}, "device": {"id": "theirs"}}
        await route.fulfill(json=login)

    await phone.context.clock.install()
    # Where no page sees to it by loading itself again.
    tab = await phone.open("/healthz")
    session = "import('/static/session.js')"
    assert await tab.evaluate(f"{session}.then(({{ restore }}) => restore())")
    await phone.context.route("**/sessions/refresh", log_somebody_else_in)
    await age(phone.context)
    call = "withKey(async (key) => key).catch((error) => error.code)"
    answer = asyncio.ensure_future(tab.evaluate(f"{session}.then(({{ withKey }}) => {call})"))
    await asked.wait()
    neighbour = await phone.open("/healthz")
    await neighbour.evaluate("new BroadcastChannel('pairing-session:/').postMessage({ type: 'signed-out' })")
    await until(tab, f"{session}.then(({{ user }}) => user() === null)")
    others.set()
    assert await answer == "unauthenticated"


async def test_no_key_is_left_where_a_script_could_find_it_later(phone: Device) -> None:
    page = await phone.open("/phone")
    await heading(page, "Let another device in")
    kept = await page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    key = await page.evaluate("import('/static/session.js').then(({ withKey }) => withKey(async (key) => key))")
    (cookie,) = await phone.context.cookies(f"{phone.server.url}/api/v1/sessions")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert key not in kept
    assert cookie["value"] not in kept


async def test_logging_out_in_one_tab_reaches_the_others(new_device: NewDevice) -> None:
    phone = await new_device()
    await phone.log_in("ulla")
    watching = await phone.open("/devices")
    await heading(watching, "Your devices")
    page = await phone.open("/")
    await page.get_by_role("button", name="Log out").click()
    await heading(watching, "You are not logged in")


async def test_a_waiting_tab_gives_way_when_another_tab_logs_in(new_device: NewDevice) -> None:
    laptop = await new_device()
    waiting = await laptop.open("/")
    await waiting.locator(".qr svg path").wait_for()
    await laptop.log_in("viola")
    await heading(waiting, re.compile("You are already logged in as viola", re.IGNORECASE))


async def test_devices_are_renamed_and_logged_out_and_hear_of_it_at_once(new_device: NewDevice, server: Server) -> None:
    phone, laptop = await new_device(), await new_device()
    await phone.log_in("wilma")
    page = await phone.open("/devices")
    await expect(page.locator(".device")).to_have_count(1)

    elsewhere = await laptop.log_in("wilma")
    await expect(page.get_by_role("alert")).to_contain_text("A new device has just logged in")
    await expect(page.locator(".device")).to_have_count(2)

    other = page.locator(".device").filter(has_not_text="This device")
    await other.get_by_role("button", name=re.compile("^Rename")).click()
    await page.get_by_label("New name").fill("Kitchen <b>tablet</b>")
    await page.get_by_label("New name").press("Enter")
    await expect(other.get_by_role("heading")).to_have_text("“Kitchen <b>tablet</b>”")

    await elsewhere.goto(f"{server.url}/devices")
    await heading(elsewhere, "Your devices")
    await other.get_by_role("button", name=re.compile("^Log out")).click()
    await other.get_by_role("button", name="Log out").click()
    await expect(page.locator(".device")).to_have_count(1)
    await heading(elsewhere, "You are not logged in")
    await expect(page.locator(".activity")).to_contain_text("A device was logged out: “Kitchen <b>tablet</b>”")


async def test_who_is_logged_out_by_a_copy_of_the_own_machine_is_told_why(
    new_device: NewDevice, server: Server
) -> None:
    laptop = await new_device()
    page = await laptop.log_in("copied")
    code = await page.evaluate("localStorage.getItem('pairing-device:/')")
    await page.goto(f"{server.url}/devices")
    await expect(page.locator(".device")).to_have_count(1)
    await page.get_by_role("button", name=re.compile("^Rename")).click()
    await page.get_by_label("New name").fill("My laptop")
    await page.get_by_label("New name").press("Enter")
    await expect(page.locator(".device").get_by_role("heading")).to_contain_text("“My laptop”")
    async with Api(server.url) as api:
        wanted = {"code": await invite_in(server.folder, "copied")}
        headers = device_headers(code=code, name="A copy")
        copy = Phone(api, (await api.http.post("/invites/accept", json=wanted, headers=headers)).json())
        await expect(page.locator("#alerts")).to_contain_text("the code of this device has logged in again")
        await heading(page, "You are not logged in")
        lines = (await copy.get("/activity")).json()["activity"]
        assert {"session.replaced", "device.renamed"} <= {line["event"] for line in lines}
        assert copy.keys["device"]["name"] == "My laptop"
    # It is said once.
    await page.reload()
    await heading(page, "You are not logged in")
    await expect(page.locator("#alerts")).to_be_empty()


async def test_all_other_devices_are_logged_out_with_one_press_and_a_question(new_device: NewDevice) -> None:
    first, second = await new_device(), await new_device()
    _, elsewhere = await asyncio.gather(first.log_in("xaver"), second.log_in("xaver"))
    page = await first.open("/devices")
    await expect(page.locator(".device")).to_have_count(2)
    await page.get_by_role("button", name="Log out all other devices").click()
    await expect(page.get_by_text("Log out the other device?")).to_be_visible()
    await page.locator(".all").get_by_role("button", name="Log out").click()
    await expect(page.locator(".device")).to_have_count(1)
    await heading(elsewhere, "Log in with a device you trust")


# --- Every page


async def test_without_a_camera_interface_the_page_leads_with_the_other_ways(new_device: NewDevice) -> None:
    phone = await new_device()
    await phone.context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'mediaDevices', { get: () => undefined })"
    )
    page = await phone.open("/phone")
    await expect(page.get_by_text("Use this device’s own camera app.")).to_be_visible()
    await expect(page.get_by_text("Picture of a code")).to_be_visible()
    await expect(page.get_by_role("button", name="Scan with the camera")).to_have_count(0)


@pytest.mark.parametrize(
    "path", ["/", "/phone", "/devices", "/pair/abcdefgh#code", "/join/abcdefgh#code", "/join/invite"]
)
async def test_no_page_scrolls_sideways_on_a_small_phone(new_device: NewDevice, path: str) -> None:
    device = await new_device(viewport={"width": 360, "height": 640})
    page = await device.open(path)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
