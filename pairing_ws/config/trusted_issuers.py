"""`PAIRING_TRUSTED_ISSUERS` taken apart: whose tokens may be exchanged for a session, and how each is checked."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from pairing_ws.config.addresses import web_address

MAX_ISSUERS = 32
MAX_ISSUER = 512
# What somebody else may have next year: no account is found by it.
_PASSED_ON = frozenset({"email", "phone_number", "preferred_username", "name", "nickname"})

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_ISSUER)]


class TrustedIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer, to the letter, and the `aud` that its tokens for this server have.

    Its keys are in `jwks_file` or at `jwks_uri`; without both its discovery document says where. `subject_claim` is the
    claim that names the person. With `opens_accounts` who is unknown gets an account.
    """

    issuer: _Text
    audience: _Text
    jwks_uri: _Text | None = None
    jwks_file: _Text | None = None
    subject_claim: _Text = "sub"
    opens_accounts: bool = False


def issuer_address(value: str) -> str:
    """An issuer's address as it stands in `iss`, to the letter: a slash at its end is part of it. Raises ValueError."""
    web_address(value)
    if len(value) > MAX_ISSUER:
        raise ValueError
    return value


def parse(text: str) -> tuple[TrustedIssuer, ...]:
    """Raises ValueError, whose text says what is wrong, for people."""
    try:
        found = msgspec.json.decode(text, type=tuple[TrustedIssuer, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"should be a JSON array of objects with `issuer` and `audience` ({error})") from None
    if len(found) > MAX_ISSUERS:
        raise ValueError(f"has more than {MAX_ISSUERS} issuers")
    if len({each.issuer for each in found}) < len(found):
        raise ValueError("has an issuer twice")
    for each in found:
        _check(each)
    return found


def _check(each: TrustedIssuer) -> None:
    try:
        issuer_address(each.issuer)
        if each.jwks_uri and urlsplit(each.jwks_uri).scheme not in ("https", "http"):
            raise ValueError
    except ValueError:
        raise ValueError("should have addresses such as https://id.example.com as issuer and jwks_uri") from None
    if each.jwks_uri and each.jwks_file:
        raise ValueError("has an issuer with both jwks_uri and jwks_file; name one of them")
    if each.jwks_file and not Path(each.jwks_file).is_file():
        raise ValueError("has a jwks_file that can't be read")
    if each.subject_claim in _PASSED_ON:
        raise ValueError(
            f"has the subject_claim {each.subject_claim!r}, which can be another person's later: name one that stays"
        )
