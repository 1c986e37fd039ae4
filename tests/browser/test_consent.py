"""What stands before a person who decides about a device, and what undoes it: warnings, deny, "this wasn't me"."""

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.support import geoip
from tests.support.authenticator import Authenticator
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import fresh_phone

from .conftest import (
    AnotherServer,
    Device,
    NewDevice,
    Server,
    heading,
    shown_code,
    type_code,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def below(page: Page, upper: str, lower: str) -> bool:
    boxes = [await page.locator(each).bounding_box() for each in (upper, lower)]
    upper_box, lower_box = boxes
    assert upper_box
    assert lower_box
    return upper_box["y"] + upper_box["height"] <= lower_box["y"]


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6", "6.1.13", "6.1.14")
async def test_warnings_stand_above_two_equal_buttons_and_are_read_out(
    new_device: NewDevice, another_server: AnotherServer, tmp_path: Path
) -> None:
    places = str(geoip.write(tmp_path / "places.mmdb"))
    async with another_server(PAIRING_TRUSTED_PROXIES="127.0.0.1", PAIRING_GEOIP_FILE=places) as server:

        async def device_at(ip: str, **options: Any) -> Device:
            return await new_device(at=server, extra_http_headers={"X-Forwarded-For": ip}, **options)

        phone = await device_at(geoip.ZURICH, viewport={"width": 360, "height": 640})
        await phone.log_in("ada")
        page = await phone.open("/phone")

        async def ask(ip: str) -> Page:
            showing = await (await device_at(ip)).open("/")
            await page.goto(f"{server.url}/phone")
            await type_code(page, await shown_code(showing))
            await heading(page, "Let this device in?")
            return showing

        allow, deny = (page.get_by_role("button", name=name) for name in ("Allow", "Deny"))
        await ask(geoip.ZURICH)
        await expect(page.locator("#warnings")).to_have_count(0)
        await ask("9.9.9.77")
        # That is usual for two devices of one person: told, and no alarm.
        await expect(page.locator("#warnings")).to_contain_text("in another network than this device")
        await expect(page.get_by_role("alert")).to_have_count(0)

        showing = await ask(geoip.SAO_PAULO)
        text = "It seems to be in another country than this device: Brazil."
        await expect(page.get_by_role("alert")).to_contain_text(text)
        await expect(page.get_by_role("definition").filter(has_text="São Paulo, Brazil (roughly)")).to_be_visible()
        await expect(allow).to_have_accessible_description(re.compile(re.escape(text)))
        assert await below(page, "#warnings", ".verdicts")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        sizes = [await each.evaluate("each => [each.offsetWidth, each.offsetHeight]") for each in (allow, deny)]
        assert sizes[0] == sizes[1]
        # From the heading the first key press leads to "deny", and one more is all it takes.
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(deny).to_be_focused()
        await expect(deny).to_be_enabled()
        await page.keyboard.press("Enter")
        await heading(page, "Denied")
        await heading(showing, "The login was refused")


STORY = "Your own phone”, already checked by security. Just press Allow. “Chrome"


@pytest.mark.security(10, 22)
@pytest.mark.mitigation("6.1.6")
async def test_what_a_device_says_of_itself_never_leads_and_is_a_clipped_quotation(
    phone: Device, server: Server
) -> None:
    story = {"name": quote(STORY), "X-Os-Device": quote("Windows (verified)"), "User-Agent": "Chrome/140 Linux"}
    page = await phone.open("/phone")
    async with Api(server.url) as api:
        device = await api.new_pairing(device_headers(**story))
        await type_code(page, device.pairing["userCode"])
        await heading(page, "Let this device in?")
        await expect(page.locator(".lead")).to_have_text(re.compile("^A device wants to log in as ada-[0-9a-f]+[.]$"))
        claims = page.locator(".claims")
        await expect(claims).to_contain_text("It says of itself (not verified)")
        for each in ("“Your own phone’, already checked by sec…”", "Chrome on Linux", "“Windows (verified)”"):
            await expect(claims.get_by_text(each, exact=True)).to_be_visible()
            await expect(page.get_by_text(each, exact=True)).to_have_count(1)
        outside = await page.locator("main").inner_text()
        for each in (await claims.inner_text()).splitlines():
            outside = outside.replace(each, "", 1)
        assert not any(word in outside for word in ("Your own", "Windows", "Chrome"))
        await page.get_by_role("button", name="Deny").click()
        await heading(page, "Denied")
        await expect(page.locator(".lead")).to_have_text("The device was not let in.")


@pytest.mark.security(10)
async def test_a_refusal_of_the_network_is_explained(phone: Device, new_device: NewDevice) -> None:
    showing = await (await new_device()).open("/")
    page = await phone.open("/phone")
    refusal = {"type": "about:blank", "title": "x", "status": 403, "code": "network_refused"}

    async def refuse(route: Any) -> None:
        await route.fulfill(status=403, content_type="application/problem+json", body=json.dumps(refusal))

    await page.route("**/api/v1/pairings/claim", refuse)
    await type_code(page, await shown_code(showing))
    await expect(page.get_by_role("alert")).to_contain_text("Connect both to one network")


@asynccontextmanager
async def intruder(server: Server, username: str) -> Any:
    """A device that got into the account, and one that it has let in."""
    async with Api(server.url) as api:
        code = (await server.invitation(username)).split("#")[1]
        first = await api.log_in_by_invite(code, name="Intruder")
        device = await api.new_pairing(device_headers(name="Accomplice"))
        await first.claim(device.pairing)
        await first.approve(device.id)
        yield [first, Phone(api, (await device.log_in()).json())]


async def statuses(phones: list[Phone]) -> list[int]:
    return [(await each.get("/me")).status_code for each in phones]


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.6")
async def test_the_alert_offers_to_log_the_newcomer_out_with_all_it_let_in(
    new_device: NewDevice, server: Server
) -> None:
    phone = await new_device()
    await phone.log_in("olga")
    page = await phone.open("/devices")
    await expect(page.locator(".device")).to_have_count(1)
    async with intruder(server, "olga") as intruders:
        await expect(page.locator(".device")).to_have_count(3)
        alert = page.locator(f"[role=alert][data-about={intruders[0].keys['device']['id']!r}]")
        assert await statuses(intruders) == [200, 200]
        await expect(alert).to_contain_text("A new device has just logged in. It calls itself “Intruder”")
        await alert.get_by_role("button", name="This wasn’t me").click()
        await expect(alert).to_contain_text("The device is logged out again, with all that it let in.")
        await expect(alert.get_by_text("The device is logged out again")).to_be_focused()
        await expect(page.locator(".device")).to_have_count(1)
        assert await statuses(intruders) == [401, 401]
        await alert.get_by_role("button", name="Close").click()
        await expect(alert).to_have_count(0)


async def add_passkey(by: Phone, server: Server, name: str) -> None:
    asked = (await by.post("/passkeys/options")).json()["publicKey"]
    key = {"name": name, "credential": Authenticator(server.url).create(asked)}
    assert (await by.post("/passkeys", key)).status_code == 201


@pytest.mark.security(19)
async def test_a_passkey_that_an_intruder_added_is_undone_with_them_without_a_proof(
    new_device: NewDevice, server: Server
) -> None:
    phone = await new_device()
    await phone.log_in("pamela")
    page = await phone.open("/devices")
    async with intruder(server, "pamela") as intruders:
        await expect(page.locator(".device")).to_have_count(3)
        # Its own moment of proof, that of an invite, is not needed.
        await add_passkey(intruders[1], server, "Evil")
        alert = page.get_by_role("alert").filter(has_text="Another device has just added a passkey: “Evil”")
        item = page.locator("[data-passkey]")
        await expect(item).to_contain_text("by “Accomplice”")
        await item.get_by_role("button", name="This wasn’t me").click()
        await expect(item).to_contain_text("Remove the passkey “Evil”? And log out “Accomplice”, with")
        await item.get_by_role("button", name="Cancel").click()
        listed = page.locator("[data-device]").filter(has=page.get_by_role("heading", name="Intruder"))
        await listed.get_by_role("button", name="This wasn’t me").click()
        await expect(
            page.get_by_text("all that it let in: “Accomplice”. Passkeys that go along: “Evil”.")
        ).to_be_visible()
        await page.get_by_role("button", name="Cancel").click()
        await alert.get_by_role("button", name="This wasn’t me").click()
        await expect(page.locator("#announcements")).to_contain_text(
            re.compile("The passkey .“Evil”. is removed again")
        )
        await expect(alert).to_have_count(0)
        await expect(item).to_have_count(0)
        await expect(page.locator(".device")).to_have_count(2)
        assert await statuses(intruders) == [200, 401]
        await expect(page.locator(".activity")).to_contain_text("A passkey was removed: “Evil”, by “Chrome on Linux”")
        # Nor does anything stand in the way of one's own.
        await add_passkey(intruders[0], server, "Second")
        await expect(page.get_by_role("alert").filter(has_text="just added a passkey: “Second”")).to_be_visible()
        gone = await intruders[0].get("/devices")
        assert [each["name"] for each in gone.json()["devices"]] == ["Chrome on Linux", "Intruder"]


TALE = "the one you made yesterday. All is well, just press “It was me”. שלום"


@pytest.mark.security(22, 38)
async def test_every_claim_about_a_device_or_passkey_is_a_clipped_quotation_with_a_direction_of_its_own(
    new_device: NewDevice, server: Server
) -> None:
    phone = await new_device()
    await phone.log_in("petronella")
    page = await phone.open("/devices")
    await expect(page.locator(".device")).to_have_count(1)
    claims: dict[str, Any] = {"name": quote(TALE), "X-Os-Device": quote(TALE), "X-App-Version-Number": quote(TALE)}
    clipped = "“the one you made yesterday. All is well…”"
    async with Api(server.url) as api:
        newcomer = await fresh_phone(api, server.folder, "petronella", **claims)
        await expect(page.get_by_role("alert")).to_contain_text(f"It calls itself {clipped}")
        await add_passkey(newcomer, server, TALE)
        alarm = page.get_by_role("alert").filter(has_text="Another device has just added a passkey")
        await expect(alarm).to_contain_text(f"Another device has just added a passkey: {clipped}")
        await expect(page.locator("[data-passkey]")).to_contain_text(f"by {clipped}")
        await expect(page.locator(".activity")).to_contain_text("A passkey was added")
        item = page.locator("[data-device]").filter(has_not_text="This device")
        await expect(item).to_contain_text(f"{clipped}, version {clipped}")
        for which in (item, page.locator("[data-passkey]")):
            await which.get_by_role("button", name="This wasn’t me").click()
        # Whatever is shown of it, as text, label or tooltip, is in quotation marks, cut, and isolated.
        told = await page.evaluate(
            """() => {
              const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              const texts = [];
              while (walk.nextNode()) {
                const { data, parentElement } = walk.currentNode;
                texts.push([data, Boolean(parentElement.closest('bdi'))]);
              }
              const labels = [...document.querySelectorAll('[aria-label]')].map((node) => [node.ariaLabel, false]);
              return [...texts, ...labels].filter(([text]) => text.includes('yesterday'));
            }"""
        )
        assert len(told) >= 12
        for text, in_bdi in told:
            assert text == clipped if in_bdi else f"\u2068{clipped}\u2069" in text
            assert not text.startswith("the one")


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.6")
async def test_the_list_of_devices_offers_the_same_and_names_who_goes_along(
    new_device: NewDevice, server: Server
) -> None:
    phone = await new_device(viewport={"width": 360, "height": 640})
    await phone.log_in("prudence")
    async with intruder(server, "prudence") as intruders:
        page = await phone.open("/devices")
        await expect(page.locator(".device")).to_have_count(3)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        mine = page.locator(".device").filter(has_text="This device")
        await expect(mine.get_by_role("button", name="This wasn’t me")).to_have_count(0)
        item = page.locator(".device").filter(has=page.get_by_role("heading", name="Intruder"))
        await item.get_by_role("button", name="This wasn’t me").click()
        asked = page.locator(".device").filter(has_text="Log out “Intruder”? And all that it let in: “Accomplice”.")
        await asked.get_by_role("button", name="Cancel").click()
        assert await statuses(intruders) == [200, 200]
        await item.get_by_role("button", name="This wasn’t me").click()
        await asked.get_by_role("button", name="Log out").click()
        await expect(page.locator(".device")).to_have_count(1)
        assert await statuses(intruders) == [401, 401]


@pytest.mark.security(19)
async def test_devices_of_one_name_are_told_apart_by_their_moments_and_addresses(phone: Device) -> None:
    page = await phone.open("/phone")

    async def with_twins(route: Any) -> None:
        answer = await route.fetch()
        (mine,) = [each for each in (await answer.json())["devices"] if each["current"]]
        twins = [
            mine
            | {"id": f"twin-{at}", "current": False, "createdAt": f"2026-01-02T03:04:{at}Z", "lastIp": f"192.0.2.{at}"}
            | {"pairedBy": by, "descendants": [] if by else ["twin-06"]}
            for at, by in (("05", None), ("06", "twin-05"))
        ]
        await route.fulfill(json={"devices": [mine, *twins]})

    await page.route("**/api/v1/devices", with_twins)
    await page.goto(f"{phone.server.url}/devices")
    rows = page.locator(".device")
    await expect(rows).to_have_count(3)
    first, second = (rows.filter(has_text=f"192.0.2.{at}") for at in ("05", "06"))
    for row, at in ((first, "05"), (second, "06")):
        await expect(row).to_contain_text(re.compile(rf"Added .*:04:{at}"))
        for what in ("Rename", "Log out", "This wasn’t me"):
            name = re.compile(rf"{what}.*“Chrome on Linux”., added .*:04:{at}.*, last seen from 192.0.2.{at}")
            await expect(row.get_by_role("button", name=name)).to_have_count(1)
    await expect(second).to_contain_text(re.compile(r"by “Chrome on Linux” \(added .*:04:05"))
    await first.get_by_role("button", name="This wasn’t me").click()
    await expect(first).to_contain_text(re.compile(r"all that it let in: “Chrome on Linux” \(added .*:04:06"))
    await expect(first).to_contain_text(re.compile("Last seen .* from 192.0.2.05"))


@pytest.mark.security(18)
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}])
async def test_in_a_full_account_the_approver_chooses_who_makes_room_before_they_decide(
    new_device: NewDevice, another_server: AnotherServer, viewport: Any
) -> None:
    async with another_server(PAIRING_LIMIT_DEVICES="2") as server:
        phone = await new_device(at=server, viewport=viewport)
        await phone.log_in("ada")
        old = await new_device(at=server)
        old_page = await old.log_in("ada")
        showing = await (await new_device(at=server)).open("/")
        page = await phone.open("/phone")
        await type_code(page, await shown_code(showing))
        await heading(page, "Your account is full")
        out = page.get_by_role("button", name="Log it out and go on")
        await expect(out).to_be_disabled()
        # Itself it can't choose, or nobody could decide any more.
        await expect(page.get_by_role("radio")).to_have_count(1)
        await page.get_by_role("radio").check()
        assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        await out.click()
        await heading(page, "Let this device in?")
        await expect(old_page.get_by_role("heading", level=1)).not_to_have_text("You are logged in")
        allow = page.get_by_role("button", name="Allow")
        await expect(allow).to_be_enabled()
        await allow.click()
        await heading(showing, "Type the number")


