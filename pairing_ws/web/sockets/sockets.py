"""The two sockets: one pairing's changes, and one account's events. An idle socket is one task in `receive()`.

They stand right on ASGI and keep nothing of their handshake: devices wait here by the ten thousand.
"""

import re
from collections import Counter, defaultdict, deque
from contextlib import suppress

import msgspec
import structlog
from prometheus_client import Gauge
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pairing_ws.accounts.ports import Session
from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.json_depth import is_deep
from pairing_ws.core.network import block
from pairing_ws.core.timing_wheel import Timeout
from pairing_ws.pairing.types import BySecret
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.gate import RequestGate
from pairing_ws.web.paths import API, path_of
from pairing_ws.web.problems import SHAPES, problem
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.headers import RequestHeaders
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.account import AccountNotifier
from pairing_ws.web.sockets.connection import Connection, Disconnected
from pairing_ws.web.sockets.notifier import Closing, send
from pairing_ws.web.sockets.openings import Openings
from pairing_ws.web.sockets.pairing import PairingNotifier
from pairing_ws.web.wire.base import Json
from pairing_ws.web.wire.messages import AuthMessage, NonceMessage, RetryMessage

log = structlog.get_logger()

SUBPROTOCOL = "pairing.v1"
PATHS = (f"{API}/pairings/{{id}}/socket", f"{API}/socket")
OF_PAIRING = re.compile(PATHS[0].replace("{id}", "([^/]+)"))
OF_ACCOUNT = PATHS[1]
AUTH_SECONDS = 5.0
SOCKETS_PER_DEVICE = 5

_auth_message = msgspec.json.Decoder(AuthMessage).decode

OPEN = Gauge("pairing_sockets_open", "Open WebSockets", multiprocess_mode="livesum")


async def not_upgraded(_: RequestContext) -> Response:
    """A socket's path, asked for by HTTP. Raises UPGRADE_REQUIRED."""
    raise Refused(Code.UPGRADE_REQUIRED, "a WebSocket is opened here, by a GET with Upgrade: websocket (RFC 6455)")


class Sockets:
    """The ASGI application of all sockets, and the counts that bound them in this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._in_all, self._per_ip = services.settings.most_sockets
        self._open = 0
        self._openings = Openings(services.random)
        self._gate = RequestGate(services.settings)
        self._per_address: Counter[str] = Counter()
        self._per_device: defaultdict[str, deque[AccountNotifier]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse before the upgrade, or accept; and close with the code of whatever ends it."""
        connection = Connection(receive, send)
        request = RequestContext(scope, receive, RequestHeaders(scope), self._services)
        path, address = path_of(scope), block(request.ip)
        refused = self._refusal(scope, request, path, address)
        if refused:
            await connection.deny(scope, self._gate.secured(problem(refused), request.headers))
            return
        self._open += 1
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", []) else None
        # A socket that waits must not hold on to it.
        del scope
        self._per_address[address] += 1
        OPEN.inc()
        try:
            await connection.accept(subprotocol)
            secret, session = await self._credential(connection, request)
            if path != OF_ACCOUNT:
                holder = request.as_approver(session) if session else BySecret(secret or "")
                # Not by a match, which would be kept as long as the socket waits.
                pairing_id = path.split("/")[-2]
                notifier = PairingNotifier(connection, self._services, self._openings, pairing_id, holder, session)
                del secret, request, holder, pairing_id
                await notifier.run()
            else:
                del request
                await self._serve_account(connection, session)
        except Closing as closing:
            await connection.close(closing.code, closing.reason)
        except Refused as error:
            await self._refuse(connection, error)
        except Disconnected:
            pass
        except Exception:
            # Left to the server it would end the connection without a close frame.
            log.exception("socket.failed")
            await connection.close(CloseCode.INTERNAL_ERROR, Code.INTERNAL.value)
        finally:
            OPEN.dec()
            self._open -= 1
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    def _refusal(self, scope: Scope, request: RequestContext, path: str, address: str) -> Refused | None:
        settings = self._services.settings
        refused = self._gate.refusal(scope, path, request.headers)
        of_pairing = OF_PAIRING.fullmatch(path)
        # A malformed id is an unknown one: closed as such, once the client has authenticated.
        is_odd = of_pairing is not None and not codes.is_id(of_pairing[1])
        if refused and not (is_odd and refused.code is Code.NOT_FOUND):
            return refused
        if path != OF_ACCOUNT and not of_pairing:
            return Refused(Code.NOT_FOUND, "no such socket")
        if request.headers.origin is not None and request.headers.origin not in settings.allowed_origins:
            return Refused(Code.FOREIGN_ORIGIN, "sockets are open to this site's own origin only")
        if self._per_ip and self._per_address[address] >= self._per_ip:
            return Refused(Code.RATE_LIMITED, "too many open sockets from this address", retry_after=10)
        if self._in_all and self._open >= self._in_all:
            return Refused(Code.UNAVAILABLE, "too many open sockets; poll, or try again", retry_after=10)
        return None

    async def _serve_account(self, connection: Connection, session: Session | None) -> None:
        if session is None:
            raise Closing(CloseCode.UNAUTHENTICATED, "an authKey is needed here")
        notifier = AccountNotifier(connection, self._services, session)
        mine = self._per_device[session.device.id]
        mine.append(notifier)
        if len(mine) > SOCKETS_PER_DEVICE:
            # Removed at once: to close takes a while, and meanwhile the next socket would close this one once more.
            mine.popleft().close(CloseCode.TAKEN_OVER, "too many sockets of this device")
        try:
            await notifier.run()
        finally:
            if notifier in mine:
                mine.remove(notifier)
                if not mine:
                    del self._per_device[session.device.id]

    async def _refuse(self, connection: Connection, error: Refused) -> None:
        shape = SHAPES[error.code]
        if shape.close == CloseCode.OVERLOADED:
            await self._send_last(connection, RetryMessage(type="retry", retry_after=error.retry_after or 2))
        if nonce := error.extra.get("nonce"):
            await self._send_last(connection, NonceMessage(type="nonce", nonce=nonce))
        await connection.close(shape.close, error.code.value)

    async def _send_last(self, connection: Connection, message: Json) -> None:
        with suppress(Disconnected, Closing):
            await send(connection, message)

    async def _credential(self, connection: Connection, request: RequestContext) -> tuple[str | None, Session | None]:
        """The secret, or the session of the authKey: from the handshake's headers, else from the first message."""
        auth_key, secret = request.credentials()
        if auth_key is None and secret is None:
            try:
                with Timeout(AUTH_SECONDS):
                    message = await connection.receive_text()
            except TimeoutError:
                raise Closing(CloseCode.UNAUTHENTICATED, "no credential within 5 seconds") from None
            try:
                if is_deep(message.encode(errors="replace")):
                    raise msgspec.DecodeError
                first = _auth_message(message.removeprefix("\ufeff"))
            except (msgspec.DecodeError, RecursionError):
                raise Closing(CloseCode.BAD_REQUEST, "the first message has to be an auth message") from None
            auth_key, secret = first.auth_key, first.secret
            if first.proof is not None:
                # A browser can't send headers with a handshake.
                request.proof = first.proof
        if (auth_key is None) == (secret is None):
            raise Closing(
                CloseCode.UNAUTHENTICATED if auth_key is None else CloseCode.BAD_REQUEST, "one credential is needed"
            )
        if auth_key is not None:
            return None, await request.authenticate(auth_key)
        return secret, None
