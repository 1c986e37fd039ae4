"""Polls of devices that wait for consent (RFC 8628), beside node's oidc-provider (P13). Both keep all in memory.

What may live here: what such a device sends, and the peer's start. The first run installs the peer into `.venv`.
"""

import asyncio
import shutil
from collections.abc import Collection, Iterator
from itertools import cycle

from benchmark.answers import CLIENTS, Act, Side, calls_in_turns
from benchmark.clients import Hammer, form, strike
from benchmark.helper import ROOT
from benchmark.sizes import Sizes
from benchmark.stand import Program, Stand, standing
from benchmark.table import Found, Goal, Row
from pairing_ws.oauth.ports import Client, DeviceGrant

CLIENT = "bench"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
# The peer's memory forgets what came first once it has a thousand or two records.
PEERS_DEVICES = 500
FILES = ROOT / "scripts/benchmark/oidc_provider"
INSTALLED = ROOT / ".venv/oidc-provider"


class _Poller(Hammer):
    """One that is told each time to go on waiting: anything else ends the measurement."""

    expected = b"4"

    def answered(self, answer: bytes, start: int) -> None:
        if b'"authorization_pending"' in answer:
            super().answered(answer, start)
        else:
            self.fail(ConnectionError(answer.decode(errors="replace")))


def polling(server: Program, polls: Iterator[bytes]) -> Act:
    return lambda seconds: strike(server.port, [_Poller(polls) for _ in range(CLIENTS)], seconds)


async def device_polls(_: Collection[str], sizes: Sizes) -> Found:
    async with standing() as stand:
        ours, theirs = stand.alone(), await _oidc_provider(stand)
        # The peer has it in its file.
        await stand.register(Client(id=CLIENT, name="Bench", created_at=0, device_grant=DeviceGrant.ON))
        # Ours are as many as it takes to poll none too early: it would be told to slow down.
        mine = await _waiting(stand, ours, "/oauth/device_authorization", "/oauth/token", sizes.devices)
        peers = await _waiting(stand, theirs, "/device/auth", "/token", min(sizes.devices, PEERS_DEVICES))
        sides = {"theirs": Side(theirs, polling(theirs, peers)), "ours": Side(ours, polling(ours, mine))}
        numbers = await calls_in_turns(sides, sizes)
    ratio, by_cpu = sides["ours"].beside(sides["theirs"])
    what = "polls of waiting devices a second (RFC 8628)"
    beside = f"node oidc-provider {sides['theirs'].rate:,.0f}"
    row = Row("P13", what, f"{sides['ours'].rate:,.0f}", beside, ratio, Goal(2, 4, least=True))
    note = f"P13: {by_cpu:.2f} times the peer's, per second of the server's CPU time. Both answer from memory."
    return Found([row], [note], {"device_polls": numbers})


async def _waiting(stand: Stand, server: Program, authorization: str, token: str, count: int) -> Iterator[bytes]:
    """The polls of so many devices whose codes nobody has typed yet, round and round."""
    pool = await stand.pool(server)
    asked = form(authorization, client_id=CLIENT, scope="openid")
    answers = await pool.ask_all(asked for _ in range(count))
    codes = [answer["device_code"] for answer in answers]
    return cycle([form(token, client_id=CLIENT, grant_type=DEVICE_CODE, device_code=code) for code in codes])


async def _oidc_provider(stand: Stand) -> Program:
    if not (INSTALLED / "node_modules").is_dir():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FILES / name, INSTALLED)
        npm = await asyncio.create_subprocess_exec(
            "npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", cwd=INSTALLED
        )
        if await npm.wait():
            raise RuntimeError("npm could not install the peer of P13")
    # Beside its modules, where node looks for them.
    shutil.copy(FILES / "server.mjs", INSTALLED)
    command = ["node", str(INSTALLED / "server.mjs"), "PORT"]
    return stand.peer("oidc-provider", command, "/.well-known/openid-configuration", NODE_ENV="production")
