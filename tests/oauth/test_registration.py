"""Which addresses and origins can be registered of a client: those that have one spelling and one owner."""

import pytest

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth import registration

USABLE = [
    "https://app.example.com/callback",
    "https://app.example.com",
    "https://app.example.com:8443/a/b?tenant=1&x=%20y",
    "https://xn--bcher-kva.example/cb",
    "https://192.0.2.1/cb",
    "https://[2001:db8::1]:8443/cb",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:3000/callback",
    "http://[::1]:3000/callback",
    "http://localhost:3000/api/auth/callback/qr",
    "com.example.app:/callback",
    "com.example.app-2://callback/path?x=1",
]
UNUSABLE = {
    "a host elsewhere without TLS": "http://app.example.com/cb",
    "a lookalike of this machine": "http://127.0.0.1.example.com/cb",
    "another lookalike": "http://localhost.example.com/cb",
    "an address of this network": "http://192.168.1.2/cb",
    "a decimal address": "http://2130706433/cb",
    "a user name": "https://app@example.com/cb",
    "an empty user name": "https://@example.com/cb",
    "this machine as a user name": "http://127.0.0.1@evil.example/cb",
    "a user name in an app's address": "com.example.app://app@callback",
    "a fragment": "https://app.example.com/cb#x",
    "an empty fragment": "https://app.example.com/cb#",
    "no scheme": "app.example.com/cb",
    "no host": "https:///cb",
    "no slashes": "https:app.example.com",
    "a port alone": "https://:443/cb",
    "a port that is none": "https://app.example.com:99999/cb",
    "a port with letters": "https://app.example.com:x/cb",
    "a wildcard": "https://*.example.com/cb",
    "a backslash": "https://app.example.com\\@evil.example/cb",
    "a space": "https://app.example.com/a b",
    "a line's end": "https://app.example.com/cb\n",
    "a tab in its scheme": "ht\ttps://app.example.com/",
    "letters beyond ASCII": "https://bücher.example/cb",
    "capitals in its scheme": "HTTPS://app.example.com/cb",
    "a dotted path": "https://app.example.com/a/../b",
    "an escaped dotted path": "https://app.example.com/a/%2e%2E/b",
    "a script": "javascript:alert(1)",
    "data": "data:text/html,x",
    "a file": "file:///etc/passwd",
    "a scheme that anybody may have": "myapp:/callback",
    "a scheme of the host's": "vscode://extension/cb",
    "nothing": "",
    "a scheme alone": "com.example.app:",
    "too much": "https://app.example.com/" + "x" * 2048,
}


@pytest.mark.parametrize("uri", USABLE)
def test_addresses_that_have_one_owner_can_be_registered_to_the_letter(uri: str) -> None:
    assert registration.redirect_uris([uri, uri]) == (uri,)


@pytest.mark.parametrize("uri", UNUSABLE.values(), ids=UNUSABLE)
def test_others_are_refused_with_what_is_wrong_with_them(uri: str) -> None:
    with pytest.raises(Refused) as caught:
        registration.redirect_uris([uri], "redirect URI")
    assert caught.value.code is Code.BAD_REQUEST
    assert caught.value.detail.startswith(f"redirect URI {uri!r}: ")


@pytest.mark.parametrize("uri", ["com.example.app:/logout", "http://app.example.com/", "https://a@b.example/"])
def test_where_a_client_is_told_of_logouts_is_on_the_web(uri: str) -> None:
    with pytest.raises(Refused):
        registration.web_address(uri, "back-channel logout URI")


def test_a_client_has_a_bounded_number_of_addresses() -> None:
    many = [f"https://app.example.com/{number}" for number in range(51)]
    assert len(registration.redirect_uris(many[:50])) == 50
    with pytest.raises(Refused):
        registration.redirect_uris(many)


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://a.example:8443", "http://127.0.0.1:3000"])
def test_an_origin_is_as_browsers_write_it(origin: str) -> None:
    assert registration.origins([origin]) == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "*", "null", "https://app.example.com/", "https://app.example.com/x", "https://App.example.com",
        "https://app.example.com:443", "http://app.example.com", "https://app.example.com?x", "app.example.com",
        "https://*.example.com",
    ],
)  # fmt: skip
def test_what_no_browser_sends_as_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(Refused):
        registration.origins([origin])
