"""The pages of `tests/examples/`, to the letter: their commands in a shell, a person in front of a browser."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone
from tests.support.example_pages import Shell, blocks, laid_out, started, until_it_listens
from tests.support.limits import NO_LIMITS
from tests.support.person import Person
from tests.support.servers import Server, eventually, free_port, running
from tests.support.tokens import parts
from tests.upstream.conftest import Browser

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out like a clone in which `./scripts/run` was called."""
    return laid_out(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def demo(clone: Path) -> Iterator[Server]:
    with running(clone / "var", **NO_LIMITS) as server:
        yield server


@pytest.fixture
async def phone(demo: Server) -> AsyncIterator[Phone]:
    async with Api(demo.url) as api:
        yield await fresh_phone(api, demo.folder, "demo")


@pytest.fixture
async def shell(clone: Path, demo: Server) -> AsyncIterator[Shell]:
    async with started(clone, PORT=str(demo.port)) as opened:
        yield opened


async def test_the_way_from_nothing_to_a_stock_application_ends_in_a_login(shell: Shell, phone: Phone) -> None:
    # The first makes the clone's environment, and runs the server.
    _, register, run, for_grafana = blocks("tests/examples/web_app/README.md", "sh")
    port = str(free_port())
    await shell.run(register.replace("3000", port))
    await shell.run(f"{run.strip()} {port} &")
    home = f"http://localhost:{port}/"
    await until_it_listens(home)
    async with httpx2.AsyncClient(base_url=home) as browser:
        assert "Log in" in (await browser.get("/")).text
        asked = (await browser.get("/login")).headers["location"]
        come_back = await browser.get(await Person(phone).allows(asked))
        assert (come_back.status_code, come_back.headers["location"]) == (303, "/")
        assert "Hello Ada Lovelace (ada@example.com)" in (await browser.get("/")).text
        # Without a login of this browser at the server, that leads straight back.
        leave = (await browser.get("/logout")).headers["location"]
        assert (await Person(phone).logs_out(leave)).startswith(home)
        assert "Hello" not in (await browser.get("/")).text
        refused = await browser.get("/callback?error=access_denied")
        assert (refused.status_code, "access_denied" in refused.text) == (400, True)
    assert "[auth.generic_oauth]" in await shell.run(for_grafana)


async def test_a_device_without_a_browser_is_let_in_by_the_commands_of_its_page(
    shell: Shell, phone: Phone, demo: Server
) -> None:
    register, ask, wait, use, with_number = blocks("tests/examples/device/README.md", "sh")
    await shell.run(register)
    shown = re.search(r"Open (\S+) and type (\S+)", await shell.run(ask))
    assert shown
    assert shown[1] == f"{demo.public_url}/link"
    await Person(phone).lets_in(shown[2])
    await shell.run(wait)
    assert f'"sub":"{phone.keys["user"]["id"]}"' in (await shell.run(use)).replace(" ", "")
    revoked = await shell.run('curl -s "$issuer/oauth/token" -d client_id="$client" -d grant_type=refresh_token '
                              '-d refresh_token="$(field renewed.json refresh_token)"')  # fmt: skip
    assert "invalid_grant" in revoked
    await shell.run(with_number)
    await Person(phone).lets_in((await shell.run("field asked.json user_code")).strip())
    poll = wait[wait.index("curl") : wait.index(" >tokens.json")]
    assert "number_required" in await shell.run(f"code=$(field asked.json device_code)\n{poll}")


async def test_a_device_that_is_refused_stops_to_wait(shell: Shell, phone: Phone) -> None:
    register, ask, wait, *_ = blocks("tests/examples/device/README.md", "sh")
    await shell.run(register + ask)
    claimed = await phone.post("/pairings/claim", {"userCode": (await shell.run("field asked.json user_code")).strip()})
    assert (await phone.deny(claimed.json()["id"])).status_code == 200
    # In a shell of its own, which it ends.
    assert "access_denied" in await shell.run(f"({wait}) || true")


async def test_a_device_hears_of_its_approval_at_the_socket(
    shell: Shell, phone: Phone, demo: Server, clone: Path
) -> None:
    register, ask, *_ = blocks("tests/examples/device/README.md", "sh")
    (program,) = blocks("tests/examples/device/README.md", "python")
    (clone / "waits.py").write_text(program)
    await shell.run(register + ask)
    await shell.run('python ../waits.py "$issuer" "$(field asked.json device_code)" >heard & waits=$!')
    await Person(phone).lets_in((await shell.run("field asked.json user_code")).strip())
    assert (await shell.run("wait $waits; cat heard")).strip() == "True"


async def test_a_backend_is_asked_about_each_login_and_lets_in_whom_it_knows(tmp_path: Path) -> None:
    backend, server, try_it = blocks("tests/examples/login_hook/README.md", "sh")
    port, own = free_port(), free_port()
    folder = laid_out(tmp_path)
    async with started(folder, PORT=str(port), **NO_LIMITS) as shell:
        await shell.run(backend.replace("4000", str(own)))
        await until_it_listens(f"http://localhost:{own}/")
        await shell.run(server.replace("4000", str(own)))
        await until_it_listens(f"http://localhost:{port}/")
        define, ada, eve = try_it.partition("log_in ada\n")
        await shell.run(define)
        let_in, refused = json.loads(await shell.run(ada)), json.loads(await shell.run(eve))
    assert parts(let_in["authKey"])[1]["plan"] == "gold"
    assert let_in["host"]["token"]
    assert (refused["code"], refused["detail"]) == ("login_refused", "Ask your administrator for a seat first.")


async def test_an_application_hears_of_a_login_and_of_a_lock_by_the_command_line(tmp_path: Path) -> None:
    receiver, server, try_it = blocks("tests/examples/webhooks/README.md", "sh")
    port, own = free_port(), free_port()
    async with started(laid_out(tmp_path), PORT=str(port), **NO_LIMITS) as shell:
        await shell.run(receiver.replace("4001", str(own)))
        await until_it_listens(f"http://localhost:{own}/")
        said = await shell.run(server.replace("4001", str(own)))
        assert said.strip() == "The receiver has taken it: it answered 204."
        await until_it_listens(f"http://localhost:{port}/")
        said = await shell.run(try_it)
        logged_in, end = json.JSONDecoder().raw_decode(said)
        user = logged_in["user"]["id"]
        assert said[end:].startswith("ada is locked")
        mails = tmp_path / "var/mail.log"
        await eventually(lambda: mails.read_text().count("\n") == 2, "both mails", 30)
        assert mails.read_text().splitlines() == [
            f"to {user}: 'Laptop' is logged in to your account. Was that you?",
            f"to {user}: Your account is closed.",
        ]
        # Nobody else can tell it anything.
        async with httpx2.AsyncClient() as http:
            forged = await http.post(f"http://localhost:{own}/hooks", json={"type": "user.deleted", "data": {}})
        assert forged.status_code == 401


async def test_a_machine_is_logged_in_by_the_commands_of_its_page(clone: Path, phone: Phone, demo: Server) -> None:
    page = "tests/examples/command_line/README.md"
    commands = [each.replace(":8000", f":{demo.port}") for each in blocks(page, "sh")]
    log_in, use, with_headers, log_out, own = commands
    home = str(clone / "home")
    async with started(clone, HOME=home, XDG_CONFIG_HOME=home) as shell:
        await let_in_by(shell, phone, log_in)
        assert json.loads(await shell.run(use))["user"] == phone.keys["user"]
        assert "devices" in json.loads(await shell.run(with_headers))
        await shell.run(log_out)
        await let_in_by(shell, phone, own)
        assert (await shell.run(own)).strip() == f"You are {phone.keys['user']['username']}"


async def let_in_by(shell: Shell, phone: Phone, commands: str) -> None:
    """Run them, the last one with a person in front of it."""
    before, _, login = commands.strip().rpartition("\n")
    await shell.run(f"{before}\nrm -f typed; mkfifo typed; {login} 2>shown <typed & login=$!\nexec 7>typed")
    shown = re.search(r"type there: (\S+)", await shell.run("until grep 'type there' shown; do sleep 0.1; done"))
    assert shown
    claimed = await phone.post("/pairings/claim", {"userCode": shown[1]})
    approved = await phone.approve(claimed.json()["id"])
    await shell.run(f"echo {approved.json()['number']} >&7; wait $login; exec 7>&-")


async def test_a_backend_with_passwords_logs_in_one_device_and_that_one_the_next(clone: Path) -> None:
    make, run, log_in, show, approve = blocks("tests/examples/backend/README.md", "sh")
    ports = {"3000": str(free_port()), "8000": str(free_port())}

    def here(commands: str) -> str:
        return re.sub("localhost:(3000|8000)", lambda found: f"localhost:{ports[found[1]]}", commands)

    # The first makes the clone's environment, and the last runs the server.
    _, *key, _ = make.splitlines()
    async with started(clone) as shell, httpx2.AsyncClient(base_url=here("http://localhost:3000")) as app:
        await shell.run("\n".join(key))
        with running(clone / "var", port=int(ports["8000"]), **NO_LIMITS, PAIRING_ADMIN_KEY_FILE="admin-key.txt") as at:
            await shell.run(f"export LOGIN={at.url}\n{run.strip()} {ports['3000']} &\ncd ..")
            await until_it_listens(here("http://localhost:3000/"))
            assert "one login" in await shell.run(here(log_in))
            (link,) = (await shell.run(here(show))).split()
            async with Api(at.url) as api:
                phone = Phone(api, json.loads((clone / "var/keys.json").read_text()))
                joined = await api.join({"id": link.rpartition("/")[2].partition("#")[0], "qr": {"text": link}})
                await shell.run(here(approve))
                second = Phone(api, (await joined.log_in()).json())
                assert second.keys["user"]["id"] == phone.keys["user"]["id"] == "4711"
                assert len((await phone.get("/devices")).json()["devices"]) == 2
                assert second.keys["user"]["username"] == "ada"
                wrong = await app.post("/login", json={"username": "ada", "password": "motor"})
                assert wrong.status_code == 401
                # Where a name is sent as it is, and where text is none.
                right = {"username": "ada", "password": "engine"}
                kitchen = [(b"X-Device-Code", b"a-tablet"), (b"X-Device-Name", "Küche".encode())]
                assert (await app.post("/login", json=right, headers=kitchen)).status_code == 200
                odd = await app.post("/login", content=r'{"username": "ada", "password": "\ud800"}')
                assert odd.status_code == 401
                for body in ("[]", "{", "7", "", b"\xff", "[" * 100_000):
                    refused = [
                        (await app.post(path, content=body)).status_code for path in ("/login", "/close-account")
                    ]
                    assert refused == [400, 400]
                closed = await app.post("/close-account", json={"username": "ada", "password": "engine"})
                assert closed.status_code == 204
                assert [(await each.get("/me")).status_code for each in (phone, second)] == [401, 401]


async def test_the_provider_that_people_have_logs_in_their_first_device_and_its_token_another(
    shell: Shell, phone: Phone, demo: Server
) -> None:
    register, serve, link, ask, use = blocks("tests/examples/upstream/README.md", "sh")
    port = str(free_port())
    await shell.run(register.replace("9000", port))
    await shell.run(f"{serve.replace('9000', port).strip()}")
    ours = f"http://localhost:{port}"
    await until_it_listens(ours)
    await shell.run(link)
    browser = Browser(ours)
    assert 'data-provider="our provider"' in (await browser.get("/")).text
    back = await Person(phone).allows(await browser.to_provider())
    assert (await browser.get(back)).headers["location"] == f"{ours}/join/upstream"
    assert (await browser.fetch_keys()).json()["user"]["username"] == "alice"
    await browser.http.aclose()
    shown = re.search(r"Open (\S+) and type (\S+)", await shell.run(ask))
    assert shown
    assert shown[1] == f"{demo.public_url}/link"
    await Person(phone).lets_in(shown[2])
    assert '"name":"The van"' in await shell.run(use.replace("9000", port))
