"""What a request costs before anybody is authenticated or counted: no bytes in any part of it make it expensive.

CPU time of this process, in which the server runs too, so that a busy machine does not matter; and the least of several
tries, so that nothing fails by chance.
"""

import base64
import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from pairing_ws.web.calls import CALLS
from pairing_ws.web.oauth.endpoints import ENDPOINTS
from tests.fuzz.effort import TIMES
from tests.support.admin import WITH_ADMIN_INSIDE
from tests.support.embedded import Embedded, embedded
from tests.support.limits import NO_LIMITS_INSIDE

pytestmark = pytest.mark.security(33)

MOST_SECONDS = 0.005
# Beside a browser on the same core one takes half as much again; the first that is cheap ends them.
TRIES = 40
# What the server reads of headers, and what fits a body.
HEAD, BODY = 31_000, 16_000
ID = "A" * 22

# Patterns that are the worst of some parser: unquoting, normalising, splitting, decoding, nesting, numbers, dates.
PATTERNS: dict[str, bytes] = {
    "quoted backslashes": b'"' + b'\\"' * 20_000,
    "marks in the wrong order": b"a" + "\u0301".encode() * 8_000 + "\u0323".encode() * 8_000,
    "marks of two kinds in turn": b"a" + "\u0323\u0301".encode() * 8_000,
    "long decompositions": "\U0001d160".encode() * 8_000,
    "joiners": "\U0001f469\u200d".encode() * 5_000,
    "percents": b"%" * 40_000,
    "letters as percents": b"%41" * 20_000,
    "percents and letters in turn": b"%\xc3\xa9" * 20_000,
    "marks as percents": b"%CC%81%CC%A3" * 5_000,
    "commas": b"," * 40_000,
    "semicolons": b";" * 40_000,
    "pairs": b"a=b;" * 10_000,
    "quoted pairs": b'a="\\"";' * 10_000,
    "our cookie": b"pairing_refresh=a;" * 5_000,
    "a host's cookie": b"__Host-pairing_forward=a.b;" * 3_000,
    "fields": b"a&" * 20_000,
    "encoded fields": b"%41=%41&" * 8_000,
    "words": "é ".encode() * 20_000,
    "blanks": b"a" + b" \t" * 20_000 + b"a",
    "slashes": b"/" * 40_000,
    "folders": b"a/" * 20_000,
    "up": b"../" * 20_000,
    "dates": b"Mon, " + b"1-" * 20_000,
    "ranges": b"bytes=" + b",".join(b"%d-%d" % (each * 3, each * 3) for each in range(99)),
    "addresses": b"127.0.0.1," * 4_000 + b"127.0.0.1",
    "digits": b"9" * 40_000,
    "brackets": b"[" * 40_000,
    "a deep token": base64.urlsafe_b64encode(b'{"a":' * 500) + b".a.a",
    "a long token": b"Bearer " + b"a" * 40_000,
    "dots": b"." * 40_000,
}
HEADERS = [
    "Auth-Key", "Authorization", "Pairing-Secret", "X-Device-Code", "X-Device-Name", "X-Os-Device",
    "X-App-Version-Number", "X-Device-Token", "User-Agent", "DPoP", "Cookie", "Origin", "Content-Type", "Accept",
    "If-None-Match", "If-Modified-Since", "If-Range", "Range", "X-Forwarded-For", "Forwarded", "Host",
    "Access-Control-Request-Method", "Access-Control-Request-Headers", "Content-Length", "Connection", "Upgrade",
    "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
    "X-Original-URL", "X-Forwarded-Uri",
]  # fmt: skip
SOCKET = {
    "Upgrade": b"websocket", "Connection": b"Upgrade", "Sec-WebSocket-Version": b"13",
    "Sec-WebSocket-Key": b"AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip
FORM = {"Content-Type": b"application/x-www-form-urlencoded"}
DEVICE = {"X-Device-Code": b"a", "X-Device-Name": b"b"}
PROTECTED = {"X-Forwarded-Host": b"wiki.localhost"}
Fields = dict[str, bytes]
# One request of each way through the server: which headers it reads, and in which order, differs.
TARGETS: dict[str, tuple[str, str, Fields, bytes]] = {
    "a new device's creation": ("POST", "/api/v1/pairings", DEVICE, b'{"qr":"none"}'),
    "a poll": ("GET", f"/api/v1/pairings/{ID}?since=1", {"Pairing-Secret": b"x" * 22}, b""),
    "a refresh by cookie": ("POST", "/api/v1/sessions/refresh", {"Origin": b"http://localhost"}, b'{"keys":"cookie"}'),
    "a logout": ("DELETE", "/api/v1/sessions/current", {"Origin": b"http://localhost"}, b""),
    "a call with a key": ("GET", "/api/v1/me", {"Auth-Key": b"x"}, b""),
    "an invite": ("POST", "/api/v1/invites/accept", DEVICE, b'{"code":"x"}'),
    "a token by a secret": ("POST", "/oauth/token", FORM | {"Authorization": b"Basic eDp5"}, b"code=x"),
    "a public client's token": ("POST", "/oauth/token", FORM, b"grant_type=authorization_code&code=x&client_id=x"),
    "user info": ("GET", "/oauth/userinfo", {"Authorization": b"Bearer x"}, b""),
    "a browser that an application sends": ("GET", "/oauth/authorize?client_id=x&redirect_uri=x", {}, b""),
    "a browser that is to be logged out": ("GET", "/oauth/logout?id_token_hint=e30.e30.x", {}, b""),
    "a proxy's question": ("GET", "/oauth/forward-auth", PROTECTED | {"Accept": b"text/html"}, b""),
    "a login at a protected host": ("GET", "/.pairing/login?to=/", PROTECTED, b""),
    "the way back to it": (
        "GET", "/.pairing/callback?code=x", PROTECTED | {"Cookie": b"__Host-pairing_begun=" + b"x" * 43}, b"",
    ),
    "a preflight": (
        "OPTIONS", "/api/v1/me", {"Origin": b"http://localhost", "Access-Control-Request-Method": b"GET"}, b"",
    ),
    "a page": ("GET", "/phone", {}, b""),
    "a file": ("GET", "/static/style.css", {}, b""),
    "a page that is none": ("GET", "/nowhere", {}, b""),
    "the metrics": ("GET", "/metrics", {}, b""),
    "a handshake": ("GET", f"/api/v1/pairings/{ID}/socket", SOCKET | {"Pairing-Secret": b"x" * 22}, b""),
}  # fmt: skip


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    settings: dict[str, Any] = NO_LIMITS_INSIDE | WITH_ADMIN_INSIDE | {"public_url": "http://localhost", "demo": True}
    settings |= {"forward_auth_hosts": ("wiki.localhost",)}
    folder = tmp_path_factory.mktemp("busy")
    with embedded(folder, trusted_proxies=("127.0.0.1",), **settings) as started:
        yield started


def asking(method: str, path: str | bytes, fields: Fields, body: bytes = b"") -> bytes:
    line = path.encode() if isinstance(path, str) else path
    # A body has to be announced; a test of the announcement announces none.
    own = {"Host": b"localhost"} | ({"Content-Type": b"application/json"} if body else {}) | fields
    if body and "Content-Length" not in own:
        own["Content-Length"] = b"%d" % len(body)
    lines = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in own.items())
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method.encode(), line, lines, body)


