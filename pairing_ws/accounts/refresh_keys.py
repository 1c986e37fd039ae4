"""Refresh keys, and answers that can be repeated: how they are made, judged and sealed. Pure but for randomness."""

import hashlib
from enum import Enum
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pairing_ws.accounts.ports import Retired
from pairing_ws.core.clock import SKEW_MS
from pairing_ws.core.codes import RandomBytes, digest, matches, token

# How long the holder of the secret may ask again for a login's answer that got lost, and for how long an exchanged key
# is taken for a late double once its successor is in use.
GRACE_MS = 30_000


class RefreshKey(NamedTuple):
    """`family` stays for the session's life and tells an old key from an invented one; `value` changes each time.

    Both are secret, so that only a holder of one of its keys can get the session revoked.
    """

    family: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "RefreshKey | None":
        family, dot, value = text.partition(".")
        return cls(family, value) if dot and family and value and len(text) <= 256 and text.isascii() else None

    def __str__(self) -> str:
        return f"{self.family}.{self.value}"

    @property
    def hash(self) -> str:
        return digest(str(self))

    @property
    def half_hash(self) -> str:
        """What an authKey says of the refreshKey that it came with."""
        return self.hash[: len(self.hash) // 2]

    @property
    def family_hash(self) -> str:
        return digest(self.family)

    def successor(self, random: RandomBytes) -> "RefreshKey":
        return self._replace(value=token(random, 32))


def new_family(random: RandomBytes) -> RefreshKey:
    return RefreshKey(token(random), token(random, 32))


class Rotating(Protocol):
    """What a session (`ports.Session`) or a client's grant (`oauth.ports.Grant`) remembers of its refresh keys."""

    @property
    def refresh_hash(self) -> str: ...

    @property
    def retired(self) -> tuple[Retired, ...]: ...

    @property
    def sealed(self) -> bytes | None: ...

    @property
    def sealed_until(self) -> int: ...


class RefreshOutcome(Enum):
    ROTATE = "the current key"
    REPEAT = "exchanged, its successor unused"
    LATE = "exchanged, its successor in use since a moment ago"
    STOLEN = "exchanged, its successor in use for longer"


def classify(session: Rotating, key: RefreshKey, now: int, here: str) -> RefreshOutcome:
    """What a key of this session's family deserves (RFC 9700, section 4.14.2). `here` names this process's clock."""
    if matches(str(key), session.refresh_hash):
        return RefreshOutcome.ROTATE
    newest = session.retired[-1] if session.retired else None
    if newest and session.sealed and now < session.sealed_until and matches(str(key), newest.hash):
        return RefreshOutcome.REPEAT
    if any(matches(str(key), old.hash) and _is_late(old, now, here) for old in session.retired):
        return RefreshOutcome.LATE
    return RefreshOutcome.STOLEN


def retire(session: Rotating, key: RefreshKey, now: int, here: str) -> tuple[Retired, ...]:
    before = successor_used(session, now, here)
    return (*(old for old in before if _is_late(old, now, here)), Retired(key.hash, now, here))


def grace(by: str, here: str) -> int:
    """How long after a time `by` another process's clock, or by one's own, its grace is over `here`."""
    return GRACE_MS if by == here else GRACE_MS + SKEW_MS


def _is_late(old: Retired, now: int, here: str) -> bool:
    return now < old.at + grace(old.by, here)


def successor_used(session: Rotating, now: int, here: str) -> tuple[Retired, ...]:
    """What is remembered of exchanged keys once a key of the session's newest answer has been used."""
    if session.sealed is None or not session.retired:
        return session.retired
    *older, newest = session.retired
    return (*older, Retired(newest.hash, now, here))


class KeyPair(msgspec.Struct, frozen=True):
    """The part of a login's or a refresh's answer that must come out the same when it is repeated. `by`: which process
    made it. `host`: of a login, what the host application gives the client, as JSON; b"" where that is nothing."""

    auth_key: str
    refresh_key: str
    expires_at: int
    by: str = ""
    host: bytes = b""


Answer = TypeVar("Answer", bound=msgspec.Struct)


def seal(answer: msgspec.Struct, secret: str, random: RandomBytes) -> bytes:
    """AES-256-GCM under a key derived from what the client presented; only who presents it again can read it."""
    nonce = random(12)
    return nonce + AESGCM(_sealing_key(secret)).encrypt(nonce, msgspec.msgpack.encode(answer), None)


def unseal(sealed: bytes | None, secret: str, kind: type[Answer]) -> Answer | None:
    """The answer, of the kind that was sealed, or None if there is none or it was sealed for another secret."""
    if not sealed:
        return None
    try:
        plain = AESGCM(_sealing_key(secret)).decrypt(sealed[:12], sealed[12:], None)
    except InvalidTag:
        return None
    return msgspec.msgpack.decode(plain, type=kind)


def _sealing_key(secret: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"pairing_ws sealed answer").derive(secret.encode())


def device_id(user_id: str, device_code: str) -> str:
    """The id of a device record: 128 bits of a digest of account and code, 32 hexadecimal digits."""
    return hashlib.sha256(f"{user_id}\n{device_code}".encode()).hexdigest()[:32]
