"""One connection to Redis: how it logs in, what goes together, and what comes of a dead one."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import hiredis
import pytest

from pairing_ws.adapters.redis.connection import (
    CLIENT_NAME,
    MAX_BATCH,
    Login,
    RequestConnections,
    open_connection,
    open_transport,
    ssl_context,
)
from pairing_ws.adapters.redis.errors import AuthenticationFailed, ConnectionLost, Moved, RedisError, ReplyError
from pairing_ws.adapters.redis.pipeline import PendingCommand, PipelinedConnection
from pairing_ws.config.redis_url import TlsOptions
from tests.support.redis_kinds import Kind, make_certificates
from tests.support.servers import RedisServer

MANY = 5 * MAX_BATCH // 2
LOGIN = Login(connect_timeout=2, reply_timeout=2)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []
        self.dead = self.closing = False

    def set_protocol(self, _: Any) -> None:
        pass

    def write(self, data: Any) -> None:
        if self.dead:
            # What uvloop says.
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.written.append(data.count(b"$3\r\nGET\r\n"))

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


async def connected(transport: Transport) -> PipelinedConnection:
    async def connect() -> Transport:
        return transport

    connection = PipelinedConnection(connect, lambda _: None, lambda *_: None)
    await asyncio.wait([connection._connecting])
    return connection


def execute(connection: PipelinedConnection, count: int, *, asking: bool = False) -> list[PendingCommand]:
    """So many, or as many as the connection takes."""
    made: list[PendingCommand] = []
    while len(made) < count and not connection.closed:
        made.append(PendingCommand("key", ("GET", "key")))
        connection.execute(made[-1], asking=asking)
    return made


async def test_what_is_asked_at_once_goes_out_by_the_dozen_and_is_answered_in_order() -> None:
    transport = Transport()
    connection = await connected(transport)
    made = execute(connection, MANY)
    await asyncio.sleep(0)
    assert transport.written == [MAX_BATCH, MAX_BATCH, MANY - 2 * MAX_BATCH]
    connection.data_received(b"".join(hiredis.pack_command((str(each),))[4:] for each in range(MANY)))
    assert [int(await each.answer) for each in made] == list(range(MANY))


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("asking", [False, True])
@pytest.mark.parametrize("count", [1, MAX_BATCH - 1, MAX_BATCH, MANY])
async def test_a_connection_that_is_found_dead_fails_all_who_asked_and_leaves_nobody_waiting(
    count: int, asking: bool, before: int
) -> None:
    transport = Transport()
    connection = await connected(transport)
    transport.dead = True
    made = execute(connection, before) + execute(connection, count, asking=asking)
    await asyncio.sleep(0)
    assert connection.closed
    assert all(each.answer.done() for each in made)
    assert all(isinstance(each.answer.exception(), ConnectionLost) for each in made)


async def test_a_connection_that_was_closed_between_its_greeting_and_its_first_command_is_a_lost_one() -> None:
    transport = Transport()
    transport.closing = True
    assert (await connected(transport)).closed


@contextlib.asynccontextmanager
async def server_that(answers: Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Gives to what came what `answers` says, or hangs up for None. Its port, and the end of its first connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (came := await reader.read(10_000)) and (answer := answers(came)) is not None:
                writer.write(answer)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], ended


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, ConnectionLost),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConnectionLost),
        (b"-WRONGPASS invalid username-password pair\r\n", AuthenticationFailed),
        (b"-NOPERM no\r\n", ReplyError),
        (b"-LOADING Redis is loading the dataset in memory\r\n", ConnectionLost),
    ],
)
async def test_a_greeting_that_fails_says_why_and_leaves_no_connection_open(
    answer: bytes | None, expected: type[RedisError]
) -> None:
    async with server_that(lambda _: answer) as (port, ended):
        with pytest.raises(expected):
            await open_transport(("127.0.0.1", port), LOGIN)
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_server_that_never_answers_the_greeting_is_given_up_in_time() -> None:
    async with server_that(lambda _: b"") as (port, _):
        with pytest.raises(TimeoutError):
            await open_connection(("127.0.0.1", port), Login(connect_timeout=2, reply_timeout=0.05))


async def test_an_error_says_where_a_key_has_moved_though_the_host_be_an_ipv6_address_or_unknown() -> None:
    replies = {b"::1:6381": ("::1", 6381), b":6381": ("", 6381), b"a.example:1": ("a.example", 1)}
    for where, expected in replies.items():
        async with server_that(partial(_moved_to, where)) as (port, _):
            with pytest.raises(Moved) as caught:
                await open_connection(("127.0.0.1", port), LOGIN)
            assert caught.value.address == expected


def _moved_to(where: bytes, _: bytes) -> bytes:
    return b"-MOVED 3999 %b\r\n" % where


async def test_a_connection_is_named_has_its_user_and_its_database(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "&*", "+@all")
    try:
        for username, password, user in (("", "", "default"), ("guest", "secret", "guest")):
            login = Login(2, 2, username, password, database=3)
            connection = await open_connection(("127.0.0.1", redis_server.port), login)
            [info] = await connection.request(("CLIENT", "INFO"))
            connection.transport.abort()
            fields = dict(each.split("=", 1) for each in info.decode().split())
            assert (fields["name"], fields["user"], fields["db"]) == (CLIENT_NAME, user, "3")
    finally:
        redis_server.command("ACL", "DELUSER", "guest")


async def test_a_user_who_may_do_next_to_nothing_can_connect(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+get")
    try:
        connection = await open_connection(("127.0.0.1", redis_server.port), Login(2, 2, "guest", "secret"))
        assert await connection.request(("GET", "unknown"), ("GET", "unknown")) == [None, None]
        connection.transport.abort()
    finally:
        redis_server.command("ACL", "DELUSER", "guest")


async def test_requests_share_a_connection_until_it_ends_and_open_the_next_one(redis_server: RedisServer) -> None:
    address, requests = ("127.0.0.1", redis_server.port), RequestConnections(LOGIN)
    asked = [requests.request(address, ("CLIENT", "ID")) for _ in range(3)]
    first, again, _ = [await each for each in asked]
    assert first == again
    with pytest.raises(ReplyError):
        await requests.request(address, ("NONSENSE",))
    assert await requests.request(address, ("CLIENT", "ID")) == first
    redis_server.command("CLIENT", "KILL", "ID", first[0])
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(ConnectionLost):
                assert await requests.request(address, ("CLIENT", "ID")) != first
                break
    requests.keep(())


async def test_a_request_that_got_no_answer_in_time_gives_its_answer_to_no_later_one(redis_server: RedisServer) -> None:
    address = ("127.0.0.1", redis_server.port)
    requests = RequestConnections(Login(connect_timeout=2, reply_timeout=0.1))
    with pytest.raises(TimeoutError):
        await requests.request(address, ("BLPOP", "nothing-here", "0.3"))
    assert await requests.request(address, ("ECHO", "mine")) == [b"mine"]
    requests.keep(())


def test_an_authority_of_ones_own_needs_no_key_identifiers_on_any_python(tmp_path: Path) -> None:
    """Python 3.13 asks for them by default."""
    context = ssl_context(TlsOptions(str(make_certificates(tmp_path))))
    assert not context.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT
    assert ssl_context(TlsOptions()).verify_flags == ssl.create_default_context().verify_flags


async def test_over_tls_the_name_is_checked_unless_the_options_say_otherwise(
    redis_kinds: Callable[[str], Kind],
) -> None:
    kind = redis_kinds("tls")
    authority = kind.url.partition("?ssl_ca_certs=")[2]
    # A name of this machine that is not in its certificate.
    address = ("127.1", kind.nodes[0].port)
    with pytest.raises(ConnectionLost, match="certificate verify failed"):
        await open_connection(address, Login(2, 2, tls=TlsOptions(authority)))
    for options in (TlsOptions(authority, check_hostname=False), TlsOptions(verify="none")):
        # It got as far as to be asked who it is.
        with pytest.raises(AuthenticationFailed):
            await open_connection(address, Login(2, 2, tls=options))
