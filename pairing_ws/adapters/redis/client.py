"""How commands and scripts reach the right server of Redis: redirections, and what to do when a server is away."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from importlib import resources
from typing import Any

import hiredis
import structlog

from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.adapters.redis.connection import name_of
from pairing_ws.adapters.redis.errors import Ask, ClusterDown, ConnectionLost, Moved, NoScript, ReadOnly, ReplyError
from pairing_ws.adapters.redis.pipeline import PendingCommand, PipelinedConnection
from pairing_ws.adapters.redis.topology import Topology
from pairing_ws.adapters.subscribers import stop

log = structlog.get_logger()

# A script that is new to the server, a key that was moved: handled here, and nothing to report.
_USUAL = (NoScript, Moved)


class Script:
    """A Lua script."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by this digest; nothing secret hangs on it.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def script(name: str) -> Script:
    """The script in this file of `scripts/`."""
    return Script(resources.files("pairing_ws.adapters.redis").joinpath("scripts", name).read_text())


class RedisClient:
    """Sends each command to the server that serves its key, on one connection per server, however many callers.

    Commands for one key are executed in the order of the calls. A command is sent once. Only one that its server
    refused as not its own is sent again, to the right server.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._connections: dict[str, PipelinedConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outages = Outages(
            lambda server, cause: log.warning("redis.failed", server=server, cause=cause),
            lambda server, seconds: log.warning("redis.back", server=server, after_seconds=seconds),
        )

    def execute(self, key: str, *words: Any) -> asyncio.Future[Any]:
        """The answer to a command, from the server of `key`. It raises RedisError, OSError or TimeoutError, the last
        after `COMMAND_TIMEOUT`."""
        return self._start(PendingCommand(key, words))

    def run_script(self, script: Script, keys: Sequence[str], *arguments: Any) -> asyncio.Future[Any]:
        """The script's answer. All keys have to live on one server. A Redis that does not know the script (a new one,
        or one that was flushed) is sent its text. Raises as `execute`."""
        words = (len(keys), *keys, *arguments)
        return self._start(PendingCommand(keys[0], ("EVALSHA", script.sha, *words), ("EVAL", script.text, *words)))

    @property
    def sharded(self) -> bool:
        """Whether keys live on different servers, so that a script can have only one."""
        return self._topology.sharded

    async def run_script_for_each(self, script: Script, keys: Sequence[str], *arguments: Any) -> Sequence[Any]:
        """Run it once with all keys; if sharded, once with each. The answers in that order. Raises as `execute`."""
        if self.sharded:
            return await asyncio.gather(*(self.run_script(script, [key], *arguments) for key in keys))
        return [await self.run_script(script, keys, *arguments)]

    def _start(self, command: PendingCommand) -> asyncio.Future[Any]:
        if self._topology.is_discovered:
            self._send(command)
        else:
            self._in_background(self._send_after_refresh([command]))
        return command.answer

    async def ping(self) -> None:
        """Return once any server answers: while one shard is away, the others are still of use. Raises as
        `execute`."""
        if not self._topology.is_discovered:
            await self._topology.refresh()
        nodes = self._topology.nodes
        pings = [PendingCommand("", ("PING",)) for _ in nodes]
        for ping, node in zip(pings, nodes, strict=True):
            self._connection_to(node).execute(ping)
        answers = await asyncio.gather(*(ping.answer for ping in pings), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0] if failures else ClusterDown("no server is known")

    async def examine(self, script: Script) -> None:
        """Run the script on every server: with one key where there are several servers, with two where one has all
        keys. Raises the first failure."""
        await self._topology.refresh()
        # Of a few hundred keys, each server has some.
        names = [f"examined:{number}" for number in range(100 * len(self._topology.nodes))]
        one_of_each = {self._topology.node_for_key(name): name for name in names}
        await self.run_script_for_each(script, list(one_of_each.values()) if self.sharded else names[:2])

    async def aclose(self) -> None:
        """Fail what is under way and close every connection. The topology stays open."""
        for task in list(self._tasks):
            await stop(task)
        for connection in list(self._connections.values()):
            await connection.aclose()

    async def _send_after_refresh(self, commands: Sequence[PendingCommand]) -> None:
        try:
            await self._topology.refresh()
        except Exception as error:
            # Whatever it was, no caller may be left waiting.
            for each in commands:
                each.fail(error)
            return
        except asyncio.CancelledError:
            for each in commands:
                each.answer.cancel()
            raise
        for each in commands:
            self._send(each)

    def _send(self, command: PendingCommand) -> None:
        try:
            node = self._topology.node_for_key(command.key)
        except Exception as error:
            command.fail(error)
        else:
            self._connection_to(node).execute(command)

    def _connection_to(self, node: str) -> PipelinedConnection:
        connection = self._connections.get(node)
        if connection is None or connection.closed:
            self._close_idle_connections()
            connection = self._connections[node] = PipelinedConnection(
                partial(self._connect, node), partial(self._redirect, node), partial(self._on_lost, node)
            )
        return connection

    async def _connect(self, node: str) -> asyncio.Transport:
        transport = await self._topology.connect(node)
        self._outages.works(self._topology.display_name(node))
        return transport

    def _close_idle_connections(self) -> None:
        """To servers that no longer have keys."""
        for node in self._connections.keys() - self._topology.nodes:
            if self._connections[node].idle:
                self._connections.pop(node).close(ConnectionLost("it has no keys any more"))

    def _redirect(self, node: str, refusals: Sequence[tuple[PendingCommand, Exception]]) -> None:
        """Send what a server refused, and so did not execute, to the key's new server, or with the script's text. For
        the rest the caller gets the error."""
        unplaced: list[PendingCommand] = []
        for command, error in refusals:
            if isinstance(error, NoScript) and command.fallback:
                # From the beginning: a server that the key is moving to serves it only after a redirection.
                command.packed, command.fallback = hiredis.pack_command(command.fallback), ()
                command.redirected = False
                self._send(command)
            elif command.redirected or not isinstance(error, Moved | ReadOnly):
                command.fail(error)
            else:
                command.redirected = True
                # Without a host the server only says that the key is elsewhere.
                if isinstance(error, Moved) and error.address[0]:
                    self._connection_to(name_of(error.address)).execute(command, asking=isinstance(error, Ask))
                else:
                    unplaced.append(command)
        self._report(node, [error for _, error in refusals])
        if unplaced:
            self._in_background(self._send_after_refresh(unplaced))
        elif any(_is_outdated(error) for _, error in refusals):
            self._in_background(self._refresh())

    def _report(self, node: str, errors: Sequence[Exception]) -> None:
        """Log the first of a server's refusals: it is full, a replica, or the user may not send such commands."""
        refused = [each for each in errors if isinstance(each, ReplyError) and not isinstance(each, _USUAL)]
        if refused:
            name = self._topology.display_name(node)
            log.warning("redis.refused", server=name, error=str(refused[0]), commands=len(refused))

    def _on_lost(self, node: str, error: Exception) -> None:
        self._outages.failed(self._topology.display_name(node), cause_of(error))
        self._in_background(self._refresh())

    async def _refresh(self) -> None:
        """A server failed: perhaps another one has taken its place."""
        with suppress(Exception):
            await self._topology.refresh()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_outdated(error: Exception) -> bool:
    """Whether the map of servers may be."""
    moved = isinstance(error, Moved) and not isinstance(error, Ask)
    return moved or isinstance(error, ClusterDown) or not isinstance(error, ReplyError)
