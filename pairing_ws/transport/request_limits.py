"""What is too large or too late of a request: the limits, and a meter that counts bytes as they are read. No I/O.

A request is its head, its body, and its overhead: whatever else comes before the next head, such as chunk sizes,
trailers and nonsense. The application bounds bodies; everything else is bounded here.
"""

from collections.abc import Sequence

# As nginx, which takes four buffers of 8 KiB.
MAX_HEAD_BYTES = 32 * 1024
# Of path and query. To decode the percents of a path of 32 KiB takes 5 ms.
MAX_TARGET_BYTES = 8 * 1024
# 16 KiB of body in chunks of one byte, and some trailers.
MAX_OVERHEAD_BYTES = 128 * 1024
# Of a WebSocket's handshake: browsers send about 20 headers, and we know one subprotocol, of ten letters.
MAX_HANDSHAKE_FIELDS = 256
MAX_SUBPROTOCOL_BYTES = 1024
# Requests behind one that is being answered, and their bytes before reading pauses: one read can hold thousands. Not
# paused at the first of them, for a connection that is not read does not tell that its client has ended it.
MAX_PIPELINED_REQUESTS = 512
MAX_PIPELINED_BYTES = 64 * 1024
# To the end of a request's headers, from its first byte, and for the first request from the connection.
HEAD_TIMEOUT = 10.0
# For a client to take what was written for it.
WRITE_TIMEOUT = 30.0

HEADERS_TOO_LARGE = (
    f"an address has at most {MAX_TARGET_BYTES} bytes, and a request's headers have at most {MAX_HEAD_BYTES}"
)


class RequestMeter:
    """The bytes of the request that is being read, over any number of reads."""

    __slots__ = ("_body", "_head", "_overhead", "_read", "began", "in_head")

    def __init__(self) -> None:
        # Nothing, or a part of a head, has been read since the last request.
        self.in_head = True
        # A head began in the present read.
        self.began = False
        # Read before the present read: of this head, and of this request's overhead.
        self._head = self._overhead = 0
        # Of the present read: all of it, and what is body.
        self._read = self._body = 0

    def start_read(self, size: int) -> None:
        self._read, self._body, self.began = size, 0, False

    def start_head(self) -> None:
        self.in_head = self.began = True
        self._head = self._overhead = 0

    def count_body(self, size: int) -> None:
        self._body += size

    def is_head_too_large(self, target: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bool:
        """At the end of a head."""
        if len(target) > MAX_TARGET_BYTES:
            return True
        # Only if it fills a read, or is in more than one, a head can be so large.
        if self.began and self._read <= MAX_HEAD_BYTES:
            return False
        return len(target) + sum(len(name) + len(value) for name, value in fields) > MAX_HEAD_BYTES

    def end_read(self) -> bool:
        """Whether what has come is too large: a head that has not ended yet, or the overhead."""
        if not self.began:
            if self.in_head:
                self._head += self._read
            else:
                self._overhead += self._read - self._body
        return self._head > MAX_HEAD_BYTES or self._overhead > MAX_OVERHEAD_BYTES

    def count_discarded(self) -> bool:
        """Of the present read nothing is parsed. Whether it is too much by now."""
        self._overhead += self._read
        return self._overhead > MAX_OVERHEAD_BYTES
