"""What the tables of calls say of each."""

from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from pairing_ws.core.errors import Code
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.services import Services

Handler = Callable[[RequestContext], Awaitable[Response]]
Origins = Callable[[Services], Awaitable[Container[str]]]

KEY, SECRET, DEVICE, ADMIN = "authKey", "pairingSecret", "deviceHeaders", "adminKey"
# Of calls that a key-bound device has to prove its key with, beside all those that take an authKey.
PROVED = (Code.INVALID_PROOF, Code.USE_DPOP_NONCE)


@dataclass(frozen=True)
class Call:
    """One call.

    `status`, `answer` and `media_type` are of its success, `status_again` of one that changed nothing; `answer_headers`
    are those it adds, and `ETag` among them means that `If-None-Match` counts. `proofs` are the ways to be let in
    (empty: anybody may ask), `refusals` the codes beside those that every call can meet, `query` what counts in the
    query string, as `parameters.QUERY` calls it. With `idempotent`, a call with the same `Idempotency-Key` is the same
    call. Pages of `origins` may read the answers beside those of `PAIRING_ALLOWED_ORIGINS`; without `cors` no page of
    another origin does.
    """

    method: str
    path: str
    handler: Handler
    status: int
    answer: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    proofs: tuple[str, ...] = ()
    refusals: tuple[Code, ...] = ()
    query: tuple[str, ...] = ()
    idempotent: bool = False
    status_again: int | None = None
    answer_headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    cors: bool = True
    origins: Origins | None = None
