"""What every HTTP call needs: who asks, with what, from where; bodies read strictly, answers written compactly."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.service import AccountService, LoggedIn, unauthenticated
from pairing_ws.accounts.step_up import StepUpService
from pairing_ws.config.settings import Network, Settings
from pairing_ws.core import codes
from pairing_ws.core.clock import Clock
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.json_depth import MAX_DEPTH, is_deep
from pairing_ws.core.network import is_in, parse
from pairing_ws.core.ports import Proofs
from pairing_ws.core.timing_wheel import Within
from pairing_ws.pairing.service import PairingService
from pairing_ws.pairing.types import ByKey, BySecret, Holder
from pairing_ws.web import wire
from pairing_ws.web.drain import Drain
from pairing_ws.web.labels import MAX_READ, label

BodyT = TypeVar("BodyT", bound=msgspec.Struct)

API = "/api/v1"
MAX_BODY = 16 * 1024
# To its end, from when it is first asked for. A proxy's own limit often starts anew with each byte.
BODY_SECONDS = 10.0
DEVICE_CODE = re.compile(r"[A-Za-z0-9._:~=+/-]{1,128}")
PUSH_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
# More than any label is read of, and than any code or push address has: a character may be four bytes, each as `%41`.
MAX_RAW_HEADER = 3 * max(4 * MAX_READ, 4097)
_utf_8 = codecs.getincrementaldecoder("utf-8")
# Of a query string, of which no call needs more than two short numbers.
MAX_QUERY = 1024
MAX_QUERY_FIELDS = 16
# Of `X-Forwarded-For`, from its end. No chain of trusted proxies is as long.
MAX_HOPS = 16
# As some proxies (Azure's Application Gateway among them) write X-Forwarded-For: with the port.
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?")


@dataclass(frozen=True)
class Services:
    """What the edge can call."""

    settings: Settings
    pairings: PairingService[LoggedIn]
    accounts: AccountService
    step_ups: StepUpService
    proofs: Proofs
    proxies: tuple[Network, ...]
    clock: Clock
    random: codes.RandomBytes
    drain: Drain


class Fields:
    """A request's header fields, looked through once: Starlette does it at each question."""

    def __init__(self, scope: Scope) -> None:
        self._fields: list[tuple[bytes, bytes]] = scope["headers"]
        # Each name's first.
        self._named: dict[bytes, bytes] = dict(reversed(self._fields))

    def all(self, name: bytes) -> list[str]:
        if name not in self._named:
            return []
        if len(self._named) == len(self._fields):
            return [self._named[name].decode("latin-1")]
        return [value.decode("latin-1") for each, value in self._fields if each == name]

    def first(self, name: bytes) -> str:
        return self.raw(name).decode("latin-1")

    def raw(self, name: bytes) -> bytes:
        return self._named.get(name, b"")

    @property
    def origin(self) -> str | None:
        """None if there is none; two of them are nobody's."""
        return ", ".join(self.all(b"origin")) if b"origin" in self._named else None

    @property
    def forwarded(self) -> bool:
        """Whether a proxy has left a trace, of whatever kind."""
        return any(
            name in (b"forwarded", b"via", b"x-real-ip") or name.startswith(b"x-forwarded-") for name in self._named
        )


