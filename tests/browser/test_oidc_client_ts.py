"""oidc-client-ts, as npm has it, in a page of another origin: a stock client in the browser."""

from pathlib import Path
from string import Template

import pytest
from playwright.async_api import expect

from tests.support.applications import register

from .conftest import Camera, Device, NewDevice, Server, heading, picture_of_code
from .steps import allow, scan

pytestmark = pytest.mark.asyncio(loop_scope="session")

TESTS = Path(__file__).parents[1]
LIBRARY = TESTS.parent / ".venv/javascript/node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"


async def test_oidc_client_ts_logs_in_by_the_camera_renews_without_a_page_and_logs_out(
    site: str, tmp_path: Path, phone: Device, new_device: NewDevice, server: Server, camera: Camera
) -> None:
    own = f"{site}/index.html"
    shop = await register(
        server.folder, redirect_uris=(own,), post_logout_redirect_uris=(own,), origins=(site,),
        scopes=("openid", "profile", "email"),
    )  # fmt: skip
    page = Template((TESTS / "stock_clients/oidc-client-ts.html").read_text())
    (tmp_path / "site/index.html").write_text(page.substitute(issuer=server.url, client_id=shop.client.id))
    (tmp_path / "site" / LIBRARY.name).write_bytes(LIBRARY.read_bytes())

    laptop = await new_device()
    app = await laptop.context.new_page()
    await app.goto(own)
    state = app.get_by_role("status")
    await expect(state).to_have_text("nobody")
    await app.get_by_role("button", name="Log in").click()
    await heading(app, "Log in with a device you trust")
    camera.show(await picture_of_code(app))
    scanning = await phone.open("/phone")
    await scan(scanning)
    await allow(scanning)
    await app.get_by_role("button", name="Continue").click()
    await app.get_by_role("button", name="Allow").click()
    await expect(state).to_contain_text("in as ada")
    await app.get_by_role("button", name="Renew").click()
    await expect(state).to_contain_text("renewed as")
    await app.get_by_role("button", name="Log out").click()
    await app.wait_for_url(f"{server.url}/oauth/logout?**")
    await app.get_by_role("button", name="Stay logged in").click()
    await expect(state).to_have_text("nobody")
