"""What people call things, made fit to be shown: names of devices and passkeys, and the other texts a device sends.

The result is the same on every Python: of Unicode only what can no longer change is asked, which is the fixed version
3.2 in the standard library, the ranges below, and nothing that later versions assign. Unassigned characters are kept.
"""

import re
import unicodedata
from itertools import groupby

MAX_LABEL = 128
# What is looked at: a letter may take four code points, and text beyond that can't be shown anyway. Work on a label
# grows with its length, and strangers choose it.
MAX_READ = 4 * MAX_LABEL
# Marks on one letter. No living spelling needs more; a stack of them reaches into the lines above.
MAX_MARKS = 4
# Before composition, which takes time that grows with the square of a stack.
MAX_RAW_MARKS = 4 * MAX_MARKS

_unicode = unicodedata.ucd_3_2_0
_SPACE = re.compile("[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
# Fillers, zero width and bidi controls, interlinear and layout controls, what is ignored by default, private use,
# surrogates, and what will never be a character.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0xE0000, 0x10000))
    + "\U000e0000-\U000e001f\U000e0080-\U0010ffff]+"
)
# Arabic and its neighbours, the scripts of India and of South-East Asia, and what is encoded beside them since.
_JOINING = (
    "\u0620-\u109f\u1780-\u1c7f\ua800-\uabff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff"
    "\U0001e900-\U0001e95f"
)
# Marks that end a consonant: a joiner behind one says how the consonant is written (RFC 5892, A.1 and A.2).
_VIRAMA = (
    "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u1039\u103a\u17d2\u1a60\u1b44\ua806"
    "\ua8c4\ua953\ua9c0\uaaf6\uabed"
)
# A superset of Extended_Pictographic (UTS 51), which reserves these ranges for later versions.
_EMOJI = "\u00a9\u00ae\u203c\u2049\u2122-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\U0001fc00-\U0001fffd"
_INVISIBLE_PARTS = re.compile(
    # A joiner between letters of a script that needs it.
    f"((?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])|(?<=[{_VIRAMA}])[\u200c\u200d]"
    # A joiner between two emoji, the first perhaps with its style; the style of an emoji or a keycap.
    f"|(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_EMOJI}][\ufe0e\ufe0f])\u200d(?=[{_EMOJI}])"
    f"|(?<=[0-9#*{_EMOJI}])[\ufe0e\ufe0f]"
    # A flag of a region: England's, Scotland's.
    "|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,6}\U000e007f)"
    # All others of these show nothing.
    "|[\u200c\u200d\ufe0e\ufe0f\U000e0020-\U000e007f]"
)
_JOINERS = frozenset("\u200c\u200d")
# Marks that stack, and are younger than version 3.2.
_STACKING = frozenset(
    chr(each)
    for first, last in (
        (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05BD), (0x05C4, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F),
        (0x06D6, 0x06DC), (0x06DF, 0x06E4), (0x0897, 0x089F), (0x08CA, 0x08E1), (0x08E3, 0x0902), (0x1AB0, 0x1AFF),
        (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F),
    )
    for each in range(first, last + 1)
)  # fmt: skip


def label(text: str) -> str:
    """A text to show: NFC, one line, nothing invisible, no towers of marks, 128 characters at the most.

    Joiners and variation selectors stay where a script or an emoji needs them (UTS 51), and go elsewhere.
    """
    text = text[:MAX_READ]
    if text.isascii() and text.isprintable():
        # Most are, and have nothing of that.
        return " ".join(text.split())[:MAX_LABEL]
    visible = _without_needless_joiners(_SPACE.sub(" ", _UNSEEN.sub("", text)))
    composed = _composed(_without_towers(visible, MAX_RAW_MARKS))
    clean = " ".join(_without_needless_joiners(_without_towers(composed, MAX_MARKS)).split()).lstrip("\u200c\u200d ")
    return clean if len(clean) <= MAX_LABEL else clean[:MAX_LABEL].rstrip("\u200c\u200d ")


def _composed(text: str) -> str:
    """NFC of what version 3.2 knows. What is younger stays where it is: each Python would reorder what it knows."""
    parts = groupby(text, lambda each: _unicode.category(each) == "Cn")
    return "".join("".join(part) if young else _unicode.normalize("NFC", "".join(part)) for young, part in parts)


def _without_needless_joiners(text: str) -> str:
    return _INVISIBLE_PARTS.sub(r"\1", text)


def _without_towers(text: str, most: int) -> str:
    kept: list[str] = []
    marks, bare = 0, True
    for each in text:
        if each in _JOINERS:
            kept.append(each)
            continue
        marks = marks + 1 if _is_mark(each) else 0
        bare = bare and (each == " " or marks > 0)
        # A mark at the start would land on what the page has written before it.
        if marks <= most and not (marks and bare):
            kept.append(each)
    return "".join(kept)


def _is_mark(each: str) -> bool:
    return each in _STACKING or _unicode.category(each) in ("Mn", "Me")
