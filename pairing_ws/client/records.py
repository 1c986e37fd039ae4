"""What goes over the wire, as far as a program that logs in needs it. `members` is always the whole answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

FINAL = frozenset({"consumed", "denied", "cancelled", "expired"})


@dataclass(frozen=True)
class Device:
    """How an installation introduces itself. `code` is made once and kept: who comes again with it is the same device.

    `code` is 1 to 128 letters of `A-Z a-z 0-9 . _ : ~ = + / -`.
    """

    code: str
    name: str
    os: str = ""
    app_version: str = ""

    @property
    def headers(self) -> dict[str, str]:
        given = {
            "X-Device-Code": self.code,
            "X-Device-Name": quote(self.name),
            "X-Os-Device": quote(self.os),
            "X-App-Version-Number": quote(self.app_version),
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class Pairing:
    """`status` is `pending`, `scanned`, `approved`, `consumed`, `denied`, `cancelled` or `expired`. `version` grows
    with each change; `expires_in` and `poll_interval` are in seconds."""

    id: str
    status: str
    version: int
    expires_in: float
    poll_interval: float
    needs_number: bool
    members: Mapping[str, Any] = field(repr=False)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @classmethod
    def read(cls, members: Mapping[str, Any], **more: Any) -> Self:
        return cls(
            id=members["id"],
            status=members["status"],
            version=members["version"],
            expires_in=members["expiresIn"],
            poll_interval=members["pollInterval"],
            needs_number=members["verification"] == "number",
            members=members,
            **more,
        )


@dataclass(frozen=True)
class NewPairing(Pairing):
    """One that this program has made. `secret` never leaves it; `text` is what the QR code holds, `user_code` what
    those type who can't scan."""

    secret: str = field(repr=False)
    text: str
    user_code: str


@dataclass(frozen=True)
class Keys:
    """A session's pair of keys. `expires_in` is how many seconds the authKey lives. `host` is what the site's own
    backend gives this program at a login; None if nothing."""

    auth_key: str = field(repr=False)
    refresh_key: str = field(repr=False)
    expires_in: float
    user_id: str
    username: str
    device_id: str
    host: Any = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> "Keys":
        return cls(
            auth_key=members["authKey"],
            refresh_key=members["refreshKey"],
            expires_in=members["expiresIn"],
            user_id=members["user"]["id"],
            username=members["user"]["username"],
            device_id=members["device"]["id"],
            host=members.get("host"),
            members=members,
        )
