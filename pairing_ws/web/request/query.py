"""The query string."""

from urllib.parse import parse_qsl

from pairing_ws.core.errors import Code, Refused

# Of a query string, of which no call needs more than two short numbers.
MAX_QUERY = 1024
MAX_QUERY_FIELDS = 16


def query_value(query: bytes, name: str) -> str | None:
    """The value of that name; None if there is none. Raises BAD_REQUEST if there are several."""
    if not query:
        return None
    if len(query) > MAX_QUERY or query.count(b"&") >= MAX_QUERY_FIELDS:
        raise Refused(Code.BAD_REQUEST, f"a query has at most {MAX_QUERY_FIELDS} fields and {MAX_QUERY} characters")
    found = [value for each, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if each == name]
    if len(found) > 1:
        raise Refused(Code.BAD_REQUEST, f"{name} can be given once")
    return found[0] if found else None
