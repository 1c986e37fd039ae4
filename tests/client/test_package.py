"""The JavaScript client as a package: what others' tools say of it, and what a program gets that imports it."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import pairing_ws
from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import Server, running

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "static/client"
TOOLS = HERE.parents[1] / ".venv/javascript/node_modules"
WITH_SOCKETS = ("--experimental-websocket",)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_publint_finds_nothing() -> None:
    assert "All good!" in run(TOOLS / ".bin/publint", "--strict", CLIENT)


def test_are_the_types_wrong_finds_nothing() -> None:
    """It is an ES module alone, as browsers need one."""
    run(TOOLS / ".bin/attw", "--pack", CLIENT, "--profile", "esm-only", "--no-color", "--no-emoji")


def test_its_version_is_the_servers() -> None:
    assert json.loads((CLIENT / "package.json").read_text())["version"] == pairing_ws.__version__


def test_an_import_and_a_client_that_is_not_used_touch_nothing() -> None:
    """A server renders pages with it: there is no document, and a process ends once nothing is left to do."""
    program = f"""
        const traps = [];
        const named = 'document location localStorage indexedDB addEventListener CustomEvent crypto';
        for (const name of named.split(' ')) {{
          Object.defineProperty(globalThis, name, {{ get: () => void traps.push(name), configurable: true }});
        }}
        const before = Object.keys(globalThis).length;
        const {{ createClient }} = await import({json.dumps(str(CLIENT / "index.js"))});
        if (traps.length) throw new Error(`the import reads ${{traps}}`);
        createClient({{ baseUrl: '/login/', storage: null, crypto: {{}} }});
        if (traps.length || Object.keys(globalThis).length !== before) throw new Error(`a client reads ${{traps}}`);
    """
    run("node", "--input-type=module", "-e", program)


def test_a_client_without_an_address_is_refused_at_once_and_a_relative_one_outside_a_page_at_its_first_call() -> None:
    program = f"""
        const {{ createClient }} = await import({json.dumps(str(CLIENT / "index.js"))});
        const refused = [];
        try {{ createClient({{}}); }} catch (error) {{ refused.push(error.name); }}
        try {{ await createClient({{ baseUrl: '/' }}).whoAmI('key'); }} catch (error) {{ refused.push(error.name); }}
        console.log(refused.join());
    """
    assert run("node", "--input-type=module", "-e", program).strip() == "TypeError,TypeError"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("client"), **NO_LIMITS) as server:
        yield server


@asynccontextmanager
async def new_device(
    folder: Path, server: Server, way: str, *options: str
) -> AsyncIterator[asyncio.Queue[dict[str, Any] | None]]:
    """What the program says, line by line, and None at its end."""
    # A copy, for Node.js looks for packages beside the file itself.
    program = folder / "login.mjs"
    program.write_bytes((HERE / "login.mjs").read_bytes())
    (folder / "node_modules").symlink_to(TOOLS)
    node = await asyncio.create_subprocess_exec(
        "node", "--no-warnings", *options, program, CLIENT / "index.js", server.url, way, stdout=asyncio.subprocess.PIPE
    )
    said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def listen() -> None:
        assert node.stdout
        async for line in node.stdout:
            said.put_nowait(json.loads(line))
        said.put_nowait(None)

    listening = asyncio.create_task(listen())
    try:
        yield said
        assert await asyncio.wait_for(node.wait(), 20) == 0
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
        await listening


async def let_in(phone: Phone, pairing: dict[str, Any]) -> None:
    assert (await phone.claim(pairing)).status_code == 200
    assert (await phone.approve(pairing["id"])).status_code == 200


async def next_of(said: asyncio.Queue[dict[str, Any] | None], member: str) -> Any:
    while (line := await asyncio.wait_for(said.get(), 20)) is not None:
        if member in line:
            return line[member]
    raise AssertionError(f"the program ended without {member}")


@pytest.mark.parametrize(("options", "transport"), [(WITH_SOCKETS, "socket"), ((), "polling")], ids=["socket", "poll"])
async def test_a_loop_over_a_watch_gets_each_state_in_order_by_socket_and_without_sockets_by_polling(
    tmp_path: Path, server: Server, options: tuple[str, ...], transport: str
) -> None:
    async with Api(server.url) as api, new_device(tmp_path, server, "loop", *options) as said:
        phone = await fresh_phone(api, server.folder)
        pairing = await said.get()
        assert pairing
        assert await next_of(said, "transport") == transport
        await let_in(phone, pairing)
        heard = [line async for line in lines(said)]
    states = [line["status"] for line in heard if "status" in line]
    assert [each for each in ("approved", "consumed") if each in states] == states[-2:]
    login = next(line for line in heard if "authKey" in line)
    # Another origin's program gets no cookie.
    assert login["refreshKey"]
    assert login["user"] == phone.keys["user"]


async def lines(said: asyncio.Queue[dict[str, Any] | None]) -> AsyncIterator[dict[str, Any]]:
    while (line := await asyncio.wait_for(said.get(), 20)) is not None:
        yield line


async def test_a_watch_is_a_store_for_react_svelte_and_vue(tmp_path: Path, server: Server) -> None:
    async with Api(server.url) as api, new_device(tmp_path, server, "store", *WITH_SOCKETS) as said:
        phone = await fresh_phone(api, server.folder)
        pairing = await said.get()
        assert pairing
        assert await next_of(said, "same")
        await let_in(phone, pairing)
        heard = [line async for line in lines(said)]
    assert [line["status"] for line in heard if "status" in line][-1] == "approved"
    assert heard[-1] == {"ended": "consumed", "drawn": "approved"}
