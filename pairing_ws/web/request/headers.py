"""The header fields of a request, indexed once."""

from starlette.types import Scope


class RequestHeaders:
    """Header fields of an ASGI scope. Names are given in lower case, as ASGI has them.

    Starlette's own `Headers` goes through all fields at each question; this looks at them once.
    """

    def __init__(self, scope: Scope) -> None:
        self._fields: list[tuple[bytes, bytes]] = scope["headers"]
        # The first field of each name.
        self._named: dict[bytes, bytes] = dict(reversed(self._fields))

    def all(self, name: bytes) -> list[str]:
        """The values of every field of that name, in order, as Latin-1."""
        if name not in self._named:
            return []
        if len(self._named) == len(self._fields):
            return [self._named[name].decode("latin-1")]
        return [value.decode("latin-1") for each, value in self._fields if each == name]

    def first(self, name: bytes) -> str:
        """The first value of that name as Latin-1; "" if there is none."""
        return self.raw(name).decode("latin-1")

    def raw(self, name: bytes) -> bytes:
        """The first value of that name as it came; b"" if there is none."""
        return self._named.get(name, b"")

    @property
    def origin(self) -> str | None:
        """None if there is none. Several are joined, and equal no allowed origin."""
        return ", ".join(self.all(b"origin")) if b"origin" in self._named else None

    @property
    def forwarded(self) -> bool:
        """Whether a proxy of any kind has left a header."""
        return any(
            name in (b"forwarded", b"via", b"x-real-ip") or name.startswith(b"x-forwarded-") for name in self._named
        )
