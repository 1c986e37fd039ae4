"""Which codes let a claimant in: the one of a picture that stays, those of a picture that rotates, and one that was
reserved for a single claimant. Pure; times are milliseconds on the store's clock."""

import hmac

from pairing_ws.core import codes
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.types import ByKey, Holder

# From the last moment that a picture is on show until its code arrives here: a camera that hesitates, a camera app's
# link that has to be tapped, a page that loads on a slow phone. None of it gets faster when pictures change sooner.
GRACE_MS = 10_000
# How far the showing device may be ahead of the store's clock. It counts from the server's answers, which arrive late,
# so it is behind rather than ahead. A holder of the seed gains no more than this by drawing early.
AHEAD_MS = 1_000
# For a person who has landed on a page and not pressed yet: as long as a claim leaves to decide.
RESERVED_MS = 60_000


def seed(key: bytes, pairing_id: str) -> bytes:
    """What the codes of one rotating picture are made from. Derived on demand, so no store ever holds it."""
    return codes.keyed_digest(key, "qr-seed", pairing_id)


def rotating_code(seed: bytes, step: int) -> str:
    """The code on show in that step of the pairing's life, from 0: RFC 6238 with SHA-256, and 128 bits for its digits.

    The `~`, which no other code begins with, tells a scanner that it won't last.
    """
    return "~" + _128_bits(hmac.digest(seed, step.to_bytes(8, "big"), "sha256"))


def is_shown(key: bytes, pairing: Pairing, code: str, at: int) -> bool:
    """Whether `code` is on show at `at`, or was just before."""
    if not pairing.rotate_ms:
        return codes.matches(code, pairing.code_hash)
    age = max(0, at - pairing.created_at)
    first, last = max(0, age - GRACE_MS) // pairing.rotate_ms, (age + AHEAD_MS) // pairing.rotate_ms
    own_seed = seed(key, pairing.id)
    fits = [codes.matches(code, codes.digest(rotating_code(own_seed, step))) for step in range(first, last + 1)]
    # Only now, with all compared: the time taken does not tell which one it was.
    return any(fits)


def reserved_code(key: bytes, pairing: Pairing, holder: Holder, until: int) -> str:
    """A code that only `holder` can claim with, and only before `until`. It remembers itself: nothing is stored."""
    mark = (
        f"session:{holder.approver.session_id}"
        if isinstance(holder, ByKey)
        else f"secret:{codes.digest(holder.secret)}"
    )
    return f"{until}.{_128_bits(codes.keyed_digest(key, 'kept-code', f'{pairing.id}:{until}:{mark}'))}"


def is_reserved(key: bytes, pairing: Pairing, code: str, holder: Holder, at: int) -> bool:
    """Whether `code` was reserved for this holder and still holds."""
    written, _, _ = code.partition(".")
    # 15 digits of milliseconds last until the year 33658; longer ones are not worth reading.
    until = int(written) if written.isascii() and written.isdigit() and len(written) <= 15 else 0
    return at < until and codes.matches(code, codes.digest(reserved_code(key, pairing, holder, until)))


def _128_bits(mac: bytes) -> str:
    return codes.base64url(mac[:16])
