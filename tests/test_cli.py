"""The command line as an operator uses it: what it prints, its exit codes, what it refuses. Most of it in this process,
because an interpreter's start takes half a second; the entry point itself as a real one."""

import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pairing_ws.adapters.jwt.key_file import MADE_HERE
from pairing_ws.adapters.jwt.vapid import VapidKey
from tests.support.command_line import Run
from tests.support.postgres import Postgres, execute
from tests.support.servers import CLI, RedisServer, clean_environment, run_cli, running

COMMANDS = [
    [], ["serve"], ["invite"], ["user"], ["user", "list"], ["user", "lock"], ["user", "unlock"], ["user", "delete"],
    ["user", "show"], ["user", "set"],
    ["client"], ["client", "add"], ["client", "set"], ["client", "list"], ["client", "show"], ["client", "rotate"],
    ["client", "remove"],
    ["db"], ["db", "upgrade"], ["keys"], ["keys", "list"], ["keys", "make"], ["keys", "rotate"],
    ["keys", "remove"], ["admin-key"], ["vapid-key"], ["doctor"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_changes_nothing(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    text = " ".join(done.out.split())
    assert "Usage:" in text
    # More than a list of options: a sentence about what it does.
    assert re.search(r"[A-Z][a-z]+ [a-z]+ .+[.:]", text)
    assert os.listdir() == []


def test_without_a_command_it_says_what_there_is(run: Run) -> None:
    done = run()
    assert all(name in done.out + done.err for name in ("serve", "invite", "user", "client", "db", "keys", "doctor"))


def test_help_names_every_option_of_serve(run: Run) -> None:
    text = run("serve", "--help").out
    assert all(option in text for option in ("--host", "--port", "--workers", "--demo"))


# invite


def test_an_invite_as_json_has_exactly_the_contracts_keys(run: Run) -> None:
    done = run("invite", "zoë", "--json")
    assert (done.code, done.err) == (0, "")
    made = json.loads(done.out)
    assert list(made) == ["username", "code", "url", "expiresAt", "newAccount"]
    assert made["username"] == "zoë"
    assert made["url"] == f"http://localhost:8000/join/invite#{made['code']}"
    assert len(made["code"]) >= 22
    assert made["expiresAt"].endswith("Z")
    left = datetime.fromisoformat(made["expiresAt"]).timestamp() - time.time()
    assert 14 * 60 < left <= 15 * 60


def test_an_invite_for_people_shows_link_code_and_expiry(run: Run) -> None:
    done = run("invite", "alice", PAIRING_PUBLIC_URL="https://login.example.com")
    assert done.code == 0
    assert "https://login.example.com/join/invite#" in done.out
    assert "'alice'" in done.out
    assert "█" in done.out or "▀" in done.out
    assert re.search(r"until 20\d\d-\d\d-\d\dT.+Z", done.out)


def test_an_invite_says_that_it_made_an_account_and_makes_none_if_asked_to(run: Run) -> None:
    assert "There was no account 'alice': a new account was made." in run("invite", "alice").out
    assert "new account" not in run("invite", "ALICE").out
    assert [json.loads(run("invite", name, "--json").out)["newAccount"] for name in ("Alice", "alize")] == [False, True]
    done = run("invite", "alise", "--existing")
    assert (done.code, done.err) == (1, "pairing-ws: no such user (not_found)\n")
    assert run("invite", "Alice", "--existing").code == 0
    assert [line.split("\t")[0] for line in run("user", "list").out.splitlines()] == ["alice", "alize"]


def test_accounts_that_older_versions_kept_apart_by_case_are_named_by_the_list_and_the_doctor(run: Run) -> None:
    for name in ("alice", "bob"):
        run("invite", name, "--json")
    with closing(sqlite3.connect("pairing.db")) as database, database:
        database.execute(
            "INSERT INTO users (id, username, display_name, created_at, compared_name, namesake)"
            " VALUES ('2', 'ALICE', 'ALICE', 0, 'alice', 1)"
        )
    listed = [line.split("\t") for line in run("user", "list").out.splitlines()]
    assert [(name, *same) for name, _, _, _, *same in listed] == [("ALICE", "'alice'"), ("alice", "'ALICE'"), ("bob",)]
    assert "write it as one of them: 'ALICE', 'alice'" in run("user", "lock", "Alice").err
    assert "warning  accounts: 'ALICE', 'alice' differ in case alone" in run("doctor").out


def test_an_invite_keeps_no_code_in_the_database(run: Run) -> None:
    code = json.loads(run("invite", "alice", "--json").out)["code"]
    assert all(code.encode() not in path.read_bytes() for path in Path().iterdir())


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
def test_an_unusable_user_name_is_one_clear_line(run: Run, name: str) -> None:
    done = run("invite", name)
    assert done.code == 1
    assert done.err == "pairing-ws: a user name is 1 to 64 printable characters (bad_request)\n"


# user


def test_users_are_listed_locked_unlocked_and_deleted(run: Run) -> None:
    for name in ("bob", "alice"):
        run("invite", name, "--json")
    listed = [line.split("\t") for line in run("user", "list").out.splitlines()]
    assert [(name, state, email) for name, _, state, email in listed] == [("alice", "open", "-"), ("bob", "open", "-")]
    run("user", "set", "bob", "--email", "bob@example.com")
    assert [line.split("\t")[3] for line in run("user", "list").out.splitlines()] == ["-", "bob@example.com"]
    assert run("user", "lock", "bob").code == 0
    assert "bob\t" in run("user", "list").out
    assert "locked since 20" in run("user", "list").out.splitlines()[1]
    assert run("user", "unlock", "bob").code == 0
    assert "locked" not in run("user", "list").out
    assert run("user", "delete", "bob", "--yes").code == 0
    assert [line.split("\t")[0] for line in run("user", "list").out.splitlines()] == ["alice"]


def test_what_applications_are_told_of_an_account_is_set_shown_and_kept(run: Run) -> None:
    run("invite", "zoë", "--json")
    bare = json.loads(run("user", "show", "ZOË", "--json").out)
    assert list(bare) == ["username", "id", "locked_since", "email", "email_verified", "name", "groups", "links"]
    assert [bare[name] for name in ("email", "email_verified", "name", "groups")] == [None, False, None, []]
    options = (
        "--email",
        "zoë@bücher.example",
        "--email-verified",
        "--name",
        " Zoë B. ",
        "--group",
        "b",
        "--group",
        "a",
    )
    made = json.loads(run("user", "set", "zoë", *options, "--group", "b", "--json").out)
    told = {"email": "zoë@bücher.example", "email_verified": True, "name": "Zoë B.", "groups": ["b", "a"]}
    assert made == bare | told
    assert run("user", "set", "zoë", "--name", "Zoë").code == 0
    shown = dict(line.split("\t") for line in run("user", "show", "zoë").out.splitlines())
    assert shown == {
        "username": "zoë", "id": bare["id"], "locked_since": "-", "email": "zoë@bücher.example",
        "email_verified": "yes", "name": "Zoë", "groups": "b, a",
    }  # fmt: skip
    # Nobody has verified the new address.
    moved = json.loads(run("user", "set", "zoë", "--email", "z@example.com", "--json").out)
    assert (moved["email"], moved["email_verified"], moved["groups"]) == ("z@example.com", False, ["b", "a"])
    same = json.loads(run("user", "set", "zoë", "--email-verified", "--json").out)
    assert same["email_verified"]
    assert json.loads(run("user", "set", "zoë", "--email", "z@example.com", "--json").out) == same
    gone = json.loads(run("user", "set", "zoë", "--email", "", "--name", "", "--no-groups", "--json").out)
    assert gone == bare


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--email", "zoe"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a b@example.com"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a\u202eb@example.com"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a@b@example.com"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a@example..com"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a@example.com\nbcc:b"], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email", "a" * 64 + "@" + "b" * 200], "that is no e-mail address, such as alice@example.com (bad_request)"),
        (["--email-verified"], "there is no e-mail address that could be verified (bad_request)"),
        (["--name", "a\x00b"], "a name is 1 to 128 printable characters (bad_request)"),
        (["--name", "x" * 129], "a name is 1 to 128 printable characters (bad_request)"),
        (["--group", " "], "a group is 1 to 64 printable characters (bad_request)"),
        (["--group", "x" * 65], "a group is 1 to 64 printable characters (bad_request)"),
        ([f"--group={number}" for number in range(101)], "groups are a list of up to 100 (bad_request)"),
    ],
)
def test_what_no_application_could_use_is_one_clear_line_and_changes_nothing(
    run: Run, options: list[str], error: str
) -> None:
    run("invite", "alice", "--json")
    before = run("user", "show", "alice").out
    done = run("user", "set", "alice", *options)
    assert (done.code, done.err) == (1, f"pairing-ws: {error}\n")
    assert run("user", "show", "alice").out == before


