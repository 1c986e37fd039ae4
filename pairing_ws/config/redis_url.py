"""`REDIS_URL` taken apart: one server, Sentinel, or a Cluster. Pure; nothing is connected here."""

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

Kind = Literal["server", "sentinel", "cluster"]

NOT_STRICT = "ssl_exclude_verify_flags"
TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_OPTIONS = TLS_OPTIONS | {"username", "password", "db", "sentinel_username", "sentinel_password"}
_WORD = re.compile(r"[a-z_]{1,40}")
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_SCHEMES = {f"{name}{tls}": f"redis{tls}" for name in ("redis", "valkey") for tls in ("", "s")} | {"unix": "unix"}
_KINDS: dict[str, tuple[Kind, int]] = {
    "": ("server", 6379),
    "sentinel": ("sentinel", 26379),
    "cluster": ("cluster", 6379),
}
# RFC 3986, appendix B. `urlsplit` knows of one host: of several it refuses, in some versions, an IPv6 one in brackets.
_PARTS = re.compile(r"([^:/?#]+):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_EXPECTED = "should be redis://host:port/db, redis+sentinel://host:port,host:port/master or redis+cluster://host:port"


@dataclass(frozen=True)
class RedisAddress:
    """`hosts` are those of the Sentinels or of some Cluster nodes; `options` are redis-py's, for every data connection;
    `service` is the name that Sentinel knows the master by."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, Any]

    @property
    def name(self) -> str:
        """Where it is, without anything secret."""
        if not self.hosts:
            return str(self.options.get("path", ""))
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Raises ValueError, whose text holds no part of the URL."""
        try:
            return cls._parse(url)
        except _Said as said:
            raise ValueError(f"{said}; it {_EXPECTED}") from None
        except ValueError:
            raise ValueError(_EXPECTED) from None

    @property
    def tls(self) -> bool:
        return self.options.get("connection_class") is SSLConnection

    def trusting(self, authority: Path | None, *, verified: bool) -> "RedisAddress":
        """With settings of our own for TLS, for platforms that set the URL themselves. What the URL says goes first."""
        options = self.options
        if self.tls and authority:
            options = {"ssl_ca_certs": str(authority), NOT_STRICT: [ssl.VerifyFlags.VERIFY_X509_STRICT], **options}
        if self.tls and not verified:
            options = {"ssl_cert_reqs": "none", "ssl_check_hostname": False, **options}
        return replace(self, options=options)

    @classmethod
    def _parse(cls, url: str) -> "RedisAddress":
        parts = _PARTS.fullmatch(url.strip())
        if parts is None:
            raise ValueError
        scheme, authority, path, query = parts.groups(default="")
        name, _, suffix = scheme.lower().partition("+")
        if name not in _SCHEMES or suffix not in _KINDS or (suffix and name == "unix"):
            raise ValueError
        kind, port = _KINDS[suffix]
        credentials, at, locations = authority.rpartition("@")
        hosts = () if name == "unix" else tuple(_host(each, port) for each in locations.split(","))
        service = ""
        if kind == "sentinel":
            service, _, path = path.removeprefix("/").partition("/")
        database = path.removeprefix("/")
        if name == "unix":
            usable = bool(database)
        else:
            usable = (not database or database.isdigit()) and (kind != "server" or len(hosts) == 1)
        if not usable or (kind == "sentinel" and not service) or (kind == "cluster" and int(database or 0)):
            raise ValueError
        # redis-py reads credentials and options, but knows neither several hosts nor our kinds.
        first = locations.split(",")[0]
        options: dict[str, Any] = dict(parse_url(f"{_SCHEMES[name]}://{credentials}{at}{first}/{database}?{query}"))
        sentinel_options = {each: options.pop(each) for each in _SENTINEL_OPTIONS & options.keys()}
        known = TLS_OPTIONS | {"username", "password", "host", "port", "db", "path", "connection_class"}
        if unknown := options.keys() - known:
            raise _Said(
                f"has options that are not known here: {_named(unknown)}; there are {', '.join(sorted(_OPTIONS))}"
            )
        if sentinel_options and kind != "sentinel":
            raise _Said("has options for Sentinel, and is not redis+sentinel://")
        if options.get("ssl_cert_reqs") not in (None, "none", "optional", "required"):
            raise _Said("has an ssl_cert_reqs other than none, optional or required")
        if "ssl_ca_certs" in options:
            # From 3.13 on Python takes no authority without key identifiers, and many private ones have none.
            options[NOT_STRICT] = [ssl.VerifyFlags.VERIFY_X509_STRICT]
        if kind != "server":
            options = {each: value for each, value in options.items() if each not in ("host", "port")}
        return cls(
            kind,
            hosts,
            service,
            options,
            {each.removeprefix("sentinel_"): value for each, value in sentinel_options.items()},
        )


class _Said(ValueError):
    """A complaint that says more than what is expected, and quotes nothing but the names of options."""


def _named(options: Iterable[str]) -> str:
    # What is no plain word may be a part of a password with a bare question mark in it.
    return ", ".join(sorted(each if _WORD.fullmatch(each) else "…" for each in options))


def _host(location: str, port: int) -> tuple[str, int]:
    one = urlsplit(f"//{location}")
    if one.port == 0:
        raise ValueError
    return one.hostname or "localhost", one.port or port
