"""Which codes fit a pairing at which moment: rotating ones to the millisecond, kept ones for their one holder."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest

from pairing_ws.core import codes
from pairing_ws.core.devices import Approver
from pairing_ws.pairing.claim_codes import RESERVED_MS, is_reserved, is_shown, reserved_code, rotating_code, seed
from pairing_ws.pairing.machine import Initiator, Pairing
from pairing_ws.pairing.types import ByKey, BySecret

KEY = bytes(range(32))
BEGAN = 1_767_225_600_000
STEP = 5_000
B = BySecret("s" * 22)


def pairing(rotate_ms: int = STEP, code: str = "", pairing_id: str = "an-id") -> Pairing:
    return Pairing(
        id=pairing_id,
        initiator=Initiator.NEW_DEVICE,
        created_at=BEGAN,
        expires_at=BEGAN + 120_000,
        code_hash=codes.digest(code) if code else "",
        user_code_hash="",
        rotate_ms=rotate_ms,
    )


async def nobody_asks() -> None:
    raise AssertionError


def by_session(session_id: str) -> ByKey:
    return ByKey(Approver(user_id="u", session_id=session_id, device_id="d"), lambda: None, nobody_asks)


def code_of_step(step: int, pairing_id: str = "an-id") -> str:
    return rotating_code(seed(KEY, pairing_id), step)


def fits(code: str, elapsed: int, record: Pairing | None = None) -> bool:
    return is_shown(KEY, record or pairing(), code, BEGAN + elapsed)


def test_the_code_of_a_step_is_what_the_manual_says() -> None:
    manual = (Path(__file__).resolve().parents[2] / "pairing_ws/web/README.md").read_text()
    found = re.search(r"<!-- rotating -->\n```json\n(.*?)```", manual, re.DOTALL)
    assert found
    vector = json.loads(found[1])
    own_seed = base64.urlsafe_b64decode(vector["seed"] + "=")
    assert len(own_seed) == 32
    for at, code in vector["codes"].items():
        step = int(at) // (vector["seconds"] * 1000)
        assert rotating_code(own_seed, step) == code
        # The same once more, by hand.
        mac = hmac.new(own_seed, bytes(7) + bytes([step]), hashlib.sha256).digest()[:16]
        assert base64.urlsafe_b64decode(code[1:] + "==") == mac


@pytest.mark.parametrize("seconds", [3, 5, 60])
@pytest.mark.parametrize("step", [0, 1, 23])
@pytest.mark.mitigation("6.1.2")
def test_a_code_fits_while_it_is_shown_a_second_before_and_ten_seconds_after(seconds: int, step: int) -> None:
    record, code = pairing(seconds * 1000), code_of_step(step)
    begins, ends = step * seconds * 1000, (step + 1) * seconds * 1000
    assert not fits(code, ends + 10_000, record)
    assert fits(code, ends + 9_999, record)
    assert fits(code, begins, record)
    assert fits(code, max(0, begins - 1_000), record)
    assert step == 0 or not fits(code, begins - 1_001, record)


def test_a_store_whose_clock_went_back_before_the_creation_still_takes_the_first_code() -> None:
    assert fits(code_of_step(0), -30_000)
    assert not fits(code_of_step(1), -30_000)


def test_no_other_text_fits() -> None:
    for text in ("", "~", code_of_step(0)[1:], code_of_step(0) + "A", code_of_step(0, "other"), "~" + "ü" * 22, "0"):
        assert not fits(text, 0)


def test_a_pairing_without_rotation_has_its_one_code_for_all_its_life_and_no_other() -> None:
    fixed = pairing(0, "the-code")
    assert fits("the-code", 0, fixed)
    assert fits("the-code", 119_999, fixed)
    assert not fits(code_of_step(0), 0, fixed)
    # What a pairing that rotates would look like to the version before: a code that nothing fits.
    assert not fits("", 0, pairing(0, ""))


def test_a_kept_code_holds_for_a_minute_and_for_its_holder_on_its_pairing() -> None:
    until = BEGAN + RESERVED_MS
    by_key, other_key = by_session("one"), by_session("two")
    for holder, others in ((B, (by_key, BySecret("t" * 22))), (by_key, (B, other_key))):
        code = reserved_code(KEY, pairing(), holder, until)
        assert is_reserved(KEY, pairing(), code, holder, until - 1)
        assert not is_reserved(KEY, pairing(), code, holder, until)
        assert not is_reserved(KEY, pairing(pairing_id="other"), code, holder, BEGAN)
        assert not any(is_reserved(KEY, pairing(), code, other, BEGAN) for other in others)
        _, _, mac = code.partition(".")
        assert not is_reserved(KEY, pairing(), f"{until + 1}.{mac}", holder, BEGAN)


@pytest.mark.parametrize("text", ["", ".", "1.", "x.y", "-1.y", "٣.y", "1" * 400 + ".y", "1e9.y"])
def test_what_only_looks_like_a_kept_code_is_none(text: str) -> None:
    assert not is_reserved(KEY, pairing(), text, B, BEGAN)


def test_a_kept_code_may_have_a_time_of_fifteen_digits_and_no_longer_one() -> None:
    for until, holds in ((10**15 - 1, True), (10**15, False)):
        assert is_reserved(KEY, pairing(), reserved_code(KEY, pairing(), B, until), B, BEGAN) is holds


def test_seeds_and_kept_codes_are_made_as_any_other_process_makes_them() -> None:
    def hmac_of(text: str) -> bytes:
        return hmac.new(KEY, text.encode(), hashlib.sha256).digest()

    assert seed(KEY, "an-id") == hmac_of("qr-seed:an-id")
    for holder, mark in ((by_session("one"), "session:one"), (B, f"secret:{codes.digest(B.secret)}")):
        made = codes.base64url(hmac_of(f"kept-code:an-id:5:{mark}")[:16])
        assert reserved_code(KEY, pairing(), holder, 5) == f"5.{made}"
