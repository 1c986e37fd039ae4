"""The head of a response as bytes (RFC 9112, sections 4 and 5)."""

import re
from collections.abc import Sequence
from http import HTTPStatus

Field = tuple[bytes, bytes]

_NO_NAME = re.compile(rb"[^A-Za-z0-9!#$%&'*+.^_`|~-]")
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class HeaderLineCache(dict[Field, bytes]):
    """The line of each field. The same few go with every response: to check and join them takes as long as all else of
    a whole response. No cookie is remembered, and at most MAX_LINES in all."""

    MAX_LINES = 1024

    def __missing__(self, field: Field) -> bytes:
        """Raises RuntimeError for a name or a value that would not stay one field (RFC 9110, sections 5.1 and 5.5), and
        KeyError where the name of a field that frames the body is not in lower case."""
        name, value = field
        if not name or _NO_NAME.search(name) or _NO_VALUE.search(value):
            raise RuntimeError("a header has an impossible name or value")
        lower = name.lower()
        if lower in _FRAMING and lower != name:
            raise KeyError(name)
        line = b"%b: %b\r\n" % (lower, value)
        if lower != b"set-cookie":
            if len(self) >= self.MAX_LINES:
                self.clear()
            self[field] = line
        return line


_lines = HeaderLineCache()
_STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 600)} | {
    each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}


def serialize_head(
    status: int, fields: Sequence[Field], *, keep_alive: bool, has_body: bool = True
) -> tuple[bytes, int | None, bool]:
    """The head, the bytes of its body or None if that is chunked, and whether the connection stays open.

    Adds what frames the body if no field does, and `connection: close` where the connection ends. `has_body` is False
    for responses to HEAD, and of 204 and 304. Raises RuntimeError for impossible fields.
    """
    try:
        lines = [*map(_lines.__getitem__, fields)]
    except (TypeError, KeyError):
        # ASGI allows lists, which are no keys, and wants names in lower case, which not all applications know.
        fields = [(name.lower(), value) for name, value in fields]
        lines = [*map(_lines.__getitem__, fields)]
    named = dict(fields)
    says_close = b"connection" in named and b"close" in _tokens(named[b"connection"])
    keep_alive = keep_alive and not says_close
    if not keep_alive and not says_close:
        lines.append(b"connection: close\r\n")
    length: int | None = int(named.get(b"content-length", 0)) if has_body else 0
    is_chunked = named.get(b"transfer-encoding", b"").lower() == b"chunked"
    if has_body and (is_chunked or b"content-length" not in named):
        length = None
        if not is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
    return b"".join([_STATUS_LINES[status], *lines, b"\r\n"]), length, keep_alive


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip() for token in value.lower().split(b",")}
