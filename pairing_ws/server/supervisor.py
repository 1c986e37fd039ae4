"""What `serve` runs: the server in this process, or in several workers that are watched, replaced and sent away."""

import asyncio
import errno
import functools
import gc
import math
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog
import uvicorn
from prometheus_client import Gauge
from prometheus_client.multiprocess import mark_process_dead
from starlette.applications import Starlette

from pairing_ws import __version__
from pairing_ws.app import create_app
from pairing_ws.config import settings as config
from pairing_ws.server import startup as loading
from pairing_ws.server.logging import configure
from pairing_ws.transport.connection_limits import Room
from pairing_ws.transport.http1 import HttpProtocol
from pairing_ws.transport.websocket import WebSocketProtocol
from pairing_ws.web.security_headers import security_headers

log = structlog.get_logger()

LOOK_SECONDS = 0.2
SIGN_SECONDS = 1.0
# Loading everything takes half a second, and many at once on a busy machine.
STARTS_WITHIN = 30.0
# No sign of life for so long is a worker that is stopped, or whose event loop is blocked.
SILENT_FOR = 10.0
ARRIVING_SECONDS = 0.2
# A worker gives the calls under way 5 s; whoever sent SIGTERM here expects the end within 10.
LEAVES_WITHIN = 7.0
RETRY_SECONDS = 1.0
# Everything that has an end of its own has reached it by then.
GONE_WITHIN = 8.5

SERVING = Gauge("pairing_workers", "Processes that serve", multiprocess_mode="livesum")


def run(settings: config.Settings) -> None:
    """Serve until SIGTERM or SIGINT, and return: a process manager takes any other end for a failure.

    Raises SystemExit if no worker could start.
    """
    _return_on_signals()
    sockets = _bind(settings)
    if settings.workers == 1:
        # There is nobody to take over meanwhile: it leaves in order, for whoever runs it to start it anew.
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        SERVING.set(1)
        ready = functools.partial(_tell_ready, settings, sockets[0])
        try:
            Server(_uvicorn(settings, functools.partial(_application, settings)), ready).run(sockets[0])
        finally:
            log.info("server.stopped", pid=os.getpid())
        return
    with tempfile.TemporaryDirectory(prefix="pairing-metrics-") as folder:
        config.share_metrics(folder)
        Workers(settings, sockets, folder).run()


def _bind(settings: config.Settings) -> list[list[socket.socket]]:
    """For each worker a socket per address, on one port: the kernel spreads connections evenly. Of workers that accept
    from one common socket, the one that woke last takes nearly all, and keeps them.

    Raises SettingsError if there is no such address, or if the port is another server's.
    """
    try:
        found = socket.getaddrinfo(settings.host or "0.0.0.0", settings.port, type=socket.SOCK_STREAM)
        bound: list[socket.socket] = []
        failed: OSError | None = None
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                # First without sharing: the port of another server is refused, not shared with it.
                bound.append(_bound(family, address, shared=False))
            except OSError as error:
                # `localhost` is an IPv6 address as well, on machines that have none.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failed = error
        if failed and not bound:
            raise failed
    except OSError as error:
        raise config.SettingsError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}") from None
    if settings.workers == 1:
        return [bound]
    places = [(each.family, each.getsockname()) for each in bound]
    for each in bound:
        each.close()
    return [[_bound(*place, shared=True) for place in places] for _ in range(settings.workers)]


