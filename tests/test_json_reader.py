"""What somebody else has written as JSON is read in one way, or not at all."""

import re
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

import pairing_ws
from pairing_ws.adapters.jwt.header import signed_claims
from pairing_ws.core.json_depth import MAX_DEPTH
from pairing_ws.core.json_reader import TooDeep, read_json

pytestmark = pytest.mark.security(47)

KEY = ECKey.generate_key("P-256")
BAD = {
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone second half": b'{"a": ["x\\uDC00"]}',
    "a lone surrogate as a key": b'{"\\ud800": 1}',
    "beyond a double": b'{"a": 1e999}',
    "below a double": b'{"a": [-1e999]}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a doubled key": b'{"a": 1, "a": 1}',
    "a doubled key, written otherwise": b'{"a": {"b": 1, "\\u0062": 1}}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "no UTF-8": b'{"a": "\xff"}',
    "half of it": b'{"a": ',
    "a long number": b'{"a": ' + b"9" * 5000 + b"}",
    "nothing": b"",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_two_readers_understand_differently_or_cannot_write_again_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="no well-formed JSON"):
        read_json(text)
    # Signed, it is none either.
    with pytest.raises(ValueError, match="no well-formed JSON"):
        signed_claims(jws.serialize_compact({"alg": "ES256"}, text, KEY), KEY, ["ES256"])


def test_what_is_too_deep_is_none() -> None:
    with pytest.raises(TooDeep):
        read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_all_else_is_read_as_it_stands() -> None:
    text = '\ufeff{"a": "\\ud83d\\ude00 ☂ \\\\ud800", "b": [1e308, 0.5, 12345678901234567890, null]}'
    assert read_json(text.encode()) == {"a": "😀 ☂ \\ud800", "b": [1e308, 0.5, 12345678901234567890, None]}


def test_claims_are_an_object() -> None:
    with pytest.raises(ValueError, match="no claims"):
        signed_claims(jws.serialize_compact({"alg": "ES256"}, b"[]", KEY), KEY, ["ES256"])


def test_nothing_that_others_send_is_read_in_another_way() -> None:
    """What the operator has written, and what we have sealed ourselves, may be."""
    own = {
        "adapters/jwt/host_assertions.py", "adapters/jwt/published_keys.py", "adapters/jwt/access_tokens.py",
    }  # fmt: skip
    root = Path(str(pairing_ws.__file__)).parent
    loose = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if file.relative_to(root).parts[0] not in ("cli", "client")
        and re.search(r"json\.loads\(|jwt\.decode\(|\.json\(\)", file.read_text())
    }
    assert loose <= own
