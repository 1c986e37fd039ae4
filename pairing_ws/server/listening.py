"""The sockets that a server listens on: bound before a worker starts, one set for each."""

import errno
import socket
from typing import Any

from pairing_ws.config import settings as config
from pairing_ws.config.values import SettingsError


def bind(settings: config.Settings) -> list[list[socket.socket]]:
    """For each worker a socket per address, on one port: the kernel spreads connections evenly. Of workers that accept
    from one common socket, the one that woke last takes nearly all, and keeps them.

    Raises SettingsError if there is no such address, or if the port is another server's.
    """
    try:
        found = socket.getaddrinfo(settings.host or "0.0.0.0", settings.port, type=socket.SOCK_STREAM)
        bound: list[socket.socket] = []
        failed: OSError | None = None
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                # First without sharing: the port of another server is refused, not shared with it.
                bound.append(_bind_address(family, address, shared=False))
            except OSError as error:
                # `localhost` is an IPv6 address as well, on machines that have none.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failed = error
        if failed and not bound:
            raise failed
    except OSError as error:
        raise SettingsError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}") from None
    if settings.workers == 1:
        return [bound]
    addresses = [(each.family, each.getsockname()) for each in bound]
    for each in bound:
        each.close()
    return [[_bind_address(*address, shared=True) for address in addresses] for _ in range(settings.workers)]


def check_address(settings: config.Settings) -> None:
    """Raises SettingsError if `bind` would fail just now."""
    for bound in bind(settings.model_copy(update={"workers": 1}))[0]:
        bound.close()


def bind_again(sockets: list[socket.socket]) -> list[socket.socket]:
    """Others on the same addresses, which share them with these."""
    return [_bind_address(each.family, each.getsockname(), shared=True) for each in sockets]


def _bind_address(family: int, address: Any, *, shared: bool) -> socket.socket:
    """Bound, and without connections before a worker listens on it. `::` takes IPv4 as well, whatever the machine's
    default."""
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
