"""`pairing-ws login`, `token` and `logout`: a machine that is logged in from its terminal."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone, invite_in
from tests.support.servers import CLI, Server, clean_environment
from tests.support.tokens import parts

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user of their own."""
    return clean_environment() | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def command(home: dict[str, str], server: Server) -> Command:
    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        line = [*CLI, name, "--url", server.public_url, *options]
        return subprocess.run(line, env=home, capture_output=True, text=True, timeout=60)

    return run


@dataclass
class Login:
    """`pairing-ws login` under way, and the letters that it shows. Nothing but a person ends it."""

    process: asyncio.subprocess.Process
    printed: str = ""
    user_code: str = ""

    @classmethod
    async def begun(cls, home: dict[str, str], server: Server, stdin: int = asyncio.subprocess.PIPE) -> "Login":
        login = cls(
            await asyncio.create_subprocess_exec(
                *CLI, "login", "--url", server.public_url, "--name", "Build machine",
                env=home, stdin=stdin, stderr=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip
        assert login.process.stderr
        while not (shown := re.search(r"type there: (\S+)", login.printed)):
            line = await login.process.stderr.readline()
            assert line, login.printed
            login.printed += line.decode()
        login.user_code = shown[1]
        return login

    async def end(self, typed: str | None = None) -> tuple[int, str]:
        """Its exit code, and what it has printed since."""
        _, rest = await self.process.communicate(None if typed is None else f"{typed}\n".encode())
        assert self.process.returncode is not None
        return self.process.returncode, rest.decode()


async def number_for(phone: Phone, user_code: str) -> str:
    """The phone lets it in; the number that it shows."""
    claimed = await phone.post("/pairings/claim", {"userCode": user_code})
    return str((await phone.approve(claimed.json()["id"])).json()["number"])


async def test_a_machine_is_let_in_by_the_letters_below_its_code(
    home: dict[str, str], server: Server, api: Api, command: Command
) -> None:
    phone = await fresh_phone(api, server.folder)
    login = await Login.begun(home, server)
    code, said = await login.end(await number_for(phone, login.user_code))
    assert code == 0, said
    assert f"Logged in as {phone.keys['user']['username']!r}" in said
    assert "\u2588" in login.printed
    token = (await asyncio.to_thread(command, "token")).stdout.strip()
    me = await api.http.get("/me", headers={"Auth-Key": token})
    assert me.json()["device"]["name"] == "Build machine"


async def test_who_interrupts_it_takes_the_code_back(home: dict[str, str], server: Server, api: Api) -> None:
    phone = await fresh_phone(api, server.folder)
    login = await Login.begun(home, server)
    login.process.send_signal(signal.SIGINT)
    code, said = await login.end()
    assert (code, said.strip()) == (1, "Aborted!")
    claimed = await phone.post("/pairings/claim", {"userCode": login.user_code})
    assert claimed.status_code == 404


async def test_without_anybody_to_type_the_number_it_ends(home: dict[str, str], server: Server, api: Api) -> None:
    phone = await fresh_phone(api, server.folder)
    login = await Login.begun(home, server, stdin=asyncio.subprocess.DEVNULL)
    await number_for(phone, login.user_code)
    code, said = await login.end()
    assert code == 1
    assert "Aborted!" in said
    assert "Traceback" not in said


async def test_a_bound_login_prints_the_headers_of_one_call(server: Server, api: Api, command: Command) -> None:
    code = await invite_in(server.folder, "bound")
    logged_in = await asyncio.to_thread(command, "login", "--bound", "--invite", f"{server.public_url}/join#{code}")
    assert logged_in.returncode == 0, logged_in.stderr
    lines = (await asyncio.to_thread(command, "token", "--for", "get", "/me")).stdout.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.keys() == {"Auth-Key", "DPoP"}
    assert parts(headers["Auth-Key"])[1]["cnf"]
    answer = await api.http.get("/me", headers=headers)
    assert answer.status_code == 200, answer.text
    again = await api.http.get("/me", headers=headers)
    assert again.json()["code"] == "invalid_proof"


async def test_who_logs_out_has_no_token_any_more(server: Server, api: Api, command: Command) -> None:
    code = await invite_in(server.folder, "leaving")
    assert (await asyncio.to_thread(command, "login", "--invite", code)).returncode == 0
    token = (await asyncio.to_thread(command, "token")).stdout.strip()
    assert (await asyncio.to_thread(command, "logout")).returncode == 0
    assert (await api.http.get("/me", headers={"Auth-Key": token})).status_code == 401
    refused = await asyncio.to_thread(command, "token")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: not logged in at {server.public_url}\n"


async def test_what_goes_wrong_is_one_line(command: Command) -> None:
    for done in (
        await asyncio.to_thread(command, "login", "--invite", "nonsense"),
        await asyncio.to_thread(command, "login", "--url", "http://127.0.0.1:9", "--invite", "x"),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
