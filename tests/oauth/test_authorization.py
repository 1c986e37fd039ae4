"""What an authorization request may say, as a table: what is refused and to whom that is told, what is passed over."""

from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import msgspec
import pytest

from pairing_ws.oauth import authorization
from pairing_ws.oauth.authorization import AuthorizationError, AuthorizationRequest, Destination, Prompt, Unanswerable
from pairing_ws.oauth.ports import Client
from pairing_ws.oauth.redirects import is_registered, shown_host

ISSUER = "https://login.example.com/pairing"
CALLBACK = "https://app.example.com/callback"
CLIENT = Client(
    id="app",
    name="An app",
    created_at=0,
    redirect_uris=(CALLBACK, "http://127.0.0.1:7777/cb", "http://[::1]/cb?from=us", "com.example.app:/done"),
    scopes=("openid", "profile", "email"),
)
GOOD = {
    "client_id": "app",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid profile",
    "code_challenge": "a" * 43,
    "code_challenge_method": "S256",
    "state": "s t&a=te",
}


def query(leave_out: str = "", **more: Any) -> str:
    return urlencode({name: value for name, value in (GOOD | more).items() if name != leave_out}, doseq=True)


def asked(text: str, client: Client | None = CLIENT) -> tuple[AuthorizationRequest, Destination]:
    given = authorization.read(text)
    assert authorization.client_id(given) == "app"
    where = authorization.destination(given, client, ISSUER)
    assert client
    return authorization.checked(given, client, {"hint-of-ada": "ada"}.get), where


def refused(text: str) -> str:
    with pytest.raises(AuthorizationError) as told:
        asked(text)
    return told.value.error


def test_a_good_request_is_read_whole() -> None:
    request, where = asked(query(nonce="n", max_age="60", prompt="login consent", dpop_jkt="j" * 43))
    assert request == AuthorizationRequest(
        client=CLIENT,
        redirect_uri=CALLBACK,
        scopes=("openid", "profile"),
        code_challenge="a" * 43,
        nonce="n",
        prompt=frozenset({Prompt.LOGIN, Prompt.CONSENT}),
        max_age=60,
        dpop_jkt="j" * 43,
    )
    assert where == Destination(CALLBACK, "s t&a=te", ISSUER)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (query("response_type"), "invalid_request"),
        (query(response_type="token"), "unsupported_response_type"),
        (query(response_type="code id_token"), "unsupported_response_type"),
        (query(response_mode="fragment"), "invalid_request"),
        (query(response_mode="form_post"), "invalid_request"),
        (query("scope"), "invalid_scope"),
        (query(scope='openid "'), "invalid_scope"),
        (query(scope="write:things"), "invalid_scope"),
        (query(scope="x" * 1025), "invalid_request"),
        (query("code_challenge"), "invalid_request"),
        (query(code_challenge="short"), "invalid_request"),
        (query(code_challenge="a" * 42 + "="), "invalid_request"),
        (query("code_challenge_method"), "invalid_request"),
        (query(code_challenge_method="plain"), "invalid_request"),
        (query(code_challenge_method="s256"), "invalid_request"),
        (query(state="x" * 2049), "invalid_request"),
        (query(state="a\nb"), "invalid_request"),
        (query(nonce="x" * 1025), "invalid_request"),
        (query(nonce="a\0b"), "invalid_request"),
        (query(prompt="none login"), "invalid_request"),
        (query(max_age="-1"), "invalid_request"),
        (query(max_age="soon"), "invalid_request"),
        (query(max_age="1" * 10), "invalid_request"),
        (query(dpop_jkt="short"), "invalid_request"),
        (query(claims="no json"), "invalid_request"),
        (query(claims="[]"), "invalid_request"),
        (query(claims="{" * 40), "invalid_request"),
        (query(claims='{"a":"' + "x" * 4096 + '"}'), "invalid_request"),
        (query(request="eyJ"), "request_not_supported"),
        (query(request_uri="https://evil.example/r"), "request_uri_not_supported"),
        (query(registration="{}"), "registration_not_supported"),
        (query(state=["a", "b"]), "invalid_request"),
        (query(scope=["openid", "openid"]), "invalid_request"),
        (query(code_challenge_method=["S256", "plain"]), "invalid_request"),
        (query(nonce=["", "n"]), "invalid_request"),
    ],
)
def test_what_is_wrong_for_a_client_that_is_known_is_told_to_it(text: str, error: str) -> None:
    assert refused(text) == error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (query("client_id"), "no_client"),
        (query(client_id=""), "no_client"),
        (query(client_id=["app", "app"]), "no_client"),
        (query(client_id="a\x00pp"), "unknown_client"),
        (query("redirect_uri"), "no_redirect"),
        (query(redirect_uri=[CALLBACK, CALLBACK]), "no_redirect"),
        (query(redirect_uri=CALLBACK + "/"), "foreign_redirect"),
        (query(state="x" * 8192), "malformed"),
        (query() + "&state=%ff", "malformed"),
        (query() + "&a=b" * 64, "malformed"),
    ],
)
def test_what_leaves_nobody_to_be_told_is_told_to_the_person(text: str, reason: str) -> None:
    with pytest.raises(Unanswerable) as told:
        asked(text)
    assert told.value.reason == reason


def test_an_unknown_client_is_told_to_the_person() -> None:
    with pytest.raises(Unanswerable) as told:
        asked(query(), client=None)
    assert told.value.reason == "unknown_client"


