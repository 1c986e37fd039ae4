"""Malformed requests of every kind, to every call: each gets its problem document, none a 5xx."""

import asyncio
import json
import secrets
import socket
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairing_ws.core.errors import Code, Refused
from pairing_ws.web.call import ADMIN, Call
from pairing_ws.web.calls import CALLS
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.headers import RequestHeaders
from tests.support.admin import BEARER
from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.embedded import PLAIN_UVICORN, embedded
from tests.support.servers import Server
from tests.web.conftest import refusal

WRITES = {f"{call.method} {call.path}": call for call in CALLS if call.method in ("POST", "PATCH")}
WITH_BODY = {name: call for name, call in WRITES.items() if call.body}


def credentials_of(call: Call) -> tuple[str, ...]:
    """Whoever gets so far that their body is read: all, but where nothing is read without an admin key."""
    return ("adminKey",) if ADMIN in call.proofs else ("none", "device", "authKey", "secret")


UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"

MALFORMED: dict[str, bytes] = {
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "doubled key": b'{"code": "x", "code": "y", "userCode": "x"}',
    "doubled key deep inside": b'{"a": [{"b": 1, "b": 2}]}',
    "doubled key in two spellings": b'{"code": "x", "\\u0063ode": "y"}',
    "deep arrays": b"[" * 8000 + b"]" * 8000,
    "deep objects": b'{"a":' * 2600 + b"1" + b"}" * 2600,
    "unclosed": b"[" * 16000,
    "lone surrogate": b'{"code": "\\ud800", "userCode": "\\ud800", "name": "\\ud800", "number": "\\ud800",'
    b' "refreshKey": "\\ud800", "qr": "\\ud800", "report": "\\ud800"}',
    "invalid UTF-8": b'{"code": "\xff\xfe"}',
    "overlong UTF-8": b'{"code": "\xc0\xaf"}',
    "UTF-16": '{"code": "x"}'.encode("utf-16"),
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"code": "x"}',
    "a string": b'"x"',
    "an array": b"[]",
    "null": b"null",
    "a number": b"1",
    "huge integer": b'{"a": ' + b"9" * 5000 + b"}",
    "nothing but space": b"  ",
    "trailing garbage": b'{"code": "x"} x',
    "single quotes": b"{'code': 'x'}",
    "comment": b'{"code": "x" /* */}',
    "NUL": b"\x00",
    "raw control character": b'{"code": "\x01"}',
    "form": b"code=x",
}


