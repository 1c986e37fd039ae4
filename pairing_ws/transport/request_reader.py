"""From the bytes of a connection to requests (RFC 9112), on httptools. No I/O."""

from typing import Any, Protocol

import httptools

from pairing_ws.core.errors import Code, Refused
from pairing_ws.transport.request_limits import HEADERS_TOO_LARGE, RequestMeter
from pairing_ws.transport.response_head import Field
from pairing_ws.transport.upgrade import handshake_refusal, is_handshake, without_offer

NO_REQUEST = "that is no request as RFC 9112 has it"


class RequestHandler(Protocol):
    """What a reader tells of what it reads."""

    @property
    def takes_handshakes(self) -> bool: ...

    def on_head_end(self) -> None:
        """A head is whole, and may be refused yet."""

    def on_request(self, method: bytes, version: str, *, keep_alive: bool) -> None:
        """A request begins: the reader has its target and fields. Raises ValueError for a target that is none."""

    def on_request_body(self, data: bytes) -> None:
        """More of the newest request's body."""

    def on_request_end(self) -> None:
        """The newest request is whole."""

    def on_handshake(self, rest: bytes) -> None:
        """A WebSocket's begins: `rest` and all that follows are its frames. Raises ValueError as `on_request`."""

    def refuse(self, refused: Refused) -> None:
        """What was read is no request, or too large. Called once: nothing of what follows is a request."""


class RequestReader:
    """Reads heads and bodies of any number of requests, which may come in one read or in many."""

    __slots__ = ("_body", "_handler", "_hosts", "_parser", "expects_continue", "fields", "meter", "stopped", "target")

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self._parser = _parser_for(self)
        self.meter = RequestMeter()
        # Of the newest head: as they were sent, but for names in lower case.
        self.target = b""
        self.fields: list[Field] = []
        self._hosts = 0
        self.expects_continue = False
        # Of the newest request's body, in this read.
        self._body: list[bytes] = []
        self.stopped = False

    def feed(self, data: bytes) -> None:
        """Tell the handler of all that is whole in `data`, and of bodies as they come."""
        parts: list[bytes | memoryview] = [data]
        while parts and not self.stopped:
            part = parts.pop(0)
            try:
                self._parser.feed_data(part)
            except httptools.HttpParserUpgrade as offer:
                parts[:0] = self._on_upgrade(memoryview(part)[offer.args[0] :])
            except httptools.HttpParserError:
                self._pass_body_on()
                self._refuse(Refused(Code.BAD_REQUEST, NO_REQUEST))
        self._pass_body_on()

    def stop(self) -> None:
        """Read nothing more, and forget parser and handler, which refer to this reader: nothing of them is garbage that
        only a collection finds."""
        self.stopped = True
        self._parser = None
        self._handler = None  # type: ignore[assignment]

    def _on_upgrade(self, rest: memoryview) -> list[bytes | memoryview]:
        """Behind a head with an offer of another protocol. What is to be parsed next."""
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if self._handler.takes_handshakes and is_handshake(method, version, self.fields):
            if refused := handshake_refusal(self.fields):
                self._refuse(refused)
            else:
                try:
                    self._handler.on_handshake(bytes(rest))
                except (ValueError, httptools.HttpParserError):
                    self._refuse(Refused(Code.BAD_REQUEST, NO_REQUEST))
            return []
        if method == b"CONNECT":
            # Parsed once more, it would be the same again.
            self._refuse(Refused(Code.METHOD_NOT_ALLOWED, "this is no proxy"))
            return []
        # The parser takes all that follows for the other protocol's, and has no way back.
        self._parser = _parser_for(self)
        return [without_offer(method, self.target, version, self.fields), rest]

    def _refuse(self, refused: Refused) -> None:
        if not self.stopped:
            self.stopped = True
            self._handler.refuse(refused)

    def _pass_body_on(self) -> None:
        if self._body:
            self._handler.on_request_body(b"".join(self._body))
            self._body.clear()

    # What httptools calls

    def on_message_begin(self) -> None:
        self.target, self.fields, self._hosts, self.expects_continue = b"", [], 0, False
        self.meter.start_head()

    def on_url(self, data: bytes) -> None:
        self.target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields behind the body are no headers, and no proxy has looked at them (RFC 9110, section 6.5.1).
        if self.meter.in_head:
            # The parser leaves what is blank behind a value (section 5.5).
            name, value = name.lower(), value.rstrip(b" \t")
            self.fields.append((name, value))
            if name == b"host":
                self._hosts += 1
            elif name == b"expect" and value.lower() == b"100-continue":
                self.expects_continue = True

    def on_headers_complete(self) -> None:
        """Raises ValueError, which ends the parsing."""
        self._handler.on_head_end()
        if self.meter.is_head_too_large(self.target, self.fields):
            self._refuse(Refused(Code.HEADERS_TOO_LARGE, HEADERS_TOO_LARGE))
            raise ValueError("too large")
        if self._parser.should_upgrade():
            # Decided once the parser has returned.
            return
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1") or self._hosts > 1 or (version == "1.1" and not self._hosts):
            # RFC 9112, section 3.2: two readers could take it for two hosts' request.
            raise ValueError("HTTP/1.1 with one Host, or HTTP/1.0")
        is_1_1 = version == "1.1"
        # RFC 9110, section 10.1.1.
        self.expects_continue = self.expects_continue and is_1_1
        keep_alive = is_1_1 and self._parser.should_keep_alive()
        self._handler.on_request(self._parser.get_method(), version, keep_alive=keep_alive)
        self.meter.in_head = False

    def on_body(self, data: bytes) -> None:
        self.meter.count_body(len(data))
        # Of chunks of one byte there can be 16,000 in a read: to join them costs a tenth of passing on each.
        self._body.append(data)

    def on_message_complete(self) -> None:
        # Behind an offer of another protocol, only the head is complete.
        if not self.meter.in_head:
            self._pass_body_on()
            self._handler.on_request_end()


def _parser_for(reader: RequestReader) -> Any:
    parser = httptools.HttpRequestParser(reader)
    # What follows a request that asks for the end of the connection is no error: nobody reads it.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