@pytest.mark.parametrize(
    "more",
    [
        {"login_hint": "ada"},
        {"ui_locales": "de en"},
        {"claims_locales": "de"},
        {"display": "popup"},
        {"display": "nonsense"},
        {"acr_values": "urn:gold 1"},
        {"id_token_hint": "not.a.token"},
        {"prompt": "create"},
        {"resource": ["https://a.example", "https://b.example"]},
        {"extra": "foobar"},
        {"max_age": ""},
        {"nonce": ""},
        {"claims": '{"userinfo": {"name": {"essential": true}}}'},
    ],
)
def test_wishes_unknown_words_and_empty_parameters_are_no_error(more: dict[str, Any]) -> None:
    assert asked(query(**more)) == asked(query())


def test_scopes_that_the_client_cannot_get_are_passed_over() -> None:
    request, _ = asked(query(scope="email groups openid email read:things"))
    assert request.scopes == ("email", "openid")
    anything = msgspec.structs.replace(CLIENT, scopes=())
    request, _ = asked(query(scope="offline_access read:things openid"), anything)
    assert request.scopes == ("offline_access", "openid")


def test_a_hint_names_the_account_that_the_request_is_about() -> None:
    assert asked(query(id_token_hint="hint-of-ada"))[0].subject == "ada"
    claims = '{"id_token": {"sub": {"value": "bob"}}}'
    assert asked(query(claims=claims, id_token_hint="hint-of-ada"))[0].subject == "bob"


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK,
        "http://127.0.0.1:7777/cb",
        "http://127.0.0.1:50123/cb",
        "http://127.0.0.1/cb",
        "http://[::1]:1/cb?from=us",
        "com.example.app:/done",
    ],
)
def test_a_registered_address_is_taken_and_a_loopback_one_at_any_port(uri: str) -> None:
    assert is_registered(uri, CLIENT.redirect_uris)


@pytest.mark.security(39)
@pytest.mark.parametrize(
    "uri",
    [
        "https://APP.example.com/callback",
        "HTTPS://app.example.com/callback",
        "https://app.example.com/Callback",
        "https://app.example.com/callback/",
        "https://app.example.com/callback?",
        "https://app.example.com/callback#",
        "https://app.example.com/callback#code",
        "https://app.example.com:443/callback",
        "https://app.example.com:444/callback",
        "https://app.example.com./callback",
        "https://app.example.com/./callback",
        "https://app.example.com/%2e/callback",
        "https://app.example.com/x/../callback",
        "https://app.example.com/x/%2e%2e/callback",
        "https://app.example.com/callback%00",
        "https://app.example.com/callback%0d%0aSet-Cookie:a=b",
        "https://app.example.com/callback ",
        " https://app.example.com/callback",
        "https://app.example.com@evil.example/callback",
        "https://user@app.example.com/callback",
        "https://app.example.com.evil.example/callback",
        "https://evil.example/https://app.example.com/callback",
        "//app.example.com/callback",
        "https:/app.example.com/callback",
        "https:\\\\app.example.com/callback",
        "http://app.example.com/callback",
        "http://localhost:7777/cb",
        "http://127.0.0.2:7777/cb",
        "http://127.0.0.1:7777/CB",
        "http://127.0.0.1:7777/cb?x=y",
        "http://127.0.0.1:7777/cb#",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1.evil.example/cb",
        "https://127.0.0.1:7777/cb",
        "http://[::1]:1/cb",
        "http://[::1%25lo]:1/cb?from=us",
        "com.example.app:/done/",
        "com.example.app://done",
        "",
    ],
)
def test_a_lookalike_of_a_registered_address_is_none(uri: str) -> None:
    assert not is_registered(uri, CLIENT.redirect_uris)


@pytest.mark.security(39)
@pytest.mark.parametrize("uri", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,hi", "file:///etc"])
def test_an_address_that_a_browser_would_run_is_never_taken(uri: str) -> None:
    assert not is_registered(uri, (uri,))


def test_every_answer_says_who_gives_it_and_repeats_the_state_behind_the_addresss_own_query() -> None:
    for answer in (
        Destination("https://app.example.com/cb?a=b", "s t&a=te", ISSUER).with_code("code"),
        Destination("https://app.example.com/cb?a=b", "s t&a=te", ISSUER).with_error("access_denied", "no"),
    ):
        assert answer.startswith("https://app.example.com/cb?a=b&")
        assert dict(parse_qsl(urlsplit(answer).query)).items() >= {"a": "b", "state": "s t&a=te", "iss": ISSUER}.items()
    assert "state" not in parse_qs(urlsplit(Destination(CALLBACK, None, ISSUER).with_code("code")).query)


@pytest.mark.parametrize("state", [["a", "b"], "x" * 2049, "a\nb"])
def test_a_state_that_cannot_be_repeated_is_left_out(state: Any) -> None:
    given = authorization.read(query(state=state))
    assert authorization.destination(given, CLIENT, ISSUER).state is None


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        (CALLBACK, "app.example.com"),
        ("http://127.0.0.1:7777/cb", "127.0.0.1:7777"),
        ("https://you@app.example.com/", "app.example.com"),
        ("com.example.app:/done", "com.example.app:"),
    ],
)
def test_people_see_where_the_answer_goes(uri: str, host: str) -> None:
    assert shown_host(uri) == host