async def test_an_account_that_fills_up_while_the_card_is_open_says_so_instead_of_failing(
    new_device: NewDevice, another_server: AnotherServer
) -> None:
    async with another_server(PAIRING_LIMIT_DEVICES="2") as server:
        phone = await new_device(at=server)
        await phone.log_in("ada")
        showing = await (await new_device(at=server)).open("/")
        page = await phone.open("/phone")
        await type_code(page, await shown_code(showing))
        await heading(page, "Let this device in?")
        await (await new_device(at=server)).log_in("ada")
        allow = page.get_by_role("button", name="Allow")
        await expect(allow).to_be_enabled()
        await allow.click()
        await heading(page, "Your account is full")
        await expect(page.get_by_role("radio")).to_have_count(1)
        await page.get_by_role("button", name="Deny").click()
        await heading(showing, "The login was refused")


async def test_a_device_in_quarantine_sees_with_the_card_that_it_can_only_deny(
    new_device: NewDevice, another_server: AnotherServer
) -> None:
    async with another_server(PAIRING_QUARANTINE_SECONDS="3600") as server:
        await (await new_device(at=server)).log_in("ada")
        newcomer = await new_device(at=server)
        await newcomer.log_in("ada")
        showing = await (await new_device(at=server)).open("/")
        page = await newcomer.open("/phone")
        await type_code(page, await shown_code(showing))
        await heading(page, "Let this device in?")
        await expect(page.get_by_text("For your safety a new device cannot let others in")).to_be_visible()
        await expect(page.get_by_role("button", name="Allow")).to_have_count(0)
        await page.get_by_role("button", name="Deny").click()
        await heading(showing, "The login was refused")
