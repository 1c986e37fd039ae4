"""WebSocket frames, handshakes and first messages that no client library would send, and raw HTTP beside them.

Each ends as the contract says; the server logs no error, goes on serving others, and holds no more than before.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import TIMES, effort
from tests.fuzz.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    converse,
    cut,
    exchange,
    frame,
    handshake,
)
from tests.history.deployment import usage_of
from tests.support.client import Api
from tests.support.limits import NO_LIMITS
from tests.support.servers import Server, running, wait_for

PROTOCOL_ERROR, NOT_UTF8, TOO_LARGE, MALFORMED, UNAUTHENTICATED, UNKNOWN = 1002, 1007, 1009, 4400, 4401, 4404
# What is garbage already and has not been collected yet: the server seldom does.
MOST_GROWTH_KIB = 16 * 1024
# Others are served meanwhile, however busy the machine is.
PROMPTLY = 5.0


@dataclass
class Door:
    """A server, and a pairing's socket there, with the first message that opens it."""

    server: Server
    path: str = ""
    opening: bytes = b""

    async def make(self) -> "Door":
        async with Api(self.server.url) as api:
            device = await api.new_pairing()
        self.path = f"/api/v1/pairings/{device.id}/socket"
        self.opening = frame(TEXT, json.dumps({"type": "auth", "secret": device.pairing["secret"]}).encode())
        return self

    def serves_others(self) -> bool:
        since = time.monotonic()
        answer = httpx2.get(f"{self.server.url}/healthz", timeout=PROMPTLY)
        return answer.status_code == 200 and time.monotonic() < since + PROMPTLY


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Whatever the module's tests do to it: nothing is logged as an error, and nothing stays open."""
    # An hour, or the pairing would be gone before a long run is.
    with running(tmp_path_factory.mktemp("frames"), **NO_LIMITS, PAIRING_TTL_SECONDS="3600") as server:
        before = usage_of(server)
        yield asyncio.run(Door(server).make())
        # A connection of the pool of the fixture's own client may still be there.
        wait_for(lambda: usage_of(server).files <= before.files + 1, "the end of all connections")
        errors = [line for line in server.log_text().splitlines() if '"level": "error"' in line or "Traceback" in line]
        assert errors == []


# Frames

control = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
message = st.builds(frame, st.sampled_from([TEXT, BINARY]), st.text(max_size=50).map(str.encode))
bodies = st.binary(max_size=130)
close_codes = st.integers(0, 65535).filter(lambda code: not 1000 <= code <= 1014 and not 3000 <= code <= 4999)
not_utf8 = st.binary(min_size=1, max_size=40).filter(lambda data: _fails(data))
VIOLATIONS: dict[str, tuple[st.SearchStrategy[bytes], int]] = {
    "reserved opcode": (
        st.builds(frame, st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), bodies),
        PROTOCOL_ERROR,
    ),
    "reserved bits": (
        st.builds(frame, st.sampled_from([TEXT, BINARY, PING, CLOSE]), bodies, rsv=st.integers(1, 7)),
        PROTOCOL_ERROR,
    ),
    "unmasked": (
        st.builds(frame, st.sampled_from([TEXT, BINARY, PING, PONG, CLOSE]), st.just(b"{}"), masked=st.just(False)),
        PROTOCOL_ERROR,
    ),
    "control frame in fragments": (
        st.builds(frame, st.sampled_from([PING, PONG, CLOSE]), st.just(b"\x03\xe8"), fin=st.just(False)),
        PROTOCOL_ERROR,
    ),
    "control frame too long": (
        st.builds(frame, st.sampled_from([PING, PONG, CLOSE]), st.binary(min_size=126, max_size=300)),
        PROTOCOL_ERROR,
    ),
    "continuation of nothing": (st.builds(frame, st.just(CONTINUATION), bodies, fin=st.booleans()), PROTOCOL_ERROR),
    "message in a message": (
        st.builds(
            lambda opcode, data: frame(opcode, data, fin=False) + frame(opcode, data),
            st.sampled_from([TEXT, BINARY]),
            st.just(b"x"),
        ),
        PROTOCOL_ERROR,
    ),
    "close code nobody may send": (
        st.builds(
            lambda code, reason: frame(CLOSE, code.to_bytes(2) + reason.encode()),
            close_codes | st.sampled_from([1004, 1005, 1006]),
            st.text(max_size=20),
        ),
        PROTOCOL_ERROR,
    ),
    "half a close code": (st.binary(min_size=1, max_size=1).map(lambda data: frame(CLOSE, data)), PROTOCOL_ERROR),
    "close reason in no UTF-8": (not_utf8.map(lambda data: frame(CLOSE, b"\x03\xe8" + data)), NOT_UTF8),
    "text in no UTF-8": (not_utf8.map(lambda data: frame(TEXT, data)), NOT_UTF8),
    "text in no UTF-8, in fragments": (
        not_utf8.map(lambda data: frame(TEXT, data[:1], fin=False) + frame(CONTINUATION, data[1:])),
        NOT_UTF8,
    ),
    "too large": (
        st.builds(
            lambda opcode, size: frame(opcode, b"x" * size), st.sampled_from([TEXT, BINARY]), st.integers(4097, 9000)
        ),
        TOO_LARGE,
    ),
    "said to be huge": (
        st.builds(
            lambda opcode, size: frame(opcode, b"x", length=size),
            st.sampled_from([TEXT, BINARY]),
            st.sampled_from([4097, 65535, 65536, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
        ),
        TOO_LARGE,
    ),
    "too large in fragments": (
        st.builds(
            lambda size, count: frame(TEXT, b"x", fin=False) + count * frame(CONTINUATION, b"x" * size, fin=False),
            st.integers(100, 4000),
            st.just(42),
        ),
        TOO_LARGE,
    ),
}


def _fails(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


@pytest.mark.security(25, 27)
@pytest.mark.parametrize("kind", VIOLATIONS)
def test_a_violation_of_the_protocol_ends_the_socket_with_the_code_for_it(door: Door, kind: str) -> None:
    frames, code = VIOLATIONS[kind]

    @effort(8)
    @given(
        bad=frames,
        before=st.lists(control, max_size=3),
        talk=st.lists(message, max_size=3),
        known=st.booleans(),
        places=st.lists(st.integers(0, 10_000), max_size=4),
    )
    def holds(bad: bytes, before: list[bytes], talk: list[bytes], known: bool, places: list[int]) -> None:
        # Whoever has said who he is may say more; nobody listens.
        opening = [door.opening, *talk] if known else []
        said = converse(door.server.port, handshake(door.path), *cut(b"".join([*before, *opening, bad]), places))
        assert said.status == 101
        assert said.close_code == code or said.reset

    holds()
    assert door.serves_others()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
members = st.fixed_dictionaries(
    {}, optional={"type": st.just("auth") | values, "secret": values, "authKey": values, "extra": values}
)
ODD_JSON = [
    "", "[" * 4000, '{"a":' * 800, '{"type":"auth","secret":' + "9" * 4000 + "}", '{"type":"auth","secret":-1e999}',
    '{"type":"auth","secret":NaN}', '{"type":"auth","secret":"\\ud800"}', "\ufeff{}", "\0", "nul", "'", "{" * 4096,
    '{"type":"auth"}x', '{"type":"auth","secret":"' + "x" * 3000 + '"}', '{"type":"auth","authKey":"a.b.c"}',
]  # fmt: skip
first_messages = (members | values).map(json.dumps) | st.sampled_from(ODD_JSON) | st.text(max_size=200)


@pytest.mark.security(25)
@effort(60)
@given(
    text=first_messages,
    opcode=st.sampled_from([TEXT, TEXT, TEXT, BINARY]),
    places=st.lists(st.integers(0, 5000)),
    account=st.booleans(),
)
def test_any_first_message_is_answered_with_a_close_code_of_the_contract(
    door: Door, text: str, opcode: int, places: list[int], account: bool
) -> None:
    pieces = cut(text.encode("utf-8", "surrogatepass"), places[:20])
    # Each piece a fragment of one message.
    sent = b"".join(
        frame(opcode if place == 0 else CONTINUATION, piece, fin=place == len(pieces) - 1)
        for place, piece in enumerate(pieces)
    )
    path = "/api/v1/socket" if account else door.path
    codes = {MALFORMED, UNAUTHENTICATED, UNKNOWN, TOO_LARGE, NOT_UTF8}
    assert converse(door.server.port, handshake(path), sent).close_code in codes


@pytest.mark.security(25)
def test_a_message_in_any_fragments_is_one_message(door: Door) -> None:
    text = door.opening[6:]
    mask = door.opening[2:6]
    plain = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
    whole = [frame(TEXT, b"", fin=False)]
    for byte in plain:
        whole += [frame(CONTINUATION, bytes([byte]), fin=False), frame(PING, b"x"), frame(CONTINUATION, b"", fin=False)]
    whole.append(frame(CONTINUATION))
    said = converse(door.server.port, handshake(door.path), b"".join(whole), until=b'"pending"')
    assert json.loads(said.texts[0])["pairing"]["status"] == "pending"


@pytest.mark.security(25)
@effort(40)
@given(noise=st.binary(max_size=300), known=st.booleans(), together=st.booleans())
def test_noise_on_a_socket_ends_it_and_nothing_else(door: Door, noise: bytes, known: bool, together: bool) -> None:
    # `together`: a client that does not wait for the handshake's answer.
    sent = [handshake(door.path), door.opening if known else b"", noise]
    said = exchange(door.server.port, *([b"".join(sent)] if together else sent))
    assert said.status in (101, 400)


HALVES: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\x81",
    "a length": frame(TEXT, b"x" * 3000)[:4],
    "half a mask": frame(TEXT, b"{}")[:4],
    "half a message": frame(TEXT, b'{"type":"auth","secret":"x"}')[:20],
    "a fragment": frame(TEXT, b'{"type":', fin=False),
    "fragments and a half": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b"x" * 50)[:30],
    "half a ping": frame(PING, b"x" * 100)[:50],
    "pings": frame(PING, b"x") * 50,
}


