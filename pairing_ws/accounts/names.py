"""Names of accounts: which can be one, and when two of them are the same. Pure."""

import unicodedata

MAX_NAME = 64


def usable(username: str) -> bool:
    return 1 <= len(username) <= MAX_NAME and username.isprintable()


def written(username: str) -> str:
    """The name as it is kept and shown: NFC, without blanks around it."""
    return unicodedata.normalize("NFC", username).strip()


def compared(username: str) -> str:
    """What the names of two accounts must not have in common: RFC 8265, UsernameCaseMapped, and a blank is a blank.

    Full and half width are mapped, capitals are made small, the rest is NFC.
    """
    before, name = "", username
    # Once is not always enough: what is composed may be a capital (RFC 8264, section 7).
    while name != before:
        before = name
        narrow = "".join(map(_narrow, name))
        name = " ".join(unicodedata.normalize("NFC", narrow.lower()).split())
    return name


def _narrow(letter: str) -> str:
    kind, _, points = unicodedata.decomposition(letter).partition(" ")
    return chr(int(points, 16)) if kind in ("<wide>", "<narrow>") else letter
