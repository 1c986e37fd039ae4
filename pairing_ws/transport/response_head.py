"""The head of a response as bytes (RFC 9112, sections 4 and 5)."""

import re
from collections.abc import Iterable
from http import HTTPStatus

Field = tuple[bytes, bytes]

_NO_NAME = re.compile(rb"[^A-Za-z0-9!#$%&'*+.^_`|~-]")
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class FramingLine(bytes):
    """The line of a field that says where the response or the connection ends."""

    length: int | None = None
    is_chunked = False
    # None if it says nothing of the connection's end.
    closes: bool | None = None

    @classmethod
    def of(cls, name: bytes, value: bytes) -> "FramingLine":
        line = cls(b"%b: %b\r\n" % (name, value))
        if name == b"content-length":
            line.length = int(value)
        elif name == b"transfer-encoding":
            line.is_chunked = value.lower() == b"chunked"
        else:
            line.closes = b"close" in {token.strip() for token in value.lower().split(b",")}
        return line


class HeaderLineCache(dict[Field, bytes]):
    """The line of each field. The same few go with every response: to check and join them takes as long as all else of
    a whole response. No cookie is remembered, and at most MAX_LINES in all."""

    MAX_LINES = 1024

    def __missing__(self, field: Field) -> bytes:
        """Raises RuntimeError for a name or a value that would not stay one field (RFC 9110, sections 5.1 and 5.5)."""
        name, value = field
        if not name or _NO_NAME.search(name) or _NO_VALUE.search(value):
            raise RuntimeError("a header has an impossible name or value")
        name = name.lower()
        line = FramingLine.of(name, value) if name in _FRAMING else b"%b: %b\r\n" % (name, value)
        if name != b"set-cookie":
            if len(self) >= self.MAX_LINES:
                self.clear()
            self[field] = line
        return line


_lines = HeaderLineCache()
_STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 600)} | {
    each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}


def serialize_head(
    status: int, fields: Iterable[Field], *, keep_alive: bool, has_body: bool = True
) -> tuple[bytes, int | None, bool]:
    """The head, the bytes of its body or None if that is chunked, and whether the connection stays open.

    Adds what frames the body if no field does, and `connection: close` where the connection ends. `has_body` is False
    for responses to HEAD, and of 204 and 304. Raises RuntimeError for impossible fields.
    """
    try:
        lines = [*map(_lines.__getitem__, fields)]
    except TypeError:
        # ASGI allows lists, which are no keys.
        lines = [_lines[name, value] for name, value in fields]
    length, is_chunked, says_close = None, False, False
    for line in [each for each in lines if each.__class__ is FramingLine]:
        assert isinstance(line, FramingLine)
        if line.length is not None:
            length = line.length
        elif line.closes is not None:
            says_close = says_close or line.closes
        else:
            is_chunked = line.is_chunked
    keep_alive = keep_alive and not says_close
    if not keep_alive and not says_close:
        lines.append(b"connection: close\r\n")
    if not has_body:
        length, is_chunked = 0, False
    elif length is None and not is_chunked:
        is_chunked = True
        lines.append(b"transfer-encoding: chunked\r\n")
    return b"".join([_STATUS_LINES[status], *lines, b"\r\n"]), None if is_chunked else length, keep_alive
