"""The client's address: the connection's peer, or what trusted proxies say in `X-Forwarded-For`."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from pairing_ws.config.addresses import Network
from pairing_ws.core.network import is_in, parse
from pairing_ws.web.request.headers import RequestHeaders

# Of `X-Forwarded-For`, from its end. No chain of trusted proxies is as long.
MAX_HOPS = 16
# As some proxies (Azure's Application Gateway among them) write X-Forwarded-For: with the port.
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?")


def client_address(peer: str, headers: RequestHeaders, proxies: tuple[Network, ...]) -> str:
    """The peer's address, or what trusted proxies say it is: the last hop in X-Forwarded-For that is none of them.

    "" if the proxies name no address that can be read: their own is the same for all clients, and would make any two
    devices neighbours.
    """
    if not proxies or not is_in(peer, proxies):
        return peer
    hops = (_normalized(_without_port(hop)) for hop in islice(_last_hops(headers), MAX_HOPS))
    return next((hop for hop in hops if not is_in(hop, proxies)), "")


def _last_hops(headers: RequestHeaders) -> Iterator[str]:
    """Each entry of X-Forwarded-For, the last one first; after `MAX_HOPS` of a field, the rest of it as one."""
    for value in reversed(headers.all(b"x-forwarded-for")):
        yield from (hop.strip() for hop in reversed(value.rsplit(",", MAX_HOPS)))


def _without_port(hop: str) -> str:
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2] or "") if match else hop


def _normalized(text: str) -> str:
    """The address in its one canonical form, without a zone; "" if it is no address. A proxy passes on whatever its
    client wrote there."""
    return str(parse(text) or "")


# The same peers come again and again. Not for what is read from headers: strangers write it, of any length.
normalized_peer = lru_cache(maxsize=4096)(_normalized)
