"""The hosts of `PAIRING_FORWARD_AUTH_HOSTS`: what one may be, what it needs beside it, and which groups it is for."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from pairing_ws.config.addresses import is_host, is_loopback
from pairing_ws.config.values import NamedComplaint

NAME = "PAIRING_FORWARD_AUTH_HOSTS"


def groups_by_host(items: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """`items` are `HOST` or `HOST=GROUP`; without a group a host is for every account. Raises NamedComplaint."""
    found: dict[str, set[str]] = {}
    for each in items:
        host, equals, group = each.partition("=")
        if not is_host(host) or bool(equals) != bool(group.strip()):
            raise NamedComplaint(
                f"{NAME} should be hosts such as wiki.example.com, in small letters and with a port only where browsers"
                f" mention it, or wiki.example.com=GROUP for the members of a group, not {each!r}"
            )
        if host in found and bool(group) != bool(found[host]):
            raise NamedComplaint(f"{NAME} names {host} with a group and without: is it for all accounts?")
        found.setdefault(host, set()).update([group.strip()] if group else [])
    return {host: frozenset(groups) for host, groups in found.items()}


def check(items: Iterable[str], trusted_proxies: Iterable[str], public_url: str) -> None:
    """Raises NamedComplaint."""
    hosts = groups_by_host(items)
    public = urlsplit(public_url)
    if hosts and not trusted_proxies:
        raise NamedComplaint(f"{NAME} needs PAIRING_TRUSTED_PROXIES: nobody else may say which host is asked for")
    for host in hosts:
        if host == public.netloc:
            raise NamedComplaint(f"{NAME} can't have {host}, where people log in")
        if host.endswith(":443" if public.scheme == "https" else ":80"):
            raise NamedComplaint(f"{NAME} should have {host} without its port, which browsers do not mention")
        if public.scheme == "http" and not (is_loopback(host.partition(":")[0]) and is_loopback(public.hostname or "")):
            raise NamedComplaint(
                f"{NAME} needs an https PAIRING_PUBLIC_URL, or this machine: elsewhere cookies are planted"
            )
