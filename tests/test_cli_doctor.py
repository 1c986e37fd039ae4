"""`pairing-ws doctor`: what it refuses and what it warns of. In this process, as in `test_cli.py`."""

import json
import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pairing_ws.adapters.jwt.key_file import MADE_HERE
from pairing_ws.adapters.jwt.vapid import VapidKey
from tests.support.command_line import Run
from tests.support.postgres import Postgres, execute
from tests.support.servers import RedisServer, clean_environment, run_cli, running


def test_a_doctor_says_that_keys_without_rsa_serve_few_applications_and_changes_nothing(run: Run) -> None:
    value = json.loads(run("keys", "make").out)
    del value["rsa_keys"]
    done = run("doctor", PAIRING_SIGNING_KEYS=json.dumps(value))
    assert (done.code, "warning  PAIRING_SIGNING_KEYS has no RSA key" in done.out) == (0, True)
    file = Path("pairing-keys.json")
    file.write_text(json.dumps(value))
    file.chmod(0o600)
    done = run("doctor")
    assert (done.code, "warning  pairing-keys.json has no RSA key" in done.out) == (0, True)
    assert json.loads(file.read_text()) == value


def test_a_doctor_is_content_with_the_defaults_and_makes_nothing(run: Run) -> None:
    done = run("doctor")
    assert done.code == 0, done.err
    assert all(line.startswith(("ok ", "note ")) for line in done.out.splitlines())
    assert "settings" in done.out
    assert "pairing-keys.json will be made" in done.out
    assert "pairing.db will be made" in done.out
    assert os.listdir() == []


@pytest.mark.security(31, 53)
def test_an_admin_key_is_made_exchanged_and_examined(run: Run, tmp_path: Path) -> None:
    printed = run("admin-key").out.strip()
    assert run("admin-key").out.strip() != printed
    assert len(printed) == 43
    file = tmp_path / "key.txt"
    made = run("admin-key", "key.txt")
    assert (made.code, file.stat().st_mode & 0o777) == (0, 0o600)
    (first,) = file.read_text().split()
    assert first not in made.out + made.err
    again = run("admin-key", "key.txt")
    assert (again.code, "--rotate" in again.err, file.read_text().split()) == (2, True, [first])
    assert run("admin-key", "--rotate").code == 2
    assert "ok       key.txt" in run("doctor", PAIRING_ADMIN_KEY_FILE="key.txt").out
    file.chmod(0o640)
    for _ in range(2):
        before = file.read_text().split()
        assert run("admin-key", "--rotate", "key.txt").code == 0
        newest, *older = file.read_text().split()
        assert (older, newest in before, file.stat().st_mode & 0o777) == (before[:1], False, 0o640)
    file.chmod(0o644)
    done = run("doctor", PAIRING_ADMIN_KEY_FILE="key.txt")
    assert "warning  key.txt can be read by other users; run: chmod 600 key.txt" in done.out
    assert "two admin keys are open" in done.out
    file.write_text("hunter2\n")
    for refused in (run("admin-key", "--rotate", "key.txt"), run("doctor", PAIRING_ADMIN_KEY_FILE="key.txt")):
        assert refused.code != 0
        assert "at least 128 bits" in refused.err
        assert "hunter2" not in refused.err


def test_a_key_for_web_push_is_made_and_the_doctor_says_what_browsers_subscribe_with(run: Run) -> None:
    made = run("vapid-key")
    key = made.out.strip()
    assert made.code == 0
    assert run("vapid-key").out.strip() != key
    public = VapidKey.parse(key).public
    assert public in made.err
    done = run("doctor", PAIRING_VAPID_PRIVATE_KEY=key, PAIRING_VAPID_SUBJECT="mailto:ops@example.com")
    assert done.code == 0, done.err
    assert f"PAIRING_VAPID_PRIVATE_KEY: browsers subscribe with {public}" in done.out
    assert key not in done.out + done.err + made.err


@pytest.mark.security(31)
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"PAIRING_VAPID_PRIVATE_KEY": "hunter2"}, "PAIRING_VAPID_PRIVATE_KEY should be a private key on P-256"),
        ({}, "PAIRING_VAPID_SUBJECT is needed for Web Push"),
    ],
    ids=["no key", "nobody to turn to"],
)
def test_web_push_that_can_not_work_stops_the_start(run: Run, settings: dict[str, str], complaint: str) -> None:
    done = run("doctor", **({"PAIRING_VAPID_PRIVATE_KEY": VapidKey.new().text()} | settings))
    assert done.code == 1
    assert complaint in done.err
    assert "hunter2" not in done.out + done.err


