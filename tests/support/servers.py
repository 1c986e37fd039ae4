"""Real servers for tests: redis-server and our own, each a process on a free port with a folder of its own."""

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.forked import Forked, Loaded

# A bound for what never comes: three workers took more than 30 s where eight others wanted the same two cores.
STARTS_WITHIN = 60.0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child process that ends with its test, whatever happens. With `forked`, it may come from the loaded process."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        log: str,
        env: dict[str, str] | None = None,
        user: str | None = None,
        forked: bool = False,
    ) -> None:
        self.log = folder / log
        self._file = self.log.open("ab")
        groups: list[str | int] | None = [] if user else None
        child = LOADED.fork(command, folder, env, self._file, self._file) if forked and env is not None else None
        self.popen: subprocess.Popen[bytes] | Forked = child or subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=self._file,
            stderr=self._file,
            user=user,
            group=user,
            extra_groups=groups,
        )

    def stop(self, signum: int = signal.SIGTERM, within: float = 15.0) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signum)
        try:
            code = self.popen.wait(within)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise
        finally:
            self._file.close()
        return code


class RedisServer:
    """A redis-server without persistence unless `options` say so. It keeps its port when it fails and comes back."""

    def __init__(self, folder: Path, *options: str) -> None:
        found = shutil.which("redis-server")
        assert found, "redis-server is missing; ./scripts/test installs it"
        self._binary, self._folder, self._options, self.port = found, folder, options, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options += self._options
        self._process = Process([self._binary, *options], self._folder, "redis.log")
        wait_for(lambda: _listens(self.port), "redis-server")

    def stop(self) -> None:
        self._process.stop(signal.SIGKILL)

    def pause(self) -> None:
        """It hangs, and forgets nothing."""
        self._process.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.popen.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A connection of the test's own, to look in and to break things."""
        return redis.Redis(port=self.port)

    def command(self, *words: str) -> Any:
        with self.client() as own:
            return own.execute_command(*words)


class Server:
    """`pairing-ws serve` as a user runs it, on SQLite in `folder` unless `env` says otherwise.

    Servers that share a folder share its database and keys. With `forked=False` it is executed: for tests of the start
    and of figures.
    """

    def __init__(
        self, folder: Path, *, demo: bool = True, port: int | None = None, forked: bool = True, **env: str
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.env = {"PAIRING_PUBLIC_URL": f"http://localhost:{self.port}", **env}
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.public_url = self.env["PAIRING_PUBLIC_URL"]
        self._demo, self._forked = demo, forked
        self.start()

    def start(self) -> None:
        options = ["serve", "--port", str(self.port), *(["--demo"] if self._demo else [])]
        self.run([*CLI, *options], self._environment())

    def run(self, command: list[str], env: dict[str, str]) -> None:
        """Start it by that command. Nothing is left of one that does not get ready."""
        self.process = Process(command, self.folder, f"serve-{self.port}.log", env, forked=self._forked)
        try:
            wait_for(self._ready, f"the server ({self.process.log})")
        except BaseException:
            self.process.stop()
            raise

    def stop(self, signum: int = signal.SIGTERM) -> int:
        return self.process.stop(signum)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli(*arguments, folder=self.folder, env=self._environment())

    def invite(self, username: str = "alice") -> str:
        """A fresh invite's code."""
        done = self.cli("invite", username, "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["code"])

    def log_text(self) -> str:
        return self.process.log.read_text(errors="replace")

    def memory(self) -> float:
        """MiB of it in memory."""
        lines = Path(f"/proc/{self.process.popen.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def gauge(self, name: str) -> int:
        """What /metrics says now."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        found = re.search(rf"^{name} (\d+)", text, re.M)
        assert found, f"no {name}"
        return int(found[1])

    def _environment(self) -> dict[str, str]:
        return clean_environment() | self.env

    def _ready(self) -> bool:
        assert self.process.popen.poll() is None, f"the server ended: {self.log_text()}"
        # Not by httpx2: each try would make a client, 20 ms of CPU that the server could start in.
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)) as connection:
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


CLI = [sys.executable, "-m", "pairing_ws"]


def clean_environment() -> dict[str, str]:
    """This process's environment without settings that would leak into a server under test."""
    names = ("REDIS_URL", "REDIS_URL_FILE", "DATABASE_URL", "DATABASE_URL_FILE", "PORT", "WEB_CONCURRENCY")
    kept = {name: value for name, value in os.environ.items() if name not in names and not name.startswith("PAIRING_")}
    return kept | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


LOADED = Loaded(clean_environment)


def run_cli(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command, env = [*CLI, *arguments], clean_environment() if env is None else env
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = LOADED.fork(command, folder, env, out, err) or subprocess.Popen(
            command, cwd=folder, env=env, stdout=out, stderr=err
        )
        try:
            code = child.wait(60)
        finally:
            child.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


@contextmanager
def running(
    folder: Path, *, demo: bool = True, port: int | None = None, forked: bool = True, **settings: str
) -> Iterator[Server]:
    server = Server(folder, demo=demo, port=port, forked=forked, **settings)
    try:
        yield server
    finally:
        if server.process.popen.poll() is None:
            server.stop()


def said(server: Server, event: str) -> list[dict[str, Any]]:
    """What the server has logged of that event."""
    lines = [json.loads(line) for line in server.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def answers(host: str, port: int, path: str = "/readyz") -> int:
    """The status, or 0 if nobody listens there."""
    with closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def wait_for(condition: object, what: str, within: float = STARTS_WITHIN) -> None:
    """Poll a condition; fail loudly if it never holds."""
    end = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"{what} was not ready within {within} s"
        time.sleep(0.01)


async def eventually(condition: object, what: str, within: float = 10.0) -> None:
    """As `wait_for`, on the event loop."""
    end = asyncio.get_running_loop().time() + within
    while not condition():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen within {within} s"
        await asyncio.sleep(0.01)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
