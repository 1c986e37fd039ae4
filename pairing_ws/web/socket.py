"""The two sockets: one pairing's changes, and one account's events. An idle socket is one task in `receive()`."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import structlog
from prometheus_client import Gauge
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from pairing_ws import codes
from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Device, Session
from pairing_ws.errors import Code, Refused
from pairing_ws.network import block
from pairing_ws.pairing.terms import BySecret, Holder
from pairing_ws.web import wire
from pairing_ws.web.errors import SHAPES, problem
from pairing_ws.web.http import Caller, Services

log = structlog.get_logger()

SUBPROTOCOL = "pairing.v1"
AUTH_SECONDS = 5.0
# A client that does not read for this long is cut off; nobody else waits for it meanwhile.
SEND_SECONDS = 10.0
RETRY_SECONDS = 1.0
SOCKETS_PER_DEVICE = 5
DONE = 1000
RESTARTS = 1012
OVERLOADED = 1013
TAKEN_OVER = 4409

OPEN = Gauge("pairing_sockets_open", "Open WebSockets", multiprocess_mode="livesum")


class Closing(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Teller:
    """Turns wakes into deliveries: one short task at a time, and many wakes into one.

    `deliver` reads the newest state and sends it if it is news; it raises Closing or Refused to end the socket.
    """

    def __init__(self, websocket: WebSocket, deliver: Callable[[], Awaitable[None]]) -> None:
        self._websocket = websocket
        self._deliver = deliver
        self._due = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, _: str = "") -> None:
        self._due = True
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run())

    def wake_in(self, seconds: float) -> None:
        """Replaces the time set before."""
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.wake)

    def close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._closing = asyncio.create_task(close(self._websocket, code, reason))

    def stop(self) -> None:
        """The socket is gone: nothing more is to be sent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._due and not self._closed:
                self._due = False
                await self._deliver()
        except Closing as closing:
            self.close(closing.code, closing.reason)
        except Refused as refused:
            if refused.code is Code.UNAVAILABLE:
                # The state is unknown, so nothing is said; the store is asked again until it answers.
                self.wake_in(RETRY_SECONDS)
            else:
                self.close(SHAPES[refused.code].close, refused.code.value)
        except (WebSocketDisconnect, WebSocketDisconnected):
            self.close(1011, "gone")
        except Exception:
            log.exception("socket.failed")
            self.close(1011, Code.INTERNAL.value)
        finally:
            self._task = None


