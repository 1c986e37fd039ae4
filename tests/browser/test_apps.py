"""Apps with access on `/devices`: what a person sees of them, and how they take one's access away."""

import re
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import expect

from tests.support.applications import Application, answer_in, register

from .conftest import Device, Server
from .steps import sideways

pytestmark = pytest.mark.asyncio(loop_scope="session")

GRANT = """async (query) => {
    const [session, pairing] = await Promise.all(
        ['session', 'pairing'].map((name) => import(new URL(`static/${name}.js`, location.origin))));
    const { redirectTo } = await session.withKey((key) => pairing.authorize({ query, decision: 'approve' }, key));
    return redirectTo;
}"""


async def log_in(server: Server, phone: Device, at: Application) -> None:
    """At that application, with the person's yes on the phone."""
    page = await phone.open("/devices")
    code = answer_in(await page.evaluate(GRANT, at.query()))["code"]
    await page.close()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": at.client.id,
        "redirect_uri": at.redirect_uri,
        "code_verifier": at.verifier,
    }
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"http://127.0.0.1:{server.port}/oauth/token", data=form)
    assert answer.status_code == 200, answer.text


async def test_an_app_is_shown_with_its_name_and_removed_after_a_question(
    server: Server, phone: Device, tmp_path: Path
) -> None:
    shop = await register(server.folder)
    page = await phone.open("/devices")
    await page.locator(".device").first.wait_for()
    await expect(page.get_by_role("heading", name="Apps with access")).to_be_hidden()
    await log_in(server, phone, shop)
    # The page that is open hears of it.
    app = page.locator("[data-app]")
    await expect(app).to_contain_text("The Shop")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await sideways(page) == []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.get_by_role("heading", name="Apps with access").scroll_into_view_if_needed()
        await page.screenshot(path=tmp_path / f"apps-{scheme}.png", full_page=True)
    await app.get_by_role("button", name=re.compile("^Remove the access of .*The Shop")).click()
    await expect(app).to_contain_text("Remove the access of “The Shop”?")
    await app.get_by_role("button", name="Remove").click()
    await expect(page.locator(".activity")).to_contain_text("An application lost its access: “The Shop”")
    await expect(app).to_have_count(0)
