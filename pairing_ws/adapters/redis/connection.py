"""One connection to one Redis server: how it is opened, greeted and ended, and how bytes become replies (RESP3).

`open_transport` connects and logs in. What then lives on the connection is a subclass of `RespConnection`: commands of
everybody (`pipeline`), subscriptions (`subscriptions`). `RequestConnection` asks one thing at a time: the greeting, and
the rare questions of a topology.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from pairing_ws.adapters.redis.errors import ConnectionLost, RedisError, ReplyError, error_of
from pairing_ws.config.redis_url import TlsOptions

# How a connection is shown by CLIENT LIST.
CLIENT_NAME = "pairing_ws"
# So many commands go out in one write. The server then begins with them while this process makes the next ones: with
# all commands of a tick in one write, each waited for the other (an eighth of all polls, a sixth of all creations).
MAX_BATCH = 12
# A peer that has vanished without a word is noticed by TCP after 30 s + 3 * 5 s, if nothing notices it sooner.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_INCOMPLETE = object()

# A host and a port, or the path of a Unix socket.
Address = tuple[str, int] | str
# Words of bytes, text or numbers.
Command = tuple[Any, ...]
Connect = Callable[[], Awaitable[asyncio.Transport]]


@dataclass(frozen=True)
class Login:
    """How a connection is made and greeted. `connect_timeout` counts for socket and TLS, `reply_timeout` for each
    request of a `RequestConnection`, in seconds."""

    connect_timeout: float
    reply_timeout: float
    username: str = ""
    password: str = ""
    database: int = 0
    tls: TlsOptions | None = None

    @property
    def greeting(self) -> list[Command]:
        """The first commands of a connection."""
        hello: Command = ("HELLO", 3)
        if self.username or self.password:
            hello += ("AUTH", self.username or "default", self.password)
        hello += ("SETNAME", CLIENT_NAME)
        return [hello, ("SELECT", self.database)] if self.database else [hello]


def new_reader() -> hiredis.Reader:
    """Gives `_INCOMPLETE` until a reply is whole, errors as RedisError."""
    return hiredis.Reader(replyError=error_of, notEnoughData=_INCOMPLETE)


def name_of(address: Address) -> str:
    """The address as people write it."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ssl_context(options: TlsOptions) -> ssl.SSLContext:
    """Python's own, changed where the options say so. To be made for each connection: a file may have been renewed
    since. Raises OSError if a file can't be read."""
    context = ssl.create_default_context()
    context.check_hostname = options.check_hostname and options.verify != "none"
    context.verify_mode = ssl.VerifyMode[f"CERT_{options.verify.upper()}"]
    if options.ca_file:
        # From 3.13 on Python takes no authority without key identifiers, and many private ones have none.
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
        context.load_verify_locations(options.ca_file)
    if options.certificate_file:
        context.load_cert_chain(options.certificate_file, options.key_file or None)
    return context


class RequestConnection(asyncio.Protocol):
    """A connection that is asked now and then. Requests may overlap; replies come in their order."""

    def __init__(self) -> None:
        self._reader = new_reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self.transport: asyncio.Transport

    async def request(self, *commands: Command) -> list[Any]:
        """The replies to these commands. Raises the first error among them, or ConnectionLost."""
        if self.transport.is_closing():
            raise ConnectionLost("the server closed the connection")
        replies = [asyncio.get_running_loop().create_future() for _ in commands]
        self._waiting.extend(replies)
        self.transport.write(b"".join(map(hiredis.pack_command, commands)))
        return await asyncio.gather(*replies)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's do not inherit from it.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                waiting = self._waiting.popleft()
                if waiting.done():
                    continue
                if isinstance(reply, RedisError):
                    waiting.set_exception(reply)
                else:
                    waiting.set_result(reply)
        except (hiredis.ProtocolError, LookupError, ValueError) as error:
            # Not Redis, or not what was asked for.
            self.transport.abort()
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error)

    def _fail(self, error: Exception | None) -> None:
        for each in self._waiting:
            if not each.done():
                each.set_exception(ConnectionLost(repr(error) if error else "the server closed the connection"))
        self._waiting.clear()


