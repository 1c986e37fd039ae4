"""`pairing-ws client`: what is registered, printed and refused. In this process, as in `test_cli.py`."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from pairing_ws.cli.snippets import SNIPPETS
from pairing_ws.core import codes
from pairing_ws.oauth.scopes import KNOWN
from tests.support.command_line import Run

CALLBACK = "https://app.example.com/callback"
WEB = "it has to begin with https://, or with http://127.0.0.1 for this machine"


def add(run: Run, *arguments: str, **environment: str) -> dict[str, Any]:
    done = run("client", "add", *arguments, "--json", **environment)
    assert (done.code, done.err) == (0, "")
    made: dict[str, Any] = json.loads(done.out)
    return made


def stored() -> str:
    with closing(sqlite3.connect("pairing.db")) as database:
        return str(database.execute("SELECT * FROM oauth_clients").fetchall())


def test_a_client_as_json_has_what_an_application_needs_by_the_names_of_its_registration(run: Run) -> None:
    made = add(run, "Zoë's App", "--redirect-uri", CALLBACK, PAIRING_PUBLIC_URL="https://login.example.com/qr")
    assert re.fullmatch(r"zoe-s-app-[0-9a-z]{8}", made["client_id"])
    assert len(made["client_secret"]) == 43
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "issuer": "https://login.example.com/qr",
        "client_id": made["client_id"],
        "client_secret": made["client_secret"],
        "client_name": "Zoë's App",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": " ".join(KNOWN),
        "id_token_signed_response_alg": "RS256",
        "access_token_alg": "ES256",
        "audience": made["client_id"],
        "device_grant": "off",
        "trusted": False,
        "token_exchange": False,
    }


def test_everything_that_can_be_set_is_kept_and_shown(run: Run, tmp_path: Path) -> None:
    keys = {"keys": [ECKey.generate_key("P-256", private=False).as_dict(private=False)]}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    options = {
        "--redirect-uri": "com.example.app:/callback",
        "--post-logout-redirect-uri": "https://app.example.com/bye",
        "--backchannel-logout-uri": "https://app.example.com/logout?tenant=1",
        "--device-grant": "same_network",
        "--scope": "openid",
        "--id-token-alg": "ES256",
        "--access-token-alg": "RS256",
        "--audience": "https://api.example.com",
        "--origin": "https://app.example.com:8443",
        "--logo-uri": "https://app.example.com/logo.png",
        "--jwks-file": "keys.json",
    }
    words = [word for option in options.items() for word in option]
    made = add(run, "Everything", *words, "--redirect-uri", CALLBACK, "--trusted")
    assert made["redirect_uris"] == ["com.example.app:/callback", CALLBACK]
    assert made["post_logout_redirect_uris"] == ["https://app.example.com/bye"]
    assert made["backchannel_logout_uri"] == "https://app.example.com/logout?tenant=1"
    assert (made["device_grant"], made["scope"], made["trusted"]) == ("same_network", "openid", True)
    assert (made["id_token_signed_response_alg"], made["access_token_alg"]) == ("ES256", "RS256")
    assert (made["audience"], made["origins"]) == ("https://api.example.com", ["https://app.example.com:8443"])
    assert made["logo_uri"] == "https://app.example.com/logo.png"
    assert (made["token_endpoint_auth_method"], made["jwks"]) == ("private_key_jwt", keys)
    assert "client_secret" not in made
    for name in (made["client_id"], "Everything"):
        assert json.loads(run("client", "show", name, "--json").out) == made
    assert json.loads(run("client", "list", "--json").out) == [made]


def test_what_is_registered_is_changed_and_id_and_secret_and_the_rest_stay(run: Run) -> None:
    made = add(run, "App", "--redirect-uri", CALLBACK, "--origin", "https://app.example.com", "--scope", "openid")
    secret = made.pop("client_secret")
    words = ["--redirect-uri", f"{CALLBACK}/2", "--redirect-uri", f"{CALLBACK}/3", "--device-grant", "on", "--trusted"]
    words += ["--name", "Shop", "--backchannel-logout-uri", "https://app.example.com/logout", "--id-token-alg", "ES256"]
    done = run("client", "set", "App", *words, "--json")
    assert (done.code, done.err) == (0, "")
    made |= {
        "client_name": "Shop",
        "redirect_uris": [f"{CALLBACK}/2", f"{CALLBACK}/3"],
        "backchannel_logout_uri": "https://app.example.com/logout",
        "id_token_signed_response_alg": "ES256",
        "device_grant": "on",
        "trusted": True,
        "token_exchange": False,
    }
    assert json.loads(done.out) == made == json.loads(run("client", "show", "Shop", "--json").out)
    assert codes.digest(secret) in stored()
    words = ["--origin", "", "--backchannel-logout-uri", "", "--scope", "", "--no-trusted"]
    emptied = json.loads(run("client", "set", made["client_id"], *words, "--json").out)
    del made["origins"], made["backchannel_logout_uri"]
    assert emptied == made | {"trusted": False, "scope": " ".join(KNOWN)}
    assert "Shop is changed" in run("client", "set", "Shop", "--audience", "https://api.example.com").out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--redirect-uri", "http://app.example.com/cb"], "redirect URI 'http://app.example.com/cb': {web}"),
        (
            ["--redirect-uri", CALLBACK, "--redirect-uri", ""],
            "redirect URI '': it is no address of up to 2048 characters; escape what is not ASCII",
        ),
        (
            ["--redirect-uri", ""],
            "a public client needs a redirect URI, the device grant or token exchange: nobody could log in",
        ),
        (["--name", " "], "a client's name is 1 to 128 printable characters"),
        (["--jwks-file", "keys.json"], "'Tool' has no keys of its own: add another client, with them"),
    ],
)
def test_what_can_not_be_changed_is_one_clear_line_and_changes_nothing(
    run: Run, tmp_path: Path, options: list[str], error: str
) -> None:
    keys = {"keys": [ECKey.generate_key("P-256", private=False).as_dict(private=False)]}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    add(run, "Tool", "--public", "--redirect-uri", CALLBACK)
    before = stored()
    done = run("client", "set", "Tool", "--trusted", *options)
    assert (done.code, done.out, done.err) == (1, "", f"pairing-ws: {error.format(web=WEB)} (bad_request)\n")
    assert stored() == before
    assert run("client", "set", "Tool").code == 2


def test_a_client_that_has_keys_is_given_others(run: Run, tmp_path: Path) -> None:
    keys = [{"keys": [ECKey.generate_key("P-256", private=False).as_dict(private=False)]} for _ in range(2)]
    (tmp_path / "keys.json").write_text(json.dumps(keys[0]))
    made = add(run, "App", "--redirect-uri", CALLBACK, "--jwks-file", "keys.json")
    (tmp_path / "keys.json").write_text(json.dumps(keys[1]))
    changed = json.loads(run("client", "set", "App", "--jwks-file", "keys.json", "--json").out)
    assert changed == made | {"jwks": keys[1]}


def test_a_secret_is_shown_once_and_kept_as_a_digest(run: Run) -> None:
    made = add(run, "App", "--redirect-uri", CALLBACK)
    secret = made.pop("client_secret")
    assert secret not in stored()
    assert codes.digest(secret) in stored()
    assert json.loads(run("client", "show", "App", "--json").out) == made
    rotated = json.loads(run("client", "rotate", made["client_id"], "--json").out)
    new = rotated.pop("client_secret")
    assert rotated == made
    assert new != secret
    assert codes.digest(secret) not in stored()
    assert codes.digest(new) in stored()


def test_a_public_client_has_no_secret_and_none_to_rotate(run: Run) -> None:
    made = add(run, "Tool", "--public", "--device-grant", "on")
    assert "client_secret" not in made
    assert made["token_endpoint_auth_method"] == "none"
    done = run("client", "rotate", "Tool")
    assert (done.code, done.err) == (
        1, "pairing-ws: 'Tool' has no secret: it is public, or proves itself by its key (bad_request)\n"
    )  # fmt: skip


def test_for_people_it_prints_what_to_paste(run: Run) -> None:
    done = run("client", "add", "Grafana", "--redirect-uri", CALLBACK, PAIRING_PUBLIC_URL="https://login.example.com")
    assert done.code == 0
    fields = dict(re.findall(r"^  (\w+) +(.+)$", done.out, re.MULTILINE))
    assert fields["issuer"] == "https://login.example.com"
    assert fields["redirect_uris"] == CALLBACK
    assert codes.digest(fields["client_secret"]) in stored()
    assert "Grafana is registered" in done.out
    assert "can't be shown again" in done.out
    assert fields["client_secret"] not in run("client", "show", "Grafana").out


def test_clients_are_listed_by_name_and_removed(run: Run) -> None:
    two = add(run, "two", "--public", "--redirect-uri", "http://127.0.0.1/cb")
    one = add(run, "one", "--redirect-uri", CALLBACK)
    assert [line.split("\t") for line in run("client", "list").out.splitlines()] == [
        [one["client_id"], "one", "client_secret_basic", CALLBACK],
        [two["client_id"], "two", "none", "http://127.0.0.1/cb"],
    ]
    done = run("client", "remove", "one", "--yes")
    assert (done.code, done.out) == (0, f"one ({one['client_id']}) is removed.\n")
    assert [line.split("\t")[1] for line in run("client", "list").out.splitlines()] == ["two"]


def test_a_name_that_several_have_is_not_enough(run: Run) -> None:
    ids = [add(run, "App", "--redirect-uri", CALLBACK)["client_id"] for _ in range(2)]
    assert ids[0] != ids[1]
    for command in (["show"], ["rotate"], ["remove", "--yes"]):
        done = run("client", *command, "App")
        assert done.code == 1
        assert "several clients have that name, write one's id" in done.err
        assert all(each in done.err for each in ids)
    assert run("client", "remove", ids[0], "--yes").code == 0
    assert json.loads(run("client", "show", "App", "--json").out)["client_id"] == ids[1]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:3000/out", "http://localhost/out", "https://10.0.0.5/out"])
def test_who_will_be_told_of_no_logout_is_registered_with_a_word_about_it(run: Run, uri: str) -> None:
    options = ["client", "add", "App", "--redirect-uri", CALLBACK, "--backchannel-logout-uri", uri, "--json"]
    done = run(*options)
    assert json.loads(done.out)["backchannel_logout_uri"] == uri
    assert done.err == (
        f"pairing-ws: nothing is sent to {uri} unless PAIRING_ALLOW_PRIVATE_TARGETS=true: it is no public address\n"
    )
    assert run(*options, PAIRING_ALLOW_PRIVATE_TARGETS="true").err == ""
    changed = run("client", "set", json.loads(done.out)["client_id"], "--backchannel-logout-uri", uri)
    assert changed.err == done.err


@pytest.mark.parametrize("command", [["show"], ["set", "--trusted"], ["rotate"], ["remove", "--yes"]])
def test_an_unknown_client_is_one_clear_line(run: Run, command: list[str]) -> None:
    done = run("client", *command, "nobody")
    assert (done.code, done.err) == (1, "pairing-ws: no such client (not_found)\n")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--redirect-uri", "http://app.example.com/cb"], f"redirect URI 'http://app.example.com/cb': {WEB}"),
        (["--redirect-uri", "https://a.example/#x"], "redirect URI 'https://a.example/#x': it can't have a fragment"),
        (["--logo-uri", "http://127.0.0.1/l.png"], "logo 'http://127.0.0.1/l.png': it has to begin with https://"),
        (["--scope", "admin"], f"scope 'admin': it is not known here; known are: {', '.join(KNOWN)}"),
        (["--public"], "a public client needs a redirect URI, the device grant or token exchange: nobody could log in"),
        (
            ["--audience", "http://localhost:8000"],
            "audience 'http://localhost:8000': it is this server's own, that of people's devices",
        ),
        (["--audience", "a b"], "an audience is up to 2048 printable ASCII characters without spaces"),
    ],
)
def test_what_can_not_be_registered_is_one_clear_line_and_changes_nothing(
    run: Run, options: list[str], error: str
) -> None:
    done = run("client", "add", "App", *options)
    assert (done.code, done.out, done.err) == (1, "", f"pairing-ws: {error} (bad_request)\n")
    assert stored() == "[]"


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "a\nb"])
def test_an_unusable_client_name_is_one_clear_line(run: Run, name: str) -> None:
    done = run("client", "add", name, "--redirect-uri", CALLBACK)
    assert (done.code, done.err) == (
        1, "pairing-ws: a client's name is 1 to 128 printable characters (bad_request)\n"
    )  # fmt: skip


PRIVATE = "the key set holds a private key: keep it with the application, and give its public half"
KINDS = "a key has to be RSA of 2048 bits or more, or EC P-256"


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("{", "keys.json holds no JSON"),
        ("[]", 'a key set is a JSON object such as {"keys": [...]} (RFC 7517)'),
        ('{"keys": []}', "a key set has 1 to 8 keys"),
        (json.dumps(KeySet([ECKey.generate_key("P-256")]).as_dict(private=True)), PRIVATE),
        (json.dumps({"keys": [OctKey.generate_key(256).as_dict()]}), PRIVATE),
        (json.dumps(KeySet([ECKey.generate_key("P-384")]).as_dict(private=False)), KINDS),
        (json.dumps(KeySet([RSAKey.generate_key(1024)]).as_dict(private=False)), KINDS),
    ],
    # Keys are random, and each worker has to have the same names of tests.
    ids=["no JSON", "no object", "no key", "private", "secret", "another curve", "short RSA"],
)
def test_a_key_set_that_no_client_can_be_known_by_is_one_clear_line(
    run: Run, tmp_path: Path, file: str, error: str
) -> None:
    (tmp_path / "keys.json").write_text(file)
    done = run("client", "add", "App", "--jwks-file", "keys.json")
    assert (done.code, done.err.splitlines()[-1:]) == (1, [f"pairing-ws: {error} (bad_request)"])


def test_a_client_with_keys_of_its_own_is_not_public(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(KeySet([ECKey.generate_key("P-256")]).as_dict(private=False)))
    done = run("client", "add", "App", "--public", "--jwks-file", "keys.json", "--redirect-uri", CALLBACK)
    assert done.err == "pairing-ws: a client with keys of its own is not public (bad_request)\n"


@pytest.mark.parametrize("application", sorted(SNIPPETS))
def test_an_applications_configuration_has_what_it_needs_and_says_whether_it_was_tried(
    run: Run, application: str
) -> None:
    redirect = SNIPPETS[application].redirect_uri.replace("YOUR", "our").lower()
    done = run("client", "add", application, "--redirect-uri", redirect, "--for", application)
    assert (done.code, done.err) == (0, "")
    fields = dict(re.findall(r"^  (client_\w+) +(.+)$", done.out, re.MULTILINE))
    configuration = done.out.partition("can't be shown again.\n")[2]
    assert fields["client_id"] in configuration
    assert fields["client_secret"] in configuration
    assert "http://localhost:8000" in configuration
    assert ("Not tried here" in configuration) is not SNIPPETS[application].tried
    shown = json.loads(run("client", "show", application, "--for", application, "--json").out)
    assert shown["configuration"] == configuration.strip().replace(fields["client_secret"], "CLIENT_SECRET")


def test_an_applications_configuration_needs_its_address_and_doubts_an_unusual_one(run: Run) -> None:
    done = run("client", "add", "G", "--for", "grafana")
    assert done.code == 2
    assert "--redirect-uri https://YOUR-GRAFANA/login/generic_oauth" in done.err
    done = run("client", "add", "G", "--for", "grafana", "--redirect-uri", "https://g.example.com/login")
    assert done.code == 0
    assert "grafana is usually answered at https://YOUR-GRAFANA/login/generic_oauth" in done.err


def test_an_algorithm_without_a_key_is_refused_and_not_taken_by_default(run: Run) -> None:
    keys = json.loads(run("keys", "make").out)
    del keys["rsa_keys"]
    environment = {"PAIRING_SIGNING_KEYS": json.dumps(keys)}
    done = run("client", "add", "App", "--redirect-uri", CALLBACK, "--id-token-alg", "RS256", **environment)
    assert (done.code, done.err.splitlines()[-1:]) == (
        1, ["pairing-ws: no key here signs RS256, but ES256 alone; `pairing-ws keys rotate` makes one (bad_request)"]
    )  # fmt: skip
    made = json.loads(run("client", "add", "App", "--redirect-uri", CALLBACK, "--json", **environment).out)
    assert made["id_token_signed_response_alg"] == "ES256"


def test_locking_deleting_and_removing_by_the_command_line_owe_applications_a_logout(run: Run) -> None:
    """What a server that runs beside it delivers."""
    app = add(run, "App", "--redirect-uri", CALLBACK, "--backchannel-logout-uri", "https://app.example.com/logout")
    for name in ("alice", "bob", "carol"):
        run("invite", name)
    with closing(sqlite3.connect("pairing.db")) as database, database:
        users = dict(database.execute("SELECT username, id FROM users").fetchall())
        for name, user in users.items():
            database.execute(
                "INSERT INTO oauth_grants VALUES"
                " (?, ?, ?, 's', 'd', ?, 'openid', 1, 0, 0, '', 9e15, 9e15, 0, 'qr', NULL, ?, '', '[]', NULL, 0,"
                " NULL, NULL, NULL)",
                (name, user, app["client_id"], name, name),
            )

    def owed() -> list[str]:
        with closing(sqlite3.connect("pairing.db")) as database:
            return [grant for (grant,) in database.execute("SELECT grant_id FROM oauth_logouts ORDER BY id")]

    run("user", "lock", "alice")
    assert owed() == ["alice"]
    run("user", "delete", "bob", "--yes")
    assert owed() == ["alice", "bob"]
    run("client", "remove", "App", "--yes")
    assert owed() == ["alice", "bob", "carol"]
