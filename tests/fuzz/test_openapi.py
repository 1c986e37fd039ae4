"""Schemathesis over `/openapi.json` of a running server: what the description says is what the server does.

Each call, by nobody, by a logged-in device and by a new one, with data that fit the description and data that do not.
"""

import asyncio
import json
import re
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from pairing_ws.web.calls import CALLS
from tests.fuzz.effort import SEED, TIMES
from tests.support.admin import ADMIN_KEY, WITH_ADMIN, Backend
from tests.support.app_server import app_server
from tests.support.applications import register
from tests.support.client import Api, NewDevice, code_of, device_headers
from tests.support.embedded import fresh_phone, invite_in
from tests.support.limits import NO_LIMITS
from tests.support.servers import Server, clean_environment, running

EXAMPLES = 6

# Calls that nobody succeeds with who has no authenticator, or no other provider.
OUT_OF_REACH = {
    (call.method, call.path)
    for call in CALLS
    if any(each in call.path for each in ("/passkeys", "/step-up", "/upstream"))
}

# A dictionary's words are tried as often as made-up ones, so that calls get as far as they can.
CONFIG = """
base-url = "{url}"
hooks = "tests.fuzz.hooks"
seed = {seed}
continue-on-failure = true
[warnings]
enabled = false
[checks.negative_data_rejection]
expected-statuses = ["4xx"]
[generation]
max-examples = {examples}
database = "none"
with-security-parameters = {makes_up_credentials}
[dictionaries]
{dictionaries}
[parameters]
"path.id" = {{ dictionary = "pairings", probability = 0.5 }}
"body.code" = {{ dictionary = "codes", probability = 0.5 }}
"body.number" = {{ dictionary = "numbers", probability = 0.5 }}
"body.userCode" = {{ dictionary = "typed", probability = 0.5 }}
"body.refreshKey" = {{ dictionary = "keys", probability = 0.5 }}
"body.query" = {{ dictionary = "queries", probability = 0.8 }}
# What this takes has to be of one pairing.
[[operations]]
include-path-regex = "/keep$"
parameters."path.id" = {{ dictionary = "kept", probability = 0.8 }}
parameters."body.code" = {{ dictionary = "kept-codes", probability = 0.8 }}
[[operations]]
include-path-regex = "/devices/"
parameters."path.id" = {{ dictionary = "devices", probability = 0.5 }}
[[operations]]
include-path-regex = "/apps/"
parameters."path.id" = {{ dictionary = "apps", probability = 0.8 }}
[[operations]]
include-path-regex = "/admin/users/"
parameters."path.id" = {{ dictionary = "users", probability = 0.8 }}
[[operations]]
include-path-regex = "/admin/clients/"
parameters."path.id" = {{ dictionary = "clients", probability = 0.8 }}
{scope}
{credential}
"""
# Whom each call is tried by: a backend asks nothing else, and of the others one is enough to be turned away.
ADMINS_ALONE = '[[operations]]\nexclude-path-regex = "/admin/"\nenabled = false'
ALL_OTHERS = '[[operations]]\ninclude-path-regex = "/admin/"\nenabled = false'
PARTIES = ("nobody", "phone", "device", "backend")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Sequence[Server]]:
    """They ask for the number each time, so that there is one. A backend locks and deletes everybody: it has the second
    for itself."""
    settings = {**NO_LIMITS, **WITH_ADMIN, "PAIRING_VERIFY": "always"}
    # Where others want the same processors, codes would be stale before they are tried.
    settings |= {"PAIRING_TTL_SECONDS": "3600", "PAIRING_REDEEM_SECONDS": "3600"}
    (tmp_path / "backend").mkdir()
    with running(tmp_path, **settings) as shared, running(tmp_path / "backend", **settings) as backends:
        yield shared, backends