def test_a_doctor_names_a_misspelt_setting(run: Run) -> None:
    done = run("doctor", PAIRING_TTL="60")
    assert done.code == 0
    assert "PAIRING_TTL is no setting" in done.out


def test_a_doctor_refuses_a_login_hook_at_an_address_that_may_not_be_asked(run: Run) -> None:
    hook = {"PAIRING_LOGIN_HOOK_URL": "https://127.0.0.1/hook", "PAIRING_LOGIN_HOOK_SECRET": "whsec_" + "A" * 43 + "="}
    done = run("doctor", **hook)
    assert (done.code, "refused  PAIRING_LOGIN_HOOK_URL: 127.0.0.1" in done.out) == (1, True)
    done = run("doctor", **hook, PAIRING_ALLOW_PRIVATE_TARGETS="true")
    assert (done.code, "ok       PAIRING_LOGIN_HOOK_URL" in done.out) == (0, True)
    assert hook["PAIRING_LOGIN_HOOK_SECRET"] not in done.out
    done = run("doctor", **(hook | {"PAIRING_LOGIN_HOOK_URL": "https://login-hook.invalid/"}))
    assert (done.code, "warning  PAIRING_LOGIN_HOOK_URL can't be found" in done.out) == (0, True)


def test_a_doctor_warns_of_what_is_allowed_and_unwise(run: Run) -> None:
    done = run("doctor", PAIRING_QUARANTINE_SECONDS="0", PAIRING_PUBLIC_URL="http://login.example.com")
    assert done.code == 0
    assert "warning  PAIRING_QUARANTINE_SECONDS" in done.out
    assert "note     beyond this machine `serve` would refuse: PAIRING_PUBLIC_URL should be https" in done.out


@pytest.mark.security(31)
@pytest.mark.parametrize("command", [["db", "upgrade"], ["doctor"]])
def test_a_file_that_is_no_database_of_places_stops_every_command_with_its_name(run: Run, command: list[str]) -> None:
    Path("places.mmdb").write_text("no database")
    done = run(*command, PAIRING_GEOIP_FILE="places.mmdb")
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_GEOIP_FILE should be a database in MaxMind's format (places.mmdb")


@pytest.mark.security(24)
def test_a_doctor_warns_of_a_network_policy_that_undeclared_proxies_would_make_void(run: Run) -> None:
    strict = {"PAIRING_NETWORK_POLICY": "deny", "PAIRING_PUBLIC_URL": "https://login.example.com"}
    assert "warning  PAIRING_NETWORK_POLICY is deny" in run("doctor", **strict).out
    assert "warning" not in run("doctor", **strict, PAIRING_TRUSTED_PROXIES="127.0.0.1").out


