"""The short way for calls: most need nothing of what Starlette's layers do, and these cost more than the call itself.

What is unusual takes the long way through them: pages and files, requests with an `Origin` (CORS), bodies of unknown
length, HEAD and OPTIONS, and whatever is no call.
"""

import re
from collections.abc import Sequence

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from pairing_ws.errors import Code, Refused
from pairing_ws.web.errors import problem
from pairing_ws.web.guard import Entrance, Receipt, count, path_of
from pairing_ws.web.http import Services
from pairing_ws.web.routes import Call, answer

log = structlog.get_logger()

LONG_WAY = frozenset({b"origin", b"transfer-encoding"})


class ShortWay:
    def __init__(self, calls: Sequence[Call], services: Services) -> None:
        self._services = services
        self._entrance = Entrance(services.settings)
        self._literal = {(call.method, call.path): call for call in calls if "{" not in call.path}
        self._with_id = [
            (call.method, re.compile(call.path.replace("{id}", "(?P<id>[^/]+)")), call)
            for call in calls
            if "{" in call.path
        ]

    def call(self, scope: Scope) -> Call | None:
        """The call that this request is, unless it has to take the long way."""
        if any(name in LONG_WAY for name, _ in scope["headers"]):
            return None
        method, path = scope["method"], path_of(scope)
        found = self._literal.get((method, path))
        if found:
            return found
        for its_method, pattern, call in self._with_id:
            match = pattern.fullmatch(path) if its_method == method else None
            if match:
                scope["path_params"] = match.groupdict()
                return call
        return None

    async def answer(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        receipt = Receipt(receive)
        try:
            refused = self._entrance.refusal(scope)
            if refused:
                raise refused
            response = await answer(call, Request(scope, receipt), self._services)
        except Refused as refusal:
            response = problem(refusal)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("call.failed", call=call.path)
            response = problem(Refused(Code.INTERNAL, "the server failed; nothing is known to have changed"))
        count(call.method, call.path, response.status_code)
        headers = self._entrance.complete(response.raw_headers, late=receipt.late)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
