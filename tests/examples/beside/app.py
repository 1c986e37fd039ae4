"""A Starlette application beside the server: it knows its public keys alone. Its settings, from the environment:
LOGIN_ISSUER, the server's PAIRING_PUBLIC_URL; PUBLIC_URL, its own address; PORT."""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pairing_ws import Caller, Guard

guard = Guard(
    issuer=os.environ["LOGIN_ISSUER"], audience="https://api.example.com", public_url=os.environ["PUBLIC_URL"]
)


@guard.protect
async def me(request: Request, caller: Caller) -> JSONResponse:
    return JSONResponse({"user": caller.user_id, "device": caller.device_id, "client": caller.client_id})


@guard.needs("orders").protect
async def orders(request: Request, caller: Caller) -> JSONResponse:
    return JSONResponse([])


app = Starlette(routes=[Route("/me", me), Route("/orders", orders)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))
