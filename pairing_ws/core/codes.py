"""How ids, codes, secrets and numbers are made, digested and compared. Nothing here keeps state."""

import base64
import hashlib
import hmac
import re
import unicodedata
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
_NUMBER = re.compile(r"[0-9]{3}")
# Normalising takes time that grows faster than the text.
MAX_TYPED = 256
# What Unicode's Default_Ignorable_Code_Point has beside format characters.
_UNSEEN = frozenset(
    map(
        chr,
        (
            0x34F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
# Minus, bullet, modifier and the long vowel mark: keyboards give them where people mean a hyphen.
_DASHES = frozenset("\u2212\u2043\u02d7\u30fc")


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
    """What was typed, folded, without case, dashes, spaces and lookalikes; None if it can't be a code."""
    letters = _without_gaps(typed).upper().translate(_LOOKALIKES)
    return letters if _USER_CODE.fullmatch(letters) else None


def normal_number(typed: str) -> str | None:
    """The three digits that were typed, in whatever script; None for anything else."""
    digits = _without_gaps(typed)
    return digits if _NUMBER.fullmatch(digits) else None


def normal_code(copied: str) -> str:
    """A link's code as it was before it was copied through a mail or a document."""
    return _folded(copied).replace(" ", "")


def _without_gaps(typed: str) -> str:
    return _folded(typed).replace(" ", "").replace("-", "")


def _folded(typed: str) -> str:
    """With compatibility forms (NFKC), all decimal digits and all dashes as ASCII has them, every blank as a space;
    without invisible characters. static/link.js does the same."""
    if len(typed) > MAX_TYPED:
        return ""
    if typed.isascii() and typed.isprintable():
        # Scanned codes are, and have nothing of that: a character takes half a µs.
        return typed
    return "".join(map(_fold, unicodedata.normalize("NFKC", typed)))


def _fold(letter: str) -> str:
    if letter.isspace():
        return " "
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(letter)
    if category in ("Cc", "Cf") or letter in _UNSEEN:
        return ""
    return "-" if category == "Pd" or letter in _DASHES else letter


def is_id(value: str) -> bool:
    """Whether it has the form of a `token` of 16 bytes."""
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
