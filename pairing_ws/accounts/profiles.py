"""What an account tells applications: which values can be told. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pairing_ws.accounts.ports import Profile
from pairing_ws.core.errors import Code, Refused

MAX_EMAIL = 254
MAX_NAME = 128
MAX_GROUP = 64
MAX_GROUPS = 100
# An addr-spec of RFC 5322 as people have it: no quotes, comments or literal addresses; any script (RFC 6531).
_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}@[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)*")


def changed(profile: Profile, changes: Mapping[str, object]) -> Profile:
    """The profile with these of its fields changed. `None` and "" take one away.

    Another e-mail address counts as verified only if the same change says so. Raises BAD_REQUEST.
    """
    wanted: dict[str, Any] = dict(changes)
    if "email" in wanted:
        wanted["email"] = _email(wanted["email"])
        if wanted["email"] != profile.email:
            wanted.setdefault("email_verified", False)
    if "name" in wanted:
        wanted["name"] = _text(wanted["name"], MAX_NAME, "a name") if wanted["name"] else None
    if "groups" in wanted:
        wanted["groups"] = _groups(wanted["groups"])
    found = msgspec.structs.replace(profile, **wanted)
    if found.email_verified and found.email is None:
        raise Refused(Code.BAD_REQUEST, "there is no e-mail address that could be verified")
    return found


def _email(given: object) -> str | None:
    if not given:
        return None
    if not isinstance(given, str) or len(given) > MAX_EMAIL or not given.isprintable() or not _EMAIL.fullmatch(given):
        raise Refused(Code.BAD_REQUEST, "that is no e-mail address, such as alice@example.com")
    return given


def _groups(given: object) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MAX_GROUPS:
        raise Refused(Code.BAD_REQUEST, f"groups are a list of up to {MAX_GROUPS}")
    return tuple(dict.fromkeys(_text(each, MAX_GROUP, "a group") for each in given))


def _text(given: object, most: int, what: str) -> str:
    text = given.strip() if isinstance(given, str) else ""
    if not 1 <= len(text) <= most or not text.isprintable():
        raise Refused(Code.BAD_REQUEST, f"{what} is 1 to {most} printable characters")
    return text
