"""A backend that is asked about each login: it gives the session a plan, the client a token, or refuses. See README.md.

python app.py FILE_OF_THE_SECRET [PORT]
"""

import secrets
import sys
from pathlib import Path

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

signed_by = Webhook(Path(sys.argv[1]).read_text().strip())
# What you have a database for.
plans = {"ada": "gold", "grace": "free"}
tokens: dict[str, str] = {}


async def login_hook(request: Request) -> Response:
    try:
        asked = signed_by.verify(await request.body(), dict(request.headers))["data"]
    except WebhookVerificationError:
        return Response(status_code=401)
    plan = plans.get(asked["user"]["username"])
    if plan is None:
        return JSONResponse({"refuse": {"reason": "Ask your administrator for a seat first."}})
    # The same question, asked again, gets the same answer.
    token = tokens.setdefault(asked["session"]["id"], secrets.token_urlsafe(16))
    return JSONResponse({"claims": {"plan": plan}, "host": {"token": token}})


app = Starlette(routes=[Route("/login-hook", login_hook, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]) if len(sys.argv) > 2 else 4000, log_level="warning")
