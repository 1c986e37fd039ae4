"""What every answer has, whatever it says."""

import websockets


def assert_safe(headers: "websockets.Headers | object") -> None:
    policy = {
        name: value
        for name, _, value in (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))  # type: ignore[index]
    }
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy)
    assert headers["x-content-type-options"] == "nosniff"  # type: ignore[index]
    assert headers["referrer-policy"] == "no-referrer"  # type: ignore[index]
    assert headers["x-frame-options"] == "DENY"  # type: ignore[index]