class Caller:
    """One connection as its request describes it. HTTP calls and socket handshakes alike."""

    def __init__(self, scope: Scope, receive: Receive, fields: Fields, services: Services) -> None:
        self.scope = scope
        self.receive = receive
        self.fields = fields
        self.services = services
        # From the first message on a socket, for who can't send headers with its handshake.
        self.proof: str | None = None
        self._ip: str | None = None
        # The id of the key that had signed the authKey, once there was one.
        self.signed_by = ""
        # Whether the one who asks works with a key of its own, and will need a nonce.
        self.has_key = False

    @property
    def id(self) -> str:
        """The one in the path of a call that has one."""
        return str(self.scope["path_params"]["id"])

    def query(self, name: str) -> str | None:
        """The value of that name in the query string. Raises BAD_REQUEST if there are several."""
        if not (given := self.scope["query_string"]):
            return None
        if len(given) > MAX_QUERY or given.count(b"&") >= MAX_QUERY_FIELDS:
            raise Refused(Code.BAD_REQUEST, f"a query has at most {MAX_QUERY_FIELDS} fields and {MAX_QUERY} characters")
        pairs = parse_qsl(given.decode("latin-1"), keep_blank_values=True)
        found = [value for each, value in pairs if each == name]
        if len(found) > 1:
            raise Refused(Code.BAD_REQUEST, f"{name} can be given once")
        return found[0] if found else None

    @property
    def ip(self) -> str:
        if self._ip is None:
            self._ip = address(self._peer, self.fields, self.services.proxies)
        return self._ip

    @property
    def _peer(self) -> str:
        client = self.scope.get("client")
        return _spelt_peer(client[0]) if client else ""

    @property
    def auth_key(self) -> str | None:
        """From `Auth-Key`, or `Authorization: Bearer` or `DPoP`; both at once have to agree."""
        given = self.fields.all(b"auth-key")
        for value in self.fields.all(b"authorization"):
            scheme, _, rest = value.partition(" ")
            if scheme.lower() not in ("bearer", "dpop"):
                raise unauthenticated()
            given.append(rest.strip())
        if len(given) > 1 and len(set(given)) > 1:
            raise Refused(Code.BAD_REQUEST, "two different credentials at once")
        return given[0] if given else None

    @property
    def secret(self) -> str | None:
        """From `Pairing-Secret`, whatever it is worth."""
        given = self.fields.all(b"pairing-secret")
        if len(given) > 1 and len(set(given)) > 1:
            raise Refused(Code.BAD_REQUEST, "two different secrets at once")
        return given[0] if given else None

    def either(self) -> tuple[str | None, str | None]:
        """authKey and secret, of which one at the most is there."""
        auth_key, secret = self.auth_key, self.secret
        if auth_key is not None and secret is not None:
            raise Refused(Code.BAD_REQUEST, "both Auth-Key and Pairing-Secret; send one")
        return auth_key, secret

    async def session(self) -> Session:
        auth_key, _ = self.either()
        if auth_key is None:
            raise unauthenticated()
        return await self.authenticate(auth_key)

    async def authenticate(self, auth_key: str) -> Session:
        """See `AccountService.authenticate`; `Authorization: DPoP` is for key-bound sessions only."""
        session = await self.services.accounts.authenticate(auth_key, self.prove)
        if session.key_thumbprint is None and any(
            value.lower().startswith("dpop ") for value in self.fields.all(b"authorization")
        ):
            raise unauthenticated()
        self.signed_by = session.signed_by
        return session

    @property
    def asks(self) -> str:
        """Whose address opens what is for private peers: a proxy that nobody has declared speaks for a stranger."""
        if not self.fields.forwarded:
            return self._peer
        return self.ip if is_in(self._peer, self.services.proxies) else ""

    async def prove(self, key_thumbprint: str, auth_key: str | None = None) -> None:
        """See `ports.Prove`. A socket's handshake is a GET of its address, spelt with http(s)."""
        self.has_key = True
        path = str(self.scope["path"]).removeprefix(self.scope.get("root_path", ""))
        method = self.scope.get("method", "GET")
        proofs = self.fields.all(b"dpop") if self.proof is None else [self.proof]
        await self.services.proofs.verify(proofs, method, path, key_thumbprint, auth_key)

    async def by_key(self) -> ByKey:
        return self.as_approver(await self.session())

    def as_approver(self, session: Session) -> ByKey:
        approver = Approver(user_id=session.user.id, session_id=session.id, device_id=session.device.id, ip=self.ip)
        return ByKey(
            approver,
            lambda: self.services.accounts.refuse_quarantined(session),
            lambda: self.services.step_ups.require(session),
        )

    def by_secret(self) -> BySecret:
        auth_key, secret = self.either()
        if secret is None or auth_key is not None:
            raise unauthenticated()
        return BySecret(secret)

    async def holder(self) -> Holder:
        auth_key, secret = self.either()
        if auth_key is not None:
            return self.as_approver(await self.authenticate(auth_key))
        if secret is None:
            raise unauthenticated()
        return BySecret(secret)

    async def claimant(self, device_key: wire.DeviceKey | None) -> tuple[NewDevice | ByKey, str | None]:
        """Who creates or claims: a logged-in device by its key, else a new device by its headers and perhaps secret."""
        auth_key, secret = self.either()
        if auth_key is not None:
            if device_key is not None:
                raise Refused(Code.BAD_REQUEST, "a deviceKey is for a device that is not logged in")
            return self.as_approver(await self.authenticate(auth_key)), None
        if secret is not None and not codes.is_secret(secret):
            raise Refused(Code.BAD_REQUEST, codes.SHAPE_OF_SECRETS)
        return self.device(device_key), secret

    def device(self, key: wire.DeviceKey | None) -> NewDevice:
        """The new device by its headers. Raises DEVICE_HEADERS_REQUIRED, and BAD_REQUEST for what can't be kept."""
        code, name = self.device_code(), label(self._header(b"x-device-name"))
        if not code or not name:
            raise Refused(Code.DEVICE_HEADERS_REQUIRED, "X-Device-Code and X-Device-Name are needed")
        return NewDevice(
            code=code,
            name=name,
            os=label(self._header(b"x-os-device")),
            app_version=label(self._header(b"x-app-version-number")),
            push_token=push_token(self._header(b"x-device-token")),
            ip=self.ip,
            user_agent=label(self.fields.first(b"user-agent")),
            key_thumbprint=self._thumbprint(key) if key else "",
        )

    def _thumbprint(self, key: wire.DeviceKey) -> str:
        self.has_key = True
        try:
            return self.services.proofs.thumbprint(msgspec.structs.asdict(key))
        except ValueError:
            raise Refused(Code.BAD_REQUEST, "deviceKey is no public key on P-256") from None

    def device_code(self) -> str | None:
        code = self._header(b"x-device-code").strip()
        if code and not DEVICE_CODE.fullmatch(code):
            raise Refused(Code.BAD_REQUEST, "X-Device-Code has to be 1 to 128 letters, digits or ._:~=+/-")
        return code or None

    def _header(self, name: bytes) -> str:
        """UTF-8, sent raw or percent-encoded. What lies behind the longest that is taken is cut off, unread."""
        raw = self.fields.raw(name)
        read = unquote_to_bytes(raw[:MAX_RAW_HEADER])
        try:
            return _utf_8().decode(read, final=len(raw) <= MAX_RAW_HEADER)
        except UnicodeDecodeError:
            raise Refused(Code.BAD_REQUEST, f"{name.decode()} has to be UTF-8") from None

    @property
    def refresh_cookies(self) -> tuple[str, ...]:
        """What came under our cookie's name, each value once: a neighbour below our domain may have planted another."""
        # Not by the standard library, which reads a quoted value in time that grows with the square of its length.
        found = (each for value in self.fields.all(b"cookie") for each in _REFRESH_COOKIES.findall(value))
        return tuple(dict.fromkeys(_unquoted(each.strip()) for each in found))

    def demand_own_origin(self) -> None:
        """A cookie came with the request: take it only from our own pages, compared to the letter."""
        if self.fields.origin not in self.services.settings.allowed_origins:
            raise Refused(Code.FOREIGN_ORIGIN, "with the cookie, Origin has to be this site's own")


