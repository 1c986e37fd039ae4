"""JSON as strictly as it has to be read where two readers could understand it differently (RFC 8259)."""

import re
from typing import TypeVar

import msgspec

from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.json_depth import MAX_DEPTH
from pairing_ws.core.json_reader import TooDeep, read_json

BodyT = TypeVar("BodyT", bound=msgspec.Struct)


def decode(raw: bytes, kind: type[BodyT]) -> BodyT:
    """`raw` as `kind`. Raises BAD_REQUEST, whose detail repeats nothing that the caller sent."""
    try:
        # msgspec takes the last of two equal keys; what is ambiguous must not get past another reader (RFC 8259, 4).
        read_json(raw)
        return msgspec.json.decode(raw, type=kind)
    except TooDeep:
        raise Refused(Code.BAD_REQUEST, f"the body is more than {MAX_DEPTH} levels deep") from None
    except msgspec.ValidationError as error:
        raise Refused(Code.BAD_REQUEST, _complaint(error)) from None
    except (ValueError, RecursionError):
        raise Refused(Code.BAD_REQUEST, "the body is not well-formed JSON without doubled keys") from None


# What msgspec says of a value and where it is, by our own names alone; and where it repeats what was sent.
_OURS = re.compile(r"(?:Expected|Object missing required field) .*", re.DOTALL)
_THEIRS = re.compile(r"(Invalid enum value|Object contains unknown field) .* - at `(\$[^`]*)`", re.DOTALL)


def _complaint(error: msgspec.ValidationError) -> str:
    text = str(error)
    if theirs := _THEIRS.fullmatch(text):
        return f"{theirs[1]} - at `{theirs[2]}`"
    return text if _OURS.fullmatch(text) else "a member of the body is not what it has to be"
