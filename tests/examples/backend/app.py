"""The backend of an application that has users and passwords of its own, and logs their devices in by QR code from the
second one on. See README.md.

python app.py ADMIN_KEY_FILE [PORT]
"""

import hashlib
import hmac
import os
import sys
from pathlib import Path
from typing import NamedTuple

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

LOGIN = os.environ.get("LOGIN", "http://localhost:8000")
port = int(sys.argv[2]) if len(sys.argv) > 2 else 3000


# What you have already: people, their passwords, and how one is checked.


class Person(NamedTuple):
    id: str
    username: str
    name: str
    salt: bytes
    password: bytes


def digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, n=2**14, r=8, p=1)


SALT = b"one of its own for each"
PEOPLE = {
    "ada": Person("4711", "ada", "Ada Lovelace", SALT, digest("engine", SALT)),
    "grace": Person("4712", "grace", "Grace Hopper", SALT, digest("compiler", SALT)),
}


def checked(username: str, password: str) -> Person | None:
    person = PEOPLE.get(username)
    known = hmac.compare_digest(digest(password, SALT), person.password if person else bytes(64))
    return person if known else None


async def person_of(request: Request) -> Person:
    """Whose name and password the body has."""
    try:
        given = await request.json()
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise HTTPException(400, "send a JSON object with username and password")
    person = checked(str(given.get("username")), str(given.get("password")))
    if person is None:
        raise HTTPException(401, "wrong name or password")
    return person


# What is new: the device of a person whose password was right.

admin = httpx2.AsyncClient(
    base_url=f"{LOGIN}/api/v1/admin",
    headers={"Authorization": f"Bearer {Path(sys.argv[1]).read_text().split()[0]}"},
)
DEVICE = ("X-Device-Code", "X-Device-Name", "X-Os-Device", "X-App-Version-Number", "X-Device-Token", "Idempotency-Key")


async def enrol(person: Person, request: Request) -> Response:
    device = {name.encode(): request.headers[name].encode("latin-1") for name in DEVICE if name in request.headers}
    made = await admin.post("/users", json={"id": person.id, "username": person.username, "name": person.name})
    if made.is_success:
        made = await admin.post(
            f"/users/{person.id}/devices", json={"ip": request.client and request.client.host}, headers=device
        )
    return Response(made.content, made.status_code, media_type=made.headers["Content-Type"])


async def log_in(request: Request) -> Response:
    """The device sends name and password, and introduces itself by its headers; the answer is its keys."""
    return await enrol(await person_of(request), request)


async def close_account(request: Request) -> Response:
    """They are gone here, and everywhere at once."""
    person = await person_of(request)
    del PEOPLE[person.username]
    await admin.delete(f"/users/{person.id}")
    return Response(status_code=204)


app = Starlette(
    routes=[Route("/login", log_in, methods=["POST"]), Route("/close-account", close_account, methods=["POST"])]
)

if __name__ == "__main__":
    uvicorn.run(app, port=port, log_level="warning")