@pytest.mark.parametrize("options", [[], ["--group", "a", "--no-groups"]])
def test_a_profile_is_not_changed_by_nothing_or_by_what_excludes_itself(run: Run, options: list[str]) -> None:
    assert run("user", "set", "alice", *options).code == 2


@pytest.mark.parametrize("command", [["lock"], ["unlock"], ["delete", "--yes"], ["show"], ["set", "--name", "A"]])
def test_an_unknown_user_is_one_clear_line(run: Run, command: list[str]) -> None:
    done = run("user", *command, "nobody")
    assert (done.code, done.err) == (1, "pairing-ws: no such user (not_found)\n")


def test_a_user_is_not_deleted_without_a_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("invite", "alice", "--json")
    read, write = os.pipe()
    os.write(write, b"n\n")
    os.close(write)
    with os.fdopen(read) as answers:
        monkeypatch.setattr("sys.stdin", answers)
        assert run("user", "delete", "alice").code == 1
    assert "alice" in run("user", "list").out


# db, keys


def test_an_upgrade_makes_the_database_and_a_second_one_changes_nothing(run: Run) -> None:
    assert run("db", "upgrade").code == 0
    before = schema()
    assert {"users", "devices", "sessions", "invites", "activity"} <= {name for name, _ in before}
    done = run("db", "upgrade")
    assert (done.code, done.out) == (0, "The database is up to date.\n")
    assert schema() == before


