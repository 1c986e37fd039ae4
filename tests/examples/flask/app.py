"""A Flask application beside the server, in one file. Its settings, from the environment: LOGIN_ISSUER, the server's
PAIRING_PUBLIC_URL; PUBLIC_URL, its own address; PORT."""

import asyncio
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, jsonify, request

from pairing_ws import Caller, Denied, Guard

app = Flask(__name__)
app.config.from_mapping(LOGIN_ISSUER=os.environ["LOGIN_ISSUER"], PUBLIC_URL=os.environ["PUBLIC_URL"])

View = Callable[[Caller], Any]

guard = Guard(
    issuer=app.config["LOGIN_ISSUER"], audience="https://api.example.com", public_url=app.config["PUBLIC_URL"]
)


def protected(view: View, guard: Guard = guard) -> Callable[[], Any]:
    @wraps(view)
    def checked() -> Any:
        try:
            caller = asyncio.run(guard.check(request.method, request.path, request.headers))
        except Denied as denied:
            return {"error": denied.error}, denied.status_code, denied.headers
        return view(caller)

    return checked


def me(caller: Caller) -> Any:
    return {"user": caller.user_id, "device": caller.device_id, "client": caller.client_id}


def orders(caller: Caller) -> Any:
    return jsonify([])


app.add_url_rule("/me", view_func=protected(me))
app.add_url_rule("/orders", view_func=protected(orders, guard.needs("orders")))

if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