def fits(value: Any, kind: Any) -> bool:
    """Whether a member of that type may be that: some are lists or objects."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def path_of(call: Call, id_: str = UNKNOWN) -> str:
    return call.path.removeprefix("/api/v1").replace("{id}", id_)


@pytest.fixture
async def credentials(api: Api, phone: Phone) -> dict[str, dict[str, str]]:
    device: NewDevice = await api.new_pairing()
    return {
        "none": {},
        "device": device_headers(),
        "authKey": phone.headers,
        "secret": device_headers() | device.headers,
        "adminKey": device_headers() | BEARER,
    }


JSON = {"Content-Type": "application/json"}


@pytest.mark.security(23, 25)
@pytest.mark.parametrize("name", WITH_BODY)
async def test_malformed_json_is_a_bad_request_whoever_sends_it(
    api: Api, credentials: dict[str, dict[str, str]], name: str
) -> None:
    call = WITH_BODY[name]
    for kind, content in MALFORMED.items():
        for who in credentials_of(call):
            headers = JSON | credentials[who]
            answer = await api.http.request(call.method, path_of(call), content=content, headers=headers)
            assert refusal(answer) == (400, "bad_request"), (kind, who, answer.text)


@pytest.mark.parametrize("name", WITH_BODY)
async def test_members_of_the_wrong_type_are_a_bad_request(
    api: Api, credentials: dict[str, dict[str, str]], name: str
) -> None:
    call = WITH_BODY[name]
    assert call.body
    fields = {field.encode_name: "x" for field in msgspec.structs.fields(call.body) if field.required}
    for field in msgspec.structs.fields(call.body):
        wrong: list[Any] = [1, 1.5, [], {}, [[]], -0.0, 10**40, "x" * 8000]
        for value in (each for each in wrong if not fits(each, field.type)):
            for who in credentials_of(call):
                answer = await api.http.request(
                    call.method, path_of(call), json=fields | {field.encode_name: value}, headers=credentials[who]
                )
                assert refusal(answer) == (400, "bad_request"), (field.encode_name, value, who)


@pytest.mark.parametrize("name", WITH_BODY)
async def test_what_has_no_default_is_needed(api: Api, credentials: dict[str, dict[str, str]], name: str) -> None:
    call = WITH_BODY[name]
    assert call.body
    if not any(field.required for field in msgspec.structs.fields(call.body)):
        return
    for who in credentials_of(call):
        for content in (b"", b"{}", b'{"other": 1}', b'{"CODE": "x", "USERCODE": "x"}'):
            headers = JSON | credentials[who]
            answer = await api.http.request(call.method, path_of(call), content=content, headers=headers)
            assert refusal(answer) == (400, "bad_request")


async def test_json_may_begin_with_a_byte_order_mark(api: Api) -> None:
    for content, status in ((b'\xef\xbb\xbf{"qr": "none"}', 201), (b"\xef\xbb\xbf", 201), (b"\xef\xbb\xbf{", 400)):
        answer = await api.http.post("/pairings", content=content, headers=JSON | device_headers())
        assert answer.status_code == status


SECRETIVE = "Zz-not-to-be-repeated-zZ"


@pytest.mark.security(21)
@pytest.mark.parametrize("name", WITH_BODY)
async def test_no_problem_document_repeats_what_was_sent(
    api: Api, credentials: dict[str, dict[str, str]], name: str
) -> None:
    call = WITH_BODY[name]
    assert call.body
    fields = {field.encode_name: "x" for field in msgspec.structs.fields(call.body) if field.required}
    tricks = [SECRETIVE, f"{SECRETIVE}' - at `$.x", f"a\n{SECRETIVE}", f"{SECRETIVE}`"]
    wrong: list[Any] = [each for trick in tricks for each in (trick, [trick], {trick: trick}, {"kty": trick, trick: 1})]
    key = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
    wrong += [key | {each: SECRETIVE} for each in (*key, SECRETIVE)]
    contents = [json.dumps({trick: trick}) for trick in tricks] + [SECRETIVE, f'"{SECRETIVE}"', f'{{"{SECRETIVE}"']
    contents += [
        json.dumps(fields | {field.encode_name: value})
        for field in msgspec.structs.fields(call.body)
        for value in wrong
    ]
    for content in contents:
        for who in credentials_of(call):
            headers = JSON | credentials[who]
            answer = await api.http.request(call.method, path_of(call), content=content, headers=headers)
            if answer.status_code >= 400:
                assert SECRETIVE not in answer.text, (content, answer.text)


@pytest.mark.security(21)
async def test_no_part_of_a_request_is_repeated_by_its_refusal(api: Api, server: Server) -> None:
    names = [
        "Auth-Key", "Authorization", "Pairing-Secret", "X-Device-Code", "X-Device-Name", "X-Device-Token", "DPoP",
        "Cookie", "Origin", "Content-Type", "Host", "Accept", SECRETIVE,
    ]  # fmt: skip
    for call in CALLS:
        path = server.url + call.path.replace("{id}", SECRETIVE)
        for headers in ({}, *({name: f"{SECRETIVE} \x7f".strip("\x7f ")} for name in names)):
            query = {"since": SECRETIVE, "wait": SECRETIVE, "descendants": SECRETIVE, "before": SECRETIVE}
            answer = await api.http.request(
                call.method, path, headers=headers, content=SECRETIVE, params=query | {SECRETIVE: SECRETIVE}
            )
            assert SECRETIVE not in answer.text + str(answer.headers), (call.path, headers)
    for path in (f"/{SECRETIVE}", f"/static/{SECRETIVE}", f"/api/v1/{SECRETIVE}"):
        for accept in ("text/html", "*/*"):
            answer = await api.http.request(SECRETIVE[:2], server.url + path, headers={"Accept": accept})
            assert SECRETIVE not in answer.text + str(answer.headers)
            answer = await api.http.get(server.url + path, headers={"Accept": accept})
            assert SECRETIVE not in answer.text + str(answer.headers)


OTHER_TYPES = [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json",
    "application/json-patch+json", "application/jsonx", "text/json",
]  # fmt: skip


@pytest.mark.security(23)
@pytest.mark.parametrize("name", WITH_BODY)
async def test_another_content_type_is_refused(api: Api, credentials: dict[str, dict[str, str]], name: str) -> None:
    call = WITH_BODY[name]
    for kind in OTHER_TYPES:
        for who in credentials_of(call):
            headers = credentials[who] | {"Content-Type": kind}
            answer = await api.http.request(call.method, path_of(call), content=b'{"code": "x"}', headers=headers)
            assert refusal(answer) == (415, "unsupported_media_type"), (kind, who)


async def test_content_types_may_have_parameters_and_any_case(api: Api) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        headers = device_headers() | {"Content-Type": kind}
        assert (await api.http.post("/pairings", content=b"{}", headers=headers)).status_code == 201


@pytest.mark.security(23)
@pytest.mark.parametrize("name", WITH_BODY)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_16_kib_is_too_large(
    api: Api, credentials: dict[str, dict[str, str]], name: str, chunked: bool
) -> None:
    call = WITH_BODY[name]
    content = json.dumps({"code": "x" * 16_400}).encode()

    async def pieces() -> Any:
        for start in range(0, len(content), 4000):
            yield content[start : start + 4000]

    for who in credentials_of(call):
        given = pieces() if chunked else content
        answer = await api.http.request(call.method, path_of(call), content=given, headers=JSON | credentials[who])
        assert refusal(answer) == (413, "too_large")


@pytest.mark.security(23)
@pytest.mark.parametrize("more", [b"", b"Origin: http://localhost\r\n"], ids=["no origin", "an origin"])
@pytest.mark.parametrize("size", [b"000000000000000000000000020000", b"9" * 19], ids=["zeros", "more than fits"])
async def test_a_body_is_too_large_however_its_length_is_spelt(server: Server, size: bytes, more: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = b"POST /api/v1/pairings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head + more + b"Content-Length: " + size + b"\r\n\r\n" + b" " * 20_000)
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_what_is_read_is_counted_whatever_was_announced() -> None:
    pieces = iter(range(100))

    async def receive() -> Any:
        return {"type": "http.request", "body": b" " * 4096, "more_body": next(pieces) < 99}

    scope: dict[str, Any] = {"headers": []}
    request = RequestContext(scope, receive, RequestHeaders(scope), None)  # type: ignore[arg-type]
    with pytest.raises(Refused) as refused:
        await read_body(request, msgspec.Struct)
    assert refused.value.code is Code.TOO_LARGE


async def test_a_body_of_16_kib_is_not(api: Api) -> None:
    content = json.dumps({"other": "x" * 16_000}).encode()
    answer = await api.http.post("/pairings", content=content, headers=JSON | device_headers())
    assert answer.status_code == 201


@pytest.mark.parametrize("name", [name for name in WRITES if name not in WITH_BODY])
async def test_calls_that_read_no_body_survive_any(api: Api, credentials: dict[str, dict[str, str]], name: str) -> None:
    call = WRITES[name]
    for content in (*MALFORMED.values(), b"x" * 20_000):
        for who in credentials_of(call):
            answer = await api.http.request(call.method, path_of(call), content=content, headers=credentials[who])
            assert answer.status_code < 500
            assert answer.is_success or refusal(answer)


ODD_IDS = [
    "odd", "%00", "%ff", "%F0%9F%92%A9", "..", "%2e%2e", "%2F", "a%2Fb", "%0d%0aSet-Cookie:x", "A" * 5000, "{id}",
    "%7Bid%7D",     "'%20OR%201=1--", "*", "%25", "-1", "null", "pairing:%7Bx%7D", "%ED%A0%80", "%20",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_odd_ids_are_unknown_ids(api: Api, credentials: dict[str, dict[str, str]], odd: str) -> None:
    for call in CALLS:
        if "{id}" not in call.path:
            continue
        for who in ("authKey", "secret", "adminKey"):
            content = b'{"code": "x"}' if call.body else None
            headers = credentials[who] | (JSON if content else {})
            answer = await api.http.request(call.method, path_of(call, odd), content=content, headers=headers)
            # Some of these are other paths by the time they are read; the rest are nobody's.
            assert answer.status_code in (400, 401, 404, 405), (call.method, call.path, answer.text)
            refusal(answer)


@pytest.mark.parametrize("path", ["/nowhere", "/pairings/x/y/z", "/pairings//approve", "/../healthz", "/v2"])
async def test_an_unknown_path_gets_a_problem_document(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await api.http.request(method, path)
        assert answer.status_code in (404, 405)
        refusal(answer)


async def test_a_wrong_method_gets_a_problem_document_with_the_right_ones(api: Api) -> None:
    for method, path in [("PUT", "/pairings"), ("PATCH", "/pairings"), ("POST", "/me"), ("PATCH", "/sessions/refresh"),
                         ("GET", "/pairings/x/approve"), ("TRACE", "/me")]:  # fmt: skip
        answer = await api.http.request(method, path)
        assert refusal(answer) == (405, "method_not_allowed"), (method, path)
        assert answer.headers["allow"]


# Anything at all

header_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
headers = st.dictionaries(
    st.sampled_from(
        ["Auth-Key", "Authorization", "Pairing-Secret", "X-Device-Code", "X-Device-Name", "X-Device-Token",
         "X-Os-Device", "X-App-Version-Number", "Content-Type", "Cookie", "Origin", "If-None-Match", "X-Forwarded-For",
         "User-Agent", "Accept", "Range", "Expect-Not"]
    ),
    header_text | st.sampled_from(["application/json", "Bearer x", "%ff", "%00", "null", "a" * 5000]),
    max_size=6,
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(
    st.sampled_from(["code", "userCode", "qr", "report", "number", "keys", "refreshKey", "name", "pushToken"]),
    json_values | st.sampled_from(["svg", "none", "cookie", "body"]),
    max_size=4,
)
bodies = st.binary(max_size=200) | (members | json_values).map(lambda value: json.dumps(value).encode())
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
queries = st.dictionaries(st.sampled_from(["since", "wait", "descendants", "x"]), st.text(max_size=5), max_size=2)


@pytest.mark.security(25)
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    call=st.sampled_from(CALLS),
    id_=ids,
    given_headers=headers,
    content=bodies,
    query=queries,
    typed=st.booleans(),
    device=st.booleans(),
)
def test_no_request_gets_a_5xx(
    server: Server,
    call: Call,
    id_: str,
    given_headers: dict[str, str],
    content: bytes,
    query: dict[str, str],
    typed: bool,
    device: bool,
) -> None:
    sent = (
        (device_headers() if device else {}) | given_headers | ({"Content-Type": "application/json"} if typed else {})
    )
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    if query.get("wait", "").isdigit():
        query["wait"] = "0"
    path = call.path.replace("{id}", httpx2.QueryParams({"": id_}).__str__()[1:].replace("+", "%20"))
    answer = _client(server).request(call.method, server.url + path, params=query, headers=raw, content=content)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        refusal(answer)
    assert answer.headers["cache-control"] == "no-store"


_clients: dict[str, httpx2.Client] = {}


def _client(server: Server) -> httpx2.Client:
    return _clients.setdefault(server.url, httpx2.Client(timeout=30))


@pytest.fixture(autouse=True, scope="module")
def _close_clients() -> Any:
    yield
    for client in _clients.values():
        client.close()


@pytest.mark.security(25)
@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /api/v1/me HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /pair/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/v1/pairings HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/pairings HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"POST /api/v1/pairings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /api/v1/me HTTP/1.1\r\nHost: a\r\nAuth-Key: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"GET /api/v1/socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda text: repr(text[:60]),
)
async def test_what_is_hardly_http_ends_in_no_5xx_and_no_harm(server: Server, api: Api, request_text: bytes) -> None:
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        try:
            raw.sendall(request_text)
            raw.shutdown(socket.SHUT_WR)
            while chunk := raw.recv(65536):
                received += chunk
        except OSError:
            # It hangs up on too much, or nonsense, and then nothing can be sent or read.
            pass
    if received:
        assert received.split()[1][:1] in (b"2", b"4"), received[:200]
    assert (await api.http.get(f"{server.url}/healthz")).status_code == 200


@pytest.mark.security(25)
async def test_malformed_requests_do_not_make_the_process_grow(server: Server, api: Api) -> None:
    async def some(rounds: range) -> None:
        for number in rounds:
            for kind, content in MALFORMED.items():
                await api.http.post(f"/pairings/{number}/claim", content=content, headers=JSON | {"Auth-Key": kind * 9})
                await api.http.get(f"/{number}/{secrets.token_hex(8)}", headers={"Pairing-Secret": str(number)})

    await some(range(10))
    before = server.memory()
    await some(range(10, 60))
    assert server.memory() - before < 8


@pytest.mark.parametrize("inside", ["serve", "plain uvicorn"])
async def test_a_body_behind_an_offer_of_http_2_is_read_or_said_to_be_lost(
    server: Server, tmp_path: Path, inside: str
) -> None:
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}

    async def ask(url: str) -> tuple[int, str]:
        async with Api(url) as api:
            answer = await api.http.post("/pairings", json={"qr": "nonsense"}, headers=device_headers() | offer)
            assert answer.status_code == 400
            return refusal(answer)[0], answer.json()["detail"]

    if inside == "serve":
        assert "qr" in (await ask(server.url))[1]
        async with Api(server.url) as api:
            made = await api.http.post("/pairings", json={"qr": "svg"}, headers=device_headers() | offer)
            assert made.status_code == 201
            assert "svg" in made.json()["qr"]
    else:
        with embedded(tmp_path, options=PLAIN_UVICORN) as mounted:
            assert "Upgrade" in (await ask(mounted.url))[1]