def address(peer: str, fields: Fields, proxies: tuple[Network, ...]) -> str:
    """The peer's address, or what trusted proxies say it is: the last hop in X-Forwarded-For that is none of them.

    "" where they name none that can be read: their own is everybody's, and would make any two devices neighbours.
    """
    if not proxies or not is_in(peer, proxies):
        return peer
    hops = (_spelt(_without_port(hop)) for hop in islice(_last_hops(fields), MAX_HOPS))
    return next((hop for hop in hops if not is_in(hop, proxies)), "")


def _last_hops(fields: Fields) -> Iterator[str]:
    """Each entry of X-Forwarded-For, the last one first; after `MAX_HOPS` of a field, the rest of it as one."""
    for value in reversed(fields.all(b"x-forwarded-for")):
        yield from (hop.strip() for hop in reversed(value.rsplit(",", MAX_HOPS)))


def _without_port(hop: str) -> str:
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2] or "") if match else hop


def _spelt(text: str) -> str:
    """One spelling for each address, without a zone: a proxy passes on whatever its client wrote there."""
    return str(parse(text) or "")


# The same ones ask again and again. Not for what is read from headers: strangers write it, of any length.
_spelt_peer = lru_cache(maxsize=4096)(_spelt)


def push_token(text: str) -> str:
    if text and not PUSH_TOKEN.fullmatch(text):
        raise Refused(Code.BAD_REQUEST, "a push address has to be at most 4096 printable ASCII characters")
    return text


async def body(caller: Caller, kind: type[BodyT]) -> BodyT:
    """What the caller sent as JSON, as `kind`; an absent body is an empty object.

    Raises BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE, TOO_LARGE and REQUEST_TIMEOUT.
    """
    try:
        async with Within(BODY_SECONDS):
            raw = await _whole(caller.receive)
    except TimeoutError:
        raise Refused(Code.REQUEST_TIMEOUT, f"the body has to be here within {BODY_SECONDS:.0f} seconds") from None
    # RFC 8259, section 8.1: it may be there, and says nothing.
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw:
        if caller.fields.first(b"content-length").strip("0") and caller.fields.raw(b"upgrade"):
            # uvicorn's own protocol, below an application that mounts this one, takes it for another protocol's.
            raise Refused(Code.BAD_REQUEST, "the body got lost behind an Upgrade that is not taken; send none")
        return _decoded(b"{}", kind)
    media_type = caller.fields.first(b"content-type").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")
    return _decoded(raw, kind)


