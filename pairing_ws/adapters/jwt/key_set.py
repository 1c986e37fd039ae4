"""The signing keys as values: how a set of them is read, made, rotated, and rid of one. No files here."""

import base64
import itertools
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from pairing_ws.core.clock import Clock

# A replaced key goes on verifying for longer than any authKey lives.
RETIRED_KEPT_MS = 86_400_000
# RFC 7518, section 3.3.
RSA_BITS = 2048
PUBLIC = ("kty", "n", "e", "kid")

StoredKey = dict[str, Any]


class KeyFileError(Exception):
    """The keys can't be used; the text says what to do, and quotes nothing of them."""


class KeySet(msgspec.Struct, frozen=True, omit_defaults=True):
    """`keys`: private P-256 JWKs, newest first, each with `kid` and `made` (ms). `pepper`: base64url, for keyed
    digests. `rsa_keys`: RSA JWKs like `keys`, or none.

    Versions that knew no RSA read `keys` and `pepper` alone, and pass over the rest.
    """

    keys: list[StoredKey]
    pepper: str
    rsa_keys: list[StoredKey] = []

    @classmethod
    def parse(cls, text: bytes | str, where: object) -> "KeySet":
        """What a key file or the environment holds. Raises KeyFileError, which names `where` it is."""
        try:
            found = msgspec.json.decode(text, type=cls)
            pepper = found.pepper_bytes
            found.ec()
            found.rsa()
        except (msgspec.DecodeError, JoseError, ValueError, KeyError, TypeError) as error:
            raise KeyFileError(f"{where} holds no signing keys of pairing_ws ({error})") from error
        if len(pepper) < 32 or not found.keys:
            raise KeyFileError(f"{where} holds no key, or a pepper shorter than 256 bits")
        return found

    @classmethod
    def new(cls, clock: Clock) -> "KeySet":
        return cls(keys=[_new_ec_key(clock)], rsa_keys=[_new_rsa_key(clock)], pepper=secrets.token_urlsafe(32))

    def text(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def pepper_bytes(self) -> bytes:
        return base64.urlsafe_b64decode(self.pepper + "==")

    def ec(self) -> dict[str, ECKey]:
        """The keys of ES256 by `kid`, the one that signs first. Raises ValueError or JoseError."""
        found = {str(stored["kid"]): ECKey.import_key(without_made(stored)) for stored in self.keys}
        if any(not key.is_private or key.curve_name != "P-256" for key in found.values()) or not _named(self.keys):
            raise ValueError("a key that is not private P-256")
        return found

    def rsa(self) -> dict[str, RSAKey]:
        """The keys of RS256, likewise; those that only verify without their private half."""
        if not self.rsa_keys:
            return {}
        signs = _rsa_key(msgspec.json.encode(without_made(self.rsa_keys[0])))
        found = {str(each["kid"]): RSAKey.import_key({name: each[name] for name in PUBLIC}) for each in self.rsa_keys}
        if not signs.is_private or not _named(self.rsa_keys):
            raise ValueError("an RSA key that is not private")
        if any(key.public_key.key_size < RSA_BITS for key in found.values()):
            raise ValueError(f"an RSA key of less than {RSA_BITS} bits")
        return {**found, self.rsa_keys[0]["kid"]: signs}

    def rotated(self, clock: Clock) -> "KeySet":
        """With new signing keys in front, and without those retired for longer than a day."""
        return KeySet(
            keys=_lately([_new_ec_key(clock), *self.keys], clock),
            rsa_keys=_lately([_new_rsa_key(clock), *self.rsa_keys], clock),
            pepper=self.pepper,
        )

    def with_rsa(self, clock: Clock) -> "KeySet":
        """With an RSA key, if there is none."""
        return self if self.rsa_keys else msgspec.structs.replace(self, rsa_keys=[_new_rsa_key(clock)])

    def without(self, kid: str, clock: Clock) -> "KeySet":
        """Without that key; a new one signs if it was one that signs now. Raises KeyFileError if there is none."""
        kids = [each["kid"] for each in (*self.keys, *self.rsa_keys)]
        if kid not in kids:
            raise KeyFileError(f"there is no signing key {kid!r}; there are: {', '.join(kids)}")
        keys, rsa_keys = _left(self.keys, kid), _left(self.rsa_keys, kid)
        # An older key has been retired, and may be dropped by the next rotation: it does not sign again.
        if kid == self.keys[0]["kid"]:
            keys = [_new_ec_key(clock), *keys]
        if self.rsa_keys and kid == self.rsa_keys[0]["kid"]:
            rsa_keys = [_new_rsa_key(clock), *rsa_keys]
        return KeySet(keys=keys, rsa_keys=rsa_keys, pepper=self.pepper)


def without_made(stored: StoredKey) -> StoredKey:
    """The JWK alone, for the library that refuses members it does not know."""
    return {name: value for name, value in stored.items() if name != "made"}


def _new_ec_key(clock: Clock) -> StoredKey:
    key = ECKey.generate_key("P-256", private=True, auto_kid=True)
    return {**key.as_dict(private=True), "made": clock()}


def _new_rsa_key(clock: Clock) -> StoredKey:
    key = RSAKey.generate_key(RSA_BITS, private=True, auto_kid=True)
    return {**key.as_dict(private=True), "made": clock()}


# To see that one is a key takes 40 ms, and a set is read more than once in a start.
@lru_cache(maxsize=4)
def _rsa_key(jwk: bytes) -> RSAKey:
    return RSAKey.import_key(msgspec.json.decode(jwk))


def _named(stored: Sequence[StoredKey]) -> bool:
    return all(isinstance(each["kid"], str) for each in stored)


def _left(stored: Sequence[StoredKey], kid: str) -> list[StoredKey]:
    return [each for each in stored if each["kid"] != kid]


def _lately(stored: Sequence[StoredKey], clock: Clock) -> list[StoredKey]:
    """A key was retired when the one before it in the list was made."""
    kept = (old for newer, old in itertools.pairwise(stored) if clock() - newer.get("made", 0) < RETIRED_KEPT_MS)
    return [stored[0], *kept]
