"""What each part has used so far, for `scripts/capacity`: CPU seconds, memory, commands, statements. Linux only.

What may live here: reading meters. What is done between two readings is in `_capacity_load.py`.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import redis
from benchmark.meters import cpu, cpu_of_family

# A statement's line in the log: `execute` for a prepared one, `statement` for BEGIN and COMMIT.
_STATEMENT = re.compile(r"LOG:  (?:execute|statement)")
_RELOADED_WITHIN_SECONDS = 0.5


@dataclass(frozen=True)
class Meters:
    """Which processes are which part. Children count as their parent: PostgreSQL has one for each connection."""

    parts: Mapping[str, tuple[int, ...]]

    def read(self) -> dict[str, float]:
        """CPU seconds of each part."""
        return {name: sum(map(cpu_of_family, pids)) for name, pids in self.parts.items()}


class Redis:
    """A Redis server's own word on its memory and on what it is sent."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port)
        self._monitor: Any = None
        self.pid = int(self._client.info("server")["process_id"])

    def used_kib(self) -> float:
        return int(self._client.info("memory")["used_memory"]) / 1024

    def key_kib(self, pattern: str) -> float:
        """The mean size of the first keys of that kind."""
        keys = [key for key, _ in zip(self._client.scan_iter(match=pattern, count=1000), range(100), strict=False)]
        return sum(int(self._client.memory_usage(key) or 0) for key in keys) / len(keys) / 1024

    def pretend_live(self, count: int) -> None:
        """As if so many more pairings were live for the next hour: the index of all gets as large as it may become."""
        until = (time.time() + 3600) * 1000
        self._client.zadd("live-pairings", {f"of-somebody-else-{number}": until for number in range(count)})

    @contextmanager
    def watching(self) -> Iterator[None]:
        with self._client.monitor() as self._monitor:  # type: ignore[no-untyped-call]
            yield

    def sent(self) -> tuple[int, int]:
        """Commands and messages since the last call, while `watching`; of what scripts run, the messages alone."""
        self._client.echo("that is all")
        commands, messages = Counter[str](), 0
        for line in iter(self._monitor.next_command, None):
            name = line["command"].split()[0].upper()
            if name == "ECHO":
                break
            messages += name == "PUBLISH"
            commands[name] += line["client_type"] != "lua"
        # Links are checked all the time.
        return commands.total() - commands["PING"], messages

    def message_us(self, messages: int, others: int, listeners: int) -> float:
        """CPU of one PUBLISH in µs: so many more processes are connected, of which so many watch this channel."""
        links = [self._client.pubsub() for _ in range(others)]  # type: ignore[no-untyped-call]
        for number, link in enumerate(links):
            link.subscribe("capacity" if number < listeners else f"capacity-{number}")
            link.get_message(timeout=5)
        before = cpu(self.pid)
        with self._client.pipeline(transaction=False) as pipe:
            for _ in range(messages):
                pipe.publish("capacity", "")
            pipe.execute()
        spent = cpu(self.pid) - before
        for link in links:
            link.close()
        return spent / messages * 1e6


class Sql:
    """PostgreSQL's own word on its log, its files and its processes."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._marks = 0

    @classmethod
    async def open(cls, url: str) -> "Sql":
        connection = await asyncpg.connect(url)
        # Not among the statements that are counted.
        await connection.execute("SET log_statement = 'none'")
        return cls(connection)

    async def close(self) -> None:
        await self._connection.close()

    async def postmaster(self) -> int:
        return int(await self._connection.fetchval("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))

    async def execute(self, *statements: str) -> None:
        for each in statements:
            await self._connection.execute(each)

    async def log_statements(self, which: str) -> None:
        await self.execute(f"ALTER SYSTEM SET log_statement = '{which}'", "SELECT pg_reload_conf()")
        await asyncio.sleep(_RELOADED_WITHIN_SECONDS)

    async def statements(self) -> int:
        """How many the log holds. It is written by another process, in the order in which it is told."""
        self._marks += 1
        mark = f"that is all {self._marks}."
        await self.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$")
        log = ""
        while mark not in log:
            log = await self._connection.fetchval("SELECT pg_read_file(pg_current_logfile())")
        return len(_STATEMENT.findall(log))

    async def kib(self, tables: Iterable[str]) -> float:
        """With indexes."""
        query = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest($1::text[]) AS name"
        return int(await self._connection.fetchval(query, list(tables))) / 1024

    async def wal_kib(self) -> float:
        return float(await self._connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn) / 1024"))

    async def syncs(self) -> tuple[int, float]:
        """How often what is committed was forced to the disk, and the milliseconds that took. It lags by seconds."""
        return tuple(await self._connection.fetchrow("SELECT wal_sync, wal_sync_time FROM pg_stat_wal"))
