"""A Starlette application that mounts the server below /login, and guards its own routes by it. Start it by `python`:
its settings are the server's own, with PAIRING_PUBLIC_URL=https://app.example.com/login."""

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from pairing_ws import Caller, Guard, create_app, load_settings, uvicorn_options

settings = load_settings()
login = create_app(settings)
guard = Guard(login, audience="https://api.example.com")


@guard.protect
async def me(request: Request, caller: Caller) -> JSONResponse:
    return JSONResponse({"user": caller.user_id, "device": caller.device_id, "client": caller.client_id})


@guard.needs("orders").protect
async def orders(request: Request, caller: Caller) -> JSONResponse:
    return JSONResponse([])


routes = [Route("/me", me), Route("/orders", orders), Mount("/login", login)]
app = Starlette(routes=routes, lifespan=login.lifespan)

if __name__ == "__main__":
    uvicorn.run(app, **uvicorn_options(settings))