class Stage:
    """A logged-in device, a new device with one secret for all, and pairings of theirs in every state."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        self.words: defaultdict[str, list[str]] = defaultdict(list)

    async def set(self, api: Api, folder: Path) -> None:
        self.phone = await fresh_phone(api, folder)
        username = self.phone.keys["user"]["username"]
        others = [await fresh_phone(api, folder, username) for _ in range(7)]
        # Of another account: the rest may be revoked at any time.
        self.spare = await fresh_phone(api, folder)
        self.words["devices"] = [other.keys["device"]["id"] for other in others]
        # Of accounts that nobody logs out.
        elsewhere = [await fresh_phone(api, folder) for _ in range(4)]
        self.words["keys"] = [other.keys["refreshKey"] for other in others]
        self.refresh_keys = [other.keys["refreshKey"] for other in elsewhere]
        # An application's of its own, and one that is refused by a redirect.
        app = await register(folder)
        self.words["queries"] = [app.query(), app.query(prompt="login"), app.query(response_type="token")]
        async with await app_server(api.url, folder) as other:
            for _ in range(7):
                await other.tokens(self.phone)
        self.words["apps"] = [each["id"] for each in (await self.phone.get("/apps")).json()["apps"]]
        self.words["codes"] = [await invite_in(folder, f"{username}-{number}") for number in range(3)]
        backend = Backend(api)
        for number in range(40):
            user = f"{username}-of-backend-{number}"
            await backend.create(user)
            self.words["users"].append(user)
            client = await backend.ask("POST", "/clients", {"name": user})
            self.words["clients"].append(client.json()["id"])
        for status in ("pending", "pending", "pending", "scanned", "denied", "approved", "approved", "consumed"):
            await self._new_device_shows(api, status)
        for joins in (False, False, False, True):
            await self._phone_shows(api, joins)

    async def _new_device_shows(self, api: Api, status: str) -> None:
        device = await api.new_pairing(self._headers())
        self._take_down(device.pairing)
        if status != "pending":
            await self.phone.claim(device.pairing)
        if status == "denied":
            await self.phone.deny(device.id)
        if status in ("approved", "consumed"):
            number = (await self.phone.approve(device.id)).json()["number"]
            self.words["numbers"].append(number)
            if status == "consumed":
                holder = NewDevice(api, device.pairing | {"secret": self.secret}, device.device)
                assert (await holder.log_in({"number": number})).status_code == 200

    async def _phone_shows(self, api: Api, joins: bool) -> None:
        shown = await self.phone.show_code()
        self._take_down(shown)
        if joins:
            await api.join(shown, self._headers())

    def _headers(self) -> dict[str, str]:
        return device_headers() | {"Pairing-Secret": self.secret}

    def _take_down(self, pairing: dict[str, str]) -> None:
        self.words["kept"] = self.words["kept"] or [pairing["id"]]
        self.words["kept-codes"] = self.words["kept-codes"] or [code_of(pairing)]
        self.words["pairings"].append(pairing["id"])
        self.words["codes"].append(code_of(pairing))
        self.words["typed"].append(pairing["userCode"])


async def complaints(server: Server, folder: Path, who: str) -> str:
    """Schemathesis's, with that party's credentials."""
    stage = Stage()
    async with Api(server.url) as api:
        await stage.set(api, server.folder)
    auth_key = stage.phone.keys["authKey"]
    credential = {
        "nobody": "",
        "phone": f'[auth.openapi.authKey]\napi_key = "{auth_key}"',
        "device": f'[auth.openapi.pairingSecret]\napi_key = "{stage.secret}"',
        "backend": f'[auth.openapi.adminKey]\nbearer = "{ADMIN_KEY}"',
    }
    scope = {"nobody": "", "backend": ADMINS_ALONE}
    config = folder / f"{who}.toml"
    config.write_text(
        CONFIG.format(
            url=server.url,
            seed=SEED,
            # It asks as many calls as all others together.
            examples=(EXAMPLES // 2 if who == "backend" else EXAMPLES) * TIMES,
            makes_up_credentials=json.dumps(who == "nobody"),
            dictionaries="\n".join(f"{name}.values = {json.dumps(found)}" for name, found in stage.words.items()),
            credential=credential[who],
            scope=scope.get(who, ALL_OTHERS),
        )
    )
    own = {
        "FUZZ_DEVICE": stage.phone.keys["device"]["id"],
        "FUZZ_KEY": auth_key,
        "FUZZ_SPARE_KEY": stage.spare.keys["authKey"],
        "FUZZ_REFRESH_KEYS": " ".join(stage.refresh_keys),
    }
    program = Path(sys.executable).with_name("schemathesis")
    process = await asyncio.create_subprocess_exec(
        program, "--config-file", config, "run", f"{server.url}/openapi.json", "--checks", "all", "--no-color",
        cwd=folder, env=clean_environment() | own, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return f"{who}: {said.decode()}" if process.returncode else ""


@pytest.mark.security(23, 25)
async def test_every_call_does_what_its_description_says(servers: Sequence[Server], tmp_path: Path) -> None:
    shared, backends = servers
    asked = [(backends if who == "backend" else shared, who) for who in PARTIES]
    for said in await asyncio.gather(*(complaints(server, tmp_path, who) for server, who in asked)):
        if said:
            pytest.fail(said)
    counted: set[tuple[str, str]] = set()
    for server in servers:
        assert "Traceback" not in server.log_text()
        metrics = httpx2.get(f"{server.url}/metrics").text
        counted |= set(re.findall(r'pairing_requests_total{method="(\w+)",route="(\S+)",status="2\d\d"}', metrics))
    # What was refused each time has hardly been tried.
    assert {(call.method, call.path) for call in CALLS} - counted <= OUT_OF_REACH
