"""A web application that knows nothing of logins: it believes what its proxy says in `Remote-User`. Takes a port."""

import sys
from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import make_server


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    name = unquote(environ.get("HTTP_REMOTE_USER", "nobody"))
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")])
    page = f"<title>Wiki</title><h1>Hello {escape(name)}</h1><a href='/.pairing/logout'>Log out</a>"
    return [page.encode()]


make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
