"""What codes, secrets and numbers look like, and how they are digested: processes of two versions have to agree."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest

from pairing_ws.core import codes

KEY = bytes(range(32))
# Shared with the tests of the pages: both sides fold what people type, and have to agree.
TYPED = json.loads((Path(__file__).resolve().parents[1] / "support" / "typed.json").read_text())


def hmac_of(text: str) -> bytes:
    return hmac.new(KEY, text.encode(), hashlib.sha256).digest()


def test_tokens_are_all_of_the_random_bytes_in_base64url_without_padding() -> None:
    asked: list[int] = []

    def random(size: int) -> bytes:
        asked.append(size)
        return b"\xff" * size

    assert codes.token(random) == "_" * 21 + "w"
    assert codes.token(random, 32) == "_" * 42 + "8"
    assert asked == [16, 32]
    # Only padding goes.
    assert codes.base64url(b"\0\0\x17") == "AAAX"


def test_a_typed_code_is_eight_letters_of_crockfords_in_two_groups() -> None:
    assert codes.user_code(lambda size: bytes(range(size))) == "0123-4567"
    assert codes.user_code(lambda size: bytes(range(255, 255 - size, -1))) == "ZYXW-VTSR"
    assert not set("ILOU") & set(codes.CROCKFORD)


@pytest.mark.parametrize("typed", ["0123-ABCD", "0123abcd", " o1 23 a-b-c-d ", "Oi23-ABCD", "0L23-abcd", "ol23abcd"])
def test_case_dashes_spaces_and_lookalikes_do_not_matter_in_a_typed_code(typed: str) -> None:
    assert codes.normal_user_code(typed) == "0123ABCD"


@pytest.mark.parametrize("typed", ["", "0123-ABC", "0123-ABCDE", "0123-ABCU", "0123_ABCD", "0123-ABCÄ"])
def test_what_can_not_be_a_typed_code_is_none(typed: str) -> None:
    assert codes.normal_user_code(typed) is None


@pytest.mark.parametrize(("typed", "code"), TYPED["codes"], ids=ascii)
def test_compatibility_forms_digits_dashes_and_invisible_characters_are_folded_in_codes(
    typed: str, code: str | None
) -> None:
    assert codes.normal_user_code(typed) == code


@pytest.mark.parametrize(("typed", "number"), TYPED["numbers"], ids=ascii)
def test_and_in_numbers(typed: str, number: str | None) -> None:
    assert codes.normal_number(typed) == number


def test_a_links_code_loses_what_a_mail_or_a_document_has_added() -> None:
    for code in ("Zz0-9_AbCdEfGhIjKlMnOp", "~Zz0-9_AbCdEfGhIjKlMnOp", "1780000000.Zz0-9_AbCdEfGhIjKlMnOp"):
        wide = "".join(chr(ord(each) + 0xFEE0) for each in code)
        for copied in (code, f" {code}\r\n", f"\u200b{code}\ufeff", code.replace("-", "\u2011"), wide):
            assert codes.normal_code(copied) == code
    assert codes.normal_code("\u0661" * 257) == ""


def test_an_id_is_22_base64url_characters() -> None:
    assert codes.is_id("aA0-_" * 4 + "zZ")
    for bad in ("", "a" * 21, "a" * 23, "a" * 21 + "=", "a" * 22 + "\n", "ä" * 22):
        assert not codes.is_id(bad)


def test_an_own_secret_has_22_to_128_base64url_characters() -> None:
    for good in ("a" * 22, "Z" * 128, "azAZ09-_" * 3):
        assert codes.is_secret(good)
    for bad in ("", "a" * 21, "a" * 129, "a" * 22 + "=", "a" * 22 + " ", "a" * 22 + "\n", "ä" * 22, "a" * 22 + "+"):
        assert not codes.is_secret(bad)


def test_digests_are_sha_256_and_short_values_are_keyed_for_one_purpose_each() -> None:
    digest = codes.digest("a value")
    assert base64.urlsafe_b64decode(digest) == hashlib.sha256(b"a value").digest()
    assert codes.matches("a value", digest)
    assert not codes.matches("a valuE", digest)
    assert not codes.matches("", "")
    assert codes.keyed_digest(KEY, "purpose", "value") == hmac_of("purpose:value")
    assert codes.user_code_digest(KEY, "0123ABCD") == hmac_of("user-code:0123ABCD").hex()


def test_each_pairing_has_its_own_number_of_three_digits() -> None:
    numbers = {each: codes.verification_number(KEY, each) for each in map(str, range(3_000))}
    for pairing_id, number in numbers.items():
        assert int(number) == int.from_bytes(hmac_of(f"number:{pairing_id}"), "big") % 1000
        assert re.fullmatch(r"[0-9]{3}", number)
    # Zeros in front are a part of it.
    assert any(number.startswith("0") for number in numbers.values())
    assert len(set(numbers.values())) > 900
