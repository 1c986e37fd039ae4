"""The log of real servers: one line per thing that happened, by names that stay, without secrets and within bounds."""

import ast
import asyncio
import ipaddress
import itertools
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pairing_ws.core.audit import EVENTS, OFTEN
from pairing_ws.core.errors import Code
from pairing_ws.web.refusal_log import WINDOW_SECONDS, RefusalLog
from pairing_ws.web.request.request_id import RequestId
from tests.support.client import Api, code_of, device_headers
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, clean_environment, run_cli, running, wait_for

PACKAGE = Path(__file__).resolve().parent.parent / "pairing_ws"
NAME = 'TV\n\x1b[31m{"event":"account.deleted"}\u202e'


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("talkative")
    with running(folder, **NO_LIMITS) as server:
        yield server


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log_text().splitlines()]


def events(server: Server) -> list[str]:
    return [each["event"] for each in lines(server)]


async def test_a_login_a_denial_and_a_log_out_leave_one_audit_line_each_and_no_secret(talkative: Server) -> None:
    async with Api(talkative.url) as api:
        phone = await api.log_in_by_invite(talkative.invite())
        device = await api.new_pairing(device_headers() | {"X-Device-Name": "Living room"})
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        keys = (await device.log_in()).json()
        refreshed = (await api.http.post("/sessions/refresh", json={"refreshKey": keys["refreshKey"]})).json()
        denied = await api.new_pairing()
        await phone.claim(denied.pairing)
        await phone.deny(denied.id, {"report": True})
        headers = {"Auth-Key": refreshed["authKey"]}
        assert (await api.http.delete("/sessions/current", headers=headers)).status_code == 204
    text = talkative.log_text()
    of_login = [each for each in lines(talkative) if each.get("pairing") == device.id]
    assert [each["event"] for each in of_login] == ["pairing.claimed", "pairing.approved", "pairing.consumed"]
    told = [each for each in lines(talkative) if each.get("audit")]
    assert {each["level"] for each in told} == {"info"}
    started = [each for each in told if each["event"] == "session.started"]
    assert [(each["amr"], each["username"]) for each in started] == [("invite", "alice"), ("qr", "alice")]
    assert started[1]["device_name"] == "Living room"
    assert started[1]["account"] == of_login[0]["account"]
    for name in ("pairing.denied", "pairing.reported", "session.logged_out", "key.created"):
        assert [each["event"] for each in told].count(name) == 1, name
    assert {each["event"] for each in told} <= EVENTS.keys() - OFTEN
    secrets = [*keys.values(), *refreshed.values(), device.pairing["secret"], device.pairing["userCode"]]
    secrets += [code_of(device.pairing), code_of(denied.pairing), *phone.keys.values()]
    assert not [
        each for each in secrets if isinstance(each, str) and len(each) > 6 and not each.endswith("Z") and each in text
    ]


async def test_what_a_device_says_of_itself_forges_no_line_and_has_an_end(talkative: Server) -> None:
    async with Api(talkative.url) as api:
        phone = await api.log_in_by_invite(talkative.invite())
        device = await api.new_pairing(device_headers() | {"X-Device-Name": "W" * 4000})
        await phone.claim(device.pairing)
        await api.http.patch(f"/devices/{phone.keys['device']['id']}", headers=phone.headers, json={"name": NAME})
    assert "account.deleted" not in events(talkative)
    assert max(len(line) for line in talkative.log_text().splitlines()) < 2000
    assert "\x1b" not in talkative.log_text()


async def test_refusals_are_told_once_a_minute_with_their_number_and_polls_never(talkative: Server) -> None:
    async with Api(talkative.url) as api:
        device = await api.new_pairing()
        before = len(lines(talkative))
        for _ in range(200):
            await device.poll()
            await api.http.get("/pairings/nobodys", headers={"Pairing-Secret": "x" * 43})
            await api.http.get("/me")
            await api.http.post("/pairings", content=b"{")
        told = lines(talkative)[before:]
    assert {each["event"] for each in told} <= {"call.refused"}
    assert len(told) <= 3
    refused = [each for each in lines(talkative) if each["event"] == "call.refused"]
    assert {"not_found", "unauthenticated", "unsupported_media_type"} <= {each["code"] for each in refused}
    assert all(each["request_id"] for each in refused)


def test_the_next_line_of_a_refusal_says_how_many_there_were() -> None:
    now = 0.0
    refusals = RefusalLog(lambda: now)
    with capture_logs() as told:
        for _ in range(1000):
            refusals.note(Code.RATE_LIMITED, 429)
            refusals.note(Code.UNAVAILABLE, 503)
        now = WINDOW_SECONDS
        refusals.note(Code.RATE_LIMITED, 429)
    assert [each["since_last"] for each in told if each["code"] == "rate_limited"] == [1, 1000]


