"""The socket of one account: which devices, passkeys and apps came and went."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Device, Session
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.oauth.apps import App
from pairing_ws.pairing.watcher import Commands, Read, Send, Watcher
from pairing_ws.web.services import Services
from pairing_ws.web.sockets.connection import Connection
from pairing_ws.web.sockets.notifier import Notifier, loop_time, send
from pairing_ws.web.wire import views
from pairing_ws.web.wire.messages import AppMessage, DeviceMessage, PasskeyMessage


class Account(NamedTuple):
    """What an account has, by id."""

    devices: Mapping[str, Device]
    passkeys: Mapping[str, Passkey]
    apps: Mapping[str, App]


class DeviceChange(NamedTuple):
    type: Literal["device.added", "device.revoked"]
    device: Device


class PasskeyChange(NamedTuple):
    type: Literal["passkey.added", "passkey.removed"]
    passkey: Passkey


class AppChange(NamedTuple):
    type: Literal["app.added", "app.revoked"]
    app: App


Change = DeviceChange | PasskeyChange | AppChange


class AccountWatcher(Watcher[Account, Change]):
    """The differences between what an account had and what it has. The first state is what they start from."""

    __slots__ = ("_before", "_own_id")

    def __init__(self, own_id: str) -> None:
        super().__init__()
        self._own_id = own_id
        self._before: Account | None = None

    def changes(self, state: Account) -> Commands[Change]:
        before, self._before = self._before, state
        if before is None:
            return ()
        # A device that has logged in once more has a new age. Of this device itself nothing is told.
        since = {each.id: each.created_at for each in before.devices.values()}
        new = (each for each in state.devices.values() if since.get(each.id, 0) != each.created_at)
        had, has = before.passkeys, state.passkeys
        changes: tuple[Change, ...] = (
            *(PasskeyChange("passkey.added", has[id_]) for id_ in has.keys() - had.keys()),
            *(PasskeyChange("passkey.removed", had[id_]) for id_ in had.keys() - has.keys()),
            *(AppChange("app.added", each) for id_, each in state.apps.items() if id_ not in before.apps),
            *(AppChange("app.revoked", each) for id_, each in before.apps.items() if id_ not in state.apps),
            *(DeviceChange("device.added", each) for each in new if each.id != self._own_id),
            *(DeviceChange("device.revoked", each) for each in before.devices.values() if each.id not in state.devices),
        )
        return tuple(Send(each) for each in changes)


class AccountNotifier(Notifier[Account, Change]):
    """Tells a logged-in device of them."""

    __slots__ = ("_services", "_session")

    def __init__(self, connection: Connection, services: Services, session: Session) -> None:
        super().__init__(connection, AccountWatcher(session.device.id))
        self._services = services
        self._session = session

    async def run(self) -> None:
        """Serve until the client is gone. Raises Refused while nothing has been sent."""
        session = self._session
        try:
            async with self._services.accounts.sessions.watch(session.user.id, session.id, self.wake):
                self.carry_out(self.watcher.start(loop_time()))
                await self.connection.until_disconnected()
        finally:
            self.stop()

    async def read(self, _: Read) -> Account:
        devices = await self._services.accounts.devices.devices_seen_by(self._session)
        if devices is None:
            raise unauthenticated()
        passkeys = await self._services.step_ups.passkeys(self._session)
        apps = await self._services.apps.apps(self._session)
        return Account(
            {each.id: each for each in devices},
            {each.id: each for each in passkeys},
            {each.grant.id: each for each in apps},
        )

    async def send(self, message: Change) -> None:
        if isinstance(message, DeviceChange):
            view = views.device(message.device, None, self._services.clock())
            await send(self.connection, DeviceMessage(type=message.type, device=view))
        elif isinstance(message, AppChange):
            await send(self.connection, AppMessage(type=message.type, app=views.app(message.app)))
        else:
            await send(self.connection, PasskeyMessage(type=message.type, passkey=views.passkey(message.passkey)))
