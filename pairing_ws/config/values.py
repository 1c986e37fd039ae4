"""What one setting may be: types that read it from text, check it, and the errors that say what it should be."""

import base64
import binascii
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import limits
from pydantic import AfterValidator, BeforeValidator, Field

from pairing_ws.config import addresses, trusted_issuers
from pairing_ws.config.database_url import DatabaseAddress


class SettingsError(Exception):
    """Some settings can't be used; each line of the text names one and says what it should be."""


class NamedComplaint(ValueError):
    """A complaint that names its setting itself."""


def _rate(value: object) -> str:
    text = str(value).strip()
    if text != "0":
        try:
            if limits.parse(text).amount < 1:
                raise ValueError
        except ValueError:
            raise ValueError("should be a rate such as 120/minute, or 0 for no limit") from None
    return text


def _items(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _address(value: str) -> str:
    try:
        return addresses.web_address(value) if value else value
    except ValueError:
        raise ValueError("should be an address such as https://login.example.com") from None


def _receiver(value: str) -> str:
    # To the letter: for a server that receives posts, `/hook` and `/hook/` are two things.
    try:
        parts = urlsplit(value)
        host, has_port = parts.hostname, parts.port != 0
    except ValueError:
        host, has_port = None, False
    plain = value.isascii() and value.isprintable() and not {" ", "#", "\\"} & set(value)
    if value and not (plain and host and has_port and parts.scheme in ("http", "https") and "@" not in parts.netloc):
        raise ValueError("should be an https address without user and fragment, such as https://app.example.com/hooks")
    return value


def _issuer(value: str) -> str:
    try:
        return trusted_issuers.issuer_address(value) if value else value
    except ValueError:
        raise ValueError("should be an address such as https://id.example.com, as it stands in `iss`") from None


def _trusted_issuers(value: str) -> str:
    trusted_issuers.parse(value)
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if not addresses.is_origin(origin):
            raise ValueError(
                "should be exact origins such as https://app.example.com or capacitor://localhost, to the letter as the"
                f" browser sends them, not {origin!r}"
            )
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"should be addresses or networks such as 10.0.0.0/8, not {network!r}") from None
    return value


def _redis_url(value: str) -> str:
    # Not needed without Redis: 40 ms of a start.
    from pairing_ws.config.redis_url import RedisAddress

    RedisAddress.parse(value)
    return value


def _database_url(value: str) -> str:
    DatabaseAddress.parse(value)
    return value


# Of a key that a machine has made: 22 letters of base64url, or 32 of hexadecimal, are 128 bits.
_KEY = re.compile(r"[A-Za-z0-9_-]{22,256}")
_HEX = re.compile(r"[0-9A-Fa-f]{22,31}")
# Of 22 random letters, 19 or so are different; of 32 hexadecimal ones, 14 or so.
_DIFFERENT_LETTERS = 8
MAX_ADMIN_KEYS = 2


def admin_keys(value: str) -> list[str]:
    """The keys in that text, each in a line of its own. Raises ValueError, which quotes none."""
    keys = [line.strip() for line in value.splitlines() if line.strip()]
    if not 1 <= len(keys) <= MAX_ADMIN_KEYS or len(set(keys)) < len(keys):
        raise ValueError("should be one key, or while it is exchanged two different ones, each in a line of its own")
    for each in keys:
        if not _KEY.fullmatch(each) or _HEX.fullmatch(each) or len(set(each)) < _DIFFERENT_LETTERS:
            raise ValueError(
                "should be a random key of at least 128 bits: 22 letters of base64url or 32 of hexadecimal;"
                " `pairing-ws admin-key` makes one"
            )
    return keys


def _admin_keys(value: str) -> str:
    return "\n".join(admin_keys(value))


def _readable(value: Path) -> Path:
    if not os.access(value, os.R_OK):
        raise ValueError("should be a file that can be read")
    return value


def _secrets(value: object) -> object:
    # A file may have a line for each.
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _webhook_secrets(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        try:
            size = len(base64.b64decode(each.removeprefix(_WEBHOOK_PREFIX), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not each.startswith(_WEBHOOK_PREFIX) or size not in _WEBHOOK_KEY_SIZES:
            # Without the value: it is a secret, or nearly one.
            raise ValueError(
                f"should be {_WEBHOOK_PREFIX} and 24 to 64 random bytes in base64, or several with commas between"
            )
    return value


def _rotation(value: int) -> int:
    # Nobody's camera needs less, and each step of the grace is one more code to compare.
    if 0 < value < 3:
        raise ValueError("should be 0, or 3 to 60 seconds")
    return value


def _contact(value: str) -> str:
    # RFC 8292, section 2.1. Some push services refuse others.
    if value and not re.fullmatch(r"(mailto:[^@\s]+@|https://)[^@\s/]+(/\S*)?", value):
        raise ValueError("should be an address to turn to, such as mailto:you@example.com or https://example.com")
    return value


def _port(value: int) -> int:
    if not 0 < value < 65536:
        raise ValueError("should be a port from 1 to 65535")
    return value


# Standard Webhooks 1.0.0, "Signature scheme".
_WEBHOOK_PREFIX = "whsec_"
_WEBHOOK_KEY_SIZES = range(24, 65)

AdminKeys = Annotated[str, AfterValidator(_admin_keys)]
# "" where none was given.
Contact = Annotated[str, AfterValidator(_contact)]
Count = Annotated[int, Field(ge=0)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Items = Annotated[tuple[str, ...], BeforeValidator(_items)]
IssuerAddress = Annotated[str, AfterValidator(_issuer)]
Networks = Annotated[tuple[str, ...], BeforeValidator(_items), AfterValidator(_networks)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_items), AfterValidator(_origins)]
Port = Annotated[int, AfterValidator(_port)]
Rate = Annotated[str, BeforeValidator(_rate)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
RotationSeconds = Annotated[int, AfterValidator(_rotation)]
# Where posts are sent to; "" where none was given.
Receiver = Annotated[str, AfterValidator(_receiver)]
TrustedIssuers = Annotated[str, AfterValidator(_trusted_issuers)]
# "" where none was given.
WebAddress = Annotated[str, AfterValidator(_address)]
# The first is the newest. Each is given to `adapters.webhook_signature` as it is.
WebhookSecrets = Annotated[tuple[str, ...], BeforeValidator(_secrets), AfterValidator(_webhook_secrets)]
