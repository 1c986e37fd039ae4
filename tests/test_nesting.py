"""How deep JSON may be: the same on every Python and known before it is parsed."""

import json

import pytest

from pairing_ws.core.json_depth import MAX_DEPTH, is_deep


@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_the_depth_has_a_bound(opens: bytes, closes: bytes) -> None:
    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 2600, 8000):
        times = levels // opens.count(b"[{") if b"[{" in opens else levels
        depth = times * (2 if b"[{" in opens else 1)
        assert is_deep(opens * times + b"1" + closes * times) is (depth > MAX_DEPTH)


@pytest.mark.parametrize(
    "flat",
    [
        [{"a": [1]}] * 500,
        ["[" * 500, "{" * 500],
        {"[" * 50: "]" * 50, '"[': '\\"[' * 90},
        "\\" + "[" * 500,
    ],
    ids=str,
)
def test_what_is_long_and_in_strings_is_not_deep(flat: object) -> None:
    assert not is_deep(json.dumps(flat).encode())
