"""`DATABASE_URL` taken apart: a SQLite file, or PostgreSQL as libpq is told of it. Pure; nothing is connected here."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite"})
# After the plus stands the driver that SQLAlchemy would take, in URLs written for another program.
_POSTGRESQL = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?")
_LOCATION = re.compile(r"(/.*|\[[^\[\]]+\]|[^:\[\]/]+)(?::([0-9]+))?")
# Meant for libpq itself; the driver would hand them to the server, which refuses what it does not know.
_FOR_LIBPQ = frozenset(
    {"channel_binding", "client_encoding", "connect_timeout", "fallback_application_name", "gssencmode"}
    | {"keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"}
    | {"sslcompression", "sslsni"}
)
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
# Those of SQLite's own file: addresses.
_SQLITE_OPTIONS = frozenset({"cache", "immutable", "mode", "nolock", "uri", "vfs"})
_WORD = re.compile(r"[a-z_]{1,40}")
_EXPECTED = (
    "should be sqlite:///file or postgresql://user:password@host/database, special characters of the password as %XX"
)


@dataclass(frozen=True)
class DatabaseAddress:
    """`url` is SQLAlchemy's for SQLite, the driver's own for PostgreSQL. `file` is SQLite's; `hosts` are PostgreSQL's,
    none if it is found by the driver's defaults; `options` are those that the URL sets in it."""

    url: str = field(repr=False)
    file: Path | None = None
    hosts: tuple[tuple[str, int], ...] = ()
    options: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Where it is, without anything secret."""
        named = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return str(self.file) if self.file else named or "PostgreSQL at the driver's default"

    @classmethod
    def parse(cls, url: str) -> "DatabaseAddress":
        """Raises ValueError, whose text holds no part of the URL."""
        try:
            parts = urlsplit(url)
            if parts.scheme in _SQLITE:
                return cls._of_sqlite(url)
            if _POSTGRESQL.fullmatch(parts.scheme):
                return cls._of_postgresql(parts)
        except _Unsafe:
            raise
        except (ArgumentError, ValueError):
            pass
        raise ValueError(_EXPECTED)

    @classmethod
    def _of_sqlite(cls, url: str) -> "DatabaseAddress":
        parsed = make_url(url).set(drivername="sqlite")
        # Every connection to a database in memory would see one of its own.
        if parsed.database in (None, "", ":memory:"):
            raise ValueError
        if unknown := parsed.query.keys() - _SQLITE_OPTIONS:
            named = ", ".join(sorted(each if _WORD.fullmatch(each) else "…" for each in unknown))
            raise _Unsafe(f"has options that are not known for SQLite: {named}; it {_EXPECTED}")
        return cls(parsed.render_as_string(hide_password=False), file=Path(str(parsed.database)))

    @classmethod
    def _of_postgresql(cls, parts: SplitResult) -> "DatabaseAddress":
        # A password with a bare @, / or # in it would be taken for a host or a name, and shown in errors as such.
        if parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment:
            raise ValueError
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if "ssl" in query:
            # `true` is what libpq takes from JDBC; SQLAlchemy's URLs for asyncpg have the mode here.
            ssl = query.pop("ssl")
            query.setdefault("sslmode", "require" if ssl == "true" else ssl)
        if query.get("channel_binding") == "require":
            raise _Unsafe("asks for channel_binding=require, which its driver can't do; ask for sslmode=verify-full")
        if query.get("sslmode", "prefer") not in _SSL_MODES:
            raise _Unsafe(f"has a sslmode that is none of {', '.join(sorted(_SSL_MODES))}; it {_EXPECTED}")
        kept = {name: value for name, value in query.items() if name not in _FOR_LIBPQ}
        hosts = _hosts(parts.netloc.rpartition("@")[2] or query.get("host", ""), query.get("port", ""))
        if not (parts.path.strip("/") or kept.keys() & {"dbname", "database", "service"}):
            raise ValueError
        if len(hosts) > 1:
            # A standby would take connections and refuse every write.
            kept.setdefault("target_session_attrs", "read-write")
        url = f"postgresql://{parts.netloc}{parts.path}{'?' if kept else ''}{urlencode(kept)}"
        return cls(url, hosts=hosts, options=frozenset(kept))


class _Unsafe(ValueError):
    """The URL demands what would be silently missing."""


def _hosts(locations: str, ports: str) -> tuple[tuple[str, int], ...]:
    named = locations.split(",") if locations else []
    defaults = ports.split(",") if ports else ["5432"]
    if len(defaults) == 1:
        defaults *= len(named)
    return tuple(_host(*each) for each in zip(named, defaults, strict=True))


def _host(location: str, default: str) -> tuple[str, int]:
    match = _LOCATION.fullmatch(location)
    port = int(match[2] or default) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError
    return unquote(match[1].strip("[]")), port
