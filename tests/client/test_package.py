"""The JavaScript client as a package: what others' tools say of it, and what a program gets that imports it."""

import json
import subprocess
from pathlib import Path

import pytest

import pairing_ws
from tests.client.conftest import CLIENT, TOOLS, WITH_SOCKETS, let_in, new_device
from tests.support.client import Phone
from tests.support.servers import Server


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


@pytest.mark.parametrize(("options", "transport"), [(WITH_SOCKETS, "socket"), ((), "polling")], ids=["socket", "poll"])
async def test_a_loop_over_a_watch_gets_each_state_in_order_by_socket_and_without_sockets_by_polling(
    tmp_path: Path, server: Server, phone: Phone, options: tuple[str, ...], transport: str
) -> None:
    async with new_device(tmp_path, server, "loop", *options) as program:
        pairing = await program.until(userCode=...)
        assert (await program.until(transport=...))["transport"] == transport
        await let_in(phone, pairing)
        heard = await program.rest()
    states = [line["status"] for line in heard if "status" in line]
    assert states[-2:] == ["approved", "consumed"]
    login = next(line for line in heard if "authKey" in line)
    # Another origin's program gets no cookie.
    assert login["refreshKey"]
    assert login["user"] == phone.keys["user"]


async def test_a_watch_is_a_store_for_react_svelte_and_vue(tmp_path: Path, server: Server, phone: Phone) -> None:
    async with new_device(tmp_path, server, "store", *WITH_SOCKETS) as program:
        pairing = await program.until(userCode=...)
        assert (await program.until(same=...))["same"]
        await let_in(phone, pairing)
        heard = await program.rest()
    assert [line["status"] for line in heard if "status" in line][-1] == "approved"
    assert heard[-1] == {"ended": "consumed", "drawn": "approved"}
