"""How commands and scripts reach Redis: those of one event-loop tick in one pipeline per server."""

import asyncio
import hashlib
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import hiredis
import structlog
from redis.asyncio import ConnectionPool
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from pairing_ws.adapters.redis_servers import Servers, name_of
from pairing_ws.errors import Unavailable

log = structlog.get_logger()

# From asking to answer, waiting for a connection included.
COMMAND_SECONDS = 4.0
_ASKING = hiredis.pack_command(("ASKING",))
# Pipelines under way per server. What is asked for meanwhile waits, and goes together in the next one.
PIPELINES = 16


# Of a script that is new to the server, of keys that are or were on their way: seen to in here.
_USUAL = (NoScriptError, MovedError, AskError)


@contextmanager
def translated() -> Iterator[None]:
    """Raises Unavailable in place of the driver's errors, which `Commands` has logged."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the pairing store") from error


class Script:
    """A Lua script."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by this digest; nothing secret hangs on it.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def script(name: str) -> Script:
    """From `lua/`."""
    return Script(resources.files("pairing_ws.adapters").joinpath("lua", name).read_text())


@dataclass(slots=True)
class _Asked:
    key: str
    command: tuple[Any, ...]
    answer: asyncio.Future[Any]
    deadline: float
    moves: int = 0


class Commands:
    """Sends the commands of one event-loop tick to each server as one pipeline: redis-py then costs a third of the CPU
    per command. A caller that is cancelled leaves the connection clean, for it is the pipeline's task that reads.

    Commands for one key that are asked for in one tick are executed in that order. A command is sent once; only one
    that its server refused as not its own is sent again, to the right one.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._asked: list[_Asked] = []
        self._waiting: defaultdict[str, deque[_Asked]] = defaultdict(deque)
        self._under_way: defaultdict[str, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, key: str, *command: Any) -> asyncio.Future[Any]:
        """The answer to come, of the server where `key` has its home. It raises RedisError, OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._send)
        asked = _Asked(key, command, loop.create_future(), loop.time() + COMMAND_SECONDS)
        self._asked.append(asked)
        return asked.answer

    async def run(self, script: Script, keys: Sequence[str], *arguments: Any) -> Any:
        """The script's answer; a Redis that does not know it (new, or flushed) is told. All keys share one home."""
        try:
            return await self.ask(keys[0], "EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self.ask(keys[0], "EVAL", script.text, len(keys), *keys, *arguments)

    async def ping(self) -> None:
        """Return once any server answers: while one shard is away, the others are still worth coming for."""
        homes = self._servers.homes
        if not homes:
            await self._servers.refresh()
            homes = self._servers.homes
        pings = [asyncio.ensure_future(self._servers.client(home).ping()) for home in homes]
        answers = await asyncio.gather(*pings, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0] if failures else ClusterDownError("no server is known")

    async def examine(self, script: Script) -> None:
        """Run the script with one key on every server. Raises what the first of those that fail says."""
        await self._servers.refresh()
        homes = self._servers.homes
        # Of a few hundred keys, each server has some.
        keys = {self._servers.home(name): name for name in map("examined:{}".format, range(100 * len(homes)))}
        await asyncio.gather(*(self.run(script, [key]) for key in keys.values()))

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        if self._servers.homes:
            self._route(asked)
        else:
            self._start(self._find_first(asked))

    async def _find_first(self, asked: list[_Asked]) -> None:
        try:
            await self._servers.refresh()
        except Exception as error:
            for each in asked:
                self._settle(each, error)
            return
        self._route(asked)

    def _route(self, asked: Sequence[_Asked]) -> None:
        homes: set[str] = set()
        for each in asked:
            try:
                home = self._servers.home(each.key)
            except Exception as error:
                # Whatever it was, nobody may be left waiting.
                self._settle(each, error)
                continue
            self._waiting[home].append(each)
            homes.add(home)
        for home in homes:
            self._next(home)

    def _next(self, home: str) -> None:
        if self._waiting[home] and self._under_way[home] < PIPELINES:
            batch = list(self._waiting[home])
            self._waiting[home].clear()
            self._under_way[home] += 1
            self._start(self._execute(home, batch))

    async def _execute(self, home: str, batch: list[_Asked]) -> None:
        try:
            answers = await self._pipeline(home, batch)
        finally:
            self._under_way[home] -= 1
            self._next(home)
        self._report(home, answers)
        moved: list[_Asked] = []
        leaving: defaultdict[str, list[_Asked]] = defaultdict(list)
        for each, answer in zip(batch, answers, strict=True):
            # Refused, hence not executed: the key has another home now, or this server is no master any more.
            if isinstance(answer, AskError) and not each.moves:
                leaving[name_of(answer.host, answer.port)].append(each)
            elif isinstance(answer, MovedError | ReadOnlyError) and not each.moves:
                moved.append(each)
            else:
                self._settle(each, answer)
            each.moves += 1
        for target, asked in leaving.items():
            self._start(self._ask_newcomer(target, asked))
        if moved:
            await self._find_first(moved)
        elif any(map(_is_away, answers)):
            await self._look_again()

    def _report(self, home: str, answers: Sequence[Any]) -> None:
        """Of what a server refuses (it is full, a replica, or these are not this user's commands), say the first."""
        refused = [each for each in answers if isinstance(each, ResponseError) and not isinstance(each, _USUAL)]
        if refused:
            log.warning("redis.refused", server=home, error=str(refused[0]), commands=len(refused))

    async def _ask_newcomer(self, home: str, batch: list[_Asked]) -> None:
        """Keys on their way to another server, which serves them on request only."""
        for each, answer in zip(batch, await self._pipeline(home, batch, asking=True), strict=True):
            self._settle(each, answer)

    async def _pipeline(self, home: str, batch: list[_Asked], *, asking: bool = False) -> Sequence[Any]:
        """An answer for each, errors included."""
        try:
            async with asyncio.timeout_at(batch[0].deadline):
                return await self._converse(self._servers.client(home).connection_pool, batch, asking)
        except Exception as error:
            # Whatever it was, nobody may be left waiting.
            log.warning("redis.failed", server=home, error=repr(error), commands=len(batch))
            return [error] * len(batch)

    async def _converse(self, pool: ConnectionPool, batch: list[_Asked], asking: bool) -> Sequence[Any]:
        """On redis-py's connection rather than its pipeline, which takes three times as long to say the same."""
        packed = [hiredis.pack_command(each.command) for each in batch]
        if asking:
            packed = [part for each in packed for part in (_ASKING, each)]
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(packed)
            answers: list[Any] = []
            for _ in packed:
                try:
                    # The deadline is the whole conversation's. What interrupts it closes the connection.
                    answers.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    answers.append(error)
        finally:
            await pool.release(connection)
        return answers[1::2] if asking else answers

    def _settle(self, asked: _Asked, answer: Any) -> None:
        if asked.answer.done():
            return  # its caller was cancelled
        if isinstance(answer, RuntimeError):
            # uvloop's word for a connection that was closed a moment ago; callers expect the driver's errors.
            asked.answer.set_exception(ConnectionError(str(answer)))
        elif isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)

    async def _look_again(self) -> None:
        """A server failed: perhaps another one has its place."""
        try:
            await self._servers.refresh()
        except Exception as error:
            log.warning("redis.lost", error=repr(error))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_away(answer: Any) -> bool:
    return isinstance(answer, ClusterDownError) or (
        isinstance(answer, Exception) and not isinstance(answer, ResponseError)
    )