async def open_connection(address: Address, login: Login) -> RequestConnection:
    """Connect and log in. Raises RedisError, OSError or TimeoutError, and leaves nothing open then."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(login.connect_timeout):
            if isinstance(address, str):
                _, connection = await loop.create_unix_connection(RequestConnection, address)
            else:
                tls = ssl_context(login.tls) if login.tls else None
                _, connection = await loop.create_connection(RequestConnection, *address, ssl=tls)
    except TimeoutError:
        raise TimeoutError(f"no connection to {name_of(address)} in time") from None
    except OSError as error:
        # Platforms sign their own, which nothing on this machine vouches for.
        unknown = isinstance(error, ssl.SSLCertVerificationError)
        hint = "; see PAIRING_REDIS_CA_FILE and PAIRING_REDIS_TLS_VERIFY" if unknown else ""
        raise ConnectionLost(f"no connection to {name_of(address)}: {error.strerror or error}{hint}") from error
    try:
        if not isinstance(address, str):
            _keep_alive(connection.transport.get_extra_info("socket"))
        async with asyncio.timeout(login.reply_timeout):
            await connection.request(*login.greeting)
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, RuntimeError):
            # uvloop's word for a connection that was closed a moment ago.
            raise ConnectionLost(str(error)) from error
        raise
    return connection


async def open_transport(address: Address, login: Login) -> asyncio.Transport:
    """As `open_connection`, for a protocol that takes the connection over by `set_protocol`, before it awaits."""
    return (await open_connection(address, login)).transport


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        # Not every system has each of them.
        if option := getattr(socket, name, None):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class RequestConnections:
    """Keeps a `RequestConnection` to each address that is asked."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._connections: dict[Address, RequestConnection] = {}

    async def request(self, address: Address, *commands: Command) -> list[Any]:
        """The replies to these commands. Raises the first error among them, RedisError, OSError or TimeoutError."""
        connection = self._connections.get(address)
        if connection is None or connection.transport.is_closing():
            connection = self._connections[address] = await open_connection(address, self._login)
        try:
            async with asyncio.timeout(self._login.reply_timeout):
                return await connection.request(*commands)
        except BaseException as error:
            if not isinstance(error, ReplyError):
                # An answer may still come, which would be taken for the next one's.
                connection.transport.abort()
            raise

    def keep(self, addresses: Collection[Address]) -> None:
        """Close the connections to all others."""
        for address in self._connections.keys() - set(addresses):
            self._connections.pop(address).transport.abort()


class RespConnection(asyncio.Protocol):
    """One connection's life: it begins with `connect` and ends once, whichever side ends it.

    What is written while it connects waits. A subclass is called with each reply, errors of the server included
    (`on_reply`), after each batch of them (`on_batch_end`), and at the end (`on_closed`).
    """

    def __init__(self, connect: Connect) -> None:
        self._loop = asyncio.get_running_loop()
        self._unwritten: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._reader = new_reader()
        self.closed = False
        self._connecting = asyncio.create_task(self._open(connect), name="redis-connect")

    def on_reply(self, reply: Any) -> None:
        raise NotImplementedError

    def on_batch_end(self) -> None:
        """After all replies that came together."""

    def on_closed(self, error: Exception) -> None:
        raise NotImplementedError

    def write(self, packed: bytes) -> None:
        """In the order of the calls; what one tick of the event loop writes goes out in batches. May close it."""
        if not self._unwritten and self._transport:
            self._loop.call_soon(self._flush)
        self._unwritten.append(packed)
        if len(self._unwritten) == MAX_BATCH and self._transport:
            self._flush()

    def close(self, error: Exception) -> None:
        """At once, and only the first time. Nothing more is read or written."""
        if self.closed:
            return
        self.closed = True
        if self._transport:
            self._transport.abort()
        self.on_closed(error)

    async def aclose(self) -> None:
        """Close it and wait for its task."""
        self.close(ConnectionLost("the process ends"))
        self._connecting.cancel()
        await asyncio.wait([self._connecting])

    async def _open(self, connect: Connect) -> None:
        try:
            transport = await connect()
        except Exception as error:
            self.close(error)
            return
        if self.closed or transport.is_closing():
            transport.abort()
            self.close(ConnectionLost("it was closed at once"))
            return
        self._transport = transport
        transport.set_protocol(self)
        self._flush()

    def _flush(self) -> None:
        if self.closed or self._transport is None or not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, []
        try:
            self._transport.write(b"".join(unwritten))
        except RuntimeError as error:
            # uvloop's word for a connection that was closed a moment ago.
            self.close(ConnectionLost(str(error)))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self.on_reply(reply)
        except (hiredis.ProtocolError, LookupError, ValueError) as error:
            # It is not what was asked for.
            self.close(ConnectionLost(repr(error)))
        self.on_batch_end()

    def connection_lost(self, error: Exception | None) -> None:
        self.close(error or ConnectionLost("the server closed the connection"))