def try_address(settings: config.Settings) -> None:
    """Raises SettingsError if `run` could not listen there just now."""
    for bound in _bind(settings.model_copy(update={"workers": 1}))[0]:
        bound.close()


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    """Bound, and in nobody's way before a worker listens on it. `::` takes IPv4 as well, whatever the machine's
    default."""
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _return_on_signals() -> None:
    """uvicorn raises the signal that ended it once more when all is done: it must not kill by then."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


def _uvicorn(settings: config.Settings, application: Callable[..., Starlette]) -> uvicorn.Config:
    in_all, per_address = settings.most_connections
    room = Room(per_address, in_all, settings.proxies)
    descriptors = config.descriptors()
    return uvicorn.Config(
        application,
        factory=True,
        host=settings.host,
        port=settings.port,
        # uvicorn only calls it.
        http=functools.partial(HttpProtocol, room, security_headers(settings)),  # type: ignore[arg-type]
        ws=WebSocketProtocol,
        ws_max_size=4096,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        # As many may be accepted before one of them is looked at.
        backlog=min(2048, max(descriptors // 8, 16)) if descriptors else 2048,
        log_config=None,
        # It prints query strings, and costs time and memory per request.
        access_log=False,
        # Forwarded addresses are read by our own edge, from PAIRING_TRUSTED_PROXIES alone.
        proxy_headers=False,
        server_header=False,
        # Longer than the idle limit of common proxies: who closes first must not be the one that is being written to.
        timeout_keep_alive=75,
        # Sockets are closed at once; this is for calls under way, of which a long poll would take 30 s.
        timeout_graceful_shutdown=5,
    )


class Server(uvicorn.Server):
    def __init__(self, options: uvicorn.Config, ready: Callable[[], None] | None = None) -> None:
        super().__init__(options)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._ready:
            log.info("server.stopping", pid=os.getpid())
        for each in self.servers:
            each.close()
        # Who was let in a moment ago has not said yet what for; uvicorn hangs up on whoever asks for nothing.
        await asyncio.sleep(ARRIVING_SECONDS)
        await super().shutdown(sockets)


def _application(settings: config.Settings) -> Starlette:
    app = create_app(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn has set its handlers by now; it would let long polls wait for their time.
        handler = signal.getsignal(number)
        signal.signal(number, functools.partial(_end_waiting, app, handler))
    # A full collection walks through all there is and stops the world: 40 ms per 1000 sockets. None first: what is
    # garbage by now (400 objects) isn't worth 10 ms of a start.
    gc.freeze()
    gc.set_threshold(*loading.GC_THRESHOLDS)
    return app


def _end_waiting(app: Starlette, handler: Any, number: int, frame: object) -> None:
    app.state.drain.begin()
    # The thread of a database driver that was interrupted can hold up the interpreter's end for ever.
    last_resort = threading.Timer(GONE_WITHIN, os._exit, (0,))
    last_resort.daemon = True
    last_resort.start()
    if callable(handler):
        handler(number, frame)


def _tell_ready(settings: config.Settings, sockets: list[socket.socket]) -> None:
    """It listens, and answers."""
    log.info(
        "server.ready",
        url=settings.public_url,
        listening=["{}:{}".format(*each.getsockname()) for each in sockets],
        workers=settings.workers,
        version=__version__,
        pid=os.getpid(),
    )


class Worker:
    """A process of its own that serves what comes to its sockets, and gives signs of life once it does."""

    def __init__(self, settings: config.Settings, listening: list[socket.socket], now: float) -> None:
        self.listening = listening
        self._signs, theirs = Pipe(duplex=False)
        self.process: SpawnProcess = get_context("spawn").Process(
            target=loading.work, args=(settings, listening, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.due = now + STARTS_WITHIN
        self.ready = self.leaving = self.old = False

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def news(self) -> list[Any]:
        """What to wait for: its end, and its signs."""
        return [self.process.sentinel, *([] if self._signs.closed else [self._signs])]

    def listen(self, now: float) -> None:
        if self._signs.closed or not self._signs.poll():
            return
        if not os.read(self._signs.fileno(), 4096):
            self._signs.close()
        elif not self.leaving:
            if not self.ready:
                log.info("worker.ready", pid=self.process.pid)
            self.ready = True
            self.due = now + SILENT_FOR

    def send_away(self, now: float) -> None:
        if not self.leaving:
            self.leaving = True
            self.due = now + LEAVES_WITHIN
            self.process.terminate()

    def kill(self) -> None:
        self.due = math.inf
        self.process.kill()

    def bury(self) -> None:
        self._signs.close()
        self.process.close()


class Workers:
    """One worker per set of sockets until a signal ends it; on SIGHUP each is replaced by a new one, on the same set.

    Not uvicorn's own supervisor: there, a worker that hangs holds up the end of all, a blocked event loop goes
    unnoticed, and one that fails to start (the database may be away) takes down those that serve.
    """

    def __init__(self, settings: config.Settings, sockets: list[list[socket.socket]], metrics: str) -> None:
        self._settings = settings
        self._sockets = sockets
        self._metrics = metrics
        self._workers: list[Worker] = []
        self._signals: list[int] = []
        self._ending = self._failed = self._told = False
        self._looked = self._start_after = time.monotonic()

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            while self._workers or not self._ending:
                self._look(time.monotonic())
                wait([each for worker in self._workers for each in worker.news()], LOOK_SECONDS)
        finally:
            for worker in self._workers:
                worker.kill()
        log.info("server.stopped", pid=os.getpid())
        if self._failed:
            raise SystemExit(1)

    def _look(self, now: float) -> None:
        while self._signals:
            if self._signals.pop(0) != signal.SIGHUP:
                self._end()
                continue
            log.info("server.rolling", pid=os.getpid())
            for worker in self._workers:
                worker.old = True
        for worker in self._workers[:]:
            if now - self._looked > SILENT_FOR / 2:
                # We were stopped ourselves, and so perhaps were they: ^Z stops all of a terminal's processes.
                worker.due += now - self._looked
            worker.listen(now)
            if worker.ended:
                self._remove(worker, now)
            elif now > worker.due:
                log.error("worker.hangs", pid=worker.process.pid)
                worker.kill()
            elif self._ending:
                worker.send_away(now)
        self._looked = now
        if not self._told and sum(each.ready for each in self._workers) == len(self._sockets):
            self._told = True
            _tell_ready(self._settings, self._sockets[0])
        if not self._ending and now >= self._start_after:
            for each in self._sockets:
                self._staff(each, now)

    def _staff(self, listening: list[socket.socket], now: float) -> None:
        """Start a worker where there is none, and the new one of an old one; it goes when the new one serves."""
        here = [each for each in self._workers if each.listening is listening and not each.leaving]
        new = [each for each in here if not each.old]
        if any(each.ready for each in new):
            for each in here:
                if each.old:
                    each.send_away(now)
        # One at a time, or for a while there would be twice as many, which the machine may not have room for.
        elif not here or (not new and all(each.ready and not each.leaving for each in self._workers)):
            self._workers.append(Worker(self._settings, listening, now))

    def _end(self) -> None:
        if not self._ending:
            log.info("server.stopping", pid=os.getpid())
        self._ending = True
        # Held open here, they would let connections in that nobody serves any more.
        for bound in (each for listening in self._sockets for each in listening):
            bound.close()

    def _remove(self, worker: Worker, now: float) -> None:
        pid, code = worker.process.pid, worker.process.exitcode
        self._workers.remove(worker)
        worker.bury()
        # Its counts stay; what it held open is gone.
        mark_process_dead(pid, self._metrics)  # type: ignore[no-untyped-call]
        if worker.leaving or self._ending:
            return
        log.error("worker.died", pid=pid, code=code)
        if not any(each.listening is worker.listening for each in self._workers):
            # Held open here, it would go on taking its share of the connections.
            new = [_bound(each.family, each.getsockname(), shared=True) for each in worker.listening]
            self._sockets[self._sockets.index(worker.listening)] = new
            for bound in worker.listening:
                bound.close()
        if worker.ready:
            return
        self._start_after = now + RETRY_SECONDS
        for each in self._workers:
            # What one can't do, the others can't either: the old ones stay.
            each.old = False
        if not any(each.ready for each in self._workers):
            self._failed = True
            self._end()


def work(settings: config.Settings, listening: list[socket.socket], signs: Connection) -> None:
    """The whole life of a worker. A new interpreter, which knows nothing of its parent's set-up."""
    _return_on_signals()
    # A terminal that closes tells all of its processes; the parent alone decides.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configure(settings.log_format, settings.log_level)
    tasks = []

    def application() -> Starlette:
        tasks.append(asyncio.get_running_loop().create_task(_give_signs(server, signs)))
        return _application(settings)

    server = Server(_uvicorn(settings, application))
    server.run(listening)


async def _give_signs(server: Server, signs: Connection) -> None:
    os.set_blocking(signs.fileno(), False)
    while True:
        if server.started:
            SERVING.set(1)
            try:
                # A parent that does not read for long has time to miss some.
                with suppress(BlockingIOError):
                    os.write(signs.fileno(), b".")
            except OSError:
                # The parent is gone, killed perhaps: whoever starts a new one needs the port.
                signal.raise_signal(signal.SIGTERM)
                return
        await asyncio.sleep(SIGN_SECONDS if server.started else SIGN_SECONDS / 10)
