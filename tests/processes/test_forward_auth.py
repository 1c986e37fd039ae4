"""Forward auth with the nginx configuration as shipped (`scripts/deploy/nginx-forward-auth.conf`), in front of an
application that knows nothing of logins and of two server processes."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.client import Api, Phone
from tests.support.embedded import describe_in, fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.nginx import Nginx, started
from tests.support.protected import NAVIGATION, Visitor, answered
from tests.support.servers import RedisServer, Server, free_port, running

LIES = {
    "Remote-User": "root",
    "remote-groups": "admin",
    "REMOTE-EMAIL": "root@example.com",
    "Remote_User": "root",
    "X-Forwarded-Host": "other.example.com",
    "X-Forwarded-Uri": "https://evil.example/",
    "X-Forwarded-Method": "POST",
    "X-Original-URL": "https://other.example.com/",
    "X-Original-Method": "POST",
}


class Echo(BaseHTTPRequestHandler):
    """Tells what it was told."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        told = {"path": self.path, "body": self.rfile.read(length).decode(), "headers": self.headers.items()}
        body = json.dumps(told).encode()
        self.send_response(200 if self.path != "/401" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def an_application() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Browser(Visitor):
    """By way of nginx: what it sends is all that it sends."""

    nginx: Nginx = field(kw_only=True)

    def said(self, host: str, uri: str = "/", method: str = "GET") -> dict[str, str]:
        return {"Host": host}

    async def at(self, host: str, path: str, *, method: str = "GET", **headers: str) -> httpx2.Response:
        jar = self.jars.setdefault(host, {})
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        answer = await self.http.request(
            method,
            f"https://127.0.0.1:{self.nginx.port}{path}",
            headers={"Host": host} | ({"Cookie": cookie} if cookie else {}) | headers,
            content=b"x=1" if method == "POST" else None,
            extensions={"sni_hostname": host.partition(":")[0]},
        )
        jar.update(answer.cookies)
        return answer

    async def begins(self, host: str, to: str = "/") -> str:
        sent_away = await self.at(host, to, **NAVIGATION)
        assert sent_away.status_code == 302, sent_away.text
        begun = await self.comes_back(sent_away.headers["location"])
        assert begun.status_code == 303, begun.text
        return str(begun.headers["location"])


@dataclass
class Site:
    nginx: Nginx
    servers: tuple[Server, Server]
    redis_url: str

    @property
    def wiki(self) -> str:
        return self.nginx.wiki


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    ports = free_port(), free_port()
    with an_application() as wiki, started(tmp_path_factory.mktemp("nginx"), *ports, wiki=wiki) as nginx:
        settings = {
            "REDIS_URL": redis_server.url,
            "PAIRING_PUBLIC_URL": f"https://{nginx.host}",
            "PAIRING_TRUSTED_PROXIES": "127.0.0.1/32",
            "PAIRING_FORWARD_AUTH_HOSTS": nginx.wiki,
            "PAIRING_VERIFY": "never",
            **NO_LIMITS,
        }
        with (
            running(folder, demo=False, port=ports[0], **settings) as one,
            running(folder, demo=False, port=ports[1], **settings) as two,
        ):
            yield Site(nginx, (one, two), redis_server.url)


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[Browser]:
    async with httpx2.AsyncClient(verify=site.nginx.trust, timeout=60) as http:
        yield Browser(f"https://{site.nginx.host}", http, nginx=site.nginx)


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    """The login host, at the first process."""
    async with Api(site.servers[0].url) as api:
        yield api


async def let_in(phone: Phone, api: Api) -> Phone:
    """The browser's own login, by a pairing that the phone approves."""
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    return Phone(api, (await device.log_in()).json())


def told(answer: httpx2.Response, name: str) -> list[str]:
    return [value for each, value in answer.json()["headers"] if each.lower().replace("_", "-") == name]


async def test_an_application_that_knows_nothing_of_logins_is_told_who_comes(
    site: Site, browser: Browser, api: Api
) -> None:
    phone = await fresh_phone(api, site.servers[0].folder, "ada")
    await describe_in(
        site.servers[0].folder, "ada", email="ada@example.com", email_verified=True, groups=("staff", "a,b")
    )
    asked = await browser.begins(site.wiki, "/page?x=1&y=%2F")
    page = await browser.comes_back(asked)
    assert page.status_code == 200
    assert f'data-client="{site.wiki}"' in page.text
    back = await browser.comes_back(await answered(await let_in(phone, api), asked))
    assert (back.status_code, back.headers["location"]) == (303, f"https://{site.wiki}/page?x=1&y=%2F")
    seen = await browser.comes_back(back.headers["location"])
    assert (seen.status_code, seen.json()["path"]) == (200, "/page?x=1&y=%2F")
    assert told(seen, "remote-user") == ["ada"]
    assert told(seen, "remote-email") == ["ada@example.com"]
    assert told(seen, "remote-groups") == ["staff,a%2Cb"]
    posted = await browser.at(site.wiki, "/form", method="POST")
    assert (posted.status_code, posted.json()["body"], told(posted, "remote-user")) == (200, "x=1", ["ada"])
    # Its own refusals are its own.
    assert (await browser.at(site.wiki, "/401")).status_code == 401
    assert (await browser.at(site.wiki, "/401")).json()["path"] == "/401"


@pytest.mark.security(49)
async def test_what_a_client_says_of_itself_does_not_reach_the_application(
    site: Site, browser: Browser, api: Api
) -> None:
    phone = await fresh_phone(api, site.servers[0].folder)
    for headers in (LIES, NAVIGATION | LIES):
        assert (await browser.at(site.wiki, "/", **headers)).status_code in (302, 401)
    led = await browser.at(site.wiki, "/a", **NAVIGATION | LIES)
    assert led.headers["location"] == f"https://{site.wiki}/.pairing/login?to=%2Fa"
    await browser.enters(phone, site.wiki)
    seen = await browser.at(site.wiki, "/", **LIES)
    assert told(seen, "remote-user") == [phone.keys["user"]["username"]]
    # Nothing is known of these: then nothing is said, rather than what the client says.
    assert (told(seen, "remote-email"), told(seen, "remote-groups")) == ([], [])


async def test_a_person_in_as_many_groups_as_there_can_be_passes(site: Site, browser: Browser, api: Api) -> None:
    phone = await fresh_phone(api, site.servers[0].folder, "member")
    groups = tuple(f"{number:064d}" for number in range(100))
    await describe_in(site.servers[0].folder, "member", groups=groups)
    await browser.enters(phone, site.wiki)
    assert told(await browser.at(site.wiki, "/"), "remote-groups") == [",".join(groups)]


async def test_scripts_and_images_are_told_that_nobody_is_logged_in(site: Site, browser: Browser) -> None:
    for headers in ({}, {"Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}):
        answer = await browser.at(site.wiki, "/a.png", **headers)
        assert (answer.status_code, "location" in answer.headers) == (401, False)
    assert (await browser.at(site.wiki, "/form", method="POST", **NAVIGATION)).status_code == 401
    # From outside nobody asks the servers in the proxy's name.
    assert (await browser.at(site.wiki, "/.pairing/check", **NAVIGATION)).status_code == 404
    asked = await browser.at(site.nginx.host, "/oauth/forward-auth", **{"X-Original-URL": f"https://{site.wiki}/"})
    assert asked.status_code == 403


@pytest.mark.security(49)
async def test_of_fifty_browsers_with_one_code_over_two_processes_one_gets_in(
    site: Site, browser: Browser, api: Api
) -> None:
    phone = await fresh_phone(api, site.servers[0].folder)
    back = urlsplit(await browser.is_let_in(phone, site.wiki))
    jar = browser.jars[site.wiki]
    async with httpx2.AsyncClient(verify=False, timeout=60) as http:
        there = [Visitor(each.url, http, {site.wiki: dict(jar)}) for each in site.servers]
        answers = await asyncio.gather(
            *(there[each % 2].at(site.wiki, f"{back.path}?{back.query}") for each in range(50))
        )
    assert sorted(each.status_code for each in answers) == [303] + [400] * 49


@pytest.mark.security(49)
@pytest.mark.parametrize("how", ["log out", "revoke"])
async def test_a_login_that_ends_is_over_at_the_host_within_5_s_in_every_process(
    site: Site, browser: Browser, api: Api, how: str
) -> None:
    name = f"leaves-by-{how.replace(' ', '-')}"
    phone = await fresh_phone(api, site.servers[0].folder, name)
    its_login = await let_in(phone, api)
    await browser.enters(its_login, site.wiki)
    async with httpx2.AsyncClient(verify=False, timeout=60) as http:
        there = [Visitor(each.url, http, {site.wiki: dict(browser.jars[site.wiki])}) for each in site.servers]
        assert [await each.passes(site.wiki) for each in there] == [True, True]
        if how == "log out":
            await api.http.delete("/sessions/current", headers=its_login.headers)
        else:
            await api.http.delete(f"/devices/{its_login.keys['device']['id']}", headers=phone.headers)

        async with asyncio.timeout(5):
            while [await each.passes(site.wiki) for each in there] != [False, False]:
                pass
    assert (await browser.at(site.wiki, "/", **NAVIGATION)).status_code == 302


@pytest.mark.security(49)
async def test_while_the_servers_are_away_nobody_passes_and_all_are_told_to_come_again(tmp_path: Path) -> None:
    with an_application() as wiki, started(tmp_path, free_port(), free_port(), wiki=wiki) as nginx:
        async with httpx2.AsyncClient(verify=nginx.trust, timeout=60) as http:
            browser = Browser(f"https://{nginx.host}", http, nginx=nginx)
            for headers in ({}, NAVIGATION, {"Remote-User": "root"}):
                answer = await browser.at(nginx.wiki, "/", **headers)
                assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