class Sockets:
    """The socket endpoints, and the counts that bound them in this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0
        self._per_address: Counter[str] = Counter()
        self._per_device: defaultdict[str, deque[Teller]] = defaultdict(deque)

    async def pairing(self, websocket: WebSocket) -> None:
        """`WS /pairings/{id}/socket`: a snapshot, then each change until the final one."""
        await self._serve(websocket, self._tell_pairing)

    async def nowhere(self, websocket: WebSocket) -> None:
        """Any other path."""
        await websocket.send_denial_response(problem(Refused(Code.NOT_FOUND, "no such socket")))

    async def account(self, websocket: WebSocket) -> None:
        """`WS /socket`: which devices came and went, as long as the session lives."""
        await self._serve(websocket, self._tell_account)

    async def _tell_pairing(self, websocket: WebSocket, caller: Caller) -> None:
        pairings, pairing_id = self._services.pairings, websocket.path_params["id"]
        secret, session = await self._credential(websocket, caller)
        holder: Holder
        holder = caller.as_approver(session) if session else BySecret(secret or "")
        told, last, challenged = 0, "", False

        async def deliver() -> None:
            nonlocal told, last, challenged
            if session:
                await self._demand(session)
            if challenged:
                challenged = False
                await pairings.take_over(pairing_id, mine)
            view = await pairings.view(pairing_id, holder)
            version, status = view.pairing.version, view.pairing.status
            if version < told or (version == told and status != last):
                # A failover took back what we told. On one socket versions only grow, so the truth needs a new one.
                raise Closing(RESTARTS, "the store went back in time")
            if version > told:
                message = wire.PairingMessage(type="pairing", pairing=wire.pairing(view))
                await send(websocket, message)
                told, last = version, status
            if view.pairing.final:
                raise Closing(DONE, status.value)
            teller.wake_in(view.expires_in)

        teller = Teller(websocket, deliver)
        # A stranger's id is not worth a subscription.
        view = await pairings.view(pairing_id, holder)
        # Notes sort by the store's clock, so that of two sockets that open together one stays.
        mine = f"socket:{view.now:015}:{codes.token(self._services.random)}"

        def wake(note: str) -> None:
            nonlocal challenged
            if session is None and note.startswith("socket:"):
                if note == mine:
                    return
                if note > mine:
                    teller.close(TAKEN_OVER, "a newer socket of this device took over")
                # An older one may have missed our ring; deliveries coalesce, so that many of them cost one answer.
                challenged = True
            teller.wake()

        try:
            async with pairings.watch(pairing_id, wake):
                if session is None:
                    await pairings.take_over(pairing_id, mine)
                    await _listen(websocket, teller)
                else:
                    async with self._services.accounts.watch(session.user.id, teller.wake):
                        await _listen(websocket, teller)
        finally:
            teller.stop()

    async def _tell_account(self, websocket: WebSocket, caller: Caller) -> None:
        accounts = self._services.accounts
        _, session = await self._credential(websocket, caller)
        if session is None:
            raise Closing(4401, "an authKey is needed here")
        known: dict[str, Device] | None = None
        passkeys: dict[str, Passkey] = {}

        async def deliver() -> None:
            nonlocal known, passkeys
            standing = await self._demand(session)
            now = {each.id: each for each in await accounts.devices(standing)}
            held = {each.id: each for each in await self._services.step_ups.passkeys(standing)}
            (before, known), (held_before, passkeys) = (known, now), (passkeys, held)
            if before is None:
                return
            for added in held.keys() - held_before.keys():
                await self._tell_of(websocket, "passkey.added", held[added])
            for removed in held_before.keys() - held.keys():
                await self._tell_of(websocket, "passkey.removed", held_before[removed])
            for each in now.values():
                # A device that logged in anew has a new age.
                if each.id != session.device.id and each.created_at != getattr(before.get(each.id), "created_at", 0):
                    await self._tell(websocket, "device.added", each)
            for each in before.values():
                if each.id not in now:
                    await self._tell(websocket, "device.revoked", each)

        teller = Teller(websocket, deliver)
        mine = self._per_device[session.device.id]
        mine.append(teller)
        if len(mine) > SOCKETS_PER_DEVICE:
            mine[0].close(TAKEN_OVER, "too many sockets of this device")
        try:
            async with accounts.watch(session.user.id, teller.wake):
                await _listen(websocket, teller)
        finally:
            teller.stop()
            mine.remove(teller)
            if not mine:
                del self._per_device[session.device.id]

    async def _tell(self, websocket: WebSocket, kind: str, device: Device) -> None:
        view = wire.device(device, None, self._services.clock())
        message = wire.DeviceMessage(type=kind, device=view)  # type: ignore[arg-type]
        await send(websocket, message)

    async def _tell_of(self, websocket: WebSocket, kind: str, passkey: Passkey) -> None:
        message = wire.PasskeyMessage(type=kind, passkey=wire.passkey(passkey))  # type: ignore[arg-type]
        await send(websocket, message)

    async def _demand(self, session: Session) -> Session:
        """The session as it is now. Raises Closing once it has ended."""
        standing = await self._services.accounts.still_stands(session)
        if standing is None:
            raise Closing(4401, "the session has ended")
        return standing

    async def _serve(self, websocket: WebSocket, tell: Callable[[WebSocket, Caller], Awaitable[None]]) -> None:
        """Refuse before the upgrade, or accept; and close with the code of whatever `tell` raises."""
        caller = Caller(websocket, self._services)
        address = block(caller.ip)
        refused = self._refusal(caller, address)
        if refused:
            await websocket.send_denial_response(problem(refused))
            return
        self._open += 1
        self._per_address[address] += 1
        OPEN.inc()
        try:
            offered = websocket.scope.get("subprotocols", [])
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await tell(websocket, caller)
        except Closing as closing:
            await close(websocket, closing.code, closing.reason)
        except Refused as error:
            await self._turn_away(websocket, error)
        except (WebSocketDisconnect, WebSocketDisconnected):
            pass
        except Exception:
            # Left to the server it would end the connection without a close frame.
            log.exception("socket.failed")
            await close(websocket, 1011, Code.INTERNAL.value)
        finally:
            OPEN.dec()
            self._open -= 1
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    def _refusal(self, caller: Caller, address: str) -> Refused | None:
        settings = self._services.settings
        if caller.origin is not None and caller.origin not in settings.allowed_origins:
            return Refused(Code.FOREIGN_ORIGIN, "sockets are open to this site's own origin only")
        if settings.limit_sockets and self._per_address[address] >= settings.limit_sockets:
            return Refused(Code.RATE_LIMITED, "too many open sockets from this address", retry_after=10)
        if settings.limit_all_sockets and self._open >= settings.limit_all_sockets:
            return Refused(Code.UNAVAILABLE, "too many open sockets; poll, or try again", retry_after=10)
        return None

    async def _turn_away(self, websocket: WebSocket, error: Refused) -> None:
        shape = SHAPES[error.code]
        if shape.close == OVERLOADED:
            await self._say(websocket, wire.RetryMessage(type="retry", retry_after=error.retry_after or 2))
        if nonce := error.extra.get("nonce"):
            await self._say(websocket, wire.NonceMessage(type="nonce", nonce=nonce))
        await close(websocket, shape.close, error.code.value)

    async def _say(self, websocket: WebSocket, last_words: wire.Json) -> None:
        with suppress(WebSocketDisconnect, WebSocketDisconnected, Closing):
            await send(websocket, last_words)

    async def _credential(self, websocket: WebSocket, caller: Caller) -> tuple[str | None, Session | None]:
        """The secret, or the session of the authKey: from the handshake's headers, else from the first message."""
        auth_key, secret = caller.either()
        if auth_key is None and secret is None:
            try:
                async with asyncio.timeout(AUTH_SECONDS):
                    message = await websocket.receive()
            except TimeoutError:
                raise Closing(4401, "no credential within 5 seconds") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            try:
                first = msgspec.json.decode(message.get("text") or b"", type=wire.AuthMessage)
            except (msgspec.DecodeError, RecursionError):
                raise Closing(4400, "the first message has to be an auth message") from None
            auth_key, secret = first.auth_key, first.secret
            if first.proof is not None:
                # A browser can't send headers with a handshake.
                caller.proofs = [first.proof]
        if (auth_key is None) == (secret is None):
            raise Closing(4401 if auth_key is None else 4400, "one credential is needed")
        if auth_key is not None:
            return None, await caller.authenticate(auth_key)
        return secret, None


async def _listen(websocket: WebSocket, teller: Teller) -> None:
    """Deliver the present state, then stay until the client is gone."""
    teller.wake()
    # uvicorn reads on only while somebody receives: messages are taken and dropped, or pings would go unanswered.
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def send(websocket: WebSocket, message: wire.Json) -> None:
    """Raises Closing if the client does not read."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await websocket.send_text(msgspec.json.encode(message).decode())
    except TimeoutError:
        raise Closing(1011, "not reading") from None


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Send the close frame, unless the connection has gone already."""
    with suppress(WebSocketDisconnect, WebSocketDisconnected, RuntimeError, OSError):
        await websocket.close(code, reason)
