"""The socket of one pairing."""

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.errors import Refused
from pairing_ws.pairing.types import Holder, View
from pairing_ws.pairing.views import not_found
from pairing_ws.pairing.watcher import PairingWatcher, Read
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.connection import Connection
from pairing_ws.web.sockets.notifier import Notifier, loop_time, send
from pairing_ws.web.sockets.openings import Opening, Openings
from pairing_ws.web.wire import views
from pairing_ws.web.wire.messages import PairingMessage


class PairingNotifier(Notifier[View, View]):
    """Tells one party of its pairing. `session` is the approver's; None where the holder is the new device."""

    __slots__ = ("_holder", "_id", "_openings", "_services", "_session")
    watcher: PairingWatcher

    def __init__(
        self,
        connection: Connection,
        services: Services,
        openings: Openings,
        pairing_id: str,
        holder: Holder,
        session: Session | None,
    ) -> None:
        super().__init__(connection, PairingWatcher())
        self._services = services
        self._openings = openings
        self._id = pairing_id
        self._holder = holder
        self._session = session

    async def run(self) -> None:
        """Serve until the client is gone. Raises Refused while nothing has been sent."""
        opening = self._openings.begin()
        if not codes.is_id(self._id):
            # Nothing is subscribed to at a length that a stranger has chosen.
            raise not_found()
        # A client that has no business here costs no subscription.
        await self._services.pairings.views.view(self._id, self._holder)
        try:
            async with self._services.pairings.views.watch(self._id, self.on_notification):
                if self._session is None:
                    await self._open(opening)
                    del opening
                    await self.connection.until_disconnected()
                else:
                    async with self._services.accounts.sessions.watch(
                        self._session.user.id, self._session.id, self.wake
                    ):
                        await self._open(opening)
                        del opening
                        await self.connection.until_disconnected()
        finally:
            self.stop()

    async def _open(self, opening: Opening) -> None:
        # Not the way back from the store: a socket that waits for that opened no earlier by it.
        waited = self._openings.waited(opening)
        view = await self._services.pairings.views.view(self._id, self._holder)
        mark = self._openings.mark(opening, waited, view.now)
        try:
            await self._demand_session()
        except Refused as refused:
            commands = self.watcher.failed(refused)
        else:
            commands = self.watcher.opened(view, loop_time())
        await self.work(commands)
        if self._session is None:
            await self.work(self.watcher.take_over(mark))

    async def read(self, command: Read) -> View:
        view = await self._services.pairings.views.view_after_notification(
            self._id, self._holder, command.notification, command.known
        )
        await self._demand_session()
        return view

    async def _demand_session(self) -> None:
        """After each read: what is read before the end of the session, it could still see."""
        session = self._session
        if session and await self._services.accounts.sessions.reload_if_alive(session.id, session.signed_by) is None:
            raise unauthenticated()

    async def send(self, message: View) -> None:
        await send(self.connection, PairingMessage(type="pairing", pairing=views.pairing(message)))

    async def announce(self, mark: str) -> None:
        await self._services.pairings.views.take_over(self._id, mark)
