"""`REDIS_URL` taken apart: one server, Sentinel, or a Cluster. Pure; nothing is connected here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal["server", "sentinel", "cluster"]

_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_OPTIONS = _TLS_OPTIONS | _SENTINEL_OPTIONS | {"username", "password", "db"}
_WORD = re.compile(r"[a-z_]{1,40}")
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_KINDS: dict[str, tuple[Kind, int]] = {
    "": ("server", 6379),
    "sentinel": ("sentinel", 26379),
    "cluster": ("cluster", 6379),
}
_FALSE = ("", "0", "f", "false", "n", "no")
# RFC 3986, appendix B. `urlsplit` knows of one host: of several it refuses, in some versions, an IPv6 one in brackets.
_PARTS = re.compile(r"([^:/?#]+):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_EXPECTED = "should be redis://host:port/db, redis+sentinel://host:port,host:port/master or redis+cluster://host:port"


@dataclass(frozen=True)
class TlsOptions:
    """`verify` is "required", "optional" or "none". Without `ca_file`, the system's authorities count."""

    ca_file: str = ""
    verify: str = "required"
    check_hostname: bool = True
    certificate_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class RedisAddress:
    """`hosts` are those of the Sentinels or of some Cluster nodes; for a Unix socket there is `path` alone. `service`
    is the name that Sentinel knows the master by. Credentials are "" where there are none. `options` are the names of
    those that the URL has."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    service: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    sentinel_username: str = ""
    sentinel_password: str = ""
    tls: TlsOptions | None = None
    options: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Where it is, without anything secret."""
        return self.path or ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Raises ValueError, whose text holds no part of the URL."""
        try:
            return cls._parse(url)
        except _Complaint as complaint:
            raise ValueError(f"{complaint}; it {_EXPECTED}") from None
        except ValueError:
            raise ValueError(_EXPECTED) from None

    def trusting(self, authority: Path | None, *, verified: bool) -> "RedisAddress":
        """With settings of our own for TLS, for platforms that set the URL themselves. What the URL says goes first."""
        tls = self.tls
        if tls and authority and "ssl_ca_certs" not in self.options:
            tls = replace(tls, ca_file=str(authority))
        if tls and not verified:
            tls = replace(
                tls,
                verify=tls.verify if "ssl_cert_reqs" in self.options else "none",
                check_hostname=tls.check_hostname if "ssl_check_hostname" in self.options else False,
            )
        return replace(self, tls=tls)

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
        credentials, _, locations = authority.rpartition("@")
        hosts = () if name == "unix" else tuple(_host(each, port) for each in locations.split(","))
        service = socket = ""
        if kind == "sentinel":
            service, _, path = path.removeprefix("/").partition("/")
        database = path.removeprefix("/")
        if name == "unix":
            socket, database = unquote(path), ""
        username, _, password = (unquote(each) for each in credentials.partition(":"))
        options = {each: values[0] for each, values in parse_qs(query).items()}
        secured = name in ("rediss", "valkeys")
        _check(options, kind, has_tls=secured)
        address = cls(
            kind,
            hosts,
            socket,
            unquote(service),
            username or options.get("username", ""),
            password or options.get("password", ""),
            int(options.get("db", database or 0)),
            options.get("sentinel_username", ""),
            options.get("sentinel_password", ""),
            _tls(options) if secured else None,
            frozenset(options),
        )
        numbered = (not database or database.isdigit()) and address.database >= 0
        reached = bool(socket.strip("/")) if name == "unix" else kind != "server" or len(hosts) == 1
        if (
            not numbered
            or not reached
            or (kind == "sentinel" and not service)
            or (kind == "cluster" and address.database)
        ):
            raise ValueError
        return address


class _Complaint(ValueError):
    """Says more than what is expected, and quotes nothing but the names of options."""


def _check(options: Iterable[str], kind: Kind, *, has_tls: bool) -> None:
    given = set(options)
    known = _OPTIONS if has_tls else _OPTIONS - _TLS_OPTIONS
    if unknown := given - _OPTIONS:
        raise _Complaint(f"has options that are not known here: {_named(unknown)}; there are {_named(_OPTIONS)}")
    if kind != "sentinel" and given & _SENTINEL_OPTIONS:
        raise _Complaint("has options for Sentinel, and is not redis+sentinel://")
    if given - known:
        raise _Complaint(f"has options for TLS, and is not rediss://: {_named(given - known)}")


def _tls(options: dict[str, str]) -> TlsOptions:
    # CERT_NONE is how Celery and Python itself spell it.
    verify = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if verify not in ("none", "optional", "required"):
        raise _Complaint("has an ssl_cert_reqs other than none, optional or required")
    return TlsOptions(
        options.get("ssl_ca_certs", ""),
        verify,
        options.get("ssl_check_hostname", "true").lower() not in _FALSE,
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
    )


def _named(options: Iterable[str]) -> str:
    # What is no plain word may be a part of a password with a bare question mark in it.
    return ", ".join(sorted(each if _WORD.fullmatch(each) else "…" for each in options))


def _host(location: str, port: int) -> tuple[str, int]:
    one = urlsplit(f"//{location}")
    if one.port == 0:
        raise ValueError
    return one.hostname or "localhost", one.port or port
