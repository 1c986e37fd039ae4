"""Commands without the time that loading takes: a process that has loaded the program forks, and the child becomes
`python -m MODULE`.

To load the program takes 0.8 s of CPU, all else of a start 0.1 s. A child has arguments, environment, folder, output,
handlers of signals and an end of its own, as the command has. What the interpreter reads when it starts, and this
process's limits and umask, it can't have: where these matter, and where a start itself is the subject, the command is
executed.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tests.support.loaded import MESSAGE_BYTES

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("pairing_ws", "tests.support.skewed")
# The interpreter, the C library and OpenSSL read these once.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "OPENSSL_", "SSL_", "TZ")


class Forked:
    """What `subprocess.Popen` offers of a child, for one whose parent is the loaded process."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told)
        # Not `select`, which takes no descriptor above 1024.
        self._poll = select.poll()
        self._poll.register(told, select.POLLIN)
        self._looking = threading.Lock()
        self.returncode: int | None = None
        self.pid = self._read()

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._look(None if end is None else max(0.0, end - time.monotonic()))) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        with self._looking:
            if self.returncode is None and self._poll.poll(None if seconds is None else seconds * 1000):
                self.returncode = self._read()
                self._told.close()
            return self.returncode

    def _read(self) -> int:
        line = self._told.readline()
        assert line, "the loaded process has ended"
        return int(line)


class Loaded:
    """The loaded process of this one. It starts when it is first needed, and ends when this one does."""

    def __init__(self, environment: Callable[[], dict[str, str]]) -> None:
        self._environment = environment
        self._starting = threading.Lock()
        self._requests: socket.socket | None = None
        self._env: dict[str, str] = {}

    def fork(self, command: list[str], folder: Path, env: dict[str, str], out: IO[Any], err: IO[Any]) -> Forked | None:
        """A child that becomes this command, or None if it has to be executed to be the same."""
        if command[:2] != [sys.executable, "-m"] or command[2] not in MODULES:
            return None
        requests = self._start()
        names = {name for name in {*env, *self._env} if name.startswith(READ_AT_START)}
        if any(env.get(name) != self._env.get(name) for name in names):
            return None
        message = json.dumps([command[2], command[3:], str(folder.absolute()), env]).encode()
        if len(message) > MESSAGE_BYTES:
            return None
        told, tell = os.pipe()
        try:
            socket.send_fds(requests, [message], [out.fileno(), err.fileno(), tell])
        finally:
            os.close(tell)
        return Forked(told)

    def _start(self) -> socket.socket:
        with self._starting:
            if self._requests is None:
                self._env = self._environment()
                self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                command = [sys.executable, "-m", "tests.support.loaded", str(theirs.fileno())]
                process = subprocess.Popen(command, cwd=ROOT, env=self._env, pass_fds=[theirs.fileno()])
                theirs.close()
                atexit.register(process.wait, 10)
                atexit.register(self._requests.close)
            return self._requests
