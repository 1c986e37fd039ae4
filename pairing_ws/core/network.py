"""What observed addresses tell: whether two share a network, and which block one is in. Pure."""

import ipaddress
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

import msgspec


class Network(StrEnum):
    """How the two addresses compare, as the server saw them."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class Place(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where an address is, by a GeoIP database; each part is "" where it is not known. `country_code` is ISO 3166's."""

    country_code: str = ""
    country: str = ""
    city: str = ""


# "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
MAX_ADDRESS = 45
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse(text: str) -> _Address | None:
    """The address, an IPv4-mapped IPv6 one as IPv4; None if it is no IP address (a Unix socket's peer)."""
    bare = text.partition("%")[0]
    # Longer text is no address, and must not fill the cache: strangers write it.
    return _parse(bare) if len(bare) <= MAX_ADDRESS else None


# The standard library takes 5 µs for each, and every call asks for its peer's several times.
@lru_cache(maxsize=4096)
def _parse(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_in(text: str, networks: Iterable[_Network]) -> bool:
    """Whether the address is in one of these networks."""
    address = parse(text)
    return address is not None and any(address in network for network in networks)


def block(text: str) -> str:
    """What counts as one address in limits: an IPv4 address, or the /64 of an IPv6 one."""
    return _block(text) if len(text) <= MAX_ADDRESS else "unknown"


# As `_parse`: a call asks up to three times, and of an IPv6 address each takes 9 µs.
@lru_cache(maxsize=4096)
def _block(text: str) -> str:
    address = parse(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address) if address else "unknown"


def is_public(text: str) -> bool:
    """Whether it is a public address. A private one may be a proxy's, and stand for any client."""
    address = parse(text)
    return address is not None and address.is_global


def compare(one: str, other: str, *, public_site: bool) -> Network:
    """Whether two peers share a network. A private peer of a public site came through an undeclared proxy: unknown."""
    a, b = parse(one), parse(other)
    if a is None or b is None or a.version != b.version:
        return Network.UNKNOWN
    if public_site and not (a.is_global and b.is_global):
        return Network.UNKNOWN
    return Network.SAME if block(one) == block(other) else Network.DIFFERENT
