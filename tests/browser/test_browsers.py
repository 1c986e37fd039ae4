"""What browsers lack: the written baseline, and pages that go on, or say what is wrong, without what is missing."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from .conftest import (
    Device,
    NewDevice,
    adas,
    heading,
    shown_code,
    shown_link,
    type_code,
)
from .steps import is_logged_in_as, shown_number

STATIC = Path(__file__).resolve().parents[2] / "static"
SCRIPTS = sorted([*STATIC.glob("*.js"), *STATIC.glob("client/*.js")])
loop = pytest.mark.asyncio(loop_scope="session")

# --- The baseline, as static/README.md says it: Chromium 80, Firefox 78, Safari 13.1.

# No guard helps: the whole file does not parse, or the call throws.
NEWER = {
    "logical assignment": r"(\?\?|\|\||&&)=",
    "private names": r"(?m)\bthis\.#|^\s*(async |static |get |set )*#\w",
    "class fields": r"(?m)^  (static )?\w+( = [^>\n]*)?;$",
    "static blocks": r"\bstatic \{",
    "await outside of functions": r"(?m)^(\w.*= )?await ",
    "lookbehind": r"\(\?<[=!]",
    "BigInt": r"\bBigInt|\b\d+n\b",
    "import attributes": r"(?m)^import .* with \{",
    "EventTarget's constructor": r"\b(new|extends) EventTarget\b",
    "signals for listeners": r"addEventListener\([^;]*\bsignal\b *[:}]",
    "static methods": r"\b(AbortSignal\.(any|timeout)|URL\.(canParse|parse)|Object\.(hasOwn|groupBy)|Array\.fromAsync"
    r"|Promise\.(any|try|withResolvers)|Uint8Array\.from(Base64|Hex)|Map\.groupBy|Intl\.(ListFormat|DisplayNames))\b",
    "methods": r"\.(findLast|findLastIndex|toSorted|toReversed|toSpliced|toBase64|toHex|isWellFormed|toWellFormed"
    r"|requestSubmit|checkVisibility|throwIfAborted|showModal|showPopover|setHTML)\(",
    "functions": r"\b(structuredClone|randomUUID|WeakRef|FinalizationRegistry|reportError)\b",
    "dates in styles": r"\b(dateStyle|timeStyle)\b",
}
# May be used by whoever asks for it first.
GUARDS = {
    r"\bBroadcastChannel\b": r"'BroadcastChannel' in globalThis",
    r"\bnavigator\.locks\b": r"!navigator\.locks",
    r"\bBarcodeDetector\b": r"globalThis\)?\.BarcodeDetector|'BarcodeDetector' in",
    r"\bnavigator\.clipboard\.read\b": r"navigator\.clipboard\?\.read",
    r"\bPublicKeyCredential\b": r"'PublicKeyCredential' in globalThis",
    r"\bnavigator\.mediaDevices\.": r"navigator\.mediaDevices\?\.",
    r"\bsubtle\.": r"!subtle\b|!this\._crypto\.subtle",
    r"\bcreateImageBitmap\b": r"'createImageBitmap' in globalThis",
    r"\b(OffscreenCanvas|ImageCapture|ResizeObserver)\b": r"'(OffscreenCanvas|ImageCapture|ResizeObserver)' in",
    r"\bIntl\.(Segmenter|RelativeTimeFormat)\b": r"Intl\.(Segmenter|RelativeTimeFormat) \?|'(Segmenter|\w+Format)' in",
    r"\bnavigator\.(wakeLock|share|storage|userAgentData)\.": r"navigator\.(wakeLock|share|storage|userAgentData)\?",
}
# Drawing a rotating picture: its caller says what goes wrong, and the code beside it can be typed.
UNGUARDED = {("rotating.js", r"\bsubtle\.")}


def code_of(path: Path) -> str:
    """Without comments."""
    return re.sub(r"(?m)(?<![:'\"\w/])//.*$", "", re.sub(r"(?s)(?<!\w)/\*.*?\*/", "", path.read_text()))


def in_classes(code: str) -> str:
    return "\n".join(re.findall(r"(?ms)^(?:export )?class .*?^\}", code))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_nothing_newer_than_the_baseline_is_used_unguarded(path: Path) -> None:
    code = code_of(path)
    used = [what for what, how in NEWER.items() if re.search(how, in_classes(code) if what == "class fields" else code)]
    unasked = [
        name
        for name, guard in GUARDS.items()
        if re.search(name, code) and not re.search(guard, code) and (path.name, name) not in UNGUARDED
    ]
    assert used + unasked == []


def test_the_stylesheet_leans_on_nothing_newer_than_the_baseline() -> None:
    style = re.sub(r"(?s)/\*.*?\*/", "", (STATIC / "style.css").read_text())
    assert (
        re.findall(r"\binset:|(?:margin|padding)-(?:inline|block):|:(?:is|where|has)\(|@layer|color-mix|&", style) == []
    )


def test_the_checker_finds_what_is_newer() -> None:
    """Lest an expression that matches nothing any more pass for a clean house."""
    newer = "class A {\n  b = 1;\n  #c() {}\n}\na ??= b;\nAbortSignal.timeout(1);\nawait a;\nnew EventTarget();\n"
    found = [
        what for what, how in NEWER.items() if re.search(how, in_classes(newer) if what == "class fields" else newer)
    ]
    assert found == [
        "logical assignment",
        "private names",
        "class fields",
        "await outside of functions",
        "EventTarget's constructor",
        "static methods",
    ]
    # What is no module: not every browser takes one as a service worker.
    plain = {"polyfills.js", "push-worker.js"}
    assert all("import" in code_of(path) or "export" in code_of(path) or path.name in plain for path in SCRIPTS)


# Chromium with what came after the baseline taken out of it.
OF_2020 = """() => {
    delete URL.canParse;
    delete URL.parse;
    delete AbortSignal.timeout;
    delete AbortSignal.any;
    delete globalThis.BroadcastChannel;
    delete globalThis.BarcodeDetector;
    delete globalThis.createImageBitmap;
    delete globalThis.structuredClone;
    delete Crypto.prototype.randomUUID;
    delete Navigator.prototype.locks;
    delete Object.hasOwn;
    delete Array.prototype.at;
    delete String.prototype.at;
    delete String.prototype.replaceAll;
    delete DataView.prototype.setBigUint64;
    for (const each of [Element, Document, DocumentFragment]) delete each.prototype.replaceChildren;
    const { prototype } = EventTarget;
    globalThis.EventTarget = function () { throw new TypeError('Illegal constructor'); };
    globalThis.EventTarget.prototype = prototype;
}"""
# Cookies and site data blocked.
BLOCKED = """() => {
    const refuse = { get() { throw new DOMException('Access is denied for this document.', 'SecurityError'); } };
    for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) Object.defineProperty(window, name, refuse);
    Object.defineProperty(Navigator.prototype, 'cookieEnabled', { value: false });
}"""
FULL = """() => {
    Storage.prototype.setItem = () => { throw new DOMException('exceeded the quota', 'QuotaExceededError'); };
}"""
SILENT = "() => { IDBFactory.prototype.open = () => ({}); }"


async def lacking(new_device: NewDevice, script: str) -> Device:
    device = await new_device()
    await device.context.add_init_script(f"({script})()")
    return device


@loop
async def test_browsers_of_2020_pair_log_in_and_list_their_devices(new_device: NewDevice) -> None:
    phone, laptop = await adas(await lacking(new_device, OF_2020)), await lacking(new_device, OF_2020)
    showing = await laptop.open("/")
    link = await shown_link(showing)
    # As a camera reads it.
    reading = await phone.open("/phone")
    await type_code(reading, link)
    await heading(reading, "Let this device in?")
    await reading.get_by_role("button", name="Allow").click()
    await is_logged_in_as(showing, "ada")
    await heading(reading, "Finished")
    page = await laptop.open("/devices")
    await expect(page.locator(".device")).to_have_count(2)
    await expect(page.get_by_text("A device logged in").first).to_be_visible()
    await type_code(await phone.open("/phone"), "no code")
    await expect(phone.context.pages[-1].get_by_role("alert")).to_contain_text("That is not a login code")


@loop
@pytest.mark.parametrize("lack", [BLOCKED, FULL, SILENT], ids=["cookies blocked", "storage full", "store silent"])
async def test_a_browser_that_keeps_nothing_shows_a_code_and_logs_in(
    phone: Device, new_device: NewDevice, lack: Any
) -> None:
    laptop = await lacking(new_device, lack)
    showing = await laptop.open("/")
    reading = await phone.open("/phone")
    await type_code(reading, await shown_code(showing))
    await reading.get_by_role("button", name="Allow").click()
    await showing.get_by_label("Number on your other device").fill(await shown_number(reading))
    await showing.get_by_label("Number on your other device").press("Enter")
    await is_logged_in_as(showing, "ada")


@loop
async def test_the_self_check_names_what_is_missing_and_what_works_all_the_same(new_device: NewDevice) -> None:
    page = await (await lacking(new_device, BLOCKED)).open("/")
    await expect(page.get_by_text("It keeps no cookies for this site.")).to_be_visible()
    await expect(page.get_by_text("A login here ends as soon as this page is left.")).to_be_visible()
    page = await (await lacking(new_device, FULL)).open("/")
    await page.get_by_text("What this browser lacks here").click()
    await expect(page.get_by_text("It keeps no settings for this site, or has no room left.")).to_be_visible()
    await expect(page.get_by_text("Logging in works.")).to_be_visible()
    page = await (await lacking(new_device, SILENT)).open("/")
    await page.get_by_text("What this browser lacks here").click()
    await expect(page.get_by_text("It can keep no key of its own, or does not answer")).to_be_visible()
    page = await (await new_device()).open("/")
    await page.locator(".qr svg path").wait_for()
    await expect(page.locator(".lacks")).to_have_count(0)


@loop
async def test_a_store_that_is_silent_for_a_while_costs_nobody_their_session(phone: Device) -> None:
    page = await phone.context.new_page()
    await page.add_init_script(f"({SILENT})()")
    await page.goto(phone.server.url)
    await heading(page, "This browser does not find its key")
    await page.close()
    await heading(await phone.open("/devices"), "Your devices")


PATHS = ["/", "/phone", "/devices", "/pair/abcdefgh#code"]


@loop
@pytest.mark.parametrize("path", PATHS)
async def test_without_javascript_the_page_says_what_to_do(new_device: NewDevice, path: str) -> None:
    page = await (await new_device(java_script_enabled=False)).open(path)
    await heading(page, "This page has not started")
    await expect(page.get_by_text("It needs JavaScript and a browser of 2020 or later.")).to_be_visible()
    await expect(page.get_by_role("link", name="Try again")).to_be_visible()


@loop
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [None, "const unparsable ="], ids=["missing", "unparsable"])
async def test_a_script_that_fails_leaves_words_and_a_way_to_try_again(
    new_device: NewDevice, path: str, body: Any
) -> None:
    device = await new_device()
    page = await device.context.new_page()

    async def fail(route: Any) -> None:
        await (route.abort() if body is None else route.fulfill(content_type="text/javascript", body=body))

    await page.route("**/static/words.js", fail)
    await page.goto(device.server.url + path)
    await heading(page, "This page has not started")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await page.unroute("**/static/words.js")
    await page.get_by_role("link", name="Try again").click()
    await expect(page.get_by_role("heading", level=1)).not_to_have_text("This page has not started")
    device.complaints.clear()


@loop
async def test_where_the_picture_cannot_be_drawn_the_code_can_be_typed(new_device: NewDevice) -> None:
    device = await new_device()
    page = await device.context.new_page()
    await page.route("**/static/client/qr.js", lambda route: route.abort())
    await page.goto(device.server.url)
    await expect(page.get_by_text("The picture cannot be drawn here. Type the code instead.")).to_be_visible()
    assert re.fullmatch(r"[0-9A-Z]{4}-[0-9A-Z]{4}", await shown_code(page))


@loop
async def test_a_server_that_does_not_answer_is_waited_for_in_words(phone: Device) -> None:
    page = await phone.context.new_page()
    held = []
    await page.route("**/sessions/refresh", lambda route: held.append(route))
    await page.goto(f"{phone.server.url}/devices")
    await heading(page, "One moment…")
    await held[0].continue_()
    await heading(page, "Your devices")