@pytest.mark.parametrize(
    ("peer", "given", "taken"),
    [
        ("10.0.0.1", ["7d4e-f00"], True),
        ("192.0.2.7", ["7d4e-f00"], False),
        ("10.0.0.1", ["a" * 65], False),
        ("10.0.0.1", ["a\tb"], False),
        ("10.0.0.1", ["a", "b"], False),
        ("10.0.0.1", [], False),
    ],
)
def test_a_request_has_the_number_that_a_trusted_proxy_gave_it_or_a_random_one(
    peer: str, given: list[str], taken: bool
) -> None:
    scope = {"client": (peer, 1), "headers": [(b"x-request-id", each.encode()) for each in given]}
    made = RequestId(scope, [ipaddress.ip_network("10.0.0.0/8")])
    assert str(made) == str(made)
    assert (str(made) in given) is taken
    assert taken or re.fullmatch(r"[0-9a-f]{16}", str(made))


def test_it_says_ready_once_it_listens_and_how_it_ends(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        wait_for(lambda: "server.ready" in events(server), "its line")
        (ready,) = [each for each in lines(server) if each["event"] == "server.ready"]
        assert ready["url"] == server.public_url
        assert ready["listening"] == [f"127.0.0.1:{server.port}"]
        assert " is at " not in server.log_text()
        server.stop()
    assert events(server)[-2:] == ["server.stopping", "server.stopped"]


def test_several_workers_say_ready_once_and_each_comes_and_goes_in_the_log(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with running(tmp_path, REDIS_URL=redis_server.url, WEB_CONCURRENCY="2") as server:
        wait_for(lambda: "server.ready" in events(server), "its line")
        assert events(server).count("worker.ready") == 2
        server.process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: events(server).count("worker.ready") == 4, "the new workers")
        server.stop()
    told = events(server)
    assert told.count("server.ready") == told.count("server.rolling") == told.count("server.stopped") == 1


def test_level_and_form_are_settings(tmp_path: Path) -> None:
    with running(tmp_path, PAIRING_LOG_FORMAT="text", PAIRING_LOG_LEVEL="debug") as server:
        asyncio.run(make_pairing(server))
        wait_for(lambda: "pairing.created" in server.log_text(), "a line of that level")
    assert not server.log_text().startswith("{")
    with running(tmp_path, PAIRING_LOG_LEVEL="error") as server:
        asyncio.run(make_pairing(server))
        server.stop()
    assert server.log_text() == ""


async def make_pairing(server: Server) -> None:
    async with Api(server.url) as api:
        answer = await api.http.post("/pairings", headers=device_headers())
        assert answer.status_code == 201


def test_what_the_operator_does_is_printed_and_told_to_those_who_ask_for_a_log(tmp_path: Path) -> None:
    commands = [
        ("invite", "alice"), ("user", "lock", "alice"), ("user", "unlock", "alice"),
        ("user", "delete", "alice", "--yes"), ("keys", "rotate"),
    ]  # fmt: skip
    told = []
    for command, level in itertools.product(commands, ({}, {"PAIRING_LOG_LEVEL": "info"})):
        done = run_cli(*command, folder=tmp_path, env=clean_environment() | level)
        if command[1] == "delete" and level:
            run_cli("invite", "alice", folder=tmp_path)
            done = run_cli(*command, folder=tmp_path, env=clean_environment() | level)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), (command, done.stderr)
        assert bool(done.stderr) is bool(level)
        told += [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert told == [
        "invite.created", "account.locked", "account.unlocked", "account.locked", "account.deleted", "key.rotated",
    ]  # fmt: skip


def test_the_version_is_an_option(tmp_path: Path) -> None:
    done = run_cli("--version", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"pairing-ws \d+\.\d+\.\d+\n", done.stdout)


def test_every_security_event_is_told_somewhere_and_none_that_is_not_listed() -> None:
    used = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "audit.py":
            constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            used |= {each.value for each in constants if isinstance(each.value, str)}
    assert EVENTS.keys() <= used
    nouns = {name.partition(".")[0] for name in EVENTS}
    named = {each for each in used if re.fullmatch(r"[a-z]+\.[a-z_]+", each) and each.partition(".")[0] in nouns}
    # Those of sockets, webhooks and of the activity, which have names of their own, and a page.
    assert named - EVENTS.keys() <= {"device.added", "passkey.copied", "logout.html", "webhook.test"}
