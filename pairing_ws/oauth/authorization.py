"""What an authorization request may say: its parameters read and checked, without I/O (RFC 6749, section 4.1.1; OpenID
Connect Core, section 3.1.2.1; RFC 7636; RFC 9449, section 10).

First comes whom an answer may be sent to (`destination`), then everything else (`checked`): a refusal of the first is
for the person's eyes, one of the second goes to the client.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from pairing_ws.core.json_reader import read_json
from pairing_ws.oauth.errors import Error
from pairing_ws.oauth.ports import Client
from pairing_ws.oauth.redirects import answer_address, is_registered
from pairing_ws.oauth.scopes import granted

# In characters. An address has at most 8 KiB in all; the answer repeats `state` in a header, of which common proxies
# take 4 KiB in all.
MAX_QUERY = 7168
MAX_STATE = 2048
MAX_NONCE = 1024
MAX_SCOPE = 1024
MAX_CLAIMS = 4096
MAX_FIELDS = 64
# No proof of that age is worth asking for; larger numbers only cost time.
MAX_AGE_DIGITS = 9

# All that are read. Any other is passed over (RFC 6749, section 3.1), as often as it comes.
PARAMETERS = frozenset({
    "acr_values", "claims", "claims_locales", "client_id", "code_challenge", "code_challenge_method", "display",
    "dpop_jkt", "id_token_hint", "login_hint", "max_age", "nonce", "prompt", "redirect_uri", "registration", "request",
    "request_uri", "response_mode", "response_type", "scope", "state", "ui_locales",
})  # fmt: skip
# What we don't do at all, each with its own word (OpenID Connect Core, section 3.1.2.6).
_NOT_SUPPORTED = {
    "request": Error.REQUEST_NOT_SUPPORTED,
    "request_uri": Error.REQUEST_URI_NOT_SUPPORTED,
    "registration": Error.REGISTRATION_NOT_SUPPORTED,
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: +[\x21\x23-\x5b\x5d-\x7e]+)*")
# 32 bytes of SHA-256 (RFC 7636, section 4.2; RFC 7638).
_SHA_256 = re.compile(r"[A-Za-z0-9_-]{43}")


class Prompt(StrEnum):
    NONE = "none"
    LOGIN = "login"
    CONSENT = "consent"
    SELECT_ACCOUNT = "select_account"


class Unanswerable(Exception):
    """The request names nobody whom an answer may be sent to: a page says so. `reason` is one of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason
        self.description = REASONS[reason]


# For those who build the client; people read other words.
REASONS = {
    "malformed": "the request is no well-formed query string, or too long",
    "no_client": "client_id is missing, or given several times",
    "unknown_client": "client_id is none that is registered here",
    "no_redirect": "redirect_uri is missing, or given several times",
    "foreign_redirect": "redirect_uri is none that the client has registered, letter by letter",
    "foreign_return": "post_logout_redirect_uri is none that the client has registered, letter by letter",
    "other_client": "client_id is another one than the id_token_hint's",
}


class AuthorizationError(Exception):
    """The client is told, by a redirect. `description` is as in `OAuthError`, and repeats nothing that came."""

    def __init__(self, error: Error, description: str) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description


class Parameters(NamedTuple):
    """What came: values by name, without empty ones, and which names came several times."""

    values: Mapping[str, str]
    doubled: frozenset[str]

    @property
    def state(self) -> str | None:
        """What every answer repeats; None if there is none that can be."""
        state = self.values.get("state")
        usable = state is not None and len(state) <= MAX_STATE and "state" not in self.doubled
        return state if usable and not _CONTROL.search(state or "") else None


