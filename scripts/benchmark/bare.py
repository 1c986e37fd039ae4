"""The yardstick of `scripts/bench`: a bare Starlette application on uvicorn, with the server settings of pairing_ws.

What may live here: routes that do nothing but what any server of their kind has to do. `python -m benchmark.bare PORT`.
Its garbage collector is set as Python sets it: what is gained there is pairing_ws's own doing.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

# As long as what a polling device is answered by pairing_ws.
PAIRING = {
    "id": "kP3y0rJ5Q0uXb8T1n2m4Zw",
    "initiator": "new_device",
    "status": "pending",
    "version": 1,
    "createdAt": "2026-01-01T00:00:00.000Z",
    "expiresAt": "2026-01-01T00:02:00.000Z",
    "expiresIn": 120,
    "verification": "undecided",
    "pollInterval": 3,
}


async def read(_: Request) -> JSONResponse:
    return JSONResponse(PAIRING)


async def write(request: Request) -> JSONResponse:
    await request.json()
    return JSONResponse(PAIRING)


async def wait(websocket: WebSocket) -> None:
    await websocket.accept()
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def application() -> Starlette:
    routes = [Route("/", read, methods=["GET"]), Route("/", write, methods=["POST"]), WebSocketRoute("/socket", wait)]
    return Starlette(routes=routes)


def configuration(port: int) -> uvicorn.Config:
    """That of pairing_ws: a difference here would be counted as a difference of the applications."""
    return uvicorn.Config(
        application,
        factory=True,
        port=port,
        ws="websockets-sansio",
        ws_max_size=4096,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )


def main() -> None:
    uvicorn.Server(configuration(int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
