"""The servers of a run: two processes of pairing_ws, Redis, SQL, and a proxy on each link of the first process."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from pairing_ws.adapters.database import open_database
from pairing_ws.app import build
from pairing_ws.config import Settings
from tests.client import device_headers
from tests.history.checker import Row
from tests.history.clients import Door, Line, Party
from tests.history.model import Rules
from tests.history.record import Recorder
from tests.proxy import FaultProxy
from tests.servers import RedisServer, Server

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


@dataclass
class Stand:
    """What is running. `links` are the first server's, by the name of what they lead to."""

    folder: Path
    servers: list[Server]
    redis: RedisServer
    database_url: str
    links: dict[str, FaultProxy] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        return Rules(ttl=TTL_SECONDS * 1000.0, redeem=REDEEM_SECONDS * 1000.0)

    def line(self, recorder: Recorder) -> Line:
        return Line(recorder, [Door(server.port) for server in self.servers])


@contextmanager
def standing(folder: Path, package: Path = ROOT, workers: int = 1) -> Iterator[Stand]:
    """All of it, the servers' code from `package`. Everything ends with it."""
    with ExitStack() as stack:
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        database_url = f"sqlite:///{folder / 'pairing.db'}"
        link = stack.enter_context(FaultProxy(redis.port))
        shared = SETTINGS | {"DATABASE_URL": database_url, "PYTHONPATH": str(package), "WEB_CONCURRENCY": str(workers)}
        one = Server(folder, **shared, REDIS_URL=f"redis://127.0.0.1:{link.port}/0")
        stack.callback(kill, one)
        two = Server(folder, **shared, REDIS_URL=redis.url, PAIRING_PUBLIC_URL=one.public_url)
        stack.callback(kill, two)
        yield Stand(folder, [one, two], redis, database_url, {"Redis": link})


def signal_all(server: Server, number: int) -> None:
    """A server's process and, if it has any, its workers."""
    parent = server.process.popen
    if parent.poll() is not None:
        return
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    for pid in [parent.pid, *map(int, children.read_text().split())]:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(server: Server) -> None:
    """As the machine does when memory is short: at once, all of it."""
    signal_all(server, signal.SIGKILL)
    server.process.popen.wait()


async def phones(stand: Stand, line: Line, count: int) -> list[Party]:
    """Logged-in devices, each the first of an account of its own."""
    settings = Settings(
        redis_url=None,
        database_url=stand.database_url,
        signing_key_file=stand.folder / "pairing-keys.json",
        public_url=stand.servers[0].public_url,
    )
    parts = build(settings)
    try:
        codes = [(await parts.services.accounts.invite(f"person-{number}")).code for number in range(1, count + 1)]
    finally:
        await parts.engine.dispose()
    found = []
    for number, code in enumerate(codes, 1):
        reply = await line.doors[0].ask("POST", "/invites/accept", device_headers(), {"code": code})
        assert reply.status == 200, reply
        key = reply.body["authKey"]
        found.append(Party(f"A{number}", {"Auth-Key": key}, {"authKey": key}))
    return found


async def sessions(database_url: str) -> list[Row]:
    """The sessions that began by a pairing, straight from the database."""
    engine = open_database(database_url)
    query = "SELECT origin, device_id, refresh_hash, user_id FROM sessions WHERE origin LIKE 'pairing:%'"
    try:
        async with engine.connect() as connection:
            rows = (await connection.execute(sa.text(query))).all()
    finally:
        await engine.dispose()
    return [Row(row.origin.removeprefix("pairing:"), row.device_id, row.refresh_hash, row.user_id) for row in rows]
