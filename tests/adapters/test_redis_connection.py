"""One line to Redis over a connection that the test holds: what goes together, and what comes of a dead one."""

import asyncio
from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from pairing_ws.adapters.redis.connection import TOGETHER, Asked, Line
from pairing_ws.adapters.redis.topology import Servers

MANY = 5 * TOGETHER // 2


class Transport:
    def __init__(self) -> None:
        self.written: list[int] = []
        self.dead = False

    def set_protocol(self, _: Any) -> None:
        pass

    def write(self, data: bytes) -> None:
        if self.dead:
            # What uvloop says.
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.written.append(data.count(b"$3\r\nGET\r\n"))

    def abort(self) -> None:
        pass


async def connected(transport: Transport) -> Line:
    async def connect() -> Any:
        return SimpleNamespace(_writer=SimpleNamespace(transport=transport), _close=lambda: None)

    line = Line(connect, lambda _: None, lambda *_: None)
    await asyncio.wait([line._connecting])
    return line


def ask(line: Line, count: int, *, newcomers: bool = False) -> list[Asked]:
    """So many, or as many as the line takes."""
    made: list[Asked] = []
    while len(made) < count and not line.ended:
        made.append(Asked("key", ("GET", "key")))
        line.ask(made[-1], newcomer=newcomers)
    return made


async def test_what_is_asked_at_once_goes_out_by_the_dozen_and_is_answered_in_order() -> None:
    transport = Transport()
    line = await connected(transport)
    made = ask(line, MANY)
    await asyncio.sleep(0)
    assert transport.written == [TOGETHER, TOGETHER, MANY - 2 * TOGETHER]
    line.data_received(b"".join(hiredis.pack_command((str(each),))[4:] for each in range(MANY)))
    assert [int(await each.answer) for each in made] == list(range(MANY))


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("newcomers", [False, True])
@pytest.mark.parametrize("count", [1, TOGETHER - 1, TOGETHER, MANY])
async def test_a_connection_that_is_found_dead_fails_all_who_asked_and_leaves_nobody_waiting(
    count: int, newcomers: bool, before: int
) -> None:
    transport = Transport()
    line = await connected(transport)
    transport.dead = True
    made = ask(line, before) + ask(line, count, newcomers=newcomers)
    await asyncio.sleep(0)
    assert line.ended
    assert all(each.answer.done() for each in made)
    assert all(isinstance(each.answer.exception(), RedisConnectionError) for each in made)


async def test_a_connection_that_is_closed_while_it_is_greeted_is_a_lost_one() -> None:
    closed = []

    async def connect() -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    async def disconnect(*, nowait: bool) -> None:
        closed.append(nowait)

    class Greeting(Servers):
        def _client(self, home: str) -> Any:
            connection = SimpleNamespace(connect=connect, disconnect=disconnect)
            return SimpleNamespace(connection_pool=SimpleNamespace(make_connection=lambda: connection))

    with pytest.raises(RedisConnectionError):
        await Greeting(None).open("")  # type: ignore[arg-type]
    assert closed == [True]