@pytest.mark.security(25, 27)
def test_half_a_frame_and_then_silence_is_cut_off_like_any_silence(door: Door) -> None:
    with ThreadPoolExecutor(len(HALVES) * 2) as pool:
        waiting = [
            pool.submit(partial(converse, patience=30.0), door.server.port, handshake(path), half)
            for half in HALVES.values()
            for path in (door.path, "/api/v1/socket")
        ]
        assert door.serves_others()
        assert [each.result().close_code for each in waiting] == [UNAUTHENTICATED] * len(waiting)


# Handshakes and requests

names = st.sampled_from(
    ["Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
     "Sec-WebSocket-Extensions", "Origin", "Content-Length", "Transfer-Encoding", "Pairing-Secret", "Auth-Key",
     "Cookie", "Expect", "X-Forwarded-For", "X"]
)  # fmt: skip
header_values = st.sampled_from(
    ["", "x", "websocket", "WebSocket, h2c", "Upgrade", "keep-alive, Upgrade", "close", "13", "12", "-1", "0", "13, 8",
     "dGhlIHNhbXBsZSBub25jZQ==", "!!!", "pairing.v1", "pairing.v1, pairing.v1", ";;,", 'permessage-deflate; x="', "5",
     "chunked", "identity, chunked", "null", "a\x00b", "a\nSet-Cookie: b", "a\rb", "a\r\n b", "\x7f", "\xff", "\t",
     "x" * 5000, "x" * 70000, "100-continue", "99999999999999999999"]
) | st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=30)  # fmt: skip
lines = st.lists(st.tuples(names, header_values), max_size=6)
paths = st.sampled_from(
    ["/api/v1/socket", "/api/v1/pairings/x/socket", "/", "/nowhere", "*", "//", "/%00", "/\xff", ""]
)


