"""Redirect URIs: whether one is registered, and the address of an answer (RFC 6749, RFC 8252, RFC 9207)."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import quote, urlencode, urlsplit

# A native application's own machine (RFC 8252, section 7.3): it can't know beforehand which port will be free. Not
# `localhost`, which may be another machine's name (section 8.3).
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::([1-9][0-9]{0,4}))?((?:[/?].*)?)", re.DOTALL)
# Schemes whose addresses a browser runs as a script, or shows as a page of ours.
_OF_BROWSERS = frozenset({"about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source"})


def is_registered(uri: str, registered: Collection[str]) -> bool:
    """Whether `uri` is one of them to the letter; for a loopback address, whatever its port."""
    if scheme_of(uri) in _OF_BROWSERS:
        # None can be registered; should one be all the same, it is never sent to a browser.
        return False
    if uri in registered:
        return True
    wanted = _without_port(uri)
    return wanted is not None and any(_without_port(each) == wanted for each in registered)


def is_registered_to_the_letter(uri: str, registered: Collection[str]) -> bool:
    """Whether `uri` is one of them, whatever it leads to, and no script for a browser."""
    return uri in registered and scheme_of(uri) not in _OF_BROWSERS


def scheme_of(uri: str) -> str:
    """In lower case; "" if there is none."""
    return uri.partition(":")[0].strip().lower() if ":" in uri else ""


def answer_address(redirect_uri: str, parameters: Mapping[str, str | None]) -> str:
    """Where the browser is sent, with those parameters that have a value behind the address's own query."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(given, quote_via=quote)}"


def shown_host(redirect_uri: str) -> str:
    """Where the answer goes, as people can compare it: host and port, or the scheme of an application on the device."""
    parts = urlsplit(redirect_uri)
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:"
    return parts.netloc.rpartition("@")[2]


def _without_port(uri: str) -> tuple[str, str] | None:
    """A loopback address and what follows its port; None for any other."""
    found = _LOOPBACK.fullmatch(uri)
    if found is None or int(found[2] or 80) > 65_535:
        return None
    return found[1], found[3]
