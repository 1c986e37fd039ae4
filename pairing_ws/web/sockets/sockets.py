"""The two sockets: one pairing's changes, and one account's events. An idle socket is one task in `receive()`.

They stand right on ASGI and keep nothing of their handshake: devices wait here by the ten thousand.
"""

import asyncio
import re
from collections import Counter, defaultdict, deque
from contextlib import suppress
from typing import Literal

import msgspec
import structlog
from prometheus_client import Gauge
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Device, Session
from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.json_depth import is_deep
from pairing_ws.core.network import block
from pairing_ws.core.timing_wheel import Timer, Within, timers
from pairing_ws.pairing.service import not_found
from pairing_ws.pairing.types import BySecret, Holder, View
from pairing_ws.web import wire
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.gate import RequestGate
from pairing_ws.web.paths import API, path_of
from pairing_ws.web.problems import SHAPES, problem
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.headers import RequestHeaders
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.connection import Connection, Gone

log = structlog.get_logger()

SUBPROTOCOL = "pairing.v1"
PATHS = (f"{API}/pairings/{{id}}/socket", f"{API}/socket")
OF_PAIRING = re.compile(PATHS[0].replace("{id}", "([^/]+)"))
OF_ACCOUNT = PATHS[1]
AUTH_SECONDS = 5.0
# A client that does not read for this long is cut off; nobody else waits for it meanwhile.
SEND_SECONDS = 10.0
RETRY_SECONDS = 1.0
# Later, what a ring has told is no news: it says when the pairing expires as of then.
NEWS_SECONDS = 1.0
SOCKETS_PER_DEVICE = 5

_auth_message = msgspec.json.Decoder(wire.AuthMessage).decode

OPEN = Gauge("pairing_sockets_open", "Open WebSockets", multiprocess_mode="livesum")


async def not_upgraded(_: RequestContext) -> Response:
    """A socket's path, asked for by HTTP. Raises UPGRADE_REQUIRED."""
    raise Refused(Code.UPGRADE_REQUIRED, "a WebSocket is opened here, by a GET with Upgrade: websocket (RFC 6455)")


