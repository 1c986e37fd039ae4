"""What the audit log says of the apps that end with a login, a device or an account."""

from collections.abc import Awaitable, Callable

import pytest

from pairing_ws.accounts.ports import Session
from pairing_ws.oauth.ports import Grant
from tests.accounts.conftest import World
from tests.support.oauth_stores import Login, Stores

IP = "192.0.2.1"
ENDS: dict[str, tuple[Callable[[World, Session, Session], Awaitable[object]], str | None, int]] = {
    "logged_out": (lambda here, _, it: here.accounts.sessions.log_out(it, IP), IP, 1),
    "device_revoked": (lambda here, root, it: here.accounts.devices.revoke(root, it.device.id, IP), IP, 2),
    "device_revoked by others": (lambda here, root, _: here.accounts.devices.revoke_others(root, IP), IP, 2),
    "locked": (lambda here, root, _: here.accounts.operator.lock(root.user.username, locked=True), None, 3),
    # Deleting locks first.
    "locked and deleted": (lambda here, root, _: here.accounts.operator.delete_user(root.user.username), None, 3),
}


async def app_of(stores: Stores, session: Session, *, offline: bool = False) -> Grant:
    login = Login(session.user.id, session.id, session.device.id, session.user.username)
    return await stores.grant(login, offline=offline)


@pytest.mark.parametrize("way", ENDS)
async def test_every_app_that_ends_is_a_line_that_says_whose_and_why(here: World, way: str) -> None:
    stores = Stores(here.database)
    stores.now = here.clock()
    await stores.client()
    root = await here.by_invite()
    it = await here.by_pairing(root)
    # The first is what ends in each case, the last one what ends with the account alone.
    apps = [await app_of(stores, it), await app_of(stores, it, offline=True), await app_of(stores, root)]
    here.clock.forward(seconds=here.policy.quarantine / 1000)
    end, ip, many = ENDS[way]
    await end(here, root, it)
    told = [facts for event, facts in here.events if event == "grant.ended"]
    assert {each["grant"] for each in told} == {each.id for each in apps[:many]}
    assert len(told) == many
    common = {"account": root.user.id, "client": "app", "why": way.partition(" ")[0], "ip": ip}
    assert all(each == {**common, "grant": each["grant"]} for each in told)


async def test_an_app_that_ends_with_an_older_login_of_its_device_is_a_line(here: World) -> None:
    stores = Stores(here.database)
    stores.now = here.clock()
    await stores.client()
    root = await here.by_invite()
    it = await here.by_pairing(root, code="a-device", ip=IP)
    app = await app_of(stores, it)
    await here.by_pairing(root, code="a-device", ip=IP)
    told = [facts for event, facts in here.events if event == "grant.ended"]
    assert told == [{"account": root.user.id, "client": "app", "grant": app.id, "why": "replaced", "ip": IP}]
