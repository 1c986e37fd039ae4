"""The settings about other issuers: what can be used, what is refused, and what an operator is warned of."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Run
from tests.support.issuer import PUBLIC_KEYS

ISSUER = {"issuer": "https://id.example.com", "audience": "pairing"}
UPSTREAM = {"PAIRING_UPSTREAM_ISSUER": "https://id.example.com/", "PAIRING_UPSTREAM_CLIENT_ID": "ours"}


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "their-keys.json"
    path.write_text(json.dumps(PUBLIC_KEYS))
    return str(path)


def trusting(*issuers: Any) -> dict[str, str]:
    return {"PAIRING_TRUSTED_ISSUERS": json.dumps(issuers)}


@pytest.mark.security(31)
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("x", "should be a JSON array"),
        ("{}", "should be a JSON array"),
        ("[1]", "should be a JSON array"),
        ('[{"issuer": "https://id.example.com"}]', "audience"),
        (json.dumps([ISSUER | {"audience": ""}]), "audience"),
        (json.dumps([ISSUER | {"secret": "s3cret"}]), "secret"),
        (json.dumps([ISSUER, ISSUER]), "twice"),
        (json.dumps([ISSUER | {"issuer": "id.example.com"}]), "should have addresses"),
        (json.dumps([ISSUER | {"issuer": "https://id.example.com?x"}]), "should have addresses"),
        (json.dumps([ISSUER | {"jwks_uri": "file:///etc/passwd"}]), "should have addresses"),
        (json.dumps([ISSUER | {"jwks_uri": "https://a.example/", "jwks_file": "x"}]), "name one of them"),
        (json.dumps([ISSUER | {"jwks_file": "/nowhere"}]), "can't be read"),
        (json.dumps([ISSUER | {"subject_claim": "email"}]), "another person's later"),
        (json.dumps([ISSUER | {"issuer": f"https://{n}.example"} for n in range(33)]), "more than 32"),
    ],
    ids=["no JSON", "an object", "a number", "no audience", "an empty audience", "an unknown member", "twice",
         "no address", "a query", "a file", "both", "no such file", "e-mail", "too many"],
)  # fmt: skip
def test_issuers_that_can_not_be_trusted_do_not_start(run: Run, value: str, complaint: str) -> None:
    done = run("doctor", PAIRING_TRUSTED_ISSUERS=value)
    assert done.code == 1
    assert "PAIRING_TRUSTED_ISSUERS" in done.out + done.err
    assert complaint in done.out + done.err
    # It may stand in a file of secrets: it is not quoted.
    assert "s3cret" not in done.out + done.err


@pytest.mark.security(31)
def test_a_file_of_keys_that_can_not_be_used_does_not_start(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}")
    done = run("doctor", **trusting(ISSUER | {"jwks_file": str(path)}))
    assert (done.code, "jwks_file that can't be used" in done.out + done.err) == (1, True)


@pytest.mark.security(31)
@pytest.mark.parametrize("name", UPSTREAM, ids=str)
def test_half_a_provider_does_not_start(run: Run, name: str) -> None:
    done = run("doctor", **{name: UPSTREAM[name]})
    missing = next(each for each in UPSTREAM if each != name)
    assert (done.code, f"{missing} is needed" in done.out + done.err) == (1, True)


@pytest.mark.security(31)
@pytest.mark.parametrize("value", ["x", "id.example.com", "https://a.example/#x", "https://a@b.example", "ftp://x"])
def test_a_provider_that_is_no_address_does_not_start(run: Run, value: str) -> None:
    done = run("doctor", **UPSTREAM | {"PAIRING_UPSTREAM_ISSUER": value})
    assert (done.code, "PAIRING_UPSTREAM_ISSUER should be an address" in done.out + done.err) == (1, True)


def test_an_operator_is_warned_of_issuers_that_anybody_may_pass_for(run: Run, keys: str) -> None:
    http = trusting(ISSUER | {"issuer": "http://id.example.com"})
    assert "is not https" in run("doctor", **http).out
    assert "is not https" in run("doctor", **UPSTREAM | {"PAIRING_UPSTREAM_ISSUER": "http://id.example.com"}).out
    # Whose keys are in a file is not asked.
    by_file = trusting(ISSUER | {"issuer": "http://id.example.com", "jwks_file": keys})
    assert "is not https" not in run("doctor", **by_file).out
    local = {"PAIRING_UPSTREAM_ISSUER": "http://localhost:9000"}
    assert "is no public address" in run("doctor", **UPSTREAM | local).out
    allowed = UPSTREAM | local | {"PAIRING_ALLOW_PRIVATE_TARGETS": "true"}
    assert "is no public address" not in run("doctor", **allowed).out
    opening = UPSTREAM | {"PAIRING_UPSTREAM_OPENS_ACCOUNTS": "true"}
    assert "gets one here" in run("doctor", **opening).out


def test_an_operator_is_warned_of_strangers_at_hosts_that_every_account_may_open(run: Run, keys: str) -> None:
    proxied = {
        "PAIRING_PUBLIC_URL": "https://login.example.com",
        "PAIRING_TRUSTED_PROXIES": "10.0.0.2",
        "PAIRING_FORWARD_AUTH_HOSTS": "wiki.example.com,reports.example.com=finance",
    }
    opening = UPSTREAM | {"PAIRING_UPSTREAM_OPENS_ACCOUNTS": "true"}
    exchanging = trusting(ISSUER | {"jwks_file": keys, "opens_accounts": True})
    warning = "strangers at the issuer may open those hosts"
    for each in (opening, exchanging):
        assert warning in run("doctor", **proxied, **each).out
        assert warning not in run("doctor", **each).out
    assert warning not in run("doctor", **proxied, **UPSTREAM).out
    grouped = proxied | {"PAIRING_FORWARD_AUTH_HOSTS": "reports.example.com=finance"}
    assert warning not in run("doctor", **grouped, **opening).out


def test_issuers_and_the_secret_may_be_given_as_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "issuers.json").write_text(json.dumps([ISSUER]) + "\n")
    (tmp_path / "secret").write_text("s3cret\n")
    files = {
        "PAIRING_TRUSTED_ISSUERS_FILE": str(tmp_path / "issuers.json"),
        "PAIRING_UPSTREAM_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
    }
    done = run("doctor", **UPSTREAM, **files)
    assert "PAIRING_TRUSTED" not in done.out
    assert "s3cret" not in done.out


def test_the_command_line_links_a_person_shows_it_and_takes_it_back(run: Run) -> None:
    assert run("invite", "alice").code == 0
    assert run("invite", "bob").code == 0
    person = ("https://id.example.com", "248289761001")
    assert run("user", "link", "Alice", *person).out == "248289761001 at https://id.example.com is alice.\n"
    # Again, it changes nothing; another account can't have it.
    assert run("user", "link", "alice", *person).code == 0
    refused = run("user", "link", "bob", *person)
    assert (refused.code, "'alice'" in refused.err) == (1, True)
    shown = json.loads(run("user", "show", "alice", "--json").out)
    assert shown["links"] == [{"issuer": person[0], "subject": person[1]}]
    assert "link\t248289761001 at https://id.example.com" in run("user", "show", "alice").out
    assert run("user", "unlink", "alice", *person).code == 0
    assert run("user", "unlink", "alice", *person).code == 1
    assert json.loads(run("user", "show", "alice", "--json").out)["links"] == []
    assert run("user", "link", "bob", *person).code == 0
    # Who is gone takes the link along.
    assert run("user", "delete", "bob", "--yes").code == 0
    assert run("user", "link", "alice", *person).code == 0


@pytest.mark.parametrize(
    ("username", "issuer", "subject"),
    [("nobody", "https://id.example.com", "x"), ("alice", "id.example.com", "x"), ("alice", "https://a.example", ""),
     ("alice", "https://a.example", "x" * 256), ("alice", "https://a.example", "a\tb"),
     ("alice", "https://" + "a" * 600, "x")],
    ids=["no account", "no address", "no subject", "a long subject", "a tab", "a long issuer"],
)  # fmt: skip
def test_what_can_be_no_link_is_refused(run: Run, username: str, issuer: str, subject: str) -> None:
    assert run("invite", "alice").code == 0
    for command in ("link", "unlink"):
        assert run("user", command, username, issuer, subject).code == 1


def test_a_client_is_registered_for_token_exchange_by_its_own_option(run: Run) -> None:
    added = json.loads(run("client", "add", "App", "--public", "--token-exchange", "--json").out)
    assert added["token_exchange"] is True
    assert json.loads(run("client", "set", "App", "--device-grant", "on", "--json").out)["token_exchange"] is True
    assert json.loads(run("client", "set", "App", "--no-token-exchange", "--json").out)["token_exchange"] is False
    assert json.loads(run("client", "add", "Other", "--json").out)["token_exchange"] is False