def schema() -> list[tuple[str, str]]:
    connection = sqlite3.connect("pairing.db")
    try:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    finally:
        connection.close()


def test_a_rotation_puts_a_new_key_in_front_and_names_it(run: Run) -> None:
    first = run("keys", "rotate")
    second = run("keys", "rotate", PAIRING_SIGNING_KEY_FILE="pairing-keys.json")
    assert (first.code, second.code) == (0, 0)
    file = Path("pairing-keys.json")
    kids = [key["kid"] for key in json.loads(file.read_text())["keys"]]
    assert len(kids) == 3
    assert kids[0] in second.out
    assert kids[1] in first.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def listed(run: Run, algorithm: str) -> list[str]:
    """The ids that `keys list` prints of that algorithm, the one that signs first."""
    lines = [line.split("\t") for line in run("keys", "list").out.splitlines()]
    return [kid for kid, _, of in lines if of == algorithm]


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_keys_are_listed_with_the_one_that_signs_first_and_removed_by_their_id(run: Run, algorithm: str) -> None:
    run("keys", "rotate")
    new, old = listed(run, algorithm)
    signs = listed(run, "ES256")[0]
    done = run("keys", "remove", old)
    assert (done.code, done.out) == (0, f"{old} is withdrawn; authKeys are signed with {signs}.\n")
    assert listed(run, algorithm) == [new]


def test_removing_the_only_key_makes_a_new_one_and_an_unknown_one_is_refused_with_those_there_are(run: Run) -> None:
    run("keys", "rotate")
    for algorithm in ("ES256", "RS256"):
        first, second = listed(run, algorithm)
        run("keys", "remove", first)
        assert run("keys", "remove", second).code == 0
        [left] = listed(run, algorithm)
        assert left not in (first, second)
    there_are = ", ".join(listed(run, "ES256") + listed(run, "RS256"))
    again = run("keys", "remove", second)
    assert again.code == 1
    assert again.err == f"pairing-ws: there is no signing key {second!r}; there are: {there_are}\n"


def test_an_id_that_begins_with_a_dash_is_an_id_and_no_option(run: Run) -> None:
    run("keys", "rotate")
    refused = run("keys", "remove", "-kF3")
    assert refused.code == 1
    assert refused.err.startswith("pairing-ws: there is no signing key '-kF3'; there are: ")


def test_keys_of_the_environment_are_used_and_what_they_should_become_is_printed(run: Run) -> None:
    value = run("keys", "make").out.strip()
    rotated = run("keys", "rotate", PAIRING_SIGNING_KEYS=value)
    assert "Nothing has changed yet" in rotated.err
    before, after = json.loads(value), json.loads(rotated.out)
    assert after["pepper"] == before["pepper"]
    assert after["keys"][1:] == before["keys"]
    assert after["rsa_keys"][1:] == before["rsa_keys"]
    removed = run("keys", "remove", before["keys"][0]["kid"], PAIRING_SIGNING_KEYS=rotated.out.strip())
    assert json.loads(removed.out)["keys"] == after["keys"][:1]
    assert run("invite", "alice", PAIRING_SIGNING_KEYS=value).code == 0
    assert "ok       PAIRING_SIGNING_KEYS" in run("doctor", PAIRING_SIGNING_KEYS=value).out
    assert not Path("pairing-keys.json").exists()