@pytest.mark.security(26)
def test_a_doctor_warns_of_a_redis_that_would_drop_what_others_wait_for(run: Run, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = run("doctor", REDIS_URL=redis.url)
    redis.stop()
    assert done.code == 0
    assert "allkeys-lru" in done.out
    assert "noeviction" in done.out


def test_a_doctor_finds_redis_and_says_when_it_is_away(run: Run, redis_server: RedisServer) -> None:
    done = run("doctor", REDIS_URL=redis_server.url)
    assert (done.code, "ok       Redis" in done.out) == (0, True)
    done = run("doctor", REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert done.code == 1
    assert re.search(r"^refused +Redis: .+", done.out, re.MULTILINE)
    assert "hunter2" not in done.out + done.err


def test_a_doctor_says_what_redis_itself_says(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("ACL", "SETUSER", "reader", "on", ">hunter2", "~*", "&*", "+@read", "+ping", "+info")
    address = f"127.0.0.1:{redis_server.port}/0"
    for credentials, said in (("reader:hunter2", "no permissions"), ("reader:wrong-hunter2", "username-password")):
        done = run("doctor", REDIS_URL=f"redis://{credentials}@{address}")
        assert done.code == 1
        assert re.search(rf"^refused +Redis: .+{said}", done.out, re.MULTILINE), done.out
        assert "hunter2" not in done.out + done.err
    done = run("doctor", REDIS_URL=f"redis+cluster://{address.removesuffix('/0')}")
    assert done.code == 1
    assert re.search(r"^refused +Redis: .+[Cc]luster", done.out, re.MULTILINE), done.out + done.err


def test_a_doctor_says_that_a_database_would_be_refused(run: Run, postgres_server: Postgres) -> None:
    url = postgres_server.database()
    assert run("doctor", DATABASE_URL=url).code == 0
    execute(url, "CREATE ROLE pairing_guest LOGIN")
    try:
        guest = url.replace(f"//{urlsplit(url).username}", "//pairing_guest")
        done = run("doctor", DATABASE_URL=guest)
        assert done.code == 1
        assert re.search(r"^refused +database: DATABASE_URL .+may not make tables", done.out, re.MULTILINE), done.out
        done = run("doctor", DATABASE_URL=url.replace("?", "x?"))
        assert done.code == 1
        assert "does not exist" in done.out
    finally:
        postgres_server.drop(url)
        execute(postgres_server.url("postgres"), "DROP ROLE pairing_guest")


HTTPS = {"PAIRING_PUBLIC_URL": "https://login.example.com"}
HOOK_SECRET = "whsec_" + "A" * 43 + "="
WEBHOOK = {"PAIRING_WEBHOOK_SECRET": HOOK_SECRET}
DOUBTFUL = [
    (WEBHOOK | {"PAIRING_WEBHOOK_URL": "https://localhost/hooks"}, "PAIRING_WEBHOOK_URL is no public address: nothing"),
    (HTTPS, "PAIRING_TRUSTED_PROXIES names none, and PAIRING_PUBLIC_URL is https"),
    (HTTPS | {"PAIRING_NETWORK_POLICY": "deny"}, "PAIRING_NETWORK_POLICY is deny"),
    (HTTPS | {"PAIRING_TRUSTED_PROXIES": "0.0.0.0/0"}, "PAIRING_TRUSTED_PROXIES trusts every address"),
    ({"PAIRING_PUBLIC_URL": "http://login.example.com"}, "PAIRING_PUBLIC_URL is plain http"),
    ({"PAIRING_QUARANTINE_SECONDS": "0"}, "PAIRING_QUARANTINE_SECONDS is 0"),
    ({"PAIRING_STEP_UP_SECONDS": "300", "PAIRING_PUBLIC_URL": "https://192.0.2.7"}, "PAIRING_STEP_UP_SECONDS asks"),
    ({"PAIRING_SESSION_SECONDS": "3600"}, "PAIRING_SESSION_SECONDS is less than"),
    ({"PAIRING_TTL": "60"}, "PAIRING_TTL is no setting"),
]


@pytest.mark.parametrize(("environment", "text"), DOUBTFUL, ids=[text for _, text in DOUBTFUL])
def test_a_doctor_warns_of_what_would_silently_go_wrong(run: Run, environment: dict[str, str], text: str) -> None:
    done = run("doctor", **environment)
    assert done.code == 0
    assert f"warning  {text}" in done.out
    behind = {"PAIRING_PUBLIC_URL": "https://login.example.com", "PAIRING_TRUSTED_PROXIES": "10.0.0.1"}
    assert "warning" not in run("doctor", **behind).out


def test_a_server_logs_the_same_warnings_as_a_doctor_prints(tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        "PAIRING_TTL": "60",
        "PAIRING_SESSION_SECONDS": "3600",
        "PAIRING_QUARANTINE_SECONDS": "0",
        "PAIRING_WEBHOOK_URL": "https://localhost/hooks",
        "PAIRING_WEBHOOK_SECRET": HOOK_SECRET,
        "PAIRING_LOGIN_HOOK_URL": "https://10.0.0.1/hook",
        "PAIRING_LOGIN_HOOK_SECRET": HOOK_SECRET,
    }
    printed = run_cli("doctor", folder=tmp_path, env=clean_environment() | environment).stdout
    with running(tmp_path, demo=False, **environment) as server:
        logged = [json.loads(line) for line in server.log_text().splitlines()]
    hints = [each["hint"] for each in logged if each["event"] == "settings.doubtful"]
    assert hints == [line.removeprefix("warning  ") for line in printed.splitlines() if line.startswith("warning")]
    assert len(hints) == 5


def refused_by_both(run: Run, reason: str, **environment: str) -> None:
    doctor, server = run("doctor", **environment), run("serve", **environment)
    assert (doctor.code, server.code) == (1, 1)
    assert reason in doctor.out
    assert reason in server.err
    assert len(server.err.splitlines()) == 1


def test_what_a_server_would_refuse_of_its_file_a_doctor_refuses(run: Run) -> None:
    assert run("db", "upgrade").code == 0
    with closing(sqlite3.connect("pairing.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    refused_by_both(run, "a newer version has made it")
    Path("other.db").write_bytes(b"This is no database. " * 500)
    refused_by_both(run, "file is not a database", DATABASE_URL="sqlite:///other.db")


def test_what_a_server_would_refuse_of_its_postgresql_a_doctor_refuses(run: Run, postgres_server: Postgres) -> None:
    url = postgres_server.database()
    name = urlsplit(url).path[1:]
    guest = url.replace(f"//{urlsplit(url).username}", "//pairing_guest")
    execute(url, "CREATE ROLE pairing_guest LOGIN")
    # Else the first start would say, in a line of its own, that it has made some.
    run("keys", "rotate")
    try:
        refused_by_both(run, "may not make tables", DATABASE_URL=guest)
        # Nothing is left to be made: it is the first login that would be refused.
        execute(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO pairing_guest")
        refused_by_both(run, "no right to INSERT", DATABASE_URL=guest)
        execute(url, "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pairing_guest")
        assert run("doctor", DATABASE_URL=guest).code == run("db", "upgrade", DATABASE_URL=guest).code == 0
        execute(url, f"ALTER ROLE pairing_guest IN DATABASE {name} SET default_transaction_read_only = on")
        refused_by_both(run, "takes no writes", DATABASE_URL=guest)
        execute(url, "UPDATE alembic_version SET version_num = '9999'")
        refused_by_both(run, "a newer version has made it", DATABASE_URL=url)
    finally:
        postgres_server.drop(url)
        execute(postgres_server.url("postgres"), "DROP ROLE pairing_guest")


def test_a_doctor_warns_of_keys_on_this_disk_alone_before_they_are_made(run: Run, on_postgres: str) -> None:
    missing = run("doctor", DATABASE_URL=on_postgres)
    assert (missing.code, f"warning  {MADE_HERE}" in missing.out) == (0, True)
    value = run("keys", "make").out.strip()
    assert MADE_HERE not in run("doctor", DATABASE_URL=on_postgres, PAIRING_SIGNING_KEYS=value).out
    # Accounts on the same disk are gone with the keys.
    assert MADE_HERE not in run("doctor").out


def test_a_doctor_says_that_the_port_is_taken(run: Run) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("doctor", PORT=str(taken.getsockname()[1]))
    assert (done.code, "in use" in done.out) == (0, True)


def test_a_doctor_says_when_the_database_cannot_be_opened(run: Run) -> None:
    done = run("doctor", DATABASE_URL="sqlite:////nowhere/at/all.db")
    assert done.code == 1
    assert re.search(r"^refused +/nowhere/at/all\.db can't be made", done.out, re.MULTILINE)


def test_a_doctor_refuses_a_key_file_that_others_can_read(run: Run) -> None:
    run("keys", "rotate")
    Path("pairing-keys.json").chmod(0o644)
    done = run("doctor")
    assert done.code == 1
    assert "chmod 600 pairing-keys.json" in done.err


@pytest.mark.parametrize("command", [["doctor"], ["serve"], ["invite", "alice"], ["db", "upgrade"], ["keys", "rotate"]])
def test_a_wrong_setting_stops_every_command_with_its_name_and_makes_nothing(run: Run, command: list[str]) -> None:
    done = run(*command, PAIRING_TTL_SECONDS="soon")
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_TTL_SECONDS ")
    assert os.listdir() == []


@pytest.mark.parametrize("command", [["invite", "alice"], ["db", "upgrade"], ["user", "list"], ["serve"]])
def test_a_database_that_cannot_be_opened_is_one_clear_line(run: Run, command: list[str]) -> None:
    done = run(*command, DATABASE_URL="sqlite:////nowhere/at/all.db")
    assert done.code == 1
    # `serve` has told of the key that it made.
    told = [line for line in done.err.splitlines() if '"event": "key.created"' not in line]
    assert told == ["pairing-ws: DATABASE_URL can't be used: unable to open database file (unavailable)"]
    assert "Traceback" not in done.err