def asked(server: Embedded, sent: bytes) -> float:
    """CPU seconds from the first byte to the end of the answer."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        started = time.process_time()
        connection.sendall(sent)
        _read_answer(connection)
        return time.process_time() - started


def _read_answer(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return received
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    while length and not sent_without_body(head) and len(body) < int(length):
        if not (more := connection.recv(65536)):
            break
        body += more
    return head


def sent_without_body(head: bytes) -> bool:
    return head.split()[1:2] in ([b"101"], [b"204"], [b"304"])


def assert_cheap(cost: Callable[[], float], what: object, most: float = MOST_SECONDS) -> None:
    tries = []
    for _ in range(TRIES):
        tries.append(cost())
        if min(tries) < most:
            return
    raise AssertionError(f"{what}: {min(tries) * 1000:.1f} ms of CPU")


@pytest.fixture
def most(busy: Embedded, request: pytest.FixtureRequest) -> float:
    """Beside what the target costs without anything odd, where that is not next to nothing: the metrics are those of
    this whole process, and of every server that earlier tests have run in it."""
    target = request.getfixturevalue("target")
    if target != "the metrics":
        return MOST_SECONDS
    return MOST_SECONDS + min(asked(busy, asking(*TARGETS[target])) for _ in range(TRIES))


def without_line_ends(value: bytes) -> bytes:
    return value[:HEAD].strip()


@pytest.mark.parametrize("target", TARGETS)
def test_no_header_is_expensive(busy: Embedded, target: str, most: float) -> None:
    """Each header here, each pattern in each header and each pattern here, but not all three at once: every third of
    the 15,000, or all of them under `scripts/fuzz`."""
    method, path, fields, body = TARGETS[target]
    which = list(TARGETS).index(target)
    for (place, header), (number, kind) in itertools.product(enumerate(HEADERS), enumerate(PATTERNS)):
        if TIMES == 1 and (which + place + number) % 3:
            continue
        sent = asking(method, path, fields | {header: without_line_ends(PATTERNS[kind])}, body)
        assert_cheap(lambda sent=sent: asked(busy, sent), (target, header, kind), most)  # type: ignore[misc]


@pytest.mark.parametrize("target", TARGETS)
def test_no_number_of_headers_is_expensive(busy: Embedded, target: str, most: float) -> None:
    method, path, fields, body = TARGETS[target]
    many = [
        *(b"%s: a\r\n" % header.lower().encode() for header in HEADERS if header not in ("Host", "Content-Length")),
        b"a:\r\n",
        b"x-forwarded-for: 127.0.0.1\r\n",
        b"cookie: pairing_refresh=a\r\n",
    ]
    for line in many:
        sent = asking(method, path, fields, body).replace(b"\r\n", b"\r\n" + line * (30_000 // len(line)), 1)
        assert_cheap(lambda sent=sent: asked(busy, sent), (target, line), most)  # type: ignore[misc]


PATHS = [
    *sorted({call.path for call in CALLS if "{id}" in call.path}),
    "/api/v1/pairings/{id}/socket", "/{id}", "/api/v1/{id}", "/static/{id}", "/pair/{id}", "/join/{id}", "/phone/{id}",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_is_expensive(busy: Embedded, path: str) -> None:
    before, after = path.encode().split(b"{id}")
    for kind, value in PATTERNS.items():
        # Also what is not too long to be looked at: the long ones are turned away unread.
        for size in (HEAD - 200, 900):
            middle = value[:size].translate(None, b' \t"\\?#')
            for method in ("GET", "POST", "OPTIONS"):
                fields = {"Pairing-Secret": b"x" * 22} | (SOCKET if path.endswith("/socket") else {})
                sent = asking(method, before + middle + after, fields)
                assert_cheap(lambda sent=sent: asked(busy, sent), (method, path, kind, size))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["since", "wait", "descendants", "other", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/v1/pairings/{ID}"),
        ("DELETE", f"/api/v1/devices/{ID}"),
        ("GET", "/phone"),
        ("GET", "/static/x"),
        ("GET", "/oauth/userinfo"),
        ("POST", "/oauth/token"),
    ],
)
def test_no_query_is_expensive(busy: Embedded, method: str, path: str, name: str) -> None:
    for kind, value in PATTERNS.items():
        query = name.encode() + b"=" + value[: HEAD - 200].translate(None, b" \t#")
        sent = asking(method, path.encode() + b"?" + query, {"Pairing-Secret": b"x" * 22})
        assert_cheap(lambda sent=sent: asked(busy, sent), (path, name, kind))  # type: ignore[misc]


BODIES: dict[str, bytes] = {
    "deep arrays": b'{"qr":"none","a":' + b"[" * 7_900 + b"]" * 7_900 + b"}",
    "brackets in a string without an end": b'{"qr":"' + b'[\\"' * 5_000,
    "quotes without an end": b"[" * 33 + b'"' * 15_000,
    "empty arrays": b'{"qr":"none","a":[' + b"[]," * 5_000 + b"[]]}",
    "deep objects": b'{"qr":"none","a":' + b'{"":' * 3_000 + b"1" + b"}" * 3_000 + b"}",
    "unclosed": b"[" * BODY,
    "long integers": b'{"qr":"none","a":[' + b",".join([b"9" * 4_300] * 3) + b"]}",
    "one long integer": b'{"qr":"none","a":' + b"9" * 15_900 + b"}",
    "a long fraction": b'{"qr":"none","a":0.' + b"9" * 15_900 + b"}",
    "a long exponent": b'{"qr":"none","a":1e' + b"9" * 15_900 + b"}",
    "floats": b'{"qr":"none","a":[' + b",".join([b"1e-9"] * 3_100) + b"]}",
    "small integers": b'{"qr":"none","a":[' + b",".join([b"9"] * 7_900) + b"]}",
    "empty objects": b'{"qr":"none","a":[' + b",".join([b"{}"] * 5_200) + b"]}",
    "small objects": b'{"qr":"none","a":[' + b",".join([b'{"":0}'] * 2_200) + b"]}",
    "many members": b'{"qr":"none",' + b",".join(b'"%x":0' % each for each in range(1_800)) + b"}",
    "escapes": b'{"qr":"none","a":"' + b"\\u0301" * 2_600 + b'"}',
    "surrogates": b'{"qr":"none","a":"' + b"\\ud83d" * 2_600 + b'"}',
    "blanks": b" " * 15_900 + b'{"qr":"none"}',
    "nothing but blanks": b" " * BODY,
    "quotes": b'"' * BODY,
    "zeros": b"\0" * BODY,
}


@pytest.mark.parametrize("call", [call for call in CALLS if call.body], ids=lambda call: f"{call.method} {call.path}")
def test_no_body_is_expensive(busy: Embedded, call: Any) -> None:
    path, fields = call.path.replace("{id}", ID), DEVICE | {"Pairing-Secret": b"x" * 22}
    for kind, body in (BODIES | _fields_of(call.body)).items():
        assert len(body) <= 16_384, kind
        sent = asking(call.method, path, fields, body)
        assert_cheap(lambda sent=sent: asked(busy, sent), (call.path, kind))  # type: ignore[misc]
        chunks = b"".join(b"1\r\n%c\r\n" % each for each in body[:BODY]) + b"0\r\n\r\n"
        head, _, _ = asking(call.method, path, fields | {"Transfer-Encoding": b"chunked"}).rpartition(b"\r\n")
        sent = head + b"Content-Type: application/json\r\n\r\n" + chunks
        assert_cheap(lambda sent=sent: asked(busy, sent), (call.path, kind, "in chunks"))  # type: ignore[misc]


FORMS: dict[str, bytes] = {
    "fields": b"a&" * 8_000,
    "encoded names": b"%41=%41&" * 2_000,
    "equals": b"=" * BODY,
    "ampersands": b"&" * BODY,
    "percents": b"%" * BODY,
    "plus signs": b"code=" + b"+" * 15_900,
    "long names": b"a" * BODY,
    "a long secret": b"client_id=x&client_secret=" + b"x" * 15_900,
    "a long verifier": b"client_id=x&grant_type=authorization_code&code=x&code_verifier=" + b"~" * 15_900,
    "a long assertion": b"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    b"&client_assertion=" + b"." * 15_800,
    "a deep assertion": b"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    b"&client_assertion=e30." + base64.urlsafe_b64encode(b'{"a":' * 500) + b".x",
    "many scopes": b"client_id=x&grant_type=refresh_token&refresh_token=a.b&scope=" + b"a+" * 7_900,
}


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.method == "POST"], ids=lambda each: each.path)
def test_no_form_is_expensive(busy: Embedded, endpoint: Any) -> None:
    fitting = {kind: b"token=" + value[:15_900].translate(None, b"&#") for kind, value in PATTERNS.items()}
    for kind, body in (FORMS | fitting | {f"{kind} in basic": b"" for kind in PATTERNS}).items():
        assert len(body) <= 16_384, kind
        fields = FORM
        if kind.endswith(" in basic"):
            encoded = base64.b64encode(PATTERNS[kind.removesuffix(" in basic")][:20_000])
            fields = FORM | {"Authorization": b"Basic " + encoded}
        sent = asking("POST", endpoint.path, fields, body or b"token=x")
        assert_cheap(lambda sent=sent: asked(busy, sent), (endpoint.path, kind))  # type: ignore[misc]


def _fields_of(body: type[msgspec.Struct]) -> dict[str, bytes]:
    """Each field of this kind of body with each pattern, in the length that the field takes and a longer one."""
    needed: dict[str, Any] = {field.encode_name: "x" for field in msgspec.structs.fields(body) if field.required} | (
        {"qr": "none"} if "qr" in body.__struct_fields__ else {}
    )
    key = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(body):
        for kind, pattern in PATTERNS.items():
            text = pattern.decode(errors="ignore")
            for size in (43, 256, 4096, 12_000):
                cut = text.encode()[:size].decode(errors="ignore")
                found[f"{field.name} {kind} {size}"] = needed | {field.encode_name: cut}
        if field.name == "device_key":
            found |= {f"{field.name}.{name}": needed | {"deviceKey": key | {name: "x" * 43}} for name in key}
            found["a point that is none"] = needed | {"deviceKey": key}
    encoded = {kind: json.dumps(value).encode() for kind, value in found.items()}
    return {kind: value for kind, value in encoded.items() if len(value) <= 16_384}


def frame(payload: bytes, opcode: int = 1, *, final: bool = True) -> bytes:
    mask = os.urandom(4)
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    masked = bytes(each ^ mask[index % 4] for index, each in enumerate(payload))
    return bytes([0x80 * final | opcode]) + size + mask + masked


def told(server: Embedded, frames: bytes) -> float:
    """CPU seconds from the first byte of a socket's first frames until it is closed."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.sendall(asking("GET", f"/api/v1/pairings/{ID}/socket", SOCKET))
        assert b" 101 " in _read_answer(connection)
        started = time.process_time()
        connection.sendall(frames)
        while more := connection.recv(65536):
            if more[0] == 0x88:
                break
        return time.process_time() - started


def _messages() -> dict[str, bytes]:
    # As many bytes as a message may have.
    found = {f"body: {kind}": body[:4096] for kind, body in BODIES.items()}
    for name in ("secret", "authKey", "proof", "type", "other"):
        for kind, pattern in PATTERNS.items():
            for size in (250, 3_900):
                text = pattern[:size].decode(errors="ignore")
                found[f"{name}: {kind} {size}"] = json.dumps({"type": "auth", "secret": "x", name: text}).encode()[
                    :4096
                ]
    return found


def test_no_frame_is_expensive(busy: Embedded) -> None:
    for kind, message in _messages().items():
        sent = frame(message)
        assert_cheap(lambda sent=sent: told(busy, sent), kind)  # type: ignore[misc]


def test_a_message_in_many_frames_is_not_expensive(busy: Embedded) -> None:
    pieces = [frame(b"x", 1, final=False), *[frame(b"x", 0, final=False)] * 1_000, frame(b"x", 0)]
    assert_cheap(lambda: told(busy, b"".join(pieces)), "fragments")