@pytest.mark.security(21, 31)
def test_wrong_keys_of_the_environment_stop_the_start_and_are_not_quoted(run: Run) -> None:
    value = run("keys", "make").out.strip()
    for wrong in (value[:-1], value.replace("P-256", "P-384"), '"hunter2"'):
        done = run("invite", "alice", PAIRING_SIGNING_KEYS=wrong)
        assert done.code == 1
        assert done.err.startswith("pairing-ws: PAIRING_SIGNING_KEYS ")
        assert "hunter2" not in done.err
        assert json.loads(value)["pepper"] not in done.err
    both = run("doctor", PAIRING_SIGNING_KEYS=value, PAIRING_SIGNING_KEY_FILE="pairing-keys.json")
    assert both.err == (
        "pairing-ws: PAIRING_SIGNING_KEYS and PAIRING_SIGNING_KEY_FILE are both set; unset one of them\n"
    )


# doctor


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
DOUBTFUL = [
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
    }
    printed = run_cli("doctor", folder=tmp_path, env=clean_environment() | environment).stdout
    with running(tmp_path, demo=False, **environment) as server:
        logged = [json.loads(line) for line in server.log_text().splitlines()]
    hints = [each["hint"] for each in logged if each["event"] == "settings.doubtful"]
    assert hints == [line.removeprefix("warning  ") for line in printed.splitlines() if line.startswith("warning")]
    assert len(hints) == 3


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


# serve: what it refuses


@pytest.mark.security(31)
def test_several_workers_without_redis_are_refused_and_the_text_says_why(run: Run) -> None:
    for done in (run("serve", "--workers", "2"), run("serve", WEB_CONCURRENCY="2")):
        assert done.code == 1
        assert done.err.startswith("pairing-ws: WEB_CONCURRENCY above 1 needs REDIS_URL: ")
        assert os.listdir() == []


def test_listening_beyond_loopback_without_a_public_address_is_refused(run: Run) -> None:
    done = run("serve", "--host", "0.0.0.0")
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_PUBLIC_URL is needed when listening on 0.0.0.0")


@pytest.mark.security(31)
def test_listening_beyond_loopback_without_https_is_refused(run: Run) -> None:
    done = run("serve", "--host", "0.0.0.0", PAIRING_PUBLIC_URL="http://192.168.1.7:8000")
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_PUBLIC_URL should be https")


@pytest.mark.security(31)
def test_a_demo_on_a_public_address_is_refused(run: Run) -> None:
    done = run("serve", "--demo", PAIRING_PUBLIC_URL="https://login.example.com")
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_PUBLIC_URL and --host must be local with --demo")
    for host in ("0.0.0.0", "::", "8.8.8.8"):
        assert run("serve", "--demo", "--host", host).code == 1


@pytest.mark.security(31)
def test_a_server_refuses_a_key_file_that_others_can_read(run: Run) -> None:
    run("keys", "rotate")
    Path("pairing-keys.json").chmod(0o644)
    done = run("serve")
    assert done.code == 1
    assert "chmod 600 pairing-keys.json" in done.err
    assert "Traceback" not in done.err


@pytest.mark.security(31)
@pytest.mark.parametrize("origins", ["*", "https://*.example.com", "null"])
def test_a_server_refuses_origins_that_are_not_exact(run: Run, origins: str) -> None:
    done = run("serve", PAIRING_ALLOWED_ORIGINS=origins)
    assert done.code == 1
    assert done.err.startswith("pairing-ws: PAIRING_ALLOWED_ORIGINS should be exact origins")
    assert os.listdir() == []


@pytest.mark.security(31)
def test_a_server_refuses_a_weak_key(run: Run) -> None:
    run("keys", "rotate")
    file = Path("pairing-keys.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"pepper": "c2hvcnQ"}))
    short = run("serve")
    file.write_text(json.dumps(content | {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "made": 0}]}))
    shared = run("serve")
    for done in (short, shared):
        assert done.code == 1
        assert done.err.startswith("pairing-ws: pairing-keys.json ")
        assert "Traceback" not in done.err


# The real thing


def test_as_a_module_it_is_the_same_command_and_a_refusal_is_no_traceback(tmp_path: Path) -> None:
    done = run_cli("serve", "--workers", "2", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pairing-ws: WEB_CONCURRENCY above 1 needs REDIS_URL")
    assert len(done.stderr.splitlines()) == 1


# Whatever the letters of the terminal
LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_all_that_is_printed_can_be_printed_in_any_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    assert run_cli("invite", "Zoë日", folder=tmp_path).returncode == 0
    env = clean_environment() | locale
    done = run_cli("invite", "zoe", folder=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/join/invite#" in done.stdout
    for command in (["user", "list"], ["doctor"], ["--help"], ["serve", "--help"]):
        done = run_cli(*command, folder=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_a_name_that_the_terminal_has_no_letters_for_is_printed_all_the_same(tmp_path: Path) -> None:
    raw = subprocess.run(
        [*CLI, "invite", "Ж"],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True,
    )
    assert (raw.returncode, raw.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CLI, "db", "upgrade"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "pairing-ws: the output: No space left on device\n")
