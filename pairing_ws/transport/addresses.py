"""Where a connection comes from and goes to, as ASGI scopes say it."""

from asyncio import BaseTransport
from typing import Any


def remote_address(transport: BaseTransport) -> tuple[str, int] | None:
    """Host and port of the client; None for a Unix socket's, and for one that has ended the connection already."""
    found = _address(transport, "peername")
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def local_address(transport: BaseTransport) -> tuple[str, int | None] | None:
    """Host and port, or the path of a Unix socket and None."""
    found = _address(transport, "sockname")
    if isinstance(found, str):
        return (found, None)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def is_tls(transport: BaseTransport) -> bool:
    return bool(transport.get_extra_info("sslcontext"))


def _address(transport: BaseTransport, name: str) -> Any:
    try:
        return transport.get_extra_info(name)
    except OSError:
        return None
