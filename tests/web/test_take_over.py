"""Which of two sockets of one device stays: the one that opened last, however long each has waited since."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from pairing_ws.pairing.machine import Initiator, Pairing
from pairing_ws.pairing.notifications import StateChanged, Takeover
from pairing_ws.pairing.types import BySecret, Role, View
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.sockets.connection import Connection
from pairing_ws.web.sockets.pairing import PairingNotifier
from tests.support.servers import eventually


class Pairings:
    """A store and a bus, whose subscriptions wait for a word from the test. Its clock is the event loop's."""

    def __init__(self) -> None:
        self.watching: list[Callable[[str], None]] = []
        self.confirmed: list[asyncio.Event] = []
        self.published: list[str] = []
        # Tests put their own in their place.
        self.view: Callable[..., Awaitable[View]] = self._view
        self.view_after_notification: Callable[..., Awaitable[View]] = self._view_after_notification

    @asynccontextmanager
    async def watch(self, _: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        self.watching.append(callback)
        confirmed = asyncio.Event()
        self.confirmed.append(confirmed)
        try:
            await confirmed.wait()
            yield
        finally:
            self.watching.remove(callback)

    async def _view(self, id_: str, _: BySecret) -> View:
        now = int(asyncio.get_running_loop().time() * 1000)
        pairing = Pairing(
            id=id_,
            initiator=Initiator.NEW_DEVICE,
            created_at=now,
            expires_at=now + 60_000,
            code_hash="",
            user_code_hash="",
        )
        return View(pairing, Role.NEW_DEVICE, now)

    async def _view_after_notification(self, id_: str, holder: BySecret, _: StateChanged | None, __: int) -> View:
        return await self.view(id_, holder)

    async def take_over(self, _: str, mark: str) -> None:
        self.published.append(mark)
        for callback in list(self.watching):
            callback(Takeover(mark).encode())


class Client:
    def __init__(self, pairings: Pairings) -> None:
        self.closed: int | None = None
        self.told = asyncio.Event()
        self.gone = asyncio.Event()
        services: Any = SimpleNamespace(pairings=pairings, random=lambda size: bytes(size))
        notifier = PairingNotifier(Connection(self.receive, self.send), services, "A" * 22, BySecret("secret"), None)
        self.task = asyncio.create_task(notifier.run())

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "websocket.disconnect"}

    async def send(self, message: Any) -> None:
        if self.gone.is_set():
            raise OSError
        if message["type"] == "websocket.close":
            self.closed = message["code"]
            self.gone.set()
        else:
            self.told.set()

    async def leave(self) -> None:
        self.gone.set()
        await self.task


async def test_the_socket_that_opened_last_stays_though_the_other_one_began_to_hear_later() -> None:
    pairings = Pairings()
    older = Client(pairings)
    # Notes count milliseconds.
    await asyncio.sleep(0.005)
    newer = Client(pairings)
    await asyncio.sleep(0)
    for each, confirmed in ((newer, pairings.confirmed[1]), (older, pairings.confirmed[0])):
        confirmed.set()
        await each.told.wait()
    await asyncio.wait_for(older.task, 10)
    assert older.closed == CloseCode.TAKEN_OVER
    assert newer.closed is None
    await newer.leave()


async def test_a_socket_whose_first_answer_comes_back_late_is_no_older_by_that() -> None:
    pairings = Pairings()
    older = Client(pairings)
    await asyncio.sleep(0)
    pairings.confirmed[0].set()
    await older.told.wait()
    await asyncio.sleep(0.005)
    view = pairings.view

    async def late(id_: str, holder: BySecret) -> View:
        read = await view(id_, holder)
        await asyncio.sleep(0.05)
        return read

    pairings.view = late
    newer = Client(pairings)
    # It subscribes once it has been judged.
    await eventually(lambda: len(pairings.confirmed) == 2, "its subscription")
    pairings.confirmed[1].set()
    await newer.told.wait()
    await asyncio.wait_for(older.task, 10)
    assert older.closed == CloseCode.TAKEN_OVER
    assert newer.closed is None
    await newer.leave()


async def test_a_socket_whose_client_has_gone_before_it_could_be_told_takes_nothing_over() -> None:
    pairings = Pairings()
    client = Client(pairings)
    await asyncio.sleep(0)
    client.gone.set()
    pairings.confirmed[0].set()
    await client.task
    assert pairings.published == []


async def test_what_is_notified_while_a_socket_opens_is_read_and_not_forgotten() -> None:
    pairings = Pairings()
    client = Client(pairings)
    await asyncio.sleep(0)
    reads: list[StateChanged | None] = []
    view, after = pairings.view, pairings.view_after_notification

    async def notified_while_reading(id_: str, holder: BySecret) -> View:
        pairings.view = view
        read = await view(id_, holder)
        pairings.watching[0]("")
        return read

    async def told(id_: str, holder: BySecret, notification: StateChanged | None, known: int) -> View:
        reads.append(notification)
        return await after(id_, holder, notification, known)

    pairings.view, pairings.view_after_notification = notified_while_reading, told
    pairings.confirmed[0].set()
    await client.told.wait()
    assert reads == [None]
    await client.leave()
