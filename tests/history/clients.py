"""How a run asks: HTTP on bare connections, sockets, and every question and answer written into the history.

Raw rather than through a client library, which would take longer to ask than the servers take to answer, and so that
it is certain whether a request was sent at all.
"""

import asyncio
import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import websockets
from websockets.asyncio.client import connect

from tests.history.checker import LATE_READER
from tests.history.record import NEVER, Answer, Operation, Recorder, Seen

HOST = "127.0.0.1"
# Longer than any fault lasts, and than the server itself is patient with its stores.
PATIENCE = 8.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ETAG = re.compile(rb'\r\netag: *"(\d+)"', re.IGNORECASE)
# How the server says in a close frame what it would say in an answer.
_CLOSED_AS = {
    1011: Answer(500, "internal_error"),
    4400: Answer(400, "bad_request"),
    4401: Answer(401, "unauthenticated"),
    4404: Answer(404, "not_found"),
}


class NotSent(Exception):
    """Nobody listens: nothing was sent, so nothing can have happened."""


class NoAnswer(Exception):
    """It was sent, and the connection ended or time was up."""


class Reply(NamedTuple):
    status: int
    head: bytes
    body: dict[str, Any]


class _Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self.open = True
        self._buffer = b""
        self._answer: asyncio.Future[Reply] | None = None

    async def ask(self, wanted: bytes) -> Reply:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(wanted)
        return await self._answer

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._buffer = b""
        if self._answer and not self._answer.done():
            status = int(head[9:12])
            is_json = size and b"json" in head
            self._answer.set_result(Reply(status, head, json.loads(rest[:size]) if is_json else {}))

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(NoAnswer("closed"))


class ServerConnections:
    """Kept open to one server process; each carries one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[_Connection] = []

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: Any, patience: float = PATIENCE
    ) -> Reply:
        """Raises NotSent and NoAnswer."""
        connection = await self._connection()
        try:
            async with asyncio.timeout(patience):
                reply = await connection.ask(_request(method, path, headers, body))
        except TimeoutError:
            raise NoAnswer("too late") from None
        finally:
            # Cancelled or late: its answer must not become the next request's.
            if connection._answer is None or not connection._answer.done() or connection._answer.cancelled():
                connection.transport.abort()
                connection.open = False
        self._idle.append(connection)
        return reply

    async def _connection(self) -> _Connection:
        while self._idle:
            kept = self._idle.pop()
            if kept.open and not kept.transport.is_closing():
                return kept
        try:
            async with asyncio.timeout(2):
                made = await asyncio.get_running_loop().create_connection(_Connection, HOST, self.port)
        except (OSError, TimeoutError):
            raise NotSent from None
        return made[1]

    def close(self) -> None:
        for each in self._idle:
            each.transport.close()


def _request(method: str, path: str, headers: dict[str, str], body: Any) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} /api/v1{path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {headers[name]}" for name in headers)]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass
class Party:
    """Somebody who asks: a logged-in device (`A…`) by its authKey, a new device (`B…`) by its secret."""

    name: str
    headers: dict[str, str]
    # What proves a socket's holder, in the first message's words.
    proof: dict[str, str] = field(default_factory=dict)


@dataclass
class RecordingClient:
    """By which everybody asks the servers. It writes each question and answer into the history."""

    recorder: Recorder
    servers: list[ServerConnections]
    # Of each pair of keys, by their name in the history: the refreshKey's digest, as the database has it.
    digests: dict[str, str] = field(default_factory=dict)
    not_sent: int = 0

    async def call(
        self,
        operation: Operation,
        method: str,
        path: str,
        party: Party,
        body: Any = None,
        patience: float = PATIENCE,
        **headers: str,
    ) -> Reply | None:
        """Ask what `operation` describes and write it into the history, unless nobody listened. None: no answer."""
        server = self.servers[operation.process]
        operation.invoked = self.recorder.now()
        reply = None
        try:
            reply = await server.ask(method, path, party.headers | headers, body, patience)
            operation.returned = self.recorder.now()
            operation.answer = self._answer(reply)
            if operation.call == "create":
                operation.pairing = reply.body.get("id", "")
        except NotSent:
            self.not_sent += 1
            return None
        except NoAnswer:
            pass
        except asyncio.CancelledError:
            self.recorder.add(operation)
            raise
        if operation.answer is not None and operation.answer.status == 503:
            operation.returned = NEVER
        self.recorder.add(operation)
        return reply

    def _answer(self, reply: Reply) -> Answer:
        body = reply.body
        if reply.status == 304:
            tag = _ETAG.search(reply.head)
            return Answer(304, seen=Seen("", int(tag[1]) if tag else 0))
        keys = device = ""
        if "refreshKey" in body:
            keys = hashlib.sha256(f"{body['authKey']} {body['refreshKey']}".encode()).hexdigest()
            device = body["device"]["id"]
            self.digests[keys] = base64.urlsafe_b64encode(hashlib.sha256(body["refreshKey"].encode()).digest()).decode()
        return Answer(
            reply.status,
            body.get("code", ""),
            seen(body) if "version" in body else None,
            keys,
            device,
            body.get("attemptsLeft"),
            body.get("pairingStatus", ""),
        )

    def close(self) -> None:
        for server in self.servers:
            server.close()

    async def watch(
        self, pairing: str, party: Party, process: int, awaited: frozenset[str], seconds: float = NEVER
    ) -> tuple[str, Seen | None]:
        """Listen on a socket, each message a read, until it tells an awaited status, or for some seconds.

        That status, or "unknown" if the pairing is, or "" if the socket ended; and what was seen last.
        """
        recorder = self.recorder
        number, since = recorder.socket(), recorder.now()
        last: Seen | None = None

        def record(call: str, how: str, answer: Answer) -> None:
            recorder.add(
                Operation(call, party.name, since, recorder.now(), answer, pairing, process, how, socket=number)
            )

        url = f"ws://{HOST}:{self.servers[process].port}/api/v1/pairings/{pairing}/socket"
        try:
            async with (
                asyncio.timeout(None if seconds == NEVER else seconds),
                connect(url, subprotocols=[_PROTOCOL], proxy=None, open_timeout=5, close_timeout=1) as connection,
            ):
                since = recorder.now()
                await connection.send(json.dumps({"type": "auth", **party.proof}))
                while True:
                    message = json.loads(await connection.recv())
                    if message["type"] != "pairing":
                        continue
                    last = seen(message["pairing"])
                    record("read", "socket", Answer(200, seen=last))
                    # The server has read on since it sent this, perhaps a moment before we got to it.
                    since = max(since, recorder.now() - LATE_READER)
                    if last.status in awaited:
                        return last.status, last
        except (OSError, TimeoutError, websockets.InvalidHandshake):
            return "", last
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            record("close", str(code), _CLOSED_AS.get(code, Answer(0)))
            return "unknown" if code == 4404 else "", last


_PROTOCOL = websockets.Subprotocol("pairing.v1")


def seen(pairing: dict[str, Any]) -> Seen:
    deadline = round(datetime.fromisoformat(pairing["expiresAt"]).timestamp() * 1000)
    return Seen(pairing["status"], pairing["version"], deadline, pairing["verification"])
