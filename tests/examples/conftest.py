"""What these tests meet: each application in a process of its own. Those beside the server use the one that Starlette's
mounts."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone, invite_in
from tests.support.keys import BoundDevice
from tests.support.limits import NO_LIMITS
from tests.support.servers import Process, clean_environment, free_port, wait_for

HERE = Path(__file__).parent
AUDIENCE = "https://api.example.com"
MOUNTING, BESIDE = ("starlette", "fastapi"), ("beside", "django", "flask")


@dataclass
class Site:
    """One application, and the server by which people log in to it."""

    name: str
    url: str
    issuer: str
    folder: Path

    @property
    def api(self) -> Api:
        return Api(self.issuer)

    async def phone(self, api: Api) -> Phone:
        return await fresh_phone(api, self.folder)

    async def bound_device(self, api: Api) -> BoundDevice:
        return await BoundDevice(api, self.issuer).accept(await invite_in(self.folder, "bound"))

    async def client(self, audience: str = AUDIENCE) -> AppServer:
        return await app_server(self.issuer, self.folder, audience=audience, scopes=("openid", "orders"))


class Sites(dict[str, Site]):
    """By name."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    found = Sites()
    with ExitStack() as stack:
        for name in (*MOUNTING, *BESIDE):
            port = free_port()
            url, folder = f"http://localhost:{port}", tmp_path_factory.mktemp(name)
            beside = None if name in MOUNTING else found["starlette"]
            site = Site(name, url, beside.issuer if beside else f"{url}/login", beside.folder if beside else folder)
            own = {"PORT": str(port), "PUBLIC_URL": url, "LOGIN_ISSUER": site.issuer, "PAIRING_PUBLIC_URL": site.issuer}
            env = {**clean_environment(), **NO_LIMITS, **own}
            process = Process([sys.executable, str(HERE / name / "app.py")], folder, f"{name}.log", env)
            stack.callback(process.stop)
            found[name] = site
        for site in found.values():
            wait_for(lambda site=site: answers(site.url), f"{site.name}'s application")
        yield found


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/me").status_code == 401
    except httpx2.TransportError:
        return False


@pytest.fixture(params=[*MOUNTING, *BESIDE])
def site(sites: Sites, request: pytest.FixtureRequest) -> Site:
    return sites[request.param]


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    async with site.api as api:
        yield api


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=site.url, verify=False) as browser:
        yield browser
