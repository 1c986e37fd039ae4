"""Which of two sockets of one device stays: the one that opened last, however long each has waited since."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pairing_ws.pairing.machine import Initiator, Pairing
from pairing_ws.pairing.notifications import StateChanged, Takeover
from pairing_ws.pairing.types import BySecret, Role, View
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.sockets.connection import Connection
from pairing_ws.web.sockets.openings import Openings
from pairing_ws.web.sockets.pairing import PairingNotifier
from tests.support.servers import eventually


class Pairings:
    """A store and a bus, whose subscriptions wait for a word from the test, as the clock does (seconds).

    One process's sockets; `others` makes those of another one.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self.openings = self.others()
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

    def others(self) -> Openings:
        return Openings(bytes, lambda: self.time)

    async def _view(self, id_: str, _: BySecret) -> View:
        now = int(self.time * 1000)
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
        services: Any = SimpleNamespace(pairings=SimpleNamespace(views=pairings))
        connection = Connection(self.receive, self.send)
        notifier = PairingNotifier(connection, services, pairings.openings, "A" * 22, BySecret("secret"), None)
        self.task = asyncio.create_task(notifier.run())

    @classmethod
    async def open(cls, pairings: Pairings) -> "Client":
        """One that has had its first answer."""
        client = cls(pairings)
        await eventually(lambda: pairings.confirmed, "its subscription")
        pairings.confirmed.pop().set()
        await client.told.wait()
        return client

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
    await asyncio.sleep(0)
    pairings.time += 0.005
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
    older = await Client.open(pairings)
    pairings.time += 0.005
    view = pairings.view

    async def late(id_: str, holder: BySecret) -> View:
        read = await view(id_, holder)
        pairings.time += 0.05
        return read

    pairings.view = late
    newer = await Client.open(pairings)
    await asyncio.wait_for(older.task, 10)
    assert older.closed == CloseCode.TAKEN_OVER
    assert newer.closed is None
    await newer.leave()


@pytest.mark.parametrize("seconds", [0, 0.0001, 0.001, -0.3], ids=str)
async def test_the_newer_socket_takes_over_though_the_stores_clock_has_hardly_moved_or_went_back_a_little(
    seconds: float,
) -> None:
    pairings = Pairings()
    sockets = [await Client.open(pairings)]
    for _ in range(3):
        pairings.time += seconds
        sockets.append(await Client.open(pairings))
        await asyncio.wait_for(sockets[-2].task, 10)
        assert [each.closed for each in sockets] == [CloseCode.TAKEN_OVER] * (len(sockets) - 1) + [None]
    await sockets[-1].leave()


async def test_marks_follow_a_clock_that_is_set_so_that_other_processes_take_over_afterwards() -> None:
    pairings = Pairings()
    here, there = pairings.openings, pairings.others()

    def opened(openings: Openings) -> str:
        pairings.time += 0.002
        opening = openings.begin()
        pairings.time += 0.01
        return openings.mark(opening, openings.waited(opening), int(pairings.time * 1000))

    for seconds in (60, -60, 0):
        pairings.time += seconds
        marks = [opened(each) for each in (here, there, there, here, there, here, here)]
        assert marks == sorted(marks)
        assert len(set(marks)) == len(marks)


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
