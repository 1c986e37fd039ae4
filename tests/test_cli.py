"""The command line as an operator uses it: what it prints, its exit codes, what it refuses. Most of it in this process,
because an interpreter's start takes half a second; the entry point itself as a real one."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.command_line import Run
from tests.support.servers import CLI, clean_environment, run_cli

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
