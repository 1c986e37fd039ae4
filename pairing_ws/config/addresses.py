"""Addresses of the web: http(s) addresses, origins and hosts, as browsers write them. Pure."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Neither a user nor a wildcard; an IPv6 address in brackets.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
_PATH = re.compile(r"[A-Za-z0-9/._~-]*")


def web_address(value: str) -> str:
    """An http(s) address as a browser spells it. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment or not _HOST.fullmatch(parts.netloc):
        raise ValueError
    if not _PATH.fullmatch(parts.path):
        raise ValueError
    host = (parts.hostname or "").lower()
    default = parts.port is None or parts.port == {"http": 80, "https": 443}[parts.scheme]
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}{'' if default else f':{parts.port}'}{parts.path.rstrip('/')}"


# Of a name or an IPv4 address, as browsers write it.
_HOST_IN_HEADER = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?")


def is_host(text: str) -> bool:
    """Whether it is what a browser sends as `Host`."""
    return _HOST_IN_HEADER.fullmatch(text) is not None


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local(host: str) -> bool:
    """Loopback, a private address, or a name that only a local network knows (RFC 6762)."""
    if is_loopback(host) or host.endswith(".local"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


# Of an app or an extension (RFC 6454): a scheme of its own, and a host, which may be one dot (Electron).
_APP_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://[A-Za-z0-9._~-]+(:[0-9]{1,5})?")
# Pages below these have no origin of their own that would tell one from another, or are no pages.
_NO_ORIGINS = frozenset({"http", "https", "ws", "wss", "file", "data", "blob", "about", "javascript", "ftp"})


def is_origin(text: str) -> bool:
    """Whether it is what some browser sends as `Origin`, to the letter, and stands for one page or app."""
    app = _APP_ORIGIN.fullmatch(text)
    if app and app[1] not in _NO_ORIGINS:
        return True
    try:
        return text == origin_of(urlsplit(web_address(text)))
    except ValueError:
        return False


def origin_of(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}"
