"""Bytes on a connection: what no client library would send, and what the server says to it."""

import base64
import itertools
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# Longer than the server is patient with anything that comes slowly.
PATIENCE = 20.0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
    wide: bool = False,
) -> bytes:
    """RFC 6455, 5.2. `length`: what it says of itself; `wide`: in more bytes than needed."""
    said = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = masked << 7
    if said < 126 and not wide:
        head += bytes([bit | said])
    elif said < 1 << 16 and not wide:
        head += struct.pack("!BH", bit | 126, said)
    else:
        head += struct.pack("!BQ", bit | 127, said)
    if not masked:
        return head + payload
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def handshake(path: str, **headers: str | None) -> bytes:
    """A request to upgrade; `headers` by their names with underscores, None leaves one out."""
    chosen: dict[str, str | None] = dict[str, str | None](
        {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "pairing.v1",
        }
    ) | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in chosen.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Said:
    """All that a server said: answers to requests, and then perhaps frames."""

    raw: bytes = b""
    # The connection was reset: what was said last may have been lost with it (RFC 9112, section 9.6).
    reset: bool = False

    @property
    def status(self) -> int:
        """0: nothing was answered."""
        return int(self.raw.split(b" ", 2)[1]) if self.raw.startswith(b"HTTP/1.1 ") else 0

    @property
    def close_code(self) -> int | None:
        for opcode, payload in self._frames():
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]) if payload else 1005
        return None

    @property
    def texts(self) -> list[str]:
        return [payload.decode() for opcode, payload in self._frames() if opcode == TEXT]

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        rest = self.raw.partition(b"\r\n\r\n")[2]
        while len(rest) >= 2:
            size, start = rest[1] & 127, 2
            if size == 126:
                size, start = int.from_bytes(rest[2:4]), 4
            yield rest[0] & 15, rest[start : start + size]
            rest = rest[start + size :]


@contextmanager
def connected(port: int, patience: float = PATIENCE) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


def exchange(port: int, *pieces: bytes) -> Said:
    """Send these, then that no more will come, and give what is said: a server that waits for more then, hangs."""
    with _heard(port) as (line, said):
        for piece in pieces:
            line.sendall(piece)
        line.shutdown(socket.SHUT_WR)
        while chunk := line.recv(65536):
            said.raw += chunk
    return said


def converse(port: int, greeting: bytes, *pieces: bytes, until: bytes = b"", patience: float = PATIENCE) -> Said:
    """Send these once the handshake is answered, stay silent, and give what is said up to the close frame, or `until`
    that is there."""
    with _heard(port, patience) as (line, said):
        line.sendall(greeting)
        while chunk := line.recv(65536):
            said.raw += chunk
            if pieces and b"\r\n\r\n" in said.raw:
                if said.status == 101:
                    for piece in pieces:
                        line.sendall(piece)
                pieces = ()
            if (said.status == 101 and said.close_code is not None) or (until and until in said.raw):
                break
    return said


@contextmanager
def _heard(port: int, patience: float = PATIENCE) -> Iterator[tuple[socket.socket, Said]]:
    """A server may end the connection at any time. Not to answer at all, a TimeoutError, is something else."""
    said = Said()
    with connected(port, patience) as line:
        try:
            yield line, said
        except TimeoutError:
            raise
        except OSError:
            said.reset = True


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """In pieces, as a network may bring it."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]
