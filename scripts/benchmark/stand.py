"""The servers that `scripts/bench` measures: each in a process of its own, ended by its own id, whatever happens.

`Stand` is one Redis and what works with it. Each part of the table has one of its own, so that no server is measured
with what another part left in it.
"""

import http.client
import itertools
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from benchmark.clients import HOST, Pool
from benchmark.helper import ROOT, Helper, helping
from benchmark.people import Attempt, accept, invites
from pairing_ws.components import build
from pairing_ws.config.environment import environment_name, load
from pairing_ws.config.settings import Settings
from pairing_ws.oauth.ports import Client
from tests.support.servers import Process, RedisServer, clean_environment, free_port, wait_for

PUBLIC_URL = "http://localhost:8000"
LIMITS = [name for name in Settings.model_fields if name.startswith("limit_")]
SETTINGS = {
    "PAIRING_PUBLIC_URL": PUBLIC_URL,
    "PAIRING_VERIFY": "never",
    # Nothing expires in the course of a run.
    "PAIRING_TTL_SECONDS": "3600",
    "PAIRING_AUTH_KEY_SECONDS": "3600",
    **{environment_name(name): "0" for name in LIMITS},
}
CONNECTIONS = 32
# Of each crowd. One has 28 000 ports, and the kernel takes long to find one when half of them are taken.
ADDRESSES = 8


@dataclass(frozen=True)
class Program:
    """A server that answers. It may have children: its workers."""

    port: int
    pid: int


@contextmanager
def program(name: str, command: list[str], folder: Path, path: str, env: dict[str, str]) -> Iterator[Program]:
    """Start it on a free port, which replaces PORT in the command, and wait until a GET of `path` succeeds."""
    port = free_port()
    words = [str(port) if word == "PORT" else word for word in command]
    process = Process(words, folder, f"{name}-{port}.log", clean_environment() | env)

    def ready() -> bool:
        assert process.popen.poll() is None, f"{name} ended: {process.log.read_text()}"
        return answers(port, path)

    try:
        wait_for(ready, f"{name} ({process.log})")
        yield Program(port, process.popen.pid)
    finally:
        process.stop()


def answers(port: int, path: str) -> bool:
    try:
        with closing(http.client.HTTPConnection(HOST, port, timeout=2)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status == 200
    except OSError:
        return False


class Stand:
    """`tree` is the checkout whose server is measured, with its own virtual environment."""

    def __init__(
        self, folder: Path, redis: RedisServer, redis_pid: int, database: str, stack: AsyncExitStack, tree: Path
    ) -> None:
        self._python = tree / ".venv/bin/python"
        self._path = f"{tree / 'scripts'}:{tree}"
        self.redis = redis
        self.redis_pid = redis_pid
        self._folder = folder
        self._env = SETTINGS | {"REDIS_URL": redis.url, "DATABASE_URL": database}
        self._stack = stack
        self._places = itertools.count(1)

    def ours(self, workers: int = 1) -> Program:
        """As users run it."""
        return self._stack.enter_context(self.brief(workers))

    def brief(self, workers: int = 1) -> AbstractContextManager[Program]:
        """The same, for as long as it is used."""
        command = ["pairing_ws", "serve", "--port", "PORT", "--workers", str(workers)]
        return self._program(command, "/readyz")

    def watched(self) -> Program:
        """The same application, which also answers questions about itself."""
        return self._stack.enter_context(self._program(["benchmark.watched", "PORT"], "/readyz"))

    def bare(self) -> Program:
        return self._stack.enter_context(self._program(["benchmark.bare", "PORT"], "/"))

    def alone(self) -> Program:
        """As users run it without Redis: what lasts for minutes is in its memory."""
        command = ["pairing_ws", "serve", "--port", "PORT"]
        return self._stack.enter_context(self._program(command, "/readyz", REDIS_URL=""))

    def peer(self, name: str, command: list[str], path: str, **env: str) -> Program:
        """Another one's server, which answers a GET of that path."""
        return self._stack.enter_context(program(name, command, self._folder, path, env))

    async def helper(self, module: str) -> Helper:
        env = clean_environment() | self._env
        return await self._stack.enter_async_context(helping(module, self._folder, env))

    async def crowd(self) -> Helper:
        crowd, place = await self.helper("benchmark.crowd"), next(self._places)
        await crowd.ask("come_from", [f"127.0.{place}.{1 + each}" for each in range(ADDRESSES)])
        return crowd

    async def accounts(self, server: Program, count: int) -> list[str]:
        """The authKeys of the first devices of so many new accounts."""
        pool = await self.pool(server)
        return await accept(pool, await invites(self.settings(), count))

    def invited(self, count: int) -> list[str]:
        """Codes for the first devices of so many new accounts, by the command line: that of the version's own."""
        words = [str(self._python), "-m", "pairing_ws", "invite", "--json"]
        env = clean_environment() | self._env | {"PYTHONPATH": self._path}
        found = (
            subprocess.run([*words, f"person-{each}"], cwd=self._folder, env=env, stdout=subprocess.PIPE, check=True)
            for each in range(count)
        )
        return [json.loads(each.stdout)["code"] for each in found]

    def settings(self) -> Settings:
        """Those of the servers, for what an operator does beside them."""
        return load(
            database_url=self._env["DATABASE_URL"],
            signing_key_file=self._folder / "pairing-keys.json",
            public_url=PUBLIC_URL,
        )

    async def register(self, client: Client) -> None:
        """An application, as an operator adds it beside the running servers."""
        parts = build(self.settings())
        try:
            await parts.clients.add(client)
        finally:
            await parts.database.close()

    async def attempts(self, server: Program, count: int, account: str = "") -> list[Attempt]:
        """So many pairings, created."""
        pool = await self.pool(server)
        made = [Attempt(account) for _ in range(count)]
        for each, answer in zip(made, await pool.ask_all(each.creation() for each in made), strict=True):
            each.created(answer)
        return made

    async def pool(self, server: Program, size: int = CONNECTIONS) -> Pool:
        pool = Pool(server.port, size)
        self._stack.callback(pool.close)
        await pool.renew()
        return pool

    async def redis_connections(self) -> int:
        """Those of servers: what measures has given its own a name."""
        async with Redis(port=self.redis.port, client_name="bench") as client:
            return sum(each["name"] != "bench" for each in await client.client_list())

    def _program(self, command: list[str], path: str, **more: str) -> AbstractContextManager[Program]:
        env = self._env | {"PYTHONPATH": self._path} | more
        return program(command[0], [str(self._python), "-m", *command], self._folder, path, env)


@asynccontextmanager
async def standing(database: str = "sqlite:///pairing.db", tree: Path | None = None) -> AsyncIterator[Stand]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pairing-bench-")))
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        async with Redis(port=redis.port) as client:
            pid = int((await client.info("server"))["process_id"])
        if database.startswith("sqlite"):
            database = f"sqlite:///{folder}/pairing.db"
        servers = await stack.enter_async_context(AsyncExitStack())
        yield Stand(folder, redis, pid, database, servers, tree or ROOT)
