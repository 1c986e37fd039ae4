"""What may be registered of a client: addresses, origins, scopes, keys (RFC 6749, section 3.1.2; RFC 8252, section 7;
RFC 9700, section 4.1). Pure. Everything here raises NotRegistrable, which is BAD_REQUEST."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.scopes import KNOWN

MAX_URI = 2048
MAX_URIS = 50
MAX_NAME = 128
MAX_KEYS = 8
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
# A name of the same machine in practice. An address with it is taken as it is written, port and all.
_LOCALHOST = "localhost"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
# What an address may be written with (RFC 3986, section 2), without what only some browsers escape.
_URI = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
# By a reversed domain name of its maker, so that no two applications have the same (RFC 8252, section 7.1).
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+")
# Members of a JWK that are nobody else's business (RFC 7518, section 6).
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class NotRegistrable(Refused):
    """BAD_REQUEST. Its text says which value, and why; `unquoted` does not repeat the value."""

    def __init__(self, text: str, unquoted: str | None = None) -> None:
        super().__init__(Code.BAD_REQUEST, text)
        self.unquoted = unquoted or text


def name(given: str) -> str:
    text = given.strip()
    if not 1 <= len(text) <= MAX_NAME or not text.isprintable():
        raise _refused(f"a client's name is 1 to {MAX_NAME} printable characters")
    return text


def redirect_uris(given: Iterable[str], what: str = "redirect URI") -> tuple[str, ...]:
    """Each once. https, http on this machine itself, or an application's own scheme."""
    found = tuple(dict.fromkeys(given))
    if len(found) > MAX_URIS:
        raise _refused(f"more than {MAX_URIS} {what}s")
    for each in found:
        scheme = _absolute(each, what).scheme
        if scheme not in ("http", "https") and not _PRIVATE_SCHEME.fullmatch(scheme):
            raise _unusable(
                what,
                each,
                "an application's own scheme is a reversed domain name, such as com.example.app:/callback (RFC 8252,"
                " section 7.1)",
            )
        if scheme in ("http", "https"):
            _require_web(each, what)
    return found


def web_address(given: str | None, what: str) -> str | None:
    """https, or http on this machine itself. None and "" for none."""
    if given:
        _absolute(given, what)
        _require_web(given, what)
    return given or None


def logo(given: str | None) -> str | None:
    if given and not _absolute(given, "logo").scheme == "https":
        raise _unusable("logo", given, "it has to begin with https://")
    return web_address(given, "logo")


def origins(given: Iterable[str]) -> tuple[str, ...]:
    """Each once, as a browser writes it in `Origin`."""
    found = tuple(dict.fromkeys(given))
    if len(found) > MAX_URIS:
        raise _refused(f"more than {MAX_URIS} origins")
    for each in found:
        parts = _absolute(each, "origin")
        _require_web(each, "origin")
        default = parts.port == {"http": 80, "https": 443}[parts.scheme]
        if each != f"{parts.scheme}://{parts.netloc.lower()}" or default:
            raise _unusable(
                "origin", each, "it is scheme, host and port as browsers write them, such as https://app.example.com"
            )
    return found


def scopes(given: Iterable[str]) -> tuple[str, ...]:
    """Each once; none for all that there are."""
    found = tuple(dict.fromkeys(given))
    for each in found:
        if each not in KNOWN:
            raise _unusable("scope", each, f"it is not known here; known are: {', '.join(KNOWN)}")
    return found


def audience(given: str, issuer: str) -> str:
    """Not the issuer: that is the `aud` of authKeys, by which resource servers tell the two apart."""
    if given == issuer:
        raise _unusable("audience", given, "it is this server's own, that of people's devices")
    if len(given) > MAX_URI or not (given.isascii() and given.isprintable()) or " " in given:
        raise _refused(f"an audience is up to {MAX_URI} printable ASCII characters without spaces")
    return given


def jwks(given: Any) -> Mapping[str, Any]:
    """Public keys. What kinds of keys can be used is their adapter's to say."""
    keys = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(keys, list) or not all(isinstance(each, dict) for each in keys):
        raise _refused('a key set is a JSON object such as {"keys": [...]} (RFC 7517)')
    if not 1 <= len(keys) <= MAX_KEYS:
        raise _refused(f"a key set has 1 to {MAX_KEYS} keys")
    for each in keys:
        if _PRIVATE_MEMBERS & each.keys():
            raise _refused("the key set holds a private key: keep it with the application, and give its public half")
    return {"keys": keys}


def _absolute(given: str, what: str) -> Any:
    """Its parts. Compared letter by letter, it must have one spelling only."""
    if "#" in given:
        raise _unusable(what, given, "it can't have a fragment")
    if len(given) > MAX_URI or not _URI.fullmatch(given):
        raise _unusable(what, given, f"it is no address of up to {MAX_URI} characters; escape what is not ASCII")
    try:
        parts = urlsplit(given)
        # Reading it is what finds a port that is none.
        _ = parts.port
    except ValueError:
        raise _unusable(what, given, "it is no address") from None
    scheme, colon, rest = given.partition(":")
    if not colon or not rest or scheme != parts.scheme:
        raise _unusable(what, given, "it has to begin with a scheme in small letters, such as https:")
    if "@" in parts.netloc:
        raise _unusable(what, given, "it can't have a user name before its host")
    if any(each in (".", "..") for each in unquote(parts.path).split("/")):
        raise _unusable(what, given, "it can't have . or .. in its path")
    return parts


def _require_web(given: str, what: str) -> None:
    parts = urlsplit(given)
    host = parts.hostname or ""
    if not _HOST.fullmatch(parts.netloc.rpartition(":")[0] if parts.port is not None else parts.netloc):
        raise _unusable(what, given, "it has no host")
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK | {_LOCALHOST}):
        return
    raise _unusable(what, given, "it has to begin with https://, or with http://127.0.0.1 for this machine")


def _refused(text: str) -> NotRegistrable:
    return NotRegistrable(text)


def _unusable(what: str, given: str, why: str) -> NotRegistrable:
    return NotRegistrable(f"{what} {given!r}: {why}", f"{what}: {why}")
