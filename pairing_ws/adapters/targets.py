"""Whom this server may send requests to that somebody else has named: which addresses, and no others (SSRF).

A name is resolved once, all its addresses are checked, and the request goes to one that was checked: a name that leads
elsewhere a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# Not the loop's own threads: names whose servers do not answer would take them all.
_RESOLVERS = ThreadPoolExecutor(16, thread_name_prefix="resolve")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# IPv6 addresses that hold an IPv4 address where a gateway finds it: NAT64 (RFC 6052) and IPv4-compatible ones.
_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Where clouds keep a machine's own credentials, beside the link-local ones: AWS by IPv6, Alibaba, Oracle.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))


class ForbiddenTarget(ValueError):
    """Nothing is sent there. The text says why."""


class Target(NamedTuple):
    """`address` is the one to connect to, `host` what to name in the request and to ask the certificate for."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


class Targets:
    """`allow_private`: also addresses of private networks and of this machine, and those without TLS. Link-local
    addresses and those of a cloud's metadata are never allowed: no application is there."""

    def __init__(self, *, allow_private: bool, resolve: Resolve | None = None) -> None:
        self._allow_private = allow_private
        self._resolve = resolve or system_addresses

    async def checked(self, url: str) -> Sequence[Target]:
        """Where a request to `url` may be sent: the addresses of its host, each of them allowed. Raises
        ForbiddenTarget, and OSError if the name can't be resolved."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ForbiddenTarget("it is no address") from error
        if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc or parts.fragment:
            raise ForbiddenTarget("it is no https address without user and fragment")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ForbiddenTarget("it has letters that an address has not")
        port = port or {"https": 443, "http": 80}[parts.scheme]
        found = await self._resolve(host, port)
        if not found:
            raise OSError(f"{host} has no address")
        for each in found:
            self._check(each, parts.scheme)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return [Target(parts.scheme, host, port, each, path) for each in found]

    def _check(self, text: str, scheme: str) -> None:
        address = _embedded(ipaddress.ip_address(text))
        if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
            raise ForbiddenTarget(f"{text} is no address of an application")
        if not address.is_global and not self._allow_private:
            raise ForbiddenTarget(f"{text} is an address of a private network or of this machine")
        if scheme != "https" and (address.is_global or not self._allow_private):
            raise ForbiddenTarget("it is no https address")


async def system_addresses(host: str, port: int, threads: ThreadPoolExecutor = _RESOLVERS) -> Sequence[str]:
    """What this machine resolves the name to, without doubles. Raises OSError."""
    try:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    except UnicodeError as error:
        raise OSError(f"{host[:64]!r} is no name of a host") from error
    # A link-local IPv6 address comes with its interface.
    return list(dict.fromkeys(str(where[0]).partition("%")[0] for *_, where in found))


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that a gateway or the system itself would go to in the end; any other as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]:
        return inner
    # `::` and `::1` are addresses of their own.
    if int(address) > 1 and any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