async def _whole(receive: Receive) -> bytes:
    """Starlette's own way of reading it takes twice as long."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise too_large()
        more = message.get("more_body", False)
    return b"".join(parts)


def too_large() -> Refused:
    return Refused(Code.TOO_LARGE, f"a body has at most {MAX_BODY} bytes")


def _decoded(raw: bytes, kind: type[BodyT]) -> BodyT:
    if is_deep(raw):
        raise Refused(Code.BAD_REQUEST, f"the body is more than {MAX_DEPTH} levels deep")
    try:
        # msgspec takes the last of two equal keys; what is ambiguous must not get past another reader (RFC 8259, 4).
        _strict.decode(raw.decode())
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(Code.BAD_REQUEST, _complaint(error)) from None
    except (ValueError, RecursionError):
        raise Refused(Code.BAD_REQUEST, "the body is not well-formed JSON without doubled keys") from None


# What msgspec says of a value and where it is, by our own names alone; and where it repeats what was sent.
_OURS = re.compile(r"(?:Expected|Object missing required field) .*", re.DOTALL)
_THEIRS = re.compile(r"(Invalid enum value|Object contains unknown field) .* - at `(\$[^`]*)`", re.DOTALL)


def _complaint(error: msgspec.ValidationError) -> str:
    """What is wrong, in no word of the caller's."""
    text = str(error)
    if theirs := _THEIRS.fullmatch(text):
        return f"{theirs[1]} - at `{theirs[2]}`"
    return text if _OURS.fullmatch(text) else "a member of the body is not what it has to be"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("doubled key")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


# `json.loads` would make it anew for each body.
_strict = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_constant=_no_constant)


class Waiting:
    """A call that waits for news: its own task does, in `receive`, where it hears as well that its client has gone."""

    __slots__ = ("_due", "_receive", "_within")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._due = False
        self._within: Within | None = None

    def wake(self, _: str = "") -> None:
        self._due = True
        if self._within:
            self._within.end()

    async def wait(self, seconds: float) -> None:
        """Until woken, at once if that has happened since the last time, or until so many seconds are over. Raises
        ClientDisconnect."""
        if not self._due:
            self._within = Within(seconds)
            try:
                async with self._within:
                    while (await self._receive())["type"] != "http.disconnect":
                        pass
                    raise ClientDisconnect
            except TimeoutError:
                pass
            finally:
                self._within = None
        self._due = False


class JsonResponse(Response):
    """A wire type as JSON. Starlette's own `__init__` takes 4 µs to find out what is known here."""

    def __init__(self, content: Any, status_code: int = 200, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = status_code
        self.background = None
        self.body = msgspec.json.encode(content)
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *headers,
        ]


REFRESH_COOKIE = "pairing_refresh"
_REFRESH_COOKIES = re.compile(rf"(?:^|;)[ \t]*{REFRESH_COOKIE}[ \t]*=([^;]*)")


def _unquoted(value: str) -> str:
    """RFC 6265 lets a value stand in quotes; a key has nothing in it that would have to be escaped."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def give_keys(given: LoggedIn, services: Services, *, cookie: bool) -> Response:
    """The pair of keys; with `cookie`, the refreshKey goes where scripts can't read it and few calls receive it."""
    response = JsonResponse(wire.keys(given, with_refresh_key=not cookie))
    if cookie:
        seconds = services.settings.refresh_key_seconds
        response.set_cookie(REFRESH_COOKIE, given.key_pair.refresh_key, max_age=seconds, **_cookie(services.settings))
    return response


def drop_refresh_cookie(response: Response, settings: Settings) -> None:
    response.delete_cookie(REFRESH_COOKIE, **_cookie(settings))


def drop_planted_cookies(response: Response, call: str, settings: Settings) -> None:
    """Take away what may be planted under our cookie's name for this call below `/api/v1/sessions`.

    Browsers ask for a cookie's very domain and path, which they don't tell: so each that there can be.
    """
    steps = f"{_cookie(settings)['path']}/{call}".split("/")[1:]
    starts = ["/" + "/".join(steps[:count]) for count in range(len(steps) + 1)]
    paths = dict.fromkeys(path for start in starts for path in (start, start.rstrip("/") + "/"))
    names = settings.public_host.split(".") if parse(settings.public_host) is None else []
    domains = ("", *(f"; Domain={'.'.join(names[count:])}" for count in range(len(names) - 1)))
    response.raw_headers += [
        (b"set-cookie", f"{REFRESH_COOKIE}=; Max-Age=0; Path={path}{domain}".encode())
        for domain in domains
        for path in paths
    ]


def _cookie(settings: Settings) -> dict[str, Any]:
    path = urlsplit(settings.public_url).path + "/api/v1/sessions"
    return {"path": path, "secure": settings.secure_cookies, "httponly": True, "samesite": "strict"}
