"""A web application that logs people in by OpenID Connect, with Authlib's client as it comes. See README.md.

python app.py client.json [PORT]
"""

import json
import secrets
import sys
from html import escape
from pathlib import Path

import uvicorn
from authlib.integrations.starlette_client import OAuth, OAuthError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

# What `pairing-ws client add … --json` has printed.
client = json.loads(Path(sys.argv[1]).read_text())
port = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
home = f"http://localhost:{port}/"

login = OAuth().register(
    "login",
    server_metadata_url=client["issuer"] + "/.well-known/openid-configuration",
    client_id=client["client_id"],
    client_secret=client["client_secret"],
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)

# By a random cookie, and gone with this process: yours keeps sessions as it does today.
sessions: dict[str, dict[str, object]] = {}


async def with_session(request: Request, call_next: RequestResponseEndpoint) -> Response:
    key = request.cookies.get("example_session", "")
    if key not in sessions:
        key = secrets.token_urlsafe(32)
        sessions[key] = {}
    request.scope["session"] = sessions[key]
    response = await call_next(request)
    response.set_cookie("example_session", key, httponly=True, samesite="lax")
    return response


async def show(request: Request) -> Response:
    person = request.session.get("person")
    if not person:
        return HTMLResponse('<title>Example</title><p><a href="/login">Log in</a>')
    name, email = escape(person["name"]), escape(person.get("email", "no address"))
    return HTMLResponse(f'<title>Example</title><p>Hello {name} ({email}). <a href="/logout">Log out</a>')


async def log_in(request: Request) -> Response:
    answer: Response = await login.authorize_redirect(request, home + "callback")
    return answer


async def come_back(request: Request) -> Response:
    try:
        # Checks state, code, PKCE, and the id_token's signature, issuer, audience and nonce.
        tokens = await login.authorize_access_token(request)
    except OAuthError as error:
        return HTMLResponse(f'<p>Not logged in: {escape(error.error)}. <a href="/login">Try again</a>', 400)
    request.session.update(person=dict(tokens["userinfo"]), id_token=tokens["id_token"])
    return RedirectResponse("/", 303)


async def log_out(request: Request) -> Response:
    id_token = request.session.pop("id_token", None)
    request.session.clear()
    answer: Response = await login.logout_redirect(request, home, id_token_hint=id_token)
    return answer


routes = [Route("/", show), Route("/login", log_in), Route("/callback", come_back), Route("/logout", log_out)]
app = Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=with_session)])

if __name__ == "__main__":
    uvicorn.run(app, host="localhost", port=port)