class Closing(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Teller:
    """Turns wakes into deliveries: one short task at a time, and many wakes into one.

    `deliver`, a subclass's, reads the newest state and sends it if it is news; it raises Closing or Refused to end the
    socket.
    """

    __slots__ = ("_closed", "_closing", "_delivering", "_due", "_task", "_timer", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._due = False
        self._delivering = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    async def deliver(self) -> None:
        raise NotImplementedError

    def wake(self, _: str = "") -> None:
        self._due = True
        if not self._delivering and not self._closed:
            self._delivering = True
            self._task = asyncio.create_task(self._run())

    def wake_in(self, seconds: float) -> None:
        """Replaces the time set before."""
        if self._timer:
            self._timer.cancel()
        self._timer = timers().call_later(seconds, self.wake)

    def close(self, code: CloseCode, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._closing = asyncio.create_task(self.connection.close(code, reason))

    def stop(self) -> None:
        """The socket is gone: nothing more is to be sent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    async def listen(self) -> None:
        """Deliver the present state, then stay until the client is gone."""
        self.wake()
        await self.connection.until_gone()

    async def _run(self) -> None:
        try:
            while self._due and not self._closed:
                self._due = False
                await self.deliver()
        except Closing as closing:
            self.close(closing.code, closing.reason)
        except Refused as refused:
            if refused.code is Code.UNAVAILABLE:
                # The state is unknown, so nothing is said; the store is asked again until it answers.
                self.wake_in(RETRY_SECONDS)
            else:
                self.close(SHAPES[refused.code].close, refused.code.value)
        except Gone:
            self.close(CloseCode.INTERNAL_ERROR, "gone")
        except Exception:
            log.exception("socket.failed")
            self.close(CloseCode.INTERNAL_ERROR, Code.INTERNAL.value)
        finally:
            self._delivering = False
            self._task = None


class PairingTeller(Teller):
    """Tells one party of its pairing: a snapshot, then each change until the final one."""

    __slots__ = (
        "_challenged", "_first", "_heard_at", "_holder", "_id", "_last", "_news", "_note", "_services", "_session",
        "_told",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, services: Services, pairing_id: str, holder: Holder, session: Session | None
    ) -> None:
        super().__init__(connection)
        self._services = services
        self._id = pairing_id
        self._holder = holder
        self._session = session
        self._first: View | None = None
        self._told = 0
        self._last = ""
        self._note = self._news = ""
        self._heard_at = 0.0
        self._challenged = False

    async def tell(self) -> None:
        # Until the first snapshot has gone out, rings only leave word that there is more.
        self._delivering = True
        begun = _time()
        if not codes.is_id(self._id):
            # Nothing is subscribed to at a length that a stranger has chosen.
            raise not_found()
        # A client that has no business here costs no subscription.
        await self._services.pairings.view(self._id, self._holder)
        try:
            async with self._services.pairings.watch(self._id, self.heard):
                if self._session is None:
                    await self._begin(begun)
                    await self.connection.until_gone()
                else:
                    async with self._services.accounts.watch(self._session.user.id, self._session.id, self.wake):
                        await self._begin(begun)
                        await self.connection.until_gone()
        finally:
            self.stop()

    async def _begin(self, begun: float) -> None:
        pairings = self._services.pairings
        # Not the way back from the store: who waits for that opened no earlier by it.
        waited = int((_time() - begun) * 1000)
        view = await pairings.view(self._id, self._holder)
        opened_at = view.now - waited
        # What has rung meanwhile may be newer than what was read.
        self._first = None if self._due else view
        del view
        self._due = True
        await self._run()
        if self._session is None and not self._closed:
            # Notes sort by the store's clock, so that of two sockets that open together one stays: by when they opened,
            # for one may have waited longer since, and its client be gone.
            self._note = f"socket:{opened_at:015}:{codes.token(self._services.random)}"
            await pairings.take_over(self._id, self._note)

    def heard(self, note: str) -> None:
        if self._session is None and note.startswith("socket:"):
            if not self._note or note == self._note:
                # Whoever is older, or newer, hears of us yet.
                return
            if note > self._note:
                self.close(CloseCode.TAKEN_OVER, "a newer socket of this device took over")
            # An older one may have missed our ring; deliveries coalesce, so that many of them cost one answer.
            self._challenged = True
        else:
            self._news, self._heard_at = note, _time()
        self.wake()

    async def deliver(self) -> None:
        if self._challenged:
            self._challenged = False
            await self._services.pairings.take_over(self._id, self._note)
        view = await self._newest()
        if self._session:
            # After the read: whatever was read before the end of the session, it could still see.
            await demand(self._services, self._session)
        version, status = view.pairing.version, view.pairing.status
        if version < self._told or (version == self._told and status != self._last):
            # A failover took back what we told. On one socket versions only grow, so the truth needs a new one.
            raise Closing(CloseCode.RESTART, "the store went back in time")
        if version > self._told:
            await send(self.connection, wire.PairingMessage(type="pairing", pairing=wire.pairing(view)))
            self._told, self._last = version, status
        if view.pairing.final:
            raise Closing(CloseCode.DONE, status.value)
        self.wake_in(view.expires_in)

    async def _newest(self) -> View:
        if first := self._first:
            self._first = None
            return first
        news, self._news = self._news, ""
        if _time() - self._heard_at > NEWS_SECONDS:
            news = ""
        return await self._services.pairings.news(self._id, self._holder, news, self._told)


class AccountTeller(Teller):
    """Tells a logged-in device which others came and went."""

    __slots__ = ("_known", "_passkeys", "_services", "_session")

    def __init__(self, connection: Connection, services: Services, session: Session) -> None:
        super().__init__(connection)
        self._services = services
        self._session = session
        self._known: dict[str, Device] | None = None
        self._passkeys: dict[str, Passkey] = {}

    async def deliver(self) -> None:
        devices = await self._services.accounts.devices_seen_by(self._session)
        if devices is None:
            raise ended()
        now = {each.id: each for each in devices}
        held = {each.id: each for each in await self._services.step_ups.passkeys(self._session)}
        before, self._known = self._known, now
        held_before, self._passkeys = self._passkeys, held
        if before is None:
            return
        for added in held.keys() - held_before.keys():
            await self._tell_of("passkey.added", held[added])
        for removed in held_before.keys() - held.keys():
            await self._tell_of("passkey.removed", held_before[removed])
        for each in now.values():
            # A device that logged in anew has a new age.
            known = getattr(before.get(each.id), "created_at", 0)
            if each.id != self._session.device.id and each.created_at != known:
                await self._tell("device.added", each)
        for each in before.values():
            if each.id not in now:
                await self._tell("device.revoked", each)

    async def _tell(self, kind: Literal["device.added", "device.revoked"], device: Device) -> None:
        view = wire.device(device, None, self._services.clock())
        await send(self.connection, wire.DeviceMessage(type=kind, device=view))

    async def _tell_of(self, kind: Literal["passkey.added", "passkey.removed"], passkey: Passkey) -> None:
        await send(self.connection, wire.PasskeyMessage(type=kind, passkey=wire.passkey(passkey)))


class Sockets:
    """The ASGI application of all sockets, and the counts that bound them in this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._in_all, self._per_ip = services.settings.most_sockets
        self._open = 0
        self._gate = RequestGate(services.settings)
        self._per_address: Counter[str] = Counter()
        self._per_device: defaultdict[str, deque[Teller]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse before the upgrade, or accept; and close with the code of whatever ends it."""
        connection = Connection(receive, send)
        caller = RequestContext(scope, receive, RequestHeaders(scope), self._services)
        path, address = path_of(scope), block(caller.ip)
        refused = self._refusal(scope, caller, path, address)
        if refused:
            await connection.deny(scope, self._gate.secured(problem(refused), caller.headers))
            return
        self._open += 1
        offered = scope.get("subprotocols", [])
        # Whoever waits must not hold on to it.
        del scope
        self._per_address[address] += 1
        OPEN.inc()
        try:
            await connection.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            secret, session = await self._credential(connection, caller)
            of_pairing = OF_PAIRING.fullmatch(path)
            if of_pairing:
                holder = caller.as_approver(session) if session else BySecret(secret or "")
                teller = PairingTeller(connection, self._services, of_pairing[1], holder, session)
                del secret, caller, holder
                await teller.tell()
            else:
                del caller
                await self._tell_account(connection, session)
        except Closing as closing:
            await connection.close(closing.code, closing.reason)
        except Refused as error:
            await self._turn_away(connection, error)
        except Gone:
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

    def _refusal(self, scope: Scope, caller: RequestContext, path: str, address: str) -> Refused | None:
        settings = self._services.settings
        refused = self._gate.refusal(scope, path, caller.headers)
        of_pairing = OF_PAIRING.fullmatch(path)
        # What can be no id is an unknown one: closed as such, once it has said who it is.
        is_odd = of_pairing is not None and not codes.is_id(of_pairing[1])
        if refused and not (is_odd and refused.code is Code.NOT_FOUND):
            return refused
        if path != OF_ACCOUNT and not of_pairing:
            return Refused(Code.NOT_FOUND, "no such socket")
        if caller.headers.origin is not None and caller.headers.origin not in settings.allowed_origins:
            return Refused(Code.FOREIGN_ORIGIN, "sockets are open to this site's own origin only")
        if self._per_ip and self._per_address[address] >= self._per_ip:
            return Refused(Code.RATE_LIMITED, "too many open sockets from this address", retry_after=10)
        if self._in_all and self._open >= self._in_all:
            return Refused(Code.UNAVAILABLE, "too many open sockets; poll, or try again", retry_after=10)
        return None

    async def _tell_account(self, connection: Connection, session: Session | None) -> None:
        if session is None:
            raise Closing(CloseCode.UNAUTHENTICATED, "an authKey is needed here")
        teller = AccountTeller(connection, self._services, session)
        mine = self._per_device[session.device.id]
        mine.append(teller)
        if len(mine) > SOCKETS_PER_DEVICE:
            # Out at once: it takes a while to close, and meanwhile it would be told again in place of the next.
            mine.popleft().close(CloseCode.TAKEN_OVER, "too many sockets of this device")
        try:
            async with self._services.accounts.watch(session.user.id, session.id, teller.wake):
                await teller.listen()
        finally:
            teller.stop()
            if teller in mine:
                mine.remove(teller)
                if not mine:
                    del self._per_device[session.device.id]

    async def _turn_away(self, connection: Connection, error: Refused) -> None:
        shape = SHAPES[error.code]
        if shape.close == CloseCode.OVERLOADED:
            await self._say(connection, wire.RetryMessage(type="retry", retry_after=error.retry_after or 2))
        if nonce := error.extra.get("nonce"):
            await self._say(connection, wire.NonceMessage(type="nonce", nonce=nonce))
        await connection.close(shape.close, error.code.value)

    async def _say(self, connection: Connection, last_words: wire.Json) -> None:
        with suppress(Gone, Closing):
            await send(connection, last_words)

    async def _credential(self, connection: Connection, caller: RequestContext) -> tuple[str | None, Session | None]:
        """The secret, or the session of the authKey: from the handshake's headers, else from the first message."""
        auth_key, secret = caller.credentials()
        if auth_key is None and secret is None:
            try:
                async with Within(AUTH_SECONDS):
                    message = await connection.text()
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
                caller.proof = first.proof
        if (auth_key is None) == (secret is None):
            raise Closing(
                CloseCode.UNAUTHENTICATED if auth_key is None else CloseCode.BAD_REQUEST, "one credential is needed"
            )
        if auth_key is not None:
            return None, await caller.authenticate(auth_key)
        return secret, None


def _time() -> float:
    return asyncio.get_running_loop().time()


async def demand(services: Services, session: Session) -> None:
    """Raises Closing once the session has ended."""
    if await services.accounts.reload_if_alive(session.id, session.signed_by) is None:
        raise ended()


def ended() -> Closing:
    return Closing(CloseCode.UNAUTHENTICATED, "the session has ended")


async def send(connection: Connection, message: wire.Json) -> None:
    """Raises Closing if the client does not read."""
    try:
        async with Within(SEND_SECONDS):
            await connection.send(msgspec.json.encode(message).decode())
    except TimeoutError:
        raise Closing(CloseCode.INTERNAL_ERROR, "not reading") from None
