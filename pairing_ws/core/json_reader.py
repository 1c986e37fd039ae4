"""Reads JSON that somebody else has written, so that every reader after us understands the same (I-JSON, RFC 7493)."""

import codecs
import json
import math
from typing import Any

from pairing_ws.core.json_depth import MAX_DEPTH, is_deep


class TooDeep(ValueError):
    """It is nested more than `MAX_DEPTH` deep."""


def read_json(raw: bytes) -> Any:
    """What it says. Raises ValueError, whose text quotes nothing of it: for what is deeper than `MAX_DEPTH` (TooDeep),
    no UTF-8 or no JSON; for doubled keys, numbers that are none or beyond a double's range, and lone surrogates: what
    holds one of these can't be written again, neither into an answer nor into a token or the database."""
    if is_deep(raw):
        raise TooDeep(f"more than {MAX_DEPTH} levels deep")
    try:
        found = _decoder.decode(raw.removeprefix(codecs.BOM_UTF8).decode())
        if b"\\u" in raw:
            # A lone surrogate can come by an escape alone, and is what UTF-8 has no bytes for.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("no well-formed JSON with each key once") from None
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("doubled key")
    return found


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError("beyond a double")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(name)


# `json.loads` would make a decoder for each text.
_decoder = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_no_constant)
