"""A FastAPI application that mounts the server below /login, and guards its own routes by it. Start it by `python`:
its settings are the server's own, with PAIRING_PUBLIC_URL=https://app.example.com/login."""

from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI

from pairing_ws import Caller, Guard, create_app, load_settings, uvicorn_options

settings = load_settings()
login = create_app(settings)
guard = Guard(login, audience="https://api.example.com")
app = FastAPI(lifespan=login.lifespan)


@app.get("/me")
async def me(caller: Annotated[Caller, Depends(guard)]) -> dict[str, Any]:
    return {"user": caller.user_id, "device": caller.device_id, "client": caller.client_id}


@app.get("/orders", dependencies=[Depends(guard.needs("orders"))])
async def orders() -> list[str]:
    return []


app.mount("/login", login)

if __name__ == "__main__":
    uvicorn.run(app, **uvicorn_options(settings))
