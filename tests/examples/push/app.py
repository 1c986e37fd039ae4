"""An application whose page asks for notifications (Web Push). It mounts the server below /login; start it by `python`
with the server's own settings."""

from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from pairing_ws import create_app, load_settings, uvicorn_options

HERE = Path(__file__).parent

settings = load_settings()
login = create_app(settings)


async def page(_: Request) -> FileResponse:
    return FileResponse(HERE / "page.html")


# A service worker serves what is below its own path: this one lies at the root.
async def worker(_: Request) -> FileResponse:
    return FileResponse(HERE / "worker.js", media_type="text/javascript")


routes = [Route("/", page), Route("/worker.js", worker), Mount("/login", login)]
app = Starlette(routes=routes, lifespan=login.lifespan)

if __name__ == "__main__":
    uvicorn.run(app, **uvicorn_options(settings))
