"""The two shells of the pairing watcher, socket and long poll, on one store that the test turns as it likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect

from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.pairing.machine import Initiator, Pairing, Status, encode_pairing
from pairing_ws.pairing.notifications import StateChanged
from pairing_ws.pairing.types import BySecret, Role, View
from pairing_ws.pairing.watcher import PairingWatcher, Read
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.drain import Drain
from pairing_ws.web.polling import when_changed
from pairing_ws.web.sockets.connection import Connection
from pairing_ws.web.sockets.openings import Openings
from pairing_ws.web.sockets.pairing import PairingNotifier
from tests.support.servers import eventually

NOW = 1_700_000_000_000
FIRST = Pairing(
    id="A" * 22,
    initiator=Initiator.NEW_DEVICE,
    created_at=NOW,
    expires_at=NOW + 60_000,
    code_hash="",
    user_code_hash="",
)


class World:
    """Pairings and accounts of which each shell asks its questions. `reads` counts the trips to the store."""

    def __init__(self) -> None:
        self.pairing = FIRST
        self.callbacks: list[Callable[[str], None]] = []
        self.reads = 0
        self.away = False
        self.session_alive = True

    def becomes(self, version: int, status: Status) -> None:
        self.pairing = msgspec.structs.replace(self.pairing, version=version, status=status)

    def notify(self, *, carrying: bool = False) -> None:
        message = f"{NOW} {encode_pairing(self.pairing).decode()}" if carrying else ""
        for callback in list(self.callbacks):
            callback(message)

    async def view(self, *_: object) -> View:
        self.reads += 1
        if self.away:
            raise Unavailable("the store")
        return View(self.pairing, Role.NEW_DEVICE, NOW)

    async def view_after_notification(
        self, pairing_id: str, holder: BySecret, notification: StateChanged | None, known: int
    ) -> View:
        if notification and (loaded := notification.loaded()).pairing.version > known:
            return View(loaded.pairing, Role.NEW_DEVICE, loaded.now)
        return await self.view(pairing_id, holder)

    @asynccontextmanager
    async def watch(self, *given: Any) -> AsyncIterator[None]:
        self.callbacks.append(given[-1])
        try:
            yield
        finally:
            self.callbacks.remove(given[-1])

    async def take_over(self, *_: object) -> None:
        pass

    async def reload_if_alive(self, *_: object) -> object:
        return object() if self.session_alive else None


class Client:
    """What came out of the shell, and the end of its connection."""

    def __init__(self, disconnect: str) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._disconnect = disconnect

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": self._disconnect}

    async def send(self, message: Any) -> None:
        self.messages.put_nowait(message)
        if message["type"] == "websocket.close":
            self.gone.set()

    async def version(self) -> int:
        message = await asyncio.wait_for(self.messages.get(), 10)
        return int(json.loads(message["text"])["pairing"]["version"])

    async def closed(self) -> tuple[int, str]:
        message = await asyncio.wait_for(self.messages.get(), 10)
        return message["code"], message["reason"]


class OpenSocket(Client):
    def __init__(self, world: World, *, approver: bool = False) -> None:
        super().__init__("websocket.disconnect")
        services: Any = SimpleNamespace(
            pairings=SimpleNamespace(views=world),
            accounts=SimpleNamespace(sessions=world),
            random=lambda size: bytes(size),
        )
        session: Any = SimpleNamespace(id="S", user=SimpleNamespace(id="U"), signed_by="") if approver else None
        connection, openings = Connection(self.receive, self.send), Openings(services.random)
        notifier = PairingNotifier(connection, services, openings, "A" * 22, BySecret("s"), session)
        self.task = asyncio.create_task(notifier.run())

    async def leave(self) -> None:
        self.gone.set()
        await asyncio.wait_for(self.task, 10)


class OpenPoll(Client):
    def __init__(self, world: World, since: int) -> None:
        super().__init__("http.disconnect")
        self.drain = Drain()
        request: Any = SimpleNamespace(receive=self.receive, services=SimpleNamespace(drain=self.drain))

        async def read(command: Read) -> View:
            view = await world.view_after_notification("", BySecret("s"), command.notification, command.known)
            if not world.session_alive:
                raise Refused(Code.UNAUTHENTICATED)
            return view

        watcher = PairingWatcher(known=since)
        self.task = asyncio.create_task(
            when_changed(request, 30, watcher, lambda callback: [world.watch(callback)], read)
        )

    async def answer(self) -> tuple[int, Status]:
        view = await asyncio.wait_for(self.task, 10)
        return view.pairing.version, view.pairing.status


@pytest.fixture
def world() -> World:
    return World()


async def test_the_snapshot_comes_first_and_each_version_once_in_order(world: World) -> None:
    socket = OpenSocket(world)
    assert await socket.version() == 1
    for version, status in ((2, Status.SCANNED), (3, Status.APPROVED)):
        world.becomes(version, status)
        for _ in range(50):
            world.notify()
        assert await socket.version() == version
    world.becomes(4, Status.CONSUMED)
    world.notify()
    assert await socket.version() == 4
    assert await socket.closed() == (CloseCode.DONE, "consumed")
    await socket.leave()
    assert socket.messages.empty()
    assert world.callbacks == []


async def test_a_notified_state_is_sent_without_a_trip_to_the_store(world: World) -> None:
    socket, poll = OpenSocket(world), OpenPoll(world, since=1)
    assert await socket.version() == 1
    await eventually(lambda: world.reads == 3, "both have read what there was")
    world.becomes(2, Status.SCANNED)
    world.notify(carrying=True)
    assert await socket.version() == 2
    assert await poll.answer() == (2, Status.SCANNED)
    assert world.reads == 3
    await socket.leave()


async def test_a_poll_goes_on_from_the_version_that_its_client_has(world: World) -> None:
    world.becomes(2, Status.SCANNED)
    assert await OpenPoll(world, since=1).answer() == (2, Status.SCANNED)
    poll = OpenPoll(world, since=2)
    await eventually(lambda: world.reads == 2, "its first read")
    world.becomes(3, Status.APPROVED)
    world.notify()
    assert await poll.answer() == (3, Status.APPROVED)
    world.becomes(4, Status.DENIED)
    assert await OpenPoll(world, since=99).answer() == (4, Status.DENIED)


async def test_both_tell_of_expiry_though_nobody_notifies_them(world: World) -> None:
    world.pairing = msgspec.structs.replace(FIRST, expires_at=NOW)
    socket, poll = OpenSocket(world), OpenPoll(world, since=1)
    assert await socket.version() == 1
    world.becomes(2, Status.EXPIRED)
    assert await socket.version() == 2
    assert await socket.closed() == (CloseCode.DONE, "expired")
    assert await poll.answer() == (2, Status.EXPIRED)
    await socket.leave()


async def test_a_socket_closes_where_the_store_went_back_in_time_and_a_poll_waits(world: World) -> None:
    world.becomes(3, Status.APPROVED)
    socket, poll = OpenSocket(world), OpenPoll(world, since=3)
    assert await socket.version() == 3
    world.becomes(2, Status.SCANNED)
    world.notify()
    assert await socket.closed() == (CloseCode.RESTART, "the store went back in time")
    await socket.leave()
    assert not poll.task.done()
    world.becomes(4, Status.DENIED)
    world.notify()
    assert await poll.answer() == (4, Status.DENIED)


async def test_both_end_with_the_session_that_they_were_opened_by(world: World) -> None:
    socket, poll = OpenSocket(world, approver=True), OpenPoll(world, since=1)
    assert await socket.version() == 1
    world.session_alive = False
    world.becomes(2, Status.SCANNED)
    world.notify()
    assert await socket.closed() == (CloseCode.UNAUTHENTICATED, "the session has ended")
    with pytest.raises(Refused) as refused:
        await poll.answer()
    assert refused.value.code is Code.UNAUTHENTICATED
    await socket.leave()


async def test_a_socket_outlives_a_store_that_is_away_and_a_poll_says_so(world: World) -> None:
    socket, poll = OpenSocket(world), OpenPoll(world, since=1)
    assert await socket.version() == 1
    await eventually(lambda: world.reads == 3, "both have read what there was")
    world.away = True
    world.notify()
    with pytest.raises(Unavailable):
        await poll.answer()
    world.away = False
    world.becomes(2, Status.SCANNED)
    # Of itself, for nothing is notified any more.
    assert await socket.version() == 2
    await socket.leave()


async def test_a_poll_ends_with_its_client_and_with_the_process(world: World) -> None:
    aborted, drained = OpenPoll(world, since=1), OpenPoll(world, since=1)
    await eventually(lambda: world.reads == 2, "both have read what there was")
    aborted.gone.set()
    with pytest.raises(ClientDisconnect):
        await aborted.answer()
    drained.drain.begin()
    assert await drained.answer() == (1, Status.PENDING)
    assert world.callbacks == []