class Destination(NamedTuple):
    """Whom every answer to a request goes to. `issuer`: RFC 9207, against mixed-up servers."""

    redirect_uri: str
    state: str | None
    issuer: str

    def with_code(self, code: str) -> str:
        return answer_address(self.redirect_uri, {"code": code, "state": self.state, "iss": self.issuer})

    def with_error(self, error: str, description: str) -> str:
        answer = {"error": error, "error_description": description, "state": self.state, "iss": self.issuer}
        return answer_address(self.redirect_uri, answer)


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be granted. `scopes` are those that the client gets. `subject` is the only
    account that it is about, None for any. `max_age` in seconds."""

    client: Client
    redirect_uri: str
    scopes: tuple[str, ...]
    code_challenge: str
    nonce: str | None = None
    prompt: frozenset[Prompt] = frozenset()
    max_age: int | None = None
    subject: str | None = None
    dpop_jkt: str | None = None


def read(query: str) -> Parameters:
    """The parameters of a query string or of a form. Raises Unanswerable."""
    if len(query) > MAX_QUERY:
        raise Unanswerable("malformed")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise Unanswerable("malformed") from None
    values: dict[str, str] = {}
    doubled = set()
    seen = set()
    for name, value in pairs:
        if name not in PARAMETERS:
            continue
        if name in seen:
            doubled.add(name)
        seen.add(name)
        if value:
            # One without a value is as if it were not there (RFC 6749, section 3.1).
            values[name] = value
    return Parameters(values, frozenset(doubled))


def client_id(given: Parameters) -> str:
    """Raises Unanswerable."""
    if "client_id" in given.doubled or "client_id" not in given.values:
        raise Unanswerable("no_client")
    found = given.values["client_id"]
    if _CONTROL.search(found):
        # No client has such an id, and PostgreSQL fails on NUL.
        raise Unanswerable("unknown_client")
    return found


def destination(given: Parameters, client: Client | None, issuer: str) -> Destination:
    """Whom to answer. Raises Unanswerable unless it is a registered redirect URI of a registered client."""
    if client is None:
        raise Unanswerable("unknown_client")
    if "redirect_uri" in given.doubled or "redirect_uri" not in given.values:
        raise Unanswerable("no_redirect")
    if not is_registered(given.values["redirect_uri"], client.redirect_uris):
        raise Unanswerable("foreign_redirect")
    return Destination(given.values["redirect_uri"], given.state, issuer)


def checked(
    given: Parameters, client: Client, subject_of: Callable[[str], str | None] = lambda _: None
) -> AuthorizationRequest:
    """The request, once `destination` holds. `subject_of` reads an `id_token_hint`: None if it is none of ours.

    Raises AuthorizationError. `login_hint`, `ui_locales`, `claims_locales`, `display` and `acr_values` are wishes that
    change nothing here.
    """
    values = given.values
    if given.doubled:
        raise _invalid(f"{', '.join(sorted(given.doubled))}: given several times")
    for name, error in _NOT_SUPPORTED.items():
        if name in values:
            raise AuthorizationError(error, f"{name} is not supported; send the parameters themselves")
    _refuse_unfit(given)
    _refuse_other_flows(values)
    return AuthorizationRequest(
        client=client,
        redirect_uri=values["redirect_uri"],
        scopes=_scopes(values, client),
        code_challenge=_code_challenge(values),
        nonce=values.get("nonce"),
        prompt=_prompt(values),
        max_age=_max_age(values),
        subject=_subject(values, subject_of),
        dpop_jkt=_dpop_jkt(values),
    )


def _invalid(description: str) -> AuthorizationError:
    return AuthorizationError(Error.INVALID_REQUEST, description)


def _refuse_unfit(given: Parameters) -> None:
    for name, most in (("state", MAX_STATE), ("nonce", MAX_NONCE), ("scope", MAX_SCOPE), ("claims", MAX_CLAIMS)):
        value = given.values.get(name, "")
        if len(value) > most:
            raise _invalid(f"{name} has more than {most} characters")
        if name != "claims" and _CONTROL.search(value):
            raise _invalid(f"{name} has control characters")


def _refuse_other_flows(values: Mapping[str, str]) -> None:
    kind = values.get("response_type")
    if kind is None:
        raise _invalid("response_type is missing")
    if kind != "code":
        raise AuthorizationError(Error.UNSUPPORTED_RESPONSE_TYPE, "response_type has to be code")
    if values.get("response_mode", "query") != "query":
        raise _invalid("response_mode has to be query")


def _scopes(values: Mapping[str, str], client: Client) -> tuple[str, ...]:
    """Those that the client gets: what it was registered with, or else all that mean something here. Others are passed
    over (OpenID Connect Core, section 3.1.2.1); the token endpoint says what was left."""
    wanted = values.get("scope", "")
    if not _SCOPE.fullmatch(wanted):
        raise AuthorizationError(Error.INVALID_SCOPE, "scope has to name one or more, with spaces in between")
    found = granted(client, wanted.split())
    if not found:
        raise AuthorizationError(Error.INVALID_SCOPE, "scope names none that this client can get")
    return found


def _code_challenge(values: Mapping[str, str]) -> str:
    """RFC 7636, of every client (RFC 9700, section 2.1.1). Without a method it would be `plain`."""
    challenge = values.get("code_challenge")
    if challenge is None:
        raise _invalid("code_challenge is missing: PKCE is needed (RFC 7636)")
    if values.get("code_challenge_method") != "S256":
        raise _invalid("code_challenge_method has to be S256")
    if not _SHA_256.fullmatch(challenge):
        raise _invalid("code_challenge has to be 43 characters of base64url")
    return challenge


def _prompt(values: Mapping[str, str]) -> frozenset[Prompt]:
    """Words that are not known are passed over."""
    known = frozenset(Prompt(each) for each in values.get("prompt", "").split() if each in set(Prompt))
    if Prompt.NONE in known and len(values["prompt"].split()) > 1:
        raise _invalid("prompt=none stands alone")
    return known


def _max_age(values: Mapping[str, str]) -> int | None:
    given = values.get("max_age")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= MAX_AGE_DIGITS):
        raise _invalid("max_age has to be a number of seconds")
    return int(given)


def _dpop_jkt(values: Mapping[str, str]) -> str | None:
    given = values.get("dpop_jkt")
    if given is not None and not _SHA_256.fullmatch(given):
        raise _invalid("dpop_jkt has to be a SHA-256 thumbprint (RFC 7638)")
    return given


def _subject(values: Mapping[str, str], subject_of: Callable[[str], str | None]) -> str | None:
    """The account that `id_token_hint` or `claims` is about. A hint that can't be read is none."""
    wanted = _claimed_subject(values["claims"]) if "claims" in values else None
    hint = values.get("id_token_hint")
    return wanted or (subject_of(hint) if hint else None)


def _claimed_subject(claims: str) -> str | None:
    """`sub` with a value is the one claim that an answer has to obey (OpenID Connect Core, section 5.5.1): the others
    come by scope."""
    try:
        document: Any = read_json(claims.encode())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _invalid("claims has to be a JSON object")
    for each in document.values():
        sub = each.get("sub") if isinstance(each, dict) else None
        if isinstance(sub, dict) and isinstance(value := sub.get("value"), str):
            return value
    return None
