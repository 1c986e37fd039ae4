"""pairing_ws as `serve` runs it with one worker, in a process that also answers questions about itself.

`python -m benchmark.watched PORT`: GET /bench/tasks says how many asyncio tasks there are; POST /bench/profile writes
the profile of all that was done since the last such call to the `file` it is given, and begins a new one.
"""

import asyncio
import cProfile
import functools
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pairing_ws.config import environment
from pairing_ws.config import settings as config
from pairing_ws.server import worker
from pairing_ws.server.logging import configure

_profile: cProfile.Profile | None = None


async def tasks(_: Request) -> JSONResponse:
    return JSONResponse(len(asyncio.all_tasks()))


async def profile(request: Request) -> JSONResponse:
    global _profile
    if _profile:
        _profile.disable()
        _profile.dump_stats((await request.json())["file"])
    _profile = cProfile.Profile()
    _profile.enable()
    return JSONResponse(True)


def application(settings: config.Settings) -> Starlette:
    # `serve`'s own, with its settings of the garbage collector.
    app = worker.application(settings)
    app.router.routes += [Route("/bench/tasks", tasks), Route("/bench/profile", profile, methods=["POST"])]
    return app


def main() -> None:
    settings = environment.load(port=int(sys.argv[1]))
    configure()
    worker.return_on_signals()
    worker.server_for(settings, functools.partial(application, settings)).run()


if __name__ == "__main__":
    main()
