"""How ids, codes, secrets and numbers are made, digested and compared. Nothing here keeps state."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

# Takes a number of bytes, gives that many from a CSPRNG (`secrets.token_bytes`); tests pass their own.
RandomBytes = Callable[[int], bytes]

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Each byte's; 32 divide 256, so none comes up more often.
_LETTER_OF = CROCKFORD.encode() * 8
# What `is_secret` accepts, in words.
SHAPE_OF_SECRETS = "Pairing-Secret has to be 22 to 128 base64url characters"
# Crockford's base32 reads these as the digits they look like.
_LOOKALIKES = str.maketrans("ILO", "110")
_USER_CODE = re.compile(f"[{CROCKFORD}]{{8}}")
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{22,128}")


def base64url(raw: bytes) -> str:
    """Without padding: 16 bytes are 22 characters."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(random: RandomBytes, size: int = 16) -> str:
    """`size` random bytes as base64url: 16 are 128 bits."""
    return base64url(random(size))


def user_code(random: RandomBytes) -> str:
    """A code people can type: `XXXX-XXXX`, 40 bits."""
    letters = random(8).translate(_LETTER_OF).decode()
    return f"{letters[:4]}-{letters[4:]}"


def normal_user_code(typed: str) -> str | None:
    """What was typed, without case, dashes, spaces and lookalikes; None if no code can look like that."""
    letters = re.sub(r"[-\s]", "", typed).upper().translate(_LOOKALIKES)
    return letters if _USER_CODE.fullmatch(letters) else None


def is_id(value: str) -> bool:
    """Whether it is spelt like a `token` of 16 bytes."""
    return _ID.fullmatch(value) is not None


def is_secret(value: str) -> bool:
    """Whether a client's own secret can hold 128 bits (22 base64url characters) and is not absurdly long."""
    return _SECRET.fullmatch(value) is not None


def digest(value: str) -> str:
    """SHA-256 of a value of ≥ 128 random bits, for storage. Short values need `keyed_digest`."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()).decode()


def keyed_digest(key: bytes, purpose: str, value: str) -> bytes:
    """HMAC-SHA-256, for values short enough to be guessed from a plain digest."""
    return hmac.digest(key, f"{purpose}:{value}".encode(), "sha256")


def matches(value: str, stored_digest: str) -> bool:
    """Whether `value` has that digest, in constant time. An absent digest matches nothing."""
    return bool(stored_digest) and hmac.compare_digest(digest(value), stored_digest)


def user_code_digest(key: bytes, letters: str) -> str:
    return keyed_digest(key, "user-code", letters).hex()


def verification_number(key: bytes, pairing_id: str) -> str:
    """The three digits of one pairing. Derived on demand, so no store ever holds them."""
    return f"{int.from_bytes(keyed_digest(key, 'number', pairing_id)) % 1000:03}"
