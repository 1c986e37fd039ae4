"""How deep JSON may be. Parsers of different Pythons have different limits; this one is the same for all."""

import re

MAX_DEPTH = 32

# An unterminated string reaches to the end, or the search would try each quote in it as a beginning.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENS, _CLOSES = frozenset(b"[{"), frozenset(b"]}")
_NO_BRACKETS = bytes(set(range(256)) - _OPENS - _CLOSES)


def is_deep(text: bytes) -> bool:
    """Whether arrays and objects are nested more than `MAX_DEPTH` deep. Call it before parsing; for what is no JSON the
    result has no meaning."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENS else -1
        if depth > MAX_DEPTH:
            return True
    return False
