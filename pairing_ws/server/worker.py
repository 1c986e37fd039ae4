"""One process that serves: uvicorn's server around the application, from its start to its end."""

import asyncio
import functools
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import structlog
import uvicorn
from prometheus_client import Gauge
from starlette.applications import Starlette

from pairing_ws.app import create_app
from pairing_ws.config import settings as config
from pairing_ws.server.logging import configure
from pairing_ws.server.startup import GC_THRESHOLDS
from pairing_ws.server.uvicorn_options import uvicorn_options

log = structlog.get_logger()

HEARTBEAT_INTERVAL = 1.0
# For a connection that was accepted a moment ago to send its request.
ACCEPT_GRACE_SECONDS = 0.2
# After a signal, everything that has an end of its own has reached it by then.
EXIT_TIMEOUT = 8.5

SERVING = Gauge("pairing_workers", "Processes that serve", multiprocess_mode="livesum")


class Server(uvicorn.Server):
    """uvicorn's, which calls `ready` once it listens, and ends without dropping a request that is on its way."""

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
        # uvicorn closes connections without a request at once.
        await asyncio.sleep(ACCEPT_GRACE_SECONDS)
        await super().shutdown(sockets)


def serve_alone(settings: config.Settings, listening: list[socket.socket], ready: Callable[[], None]) -> None:
    """Serve in this process, which has no supervisor, until a signal ends it."""
    # No other worker would take over meanwhile: it stops in order, for its process manager to start it again.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    SERVING.set(1)
    try:
        server_for(settings, functools.partial(application, settings), ready).run(listening)
    finally:
        log.info("server.stopped", pid=os.getpid())


def serve_supervised(settings: config.Settings, listening: list[socket.socket], heartbeats: Connection) -> None:
    """The whole life of a worker: serve until a signal, or the supervisor's end, ends it.

    It runs in a new interpreter, which knows nothing of its parent's set-up.
    """
    return_on_signals()
    # A terminal that closes signals all of its processes; the supervisor alone decides.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configure(settings.log_format, settings.log_level)
    tasks = []

    def application_with_heartbeats() -> Starlette:
        tasks.append(asyncio.get_running_loop().create_task(_send_heartbeats(server, heartbeats)))
        return application(settings)

    server = server_for(settings, application_with_heartbeats)
    server.run(listening)


def server_for(
    settings: config.Settings, factory: Callable[[], Starlette], ready: Callable[[], None] | None = None
) -> Server:
    """`factory` is called on the event loop, once uvicorn has set its signal handlers."""
    return Server(uvicorn.Config(factory, factory=True, **uvicorn_options(settings)), ready)


def application(settings: config.Settings) -> Starlette:
    """The application as `serve` runs it: ends its long polls on a signal, and spares the garbage collector."""
    app = create_app(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn has set its handlers by now; it would let long polls wait for their time.
        handler = signal.getsignal(number)
        signal.signal(number, functools.partial(_drain, app, handler))
    # A full collection walks through all there is and stops the world: 40 ms per 1000 sockets. None first: what is
    # garbage by now (400 objects) isn't worth 10 ms of a start.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return app


def return_on_signals() -> None:
    """uvicorn raises the signal that ended it once more when all is done: it must not kill by then."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)


def _exit(number: int, frame: object) -> None:
    raise SystemExit(0)


def _drain(app: Starlette, handler: Any, number: int, frame: object) -> None:
    app.state.drain.begin()
    # The thread of a database driver that was interrupted can hold up the interpreter's end for ever.
    last_resort = threading.Timer(EXIT_TIMEOUT, os._exit, (0,))
    last_resort.daemon = True
    last_resort.start()
    if callable(handler):
        handler(number, frame)


async def _send_heartbeats(server: Server, heartbeats: Connection) -> None:
    os.set_blocking(heartbeats.fileno(), False)
    while True:
        if server.started:
            SERVING.set(1)
            try:
                # A supervisor that does not read for long has time to miss some.
                with suppress(BlockingIOError):
                    os.write(heartbeats.fileno(), b".")
            except OSError:
                # The supervisor has ended, killed perhaps: its successor needs the port.
                signal.raise_signal(signal.SIGTERM)
                return
        await asyncio.sleep(HEARTBEAT_INTERVAL if server.started else HEARTBEAT_INTERVAL / 10)
