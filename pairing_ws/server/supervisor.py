"""What `serve` runs: the server in this process, or in several worker processes that are watched and replaced."""

import functools
import math
import os
import signal
import socket
import tempfile
import time
from multiprocessing import Pipe, get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from pairing_ws import __version__
from pairing_ws.config import process
from pairing_ws.config import settings as config
from pairing_ws.server import startup
from pairing_ws.server.listening import bind, bind_again
from pairing_ws.server.worker import return_on_signals, serve_alone

log = structlog.get_logger()

CHECK_INTERVAL = 0.2
# Loading everything takes half a second, and many at once on a busy machine.
START_TIMEOUT = 30.0
# A worker without a heartbeat for so long is stopped, or its event loop is blocked.
HEARTBEAT_TIMEOUT = 10.0
# A worker gives the calls under way 5 s; the sender of a SIGTERM expects the end of all within 10.
STOP_TIMEOUT = 7.0
RETRY_SECONDS = 1.0


def run(settings: config.Settings) -> None:
    """Serve until SIGTERM or SIGINT, and return: a process manager takes any other end for a failure.

    Raises SettingsError if it can't listen, and SystemExit if no worker could start.
    """
    return_on_signals()
    sockets = bind(settings)
    if settings.workers == 1:
        serve_alone(settings, sockets[0], functools.partial(_log_ready, settings, sockets[0]))
        return
    with tempfile.TemporaryDirectory(prefix="pairing-metrics-") as folder:
        process.share_metrics(folder)
        Supervisor(settings, sockets, folder).run()


def _log_ready(settings: config.Settings, sockets: list[socket.socket]) -> None:
    """It listens, and answers."""
    log.info(
        "server.ready",
        url=settings.public_url,
        listening=[
            "{}:{}".format(f"[{host}]" if ":" in host else host, port)
            for host, port, *_ in (each.getsockname() for each in sockets)
        ],
        workers=settings.workers,
        version=__version__,
        pid=os.getpid(),
    )


class WorkerProcess:
    """A child process that serves the connections to its sockets, and sends heartbeats once it does."""

    def __init__(self, settings: config.Settings, listening: list[socket.socket], now: float) -> None:
        self.listening = listening
        self._heartbeats, theirs = Pipe(duplex=False)
        self.process: SpawnProcess = get_context("spawn").Process(
            target=startup.run_worker, args=(settings, listening, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        # By the supervisor's clock: when it is killed unless it has started, sent a heartbeat, or stopped.
        self.deadline = now + START_TIMEOUT
        self.ready = self.stopping = self.outdated = False

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def waitables(self) -> list[Any]:
        """For `multiprocessing.connection.wait`: its end, and its heartbeats."""
        return [self.process.sentinel, *([] if self._heartbeats.closed else [self._heartbeats])]

    def read_heartbeats(self, now: float) -> None:
        if self._heartbeats.closed or not self._heartbeats.poll():
            return
        if not os.read(self._heartbeats.fileno(), 4096):
            self._heartbeats.close()
        elif not self.stopping:
            if not self.ready:
                log.info("worker.ready", pid=self.process.pid)
            self.ready = True
            self.deadline = now + HEARTBEAT_TIMEOUT

    def request_stop(self, now: float) -> None:
        if not self.stopping:
            self.stopping = True
            self.deadline = now + STOP_TIMEOUT
            self.process.terminate()

    def kill(self) -> None:
        self.deadline = math.inf
        self.process.kill()

    def close(self) -> None:
        """Release what it holds in this process, once it has ended."""
        self._heartbeats.close()
        self.process.close()


class Supervisor:
    """One worker per set of sockets until a signal ends it; on SIGHUP each is replaced by a new one, on the same set.

    Not uvicorn's own supervisor: there, a worker that hangs holds up the end of all, a blocked event loop goes
    unnoticed, and one that fails to start (the database may be away) takes down those that serve.
    """

    def __init__(self, settings: config.Settings, sockets: list[list[socket.socket]], metrics: str) -> None:
        self._settings = settings
        self._sockets = sockets
        self._metrics = metrics
        self._workers: list[WorkerProcess] = []
        self._signals: list[int] = []
        self._stopping = self._failed = self._logged_ready = False
        self._checked_at = self._start_after = time.monotonic()

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            while self._workers or not self._stopping:
                self._check(time.monotonic())
                wait([each for worker in self._workers for each in worker.waitables()], CHECK_INTERVAL)
        finally:
            for worker in self._workers:
                worker.kill()
        log.info("server.stopped", pid=os.getpid())
        if self._failed:
            raise SystemExit(1)

    def _check(self, now: float) -> None:
        while self._signals:
            if self._signals.pop(0) != signal.SIGHUP:
                self._stop()
                continue
            log.info("server.rolling", pid=os.getpid())
            for worker in self._workers:
                worker.outdated = True
        for worker in self._workers[:]:
            if now - self._checked_at > HEARTBEAT_TIMEOUT / 2:
                # This process was stopped, and so perhaps were they: ^Z stops all of a terminal's processes.
                worker.deadline += now - self._checked_at
            worker.read_heartbeats(now)
            if worker.ended:
                self._remove(worker, now)
            elif now > worker.deadline:
                log.error("worker.hangs", pid=worker.process.pid)
                worker.kill()
            elif self._stopping:
                worker.request_stop(now)
        self._checked_at = now
        if not self._logged_ready and sum(each.ready for each in self._workers) == len(self._sockets):
            self._logged_ready = True
            _log_ready(self._settings, self._sockets[0])
        if not self._stopping and now >= self._start_after:
            for each in self._sockets:
                self._ensure_worker(each, now)

    def _ensure_worker(self, listening: list[socket.socket], now: float) -> None:
        """Start a worker where there is none, and a successor of an outdated one, which stops once that one serves."""
        here = [each for each in self._workers if each.listening is listening and not each.stopping]
        new = [each for each in here if not each.outdated]
        if any(each.ready for each in new):
            for each in here:
                if each.outdated:
                    each.request_stop(now)
        # One at a time, or for a while there would be twice as many, which the machine may not have room for.
        elif not here or (not new and all(each.ready and not each.stopping for each in self._workers)):
            self._workers.append(WorkerProcess(self._settings, listening, now))

    def _stop(self) -> None:
        if not self._stopping:
            log.info("server.stopping", pid=os.getpid())
        self._stopping = True
        # Held open here, they would accept connections that no worker serves any more.
        for bound in (each for listening in self._sockets for each in listening):
            bound.close()

    def _remove(self, worker: WorkerProcess, now: float) -> None:
        pid, code = worker.process.pid, worker.process.exitcode
        self._workers.remove(worker)
        worker.close()
        # Its counters stay; its gauges are removed.
        mark_process_dead(pid, self._metrics)  # type: ignore[no-untyped-call]
        if worker.stopping or self._stopping:
            return
        log.error("worker.died", pid=pid, code=code)
        if not any(each.listening is worker.listening for each in self._workers):
            # Held open here, the old ones would go on taking their share of the connections.
            self._sockets[self._sockets.index(worker.listening)] = bind_again(worker.listening)
            for bound in worker.listening:
                bound.close()
        if worker.ready:
            return
        self._start_after = now + RETRY_SECONDS
        for each in self._workers:
            # What one can't do, the others can't either: the old ones stay.
            each.outdated = False
        if not any(each.ready for each in self._workers):
            self._failed = True
            self._stop()
