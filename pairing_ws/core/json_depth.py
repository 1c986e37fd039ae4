"""How deep JSON may be. What a parser refuses of it differs from one Python to the next, our own limit does not."""

import re

MAX_DEPTH = 32

# One that does not end reaches to the end, or each quote in it would be tried as a beginning.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENS, _CLOSES = frozenset(b"[{"), frozenset(b"]}")
_NO_BRACKETS = bytes(set(range(256)) - _OPENS - _CLOSES)


def is_deep(text: bytes) -> bool:
    """Whether arrays and objects stand in each other more than `MAX_DEPTH` deep. To be asked before it is parsed; of
    what is no JSON any answer will do."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENS else -1
        if depth > MAX_DEPTH:
            return True
    return False
