"""How commands and scripts reach the right server of Redis: redirections, and what to do when one is away."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from importlib import resources
from typing import Any

import hiredis
import structlog
from redis.asyncio.connection import Connection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.adapters.redis.connection import Asked, Line
from pairing_ws.adapters.redis.topology import Servers, name_of
from pairing_ws.adapters.subscribers import stop
from pairing_ws.core.errors import Unavailable

log = structlog.get_logger()

# Of a script that is new to the server, of keys that are or were on their way: seen to in here.
_USUAL = (NoScriptError, MovedError, AskError)


class translated:
    """Raises Unavailable in place of the driver's errors, which `Commands` has logged."""

    # No generator of contextlib's: that takes 1.7 µs instead of 0.4, on each trip.
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisError | OSError | TimeoutError):
            raise Unavailable("the pairing store") from error


class Script:
    """A Lua script."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by this digest; nothing secret hangs on it.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def script(name: str) -> Script:
    """From `lua/`."""
    return Script(resources.files("pairing_ws.adapters.redis").joinpath("scripts", name).read_text())


class Commands:
    """Sends each command to the server that its key has its home at, on one line per server, however many ask.

    Commands for one key are executed in the order in which they were asked for. A command is sent once; only one that
    its server refused as not its own is sent again, to the right one.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._lines: dict[str, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outages = Outages(
            lambda server, cause: log.warning("redis.failed", server=server, cause=cause),
            lambda server, seconds: log.warning("redis.back", server=server, after_seconds=seconds),
        )

    def ask(self, key: str, *words: Any) -> asyncio.Future[Any]:
        """The answer to come, of the server where `key` has its home. It raises RedisError, OSError or TimeoutError."""
        return self._start(Asked(key, words))

    def run(self, script: Script, keys: Sequence[str], *arguments: Any) -> asyncio.Future[Any]:
        """The script's answer to come; a Redis that does not know it (new, or flushed) is told. All keys share one
        home. Raises as `ask`."""
        words = (len(keys), *keys, *arguments)
        return self._start(Asked(keys[0], ("EVALSHA", script.sha, *words), ("EVAL", script.text, *words)))

    @property
    def sharded(self) -> bool:
        """Whether keys have different homes, so that a script can have but one."""
        return self._servers.sharded

    async def run_over(self, script: Script, keys: Sequence[str], *arguments: Any) -> Sequence[Any]:
        """Run it once with all keys, or if sharded with each; the answers in their order. Raises as `ask`."""
        if self.sharded:
            return await asyncio.gather(*(self.run(script, [key], *arguments) for key in keys))
        return [await self.run(script, keys, *arguments)]

    def _start(self, asked: Asked) -> asyncio.Future[Any]:
        if self._servers.found:
            self._send(asked)
        else:
            self._in_background(self._find_first([asked]))
        return asked.answer

    async def ping(self) -> None:
        """Return once any server answers: while one shard is away, the others are still worth coming for."""
        if not self._servers.found:
            await self._servers.refresh()
        homes = self._servers.homes
        pings = [Asked("", ("PING",)) for _ in homes]
        for ping, home in zip(pings, homes, strict=True):
            self._line(home).ask(ping)
        answers = await asyncio.gather(*(ping.answer for ping in pings), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0] if failures else ClusterDownError("no server is known")

    async def examine(self, script: Script) -> None:
        """Run the script on every server, with one key where they are many: a single one, which has all keys, gets
        several. Raises what the first of those that fail says."""
        await self._servers.refresh()
        # Of a few hundred keys, each server has some.
        names = [f"examined:{number}" for number in range(100 * len(self._servers.homes))]
        one_of_each = {self._servers.home(name): name for name in names}
        await self.run_over(script, list(one_of_each.values()) if self.sharded else names[:2])

    async def aclose(self) -> None:
        for task in list(self._tasks):
            await stop(task)
        for line in list(self._lines.values()):
            await line.aclose()

    async def _find_first(self, asked: Sequence[Asked]) -> None:
        try:
            await self._servers.refresh()
        except Exception as error:
            # Whatever it was, nobody may be left waiting.
            for each in asked:
                each.fail(error)
            return
        except asyncio.CancelledError:
            for each in asked:
                each.answer.cancel()
            raise
        for each in asked:
            self._send(each)

    def _send(self, asked: Asked) -> None:
        try:
            home = self._servers.home(asked.key)
        except Exception as error:
            asked.fail(error)
        else:
            self._line(home).ask(asked)

    def _line(self, home: str) -> Line:
        line = self._lines.get(home)
        if line is None or line.ended:
            self._end_idle_lines()
            line = self._lines[home] = Line(
                partial(self._open, home), partial(self._redirect, home), partial(self._note_loss, home)
            )
        return line

    async def _open(self, home: str) -> Connection:
        connection = await self._servers.open(home)
        self._outages.works(self._servers.name(home))
        return connection

    def _end_idle_lines(self) -> None:
        """To servers that have no keys any more."""
        for home in self._lines.keys() - self._servers.homes:
            if self._lines[home].idle:
                self._lines.pop(home).end(RedisConnectionError("it has no keys any more"))

    def _redirect(self, home: str, refusals: Sequence[tuple[Asked, Exception]]) -> None:
        """To the key's new home, or with the script's text, for what was refused was not executed; the others learn why
        they were."""
        lost: list[Asked] = []
        for asked, error in refusals:
            if isinstance(error, NoScriptError) and asked.instead:
                # From the beginning: a newcomer serves it only when the old home has sent it there.
                asked.packed, asked.instead = hiredis.pack_command(asked.instead), ()
                asked.redirected = False
                self._send(asked)
            elif asked.redirected or not isinstance(error, AskError | ReadOnlyError):
                asked.fail(error)
            else:
                asked.redirected = True
                # A MovedError is an AskError, too. Without a host it only says that it is not here.
                if isinstance(error, AskError) and error.host:
                    newcomer = not isinstance(error, MovedError)
                    self._line(name_of(error.host, error.port)).ask(asked, newcomer=newcomer)
                else:
                    lost.append(asked)
        self._report(home, [error for _, error in refusals])
        if lost:
            self._in_background(self._find_first(lost))
        elif any(_is_away(error) or isinstance(error, MovedError) for _, error in refusals):
            self._in_background(self._look_again())

    def _report(self, home: str, errors: Sequence[Exception]) -> None:
        """Of what a server refuses (it is full, a replica, or these are not this user's commands), say the first."""
        refused = [each for each in errors if isinstance(each, ResponseError) and not isinstance(each, _USUAL)]
        if refused:
            log.warning("redis.refused", server=self._servers.name(home), error=str(refused[0]), commands=len(refused))

    def _note_loss(self, home: str, error: Exception) -> None:
        self._outages.failed(self._servers.name(home), cause_of(error))
        self._in_background(self._look_again())

    async def _look_again(self) -> None:
        """A server failed: perhaps another one has its place."""
        with suppress(Exception):
            await self._servers.refresh()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_away(error: Exception) -> bool:
    return isinstance(error, ClusterDownError) or not isinstance(error, ResponseError)
