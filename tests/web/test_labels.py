"""What stays of a name that a person gave: every letter and emoji, on every Python; and what goes, because it shows
nothing or disturbs what stands beside it."""

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairing_ws.core.labels import MAX_LABEL, label
from tests.support.client import Api, device_headers
from tests.web.conftest import NewPhone

KEPT = {
    "an emoji of 2022": "\U0001fae8",
    "an emoji of 2024": "\U0001fae9 phone",
    "an emoji that nobody has assigned yet": "\U0001faff",
    "a letter that nobody has assigned yet": "\U00016d80",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "a family with skin tones": "\U0001f468\U0001f3fd\u200d\U0001f469\U0001f3ff\u200d\U0001f467",
    "a heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "a rainbow flag": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "the flag of England": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "the flag of a country": "\U0001f1ee\U0001f1f7",
    "a keycap": "TV 1\ufe0f\u20e3",
    "a red heart": "Mum's \u2764\ufe0f",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Persian with an emoji": "\u06af\u0648\u0634\u06cc\u200c\u0647\u0627 \U0001f4f1",
    "Hindi": "\u0915\u094d\u200d\u0937",
    "Sinhala": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "an old Malayalam chillu": "\u0d05\u0d35\u0d28\u0d4d\u200d",
    "Kannada": "\u0cb0\u0ccd\u200c\u0c95",
    "Vietnamese": "\u0110i\u1ec7n tho\u1ea1i",
    "Chinese with a rare letter": "\U00030edd",
}  # fmt: skip
CLEANED = {
    "a joiner between Latin letters": ("pay\u200dpal", "paypal"),
    "a style without an emoji": ("a\ufe0fb", "ab"),
    "a joiner at the start": ("\u200d\U0001f467", "\U0001f467"),
    "a joiner at the end": ("\U0001f467\u200d", "\U0001f467"),
    "a joiner beside a space": ("\u0645 \u200c\u062e", "\u0645 \u062e"),
    "joiners in a row": ("\u0645\u200c\u200c\u062e", "\u0645\u062e"),
    "text hidden in tags": ("a\U000e0068\U000e0069", "a"),
    "text hidden behind a flag": ("\U0001f3f4" + "\U000e0061" * 20 + "\U000e007f", "\U0001f3f4"),
    "overrides and isolates": ("\u202ea\u2066b\u2069\u061cc\u200f", "abc"),
    "controls": ("a\x00b\x1bc\x85d", "a b c d"),
    "private use": ("a\ue000\U000f0000b", "ab"),
    "what is no character": ("a\ufffe\U0001ffffb\ufdd0", "ab"),
    "a surrogate": ("a\ud800b", "ab"),
    "marks across joiners": ("\u0645" + "\u064b\u200c" * 9 + "\u062e", "\u0645" + "\u064b\u200c" * 3 + "\u064b\u062e"),
    "a virama without a letter": ("\u094d\u200d", ""),
    "marks of 2014 in a tower": ("a" + "\u1ab0" * 20, "a" + "\u1ab0" * 4),
    "nothing but invisible": ("\u200b\u200d\ufe0f\u3164\U000e0061", ""),
}

# Of what `label` makes of every code point, by Python 3.11.
EVERY = "34740268a1d66d953bb8c8c33a169548b2e0e331df7fc16a24c7290b61da348d"


@pytest.mark.security(22)
@pytest.mark.parametrize("kind", KEPT)
def test_what_people_write_stays_as_they_wrote_it(kind: str) -> None:
    assert label(KEPT[kind]) == KEPT[kind]


@pytest.mark.security(22)
@pytest.mark.parametrize("kind", CLEANED)
def test_what_shows_nothing_or_disturbs_others_goes(kind: str) -> None:
    given_text, shown = CLEANED[kind]
    assert label(given_text) == shown


def test_a_label_does_not_depend_on_which_python_cleans_it() -> None:
    """Each code point behind a letter, before a mark and between emoji; a Python that knows more of them gives the
    same."""
    every = [chr(each) for each in range(0x110000) if each < 0x20000 or each % 64 == 0 or 0xE0000 <= each < 0xE0200]
    shown = "\n".join(label(f"a{each}\u0323\u0301 \U0001f467{each}\u200d\U0001f467") for each in every)
    assert hashlib.sha256(shown.encode()).hexdigest() == EVERY


@given(st.text(st.characters() | st.sampled_from("\u200c\u200d\ufe0f\u0301\u0323 \U0001f467\u0645"), max_size=300))
@settings(max_examples=300, deadline=None, database=None)
def test_a_label_is_short_on_one_line_and_clean_already(text: str) -> None:
    shown = label(text)
    assert len(shown) <= MAX_LABEL
    assert shown == " ".join(shown.split())
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\u200b\ud800-\udfff]", shown)
    assert label(shown) == shown


def test_a_long_label_is_cut_where_nothing_is_joined() -> None:
    shown = label("\U0001f467\u200d" * 500)
    assert len(shown) == MAX_LABEL - 1
    assert not shown.endswith("\u200d")


async def test_a_device_may_be_called_by_one_new_emoji_wherever_it_is_named(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    name = KEPT["an emoji of 2022"]
    device = await api.new_pairing({each: value.encode() for each, value in device_headers(name=name).items()})  # type: ignore[misc]
    seen = (await phone.claim(device.pairing)).json()["newDevice"]["reported"]["name"]
    assert seen == name
    own = phone.keys["device"]["id"]
    renamed = await api.http.patch(f"/devices/{own}", json={"name": KEPT["Persian"]}, headers=phone.headers)
    assert renamed.json()["name"] == KEPT["Persian"]