@pytest.mark.security(25)
@effort(80)
@given(path=paths, changes=lines, dropped=st.sets(st.integers(1, 6), max_size=2), rest=st.binary(max_size=50))
def test_an_odd_handshake_is_refused_or_served_and_never_an_error(
    door: Door, path: str, changes: list[tuple[str, str]], dropped: set[int], rest: bytes
) -> None:
    usual = handshake(path).split(b"\r\n")[:-2]
    kept = [line for place, line in enumerate(usual) if place not in dropped]
    more = [f"{name}: {value}".encode("latin-1") for name, value in changes]
    said = exchange(door.server.port, b"\r\n".join([*kept, *more, b"", b""]) + rest)
    assert said.status == 101 or said.status == 0 or 200 <= said.status < 500, said.raw[:200]


methods = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "", "\x00", "PRI"]
)
versions = st.sampled_from(
    ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1.1", "HTTP", "", "http/1.1", "HTTP/9.9"]
)
ends = st.sampled_from(["\r\n", "\n", "\r", "\r\n\r\n", " \r\n"])
chunks = st.lists(
    st.sampled_from(["0", "5", "-5", "ZZ", "5;x=y", "0x5", "FFFFFFFFFFFFFFFFF", " 5", "5 ", "", "+5", "5\n"]),
    max_size=4,
).map(lambda sizes: "".join(f"{size}\r\nhello\r\n" for size in sizes) + "0\r\n\r\n")
pages = st.sampled_from(
    ["/healthz", "/api/v1/pairings", "/api/v1/me", "/pair/x", "/static/pairing.js", "/..//", "http://x/"]
)


@pytest.mark.security(25)
@effort(80)
@given(
    requests=st.lists(
        st.tuples(methods, pages | paths, versions, ends, lines, chunks | st.text(max_size=30)), min_size=1, max_size=3
    ),
    places=st.lists(st.integers(0, 100_000), max_size=3),
)
def test_what_is_hardly_http_ends_and_is_never_an_error(
    door: Door, requests: list[tuple[str, str, str, str, list[tuple[str, str]], str]], places: list[int]
) -> None:
    sent = ""
    for method, path, version, end, headers, body in requests:
        sent += f"{method} {path} {version}{end}Host: localhost{end}"
        sent += "".join(f"{name}: {value}{end}" for name, value in headers) + end + body
    said = exchange(door.server.port, *cut(sent.encode("latin-1", "replace"), places))
    assert said.status == 0 or 200 <= said.status < 500, said.raw[:200]


@pytest.mark.security(25)
def test_requests_one_behind_the_other_are_each_answered_in_their_order(door: Door) -> None:
    asked = ["/healthz", "/nowhere", "/api/v1/me", "/healthz", "/readyz"] * 20
    requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in asked]
    requests[-1] = requests[-1].replace("Host", "Connection: close\r\nHost")
    said = converse(door.server.port, "".join(requests).encode())
    answers = re.findall(rb"HTTP/1\.1 (\d+) ", said.raw)
    assert answers == [b"200", b"404", b"401", b"200", b"200"] * 20


# After all of it


@pytest.mark.security(25)
def test_no_flood_of_any_kind_makes_the_process_grow(door: Door) -> None:
    port, hello = door.server.port, handshake(door.path)
    fragments = frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"", fin=False) * 10_000
    floods: list[Callable[[], object]] = [
        lambda: [exchange(port, hello, frame(3)) for _ in range(50)],
        lambda: [converse(port, hello, frame(TEXT, b"x", length=1 << 62)) for _ in range(50)],
        lambda: [exchange(port, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000) for _ in range(20)],
        lambda: [exchange(port, hello.replace(b"13", b"12")) for _ in range(50)],
        lambda: [exchange(port, b"NONSENSE\r\n\r\n" * 20) for _ in range(50)],
        lambda: [converse(port, hello, door.opening, frame(PING, b"x" * 125) * 5000, frame(CLOSE))],
        lambda: [converse(port, hello, fragments, frame(CLOSE))],
    ]

    def all_of_them(times: int) -> None:
        for _ in range(times):
            for flood in floods:
                flood()

    all_of_them(3)
    before = usage_of(door.server)
    all_of_them(3 * TIMES)
    wait_for(lambda: usage_of(door.server).files <= before.files, "the end of all connections")
    assert usage_of(door.server).kib < before.kib + MOST_GROWTH_KIB
    assert door.serves_others()
