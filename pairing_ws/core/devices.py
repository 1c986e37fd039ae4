"""Device A and device B as both rooms know them. Data only."""

import msgspec


class NewDevice(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Device B. `code` to `push_token` are its own claims; `ip` and `user_agent` are what the server observed.

    With `key_thumbprint` (RFC 7638) it has shown a public key, and has to prove that it holds the private one.
    """

    code: str
    name: str
    os: str = ""
    app_version: str = ""
    push_token: str = ""
    ip: str = ""
    user_agent: str = ""
    key_thumbprint: str = ""


class Approver(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Device A: the one session that may approve, and the address it was seen at."""

    user_id: str
    session_id: str
    device_id: str
    ip: str = ""
