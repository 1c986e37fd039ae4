"""The short way for calls: most need nothing of what Starlette's layers do, and these cost more than the call itself.

What is unusual takes the long way through them: pages and files, requests with an `Origin` (CORS), bodies of unknown
length, HEAD and OPTIONS, and whatever is no call.
"""

from collections.abc import Awaitable, Sequence

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from pairing_ws.errors import Code, Refused
from pairing_ws.web.errors import problem
from pairing_ws.web.guard import Entrance, count, path_of
from pairing_ws.web.http import Caller, Fields, Services
from pairing_ws.web.routes import Call, answer

log = structlog.get_logger()

LONG_WAY = frozenset({b"origin", b"transfer-encoding"})
# Where every path that has an id has it: /api/v1/pairings/{id}/claim.
ID = 4


class ShortWay:
    def __init__(self, calls: Sequence[Call], services: Services) -> None:
        self._services = services
        self._entrance = Entrance(services.settings)
        self._literal = {(call.method, call.path): call for call in calls if "{" not in call.path}
        self._with_id = {(call.method, _around_id(call.path)[0]): call for call in calls if "{" in call.path}

    def answering(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
        """What is to be awaited; None if the request has to take the long way."""
        fields = Fields(scope)
        if fields.has_any(LONG_WAY):
            return None
        method, path = scope["method"], path_of(scope)
        call = self._literal.get((method, path))
        if call is None:
            around, id_ = _around_id(path)
            call = self._with_id.get((method, around)) if id_ else None
            if call is None:
                return None
            scope["path_params"] = {"id": id_}
        return self._answer(call, path, Caller(scope, receive, fields, self._services), send)

    async def _answer(self, call: Call, path: str, caller: Caller, send: Send) -> None:
        try:
            refused = self._entrance.refusal(path, caller.fields)
            if refused:
                raise refused
            response = await answer(call, caller)
        except Refused as refusal:
            response = problem(refusal)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("call.failed", call=call.path)
            response = problem(Refused(Code.INTERNAL, "the server failed; nothing is known to have changed"))
        count(call.method, call.path, response.status_code)
        headers = self._entrance.complete(response.raw_headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def _around_id(path: str) -> tuple[str, str]:
    """A path without its id, and the id; "" if it is too short for one."""
    parts = path.split("/")
    id_ = parts.pop(ID) if len(parts) > ID else ""
    return "/".join(parts), id_
