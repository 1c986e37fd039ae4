"""The servers of a run: two of pairing_ws, Redis of some kind, SQL, and a proxy on each link of the first server."""

import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import sqlalchemy as sa

from pairing_ws.adapters.sql.database import open_database
from pairing_ws.components import build
from pairing_ws.config.settings import Settings
from tests.history.checker import Row
from tests.history.clients import Party, RecordingClient, ServerConnections
from tests.history.model import Rules
from tests.history.record import Recorder
from tests.support.client import device_headers
from tests.support.postgres import PostgresServer
from tests.support.proxy import FaultProxy
from tests.support.redis_kinds import Cluster, SentinelTrio
from tests.support.servers import RedisServer, Server

ROOT = Path(__file__).resolve().parent.parent.parent
# Short lives, so that a run sees deadlines.
TTL_SECONDS = REDEEM_SECONDS = 10
SETTINGS = {
    "PAIRING_TTL_SECONDS": str(TTL_SECONDS),
    "PAIRING_REDEEM_SECONDS": str(REDEEM_SECONDS),
    # Nobody's key expires in the course of a run.
    "PAIRING_AUTH_KEY_SECONDS": "86400",
    **{
        f"PAIRING_LIMIT_{name}": "0"
        for name in ("CREATE", "CLAIM", "USER_CODE", "NUMBER", "REFRESH", "SOCKETS", "PAIRINGS", "DEVICES")
    },
}
KINDS = {"single": RedisServer, "sentinel": SentinelTrio, "cluster": Cluster}


class Usage(NamedTuple):
    """What a server holds: resident memory in KiB, and open files."""

    kib: int
    files: int


@dataclass
class Deployment:
    """What is running. `links` are the first server's, by the name of what they lead to."""

    folder: Path
    servers: list[Server]
    redis: RedisServer | SentinelTrio | Cluster
    database_url: str
    postgres: PostgresServer | None = None
    links: dict[str, FaultProxy] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        alone = isinstance(self.redis, RedisServer)
        return Rules(ttl=TTL_SECONDS * 1000.0, redeem=REDEEM_SECONDS * 1000.0, failovers=not alone)

    def errors(self) -> Counter[str]:
        """What the servers' logs say went wrong inside of them, by the end of its traceback."""
        found: Counter[str] = Counter()
        for server in self.servers:
            for line in server.log_text().splitlines():
                if '"level": "error"' in line:
                    logged = json.loads(line)
                    trace = [each.strip() for each in logged.get("exception", "").splitlines()]
                    ours = [each for each in trace if "pairing_ws" in each]
                    what = logged["event"].strip().splitlines()
                    found[" ".join([*what[:1], *ours[-1:], *trace[-1:], *what[1:][-1:]])] += 1
        return found

    def client(self, recorder: Recorder) -> RecordingClient:
        return RecordingClient(recorder, [ServerConnections(server.port) for server in self.servers])


@contextmanager
def deployed(
    *, redis: str = "single", sql: str = "sqlite", workers: int = 1, package: Path = ROOT
) -> Iterator[Deployment]:
    """All of it, in a folder that goes with it; the servers' code is what is in `package`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pairing-history-")))
        kind = KINDS[redis](folder)
        stack.callback(kind.stop)
        links: dict[str, FaultProxy] = {}
        redis_urls = [kind.url, kind.url]
        if isinstance(kind, RedisServer):
            links["Redis"] = stack.enter_context(FaultProxy(kind.port))
            redis_urls[0] = f"redis://127.0.0.1:{links['Redis'].port}/0"
        postgres = None
        database_urls = [f"sqlite:///{folder / 'pairing.db'}"] * 2
        if sql == "postgres":
            postgres = PostgresServer()
            stack.callback(postgres.close)
            links["SQL"] = stack.enter_context(FaultProxy(postgres.port))
            url = postgres.url(postgres.empty_database())
            database_urls = [_at(url, links["SQL"].port), url]
        shared: dict[str, Any] = SETTINGS | {"PYTHONPATH": str(package), "WEB_CONCURRENCY": str(workers)}
        servers: list[Server] = []
        for redis_url, database_url in zip(redis_urls, database_urls, strict=True):
            one: dict[str, Any] = {"PAIRING_PUBLIC_URL": servers[0].public_url} if servers else {}
            urls = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
            servers.append(Server(folder, forked=False, **shared, **one, **urls))
            stack.callback(kill, servers[-1])
        yield Deployment(folder, servers, kind, database_urls[1], postgres, links)


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()


def processes(server: Server) -> list[int]:
    """A server's process and, if it has any, its workers."""
    parent = server.process.popen
    if parent.poll() is not None:
        return []
    with suppress(OSError):
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        return [parent.pid, *map(int, children.read_text().split())]
    return [parent.pid]


def signal_all(server: Server, number: int) -> None:
    for pid in processes(server):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(server: Server) -> None:
    """As the machine does when memory is short: at once, all of it."""
    signal_all(server, signal.SIGKILL)
    server.process.popen.wait()


def usage_of(server: Server) -> Usage:
    kib = files = 0
    for pid in processes(server):
        # IndexError: it has died, and its parent has not noticed yet.
        with suppress(OSError, IndexError):
            kib += int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
            files += len(os.listdir(f"/proc/{pid}/fd"))
    return Usage(kib, files)


def keys_without_expiry(deployment: Deployment) -> list[str]:
    """Keys that Redis would keep for ever. Of many servers nobody is asked."""
    if not isinstance(deployment.redis, RedisServer):
        return []
    with deployment.redis.client() as client:
        return [key.decode() for key in client.scan_iter(count=1000) if client.pttl(key) == -1]


async def phones(deployment: Deployment, client: RecordingClient, count: int) -> list[Party]:
    """Logged-in devices, each the first of an account of its own."""
    settings = Settings(
        redis_url=None,
        database_url=deployment.database_url,
        signing_key_file=deployment.folder / "pairing-keys.json",
        public_url=deployment.servers[0].public_url,
    )
    parts = build(settings)
    try:
        codes = [
            (await parts.services.accounts.operator.invite(f"person-{number}")).code for number in range(1, count + 1)
        ]
    finally:
        await parts.database.close()
    found = []
    for number, code in enumerate(codes, 1):
        reply = await client.servers[0].ask("POST", "/invites/accept", device_headers(), {"code": code})
        assert reply.status == 200, reply
        key = reply.body["authKey"]
        found.append(Party(f"A{number}", {"Auth-Key": key}, {"authKey": key}))
    return found


async def sessions(deployment: Deployment) -> list[Row]:
    """The sessions that began by a pairing, straight from the database."""
    database = open_database(deployment.database_url)
    query = "SELECT origin, device_id, refresh_hash, user_id FROM sessions WHERE origin LIKE 'pairing:%'"
    try:
        rows = await database.run(lambda connection: connection.execute(sa.text(query)).all())
    finally:
        await database.close()
    return [Row(row.origin.removeprefix("pairing:"), row.device_id, row.refresh_hash, row.user_id) for row in rows]
