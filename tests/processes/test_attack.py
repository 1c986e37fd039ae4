"""`scripts/attack`: a deployment as it should be holds every attack, one that is broken in one place is found out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.attack.attacks import ATTACKS
from tests.attack.run import HELD, NOT_HELD, run
from tests.attack.target import Given, target
from tests.support.admin import ADMIN_KEY, WITH_ADMIN, WITH_ADMIN_INSIDE
from tests.support.app_server import app_server
from tests.support.embedded import embedded, invite_in
from tests.support.servers import RedisServer, clean_environment, free_port, running

HOSTS = ["wiki.localhost"]
SCRIPT = Path(__file__).resolve().parents[2] / "scripts/attack"


def attack(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    env = clean_environment()
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def test_two_processes_on_redis_hold_every_attack(tmp_path: Path, redis_server: RedisServer) -> None:
    """With the limits, the quarantine and all else of the defaults."""
    shared: dict[str, Any] = {"demo": False, "REDIS_URL": redis_server.url, **WITH_ADMIN}
    with (
        running(tmp_path, **shared) as one,
        running(tmp_path, **shared, PAIRING_PUBLIC_URL=one.public_url) as two,
    ):
        done = attack("--yes", "--folder", str(tmp_path), one.url, two.url)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = done.stdout.splitlines()[1:]
        assert len(rows) == len(ATTACKS)
        assert [row for row in rows if not row.endswith(f"  {HELD}")] == []
        assert "attack-" not in one.cli("user", "list").stdout


# What a server could get wrong


def claims_when_a_page_is_opened(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/pair/") and b"code=" in scope["query_string"]:
            body = json.dumps({"code": scope["query_string"].decode().removeprefix("code=")}).encode()
            await _call(app, scope, f"/api/v1/pairings/{scope['path'].removeprefix('/pair/')}/claim", body)
        await app(scope, receive, send)

    return broken


def approves_what_is_scanned(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http" and scope["path"].endswith("/claim"):
            await _call(app, scope, scope["path"].replace("/claim", "/approve"), b"")

    return broken


async def _call(app: ASGIApp, scope: Scope, path: str, body: bytes) -> None:
    """Another request of the same client, whose answer nobody sees."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        pass

    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")]
    headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await app({**scope, "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}, receive, send)


def looks_at_no_origin(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(name, value) for name, value in scope.get("headers", ()) if name != b"origin"]
        await app({**scope, "headers": kept}, receive, send)

    return broken


def forgets_the_policy_of_errors(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def careless(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                message["headers"] = [each for each in message["headers"] if each[0] != b"content-security-policy"]
            await send(message)

        await app(scope, receive, careless)

    return broken


def fails_on_what_is_no_json(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def careless(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 400:
                message["status"] = 500
            await send(message)

        await app(scope, receive, careless)

    return broken


def lets_its_question_be_framed(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def careless(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/oauth/authorize":
                message["headers"] = [each for each in message["headers"] if each[0] != b"content-security-policy"]
            await send(message)

        await app(scope, receive, careless)

    return broken


def passes_over_secrets_in_the_query(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        is_form = scope["type"] == "http" and scope["path"].startswith("/oauth/") and scope["method"] == "POST"
        await app({**scope, "query_string": b""} if is_form else scope, receive, send)

    return broken


def tells_no_client_from_another(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def careless(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/oauth/revoke":
                message["status"] = 200
            await send(message)

        await app(scope, receive, careless)

    return broken


def takes_anybody_for_the_backend(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/v1/admin/"):
            key = (b"authorization", f"Bearer {ADMIN_KEY}".encode())
            scope = {**scope, "headers": [*(each for each in scope["headers"] if each[0] != key[0]), key]}
        await app(scope, receive, send)

    return broken


def believes_any_answer_of_a_provider(app: ASGIApp) -> ASGIApp:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def careless(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/login/upstream/callback":
                message["status"] = 303
            await send(message)

        await app(scope, receive, careless)

    return broken


def as_it_is(app: ASGIApp) -> ASGIApp:
    return app


@pytest.mark.parametrize(
    ("wrap", "settings", "line"),
    [
        (approves_what_is_scanned, {}, 2),
        (looks_at_no_origin, {}, 20),
        (forgets_the_policy_of_errors, {}, 22),
        (claims_when_a_page_is_opened, {}, 23),
        (as_it_is, {"trusted_proxies": ("127.0.0.1",)}, 24),
        (fails_on_what_is_no_json, {}, 25),
        (lets_its_question_be_framed, {}, 40),
        (passes_over_secrets_in_the_query, {}, 47),
        (tells_no_client_from_another, {}, 45),
        (takes_anybody_for_the_backend, WITH_ADMIN_INSIDE, 53),
        (believes_any_answer_of_a_provider, {}, 54),
        (as_it_is, {"trusted_proxies": ("127.0.0.1",), "forward_auth_hosts": ("wiki.localhost",)}, 49),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_what_is_broken_is_found(
    tmp_path: Path, wrap: Callable[[ASGIApp], ASGIApp], settings: dict[str, Any], line: int
) -> None:
    with embedded(tmp_path, wrap=wrap, **settings) as server:
        apps = [await app_server(server.url, tmp_path) for _ in range(2)]
        given = Given([await invite_in(tmp_path, "alice")], [(each.app.client, each.secret) for each in apps], HOSTS)
        async with target([server.url], given, 1000) as found:
            rows = await run(found, {line}, 60)
    broken = [row for row in rows if row.outcome != HELD]
    assert [(row.line, row.outcome) for row in broken] == [(line, NOT_HELD)], broken


# Whom it asks


def test_nothing_is_sent_before_somebody_has_agreed() -> None:
    done = attack(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "--yes" in done.stderr


def test_beyond_this_machine_its_owner_has_to_name_the_host() -> None:
    for agreed in ([], ["--yes"], ["--i-own", "other.invalid"]):
        done = attack(*agreed, "https://login.invalid")
        assert done.returncode == 1
        assert "--i-own login.invalid" in done.stderr


def test_without_an_account_it_says_how_to_give_it_one() -> None:
    done = attack("--yes", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "--folder" in done.stderr


def test_an_application_is_given_as_the_command_line_prints_it(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    done = attack("--yes", "--invite", "x", "--client", str(tmp_path / "other.json"), f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "client add --json" in done.stderr


async def test_with_an_invite_and_two_applications_nothing_of_them_is_left_out(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        given = []
        for name in ("one", "two"):
            made = server.cli(
                "client", "add", name, "--redirect-uri", f"https://{name}.invalid/cb", "--device-grant", "on", "--json"
            )
            (tmp_path / name).write_text(made.stdout)
            given += ["--client", str(tmp_path / name)]
        invite = await invite_in(tmp_path, "alice")
        done = attack("--yes", "--only", "42,43,47", "--invite", invite, *given, server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(row.endswith(f"  {HELD}") for row in done.stdout.splitlines()[1:]), done.stdout
