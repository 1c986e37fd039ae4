"""The page tests/examples/forward_auth/README.md to the letter, and in Chromium: an application that knows nothing of
logins, behind nginx. Ports are replaced, nothing else."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import expect

from tests.support.servers import Process, free_port, wait_for

from .conftest import NewDevice, Server, heading, serving, shown_code, type_code
from .steps import allow, shown_number

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.nginx]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/forward_auth"


@asynccontextmanager
async def by_the_letter(clone: Path) -> AsyncIterator[tuple[Server, str]]:
    """What the page's two blocks start, in a folder laid out like a clone; the address that people come to."""
    (clone / "var").mkdir(parents=True)
    (clone / ".venv").symlink_to(sys.prefix)
    there = clone / "tests/examples/forward_auth"
    there.mkdir(parents=True)
    run, go = re.findall(r"(?ms)^```sh\n(.*?)^```", (EXAMPLE / "README.md").read_text())
    app_port, port = free_port(), free_port()
    settings = re.findall(r"(PAIRING_\w+)=(\S+)", run.replace("8080", str(port)))
    assert len(settings) == 2
    async with serving(clone / "var", **dict(settings)) as server:
        ports = {"3000": str(app_port), "8080": str(port), "8000": str(server.port)}
        for file in ("app.py", "nginx.conf"):
            text = (EXAMPLE / file).read_text()
            (there / file).write_text(re.sub("3000|8080|8000", lambda found: ports[found[0]], text))
        # What they put in the background ends with the shell; nginx goes there by itself.
        commands = "trap 'kill $(jobs -p); wait; exit' TERM\n" + go.replace("3000", str(app_port)) + "wait"
        shell = Process(["bash", "-euc", commands], clone, "shell.log", dict(os.environ))
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/"), "nginx and its application")
            yield server, f"http://localhost:{port}/"
        finally:
            pid = clone / "var/nginx.pid"
            os.kill(int(pid.read_text()), signal.SIGTERM)
            wait_for(lambda: not pid.exists(), "the end of nginx")
            shell.stop()
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", app_port)), "the application is left"


def answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 401
    except httpx2.TransportError:
        return False


@pytest.mark.security(49)
async def test_an_application_that_knows_nothing_of_logins_is_opened_by_a_qr_code(
    new_device: NewDevice, tmp_path: Path
) -> None:
    async with by_the_letter(tmp_path / "clone") as (server, url):
        phone = await new_device(at=server)
        await phone.log_in("demo")
        private = await (await new_device(at=server)).open(url)
        await expect(private.get_by_role("complementary")).to_contain_text(f"{url[7:-1]} asks you to log in")
        deciding = await phone.open("/phone")
        await type_code(deciding, await shown_code(private))
        await allow(deciding)
        await private.get_by_label("Number on your other device").fill(await shown_number(deciding))
        await private.keyboard.press("Enter")
        await private.get_by_role("button", name="Continue").click()
        await heading(private, "Hello demo")
        assert private.url == url
        # Another page there needs no login, and one there ends with that of the browser.
        await private.reload()
        await heading(private, "Hello demo")
        await private.get_by_role("link", name="Log out").click()
        await private.get_by_role("button", name="Log out", exact=True).click()
        # Back there, where nobody is logged in any more.
        await heading(private, "Log in with a device you trust")


async def test_nobody_passes_while_the_server_is_away_and_is_told_to_come_back(tmp_path: Path) -> None:
    async with by_the_letter(tmp_path / "clone") as (server, url):
        await asyncio.to_thread(server.stop)
        answer = await asyncio.to_thread(httpx2.get, url.replace("localhost", "127.0.0.1"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
