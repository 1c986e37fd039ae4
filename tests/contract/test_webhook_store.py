"""What `webhooks.ports.WebhookStore` promises, and that events are written with what they tell of: on both databases,
to two processes at once."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql import webhook_rows
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from pairing_ws.adapters.sql.tables import webhook_events
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.adapters.sql.webhook_rows import EventWriter
from pairing_ws.adapters.sql.webhook_store import SqlWebhooks
from pairing_ws.core.deliveries import LEASE_MS
from pairing_ws.core.errors import Refused
from pairing_ws.webhooks.ports import Event
from tests.support.oauth_stores import Login, Stores

_numbers = itertools.count(1)


class Process(Stores):
    """What one process has, where webhooks are sent."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database
        events = EventWriter(secrets.token_bytes)
        self.accounts = SqlAccounts(database, events)
        self.users = SqlUsers(database, events)
        self.passkeys = SqlPasskeys(database, events)
        self.webhooks = SqlWebhooks(database)

    async def due(self, most: int = 100) -> list[Event]:
        return list(await self.webhooks.take_due(self.now, LEASE_MS, most))

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """All that waits, in the order in which it would be sent, which is over then: type and data."""
        found = []
        while due := await self.due():
            for each in sorted(due, key=lambda event: event.user_id):
                found.append((each.type, msgspec.json.decode(each.body)["data"]))
                await self.webhooks.forget(each)
        return found

    async def silently(self) -> Login:
        """A login of an account of its own, of which nothing waits."""
        number = next(_numbers)
        login = await self.login(f"person-{number}")
        assert [kind for kind, _ in await self.told()] == ["device.added"]
        return login

    def line(self, login: Login, event: str) -> Activity:
        return Activity(
            user_id=login.user_id, at=self.now, event=event, device_id=login.device_id, device_name="It", ip="192.0.2.1"
        )

    async def deny(self, login: Login, pairing_id: str = "pairing", event: str = "pairing.denied") -> None:
        await self.accounts.note(self.line(login, event), pairing_id)


@pytest.fixture
async def here(database: str) -> AsyncIterator[Process]:
    opened = open_database(database)
    yield Process(opened)
    await opened.close()


@pytest.fixture
async def there(database: str) -> AsyncIterator[Process]:
    """Another process."""
    opened = open_database(database)
    yield Process(opened)
    await opened.close()


# What is written


async def test_a_login_is_told_with_how_it_came_and_who_let_it_in(here: Process) -> None:
    first = await here.login()
    second = await here.login(by=first)
    invited, paired = await here.told()
    assert invited == (
        "device.added",
        {
            "userId": first.user_id, "deviceId": first.device_id, "deviceName": invited[1]["deviceName"],
            "sessionId": first.session_id, "amr": "invite", "approvedBy": None,
        },
    )  # fmt: skip
    assert invited[1]["deviceName"].startswith("Device ")
    assert paired[1]["deviceId"] == second.device_id
    assert (paired[1]["amr"], paired[1]["approvedBy"]) == ("qr", first.device_id)


async def test_each_device_that_is_logged_out_is_told_and_why(here: Process) -> None:
    first = await here.silently()
    others = [await here.login(by=first) for _ in range(3)]
    await here.told()
    await here.accounts.revoke(
        first.user_id, others[0].device_id, here.now, here.line(first, "device.revoked"), by=first.device_id,
        descendants=False, passkeys=True,
    )  # fmt: skip
    await here.accounts.end_session(others[1].session_id, here.now, here.line(others[1], "session.logged_out"))
    # Once more changes nothing.
    await here.accounts.end_session(others[1].session_id, here.now, here.line(others[1], "session.logged_out"))
    await here.accounts.end_session(others[2].session_id, here.now, here.line(others[2], "session.key_reused"))
    assert await here.told() == [
        ("device.revoked", {"userId": first.user_id, "deviceId": each.device_id, "reason": reason})
        for each, reason in zip(others, ("revoked", "logged_out", "key_reused"), strict=True)
    ]
    more = [await here.login(by=first) for _ in range(2)]
    await here.told()
    line = here.line(first, "device.revoked_others")
    await here.accounts.revoke_others(first.user_id, first.device_id, here.now, line)
    assert {data["deviceId"] for _, data in await here.told()} == {each.device_id for each in more}


async def test_passkeys_are_told_as_they_come_and_go_and_with_the_device_that_had_added_them(here: Process) -> None:
    first = await here.silently()
    second = await here.login(by=first)
    await here.told()

    async def add(name: str, by: Login) -> None:
        passkey = Passkey(
            id=name, user_id=by.user_id, credential_id=name.encode(), public_key=b"key", sign_count=0, transports="",
            name=name, device_id=by.device_id, created_at=here.now,
        )  # fmt: skip
        await here.passkeys.add_passkey(passkey, by.session_id, 10, here.line(by, "passkey.added"), first=False)

    await add("one", first)
    await add("two", second)
    line = here.line(first, "passkey.removed")
    assert await here.passkeys.remove_passkey(first.user_id, "one", line)
    assert await here.passkeys.remove_passkey(first.user_id, "one", line) is None
    await here.accounts.revoke(
        first.user_id, second.device_id, here.now, here.line(first, "device.revoked"), by=first.device_id,
        descendants=True, passkeys=True,
    )  # fmt: skip
    user = {"userId": first.user_id}
    assert await here.told() == [
        ("passkey.added", user | {"passkeyId": "one", "byDeviceId": first.device_id}),
        ("passkey.added", user | {"passkeyId": "two", "byDeviceId": second.device_id}),
        ("passkey.removed", user | {"passkeyId": "one", "byDeviceId": first.device_id}),
        ("device.revoked", user | {"deviceId": second.device_id, "reason": "revoked"}),
        ("passkey.removed", user | {"passkeyId": "two", "byDeviceId": first.device_id}),
    ]


async def test_what_the_operator_takes_away_is_told_without_a_device_that_did_so(here: Process) -> None:
    login = await here.silently()
    passkey = Passkey(
        id="key", user_id=login.user_id, credential_id=b"key", public_key=b"key", sign_count=0, transports="",
        name="Key", device_id=login.device_id, created_at=here.now,
    )  # fmt: skip
    await here.passkeys.add_passkey(passkey, login.session_id, 10, here.line(login, "passkey.added"), first=True)
    line = Activity(user_id=login.user_id, at=here.now, event="device.revoked")
    await here.accounts.revoke(login.user_id, login.device_id, here.now, line, by="", descendants=False, passkeys=True)
    user = {"userId": login.user_id}
    assert (await here.told())[1:] == [
        ("device.revoked", user | {"deviceId": login.device_id, "reason": "revoked"}),
        ("passkey.removed", user | {"passkeyId": "key", "byDeviceId": None}),
    ]


async def test_refusals_locks_and_the_end_of_an_account_are_told_in_their_order_and_once(here: Process) -> None:
    login = await here.silently()
    await here.deny(login, "first")
    await here.deny(login, "second", "pairing.reported")
    await here.deny(login, "third", "pairing.number_missed")
    for at in (here.now, here.now + 1):
        assert await here.users.lock(login.username, at)
    assert await here.users.lock(login.username, None)
    assert await here.users.delete_user(login.username, here.now)
    assert await here.users.delete_user(login.username, here.now) is None
    # Nothing is told of an account that is gone.
    await here.deny(login, "fourth")
    user = {"userId": login.user_id}
    assert await here.told() == [
        ("pairing.denied", user | {"pairingId": "first", "byDeviceId": login.device_id}),
        ("pairing.reported", user | {"pairingId": "second", "byDeviceId": login.device_id}),
        ("user.locked", user),
        ("user.deleted", user),
    ]


@pytest.mark.security(52)
async def test_what_was_refused_or_rolled_back_is_not_told(here: Process, there: Process) -> None:
    first = await here.silently()
    assert await here.users.lock(first.username, here.now)
    await here.told()
    with pytest.raises(Refused):
        await there.login(by=first)
    assert await here.told() == []


async def test_without_webhooks_nothing_is_written(here: Process, database: str) -> None:
    opened = open_database(database)
    silent = Stores(opened)
    login = await silent.login()
    assert await silent.users.lock(login.username, 1)
    assert await silent.users.delete_user(login.username, 2)
    await opened.close()
    assert await here.webhooks.backlog() == (0, 0)


# What is taken


async def test_of_an_account_one_is_on_its_way_and_the_next_when_that_is_over(here: Process, there: Process) -> None:
    one, other = await here.silently(), await here.silently()
    for number in range(3):
        await here.deny(one, f"{number}")
        await here.deny(other, f"{number}")
    for number in range(3):
        taken = await here.due() + await there.due()
        assert {each.user_id for each in taken} == {one.user_id, other.user_id}
        assert {msgspec.json.decode(each.body)["data"]["pairingId"] for each in taken} == {f"{number}"}
        assert await here.due() == await there.due() == []
        for each in taken:
            await there.webhooks.forget(each)
    assert await here.webhooks.backlog() == (0, 0)


async def test_of_fifty_callers_in_two_processes_each_gets_others(here: Process, there: Process) -> None:
    logins = [await here.silently() for _ in range(20)]
    for each in logins:
        await here.deny(each)
        await here.deny(each, "next")
    found = await asyncio.gather(*((here, there)[number % 2].due(2) for number in range(50)))
    taken = [each.id for some in found for each in some]
    assert len(taken) == len(set(taken)) == len(logins)


async def test_what_failed_comes_again_when_it_shall_and_the_next_not_before(here: Process, there: Process) -> None:
    login = await here.silently()
    await here.deny(login, "first")
    await here.deny(login, "second")
    [first] = await here.due()
    await here.webhooks.put_off(first, here.now + 5000)
    # What follows is not looked at again and again meanwhile.
    due = sa.select(sa.func.count()).where(webhook_events.c.next_at < here.now + 5000)
    assert await here.database.run(lambda connection: connection.execute(due).scalar_one()) == 0
    for now, expected in ((here.now, []), (here.now + 4999, []), (here.now + 5000, [first.id])):
        there.now = now
        assert [each.id for each in await there.due()] == expected
    again = msgspec.structs.replace(first, attempts=1, next_at=there.now + LEASE_MS)
    assert await there.webhooks.backlog() == (2, here.now)
    await there.webhooks.forget(again)
    [second] = await there.due()
    assert (second.attempts, second.created_at) == (0, here.now)


async def test_who_comes_late_with_a_failure_puts_nothing_off_that_another_has_taken(
    here: Process, there: Process
) -> None:
    login = await here.silently()
    await here.deny(login)
    [stale] = await here.due()
    there.now = here.now + LEASE_MS
    [taken] = await there.due()
    assert taken.id == stale.id
    await here.webhooks.put_off(stale, here.now + 10_000_000)
    there.now += LEASE_MS
    [again] = await there.due()
    assert (again.id, again.attempts) == (stale.id, 0)
    # What it has delivered is over, whoever has it now.
    await here.webhooks.forget(stale)
    await there.webhooks.put_off(again, there.now)
    assert await there.webhooks.backlog() == (0, 0)


async def test_an_event_that_is_over_is_never_another_one(here: Process) -> None:
    """SQLite gives the number of a row that is gone to the next one."""
    login = await here.silently()
    await here.deny(login)
    [first] = await here.due()
    await here.webhooks.forget(first)
    await here.deny(login)
    await here.webhooks.forget(first)
    [second] = await here.due()
    assert second.id != first.id


@pytest.mark.security(52)
async def test_so_many_wait_of_an_account_and_those_of_the_operator_beside(
    here: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_rows, "MOST_OF_ACCOUNT", 3)
    flooder, other = await here.silently(), await here.silently()
    for number in range(5):
        await here.deny(flooder, f"{number}")
    await here.deny(other)
    assert await here.users.lock(flooder.username, here.now)
    told = await here.told()
    of_flooder = [data.get("pairingId", kind) for kind, data in told if data["userId"] == flooder.user_id]
    assert of_flooder == ["0", "1", "2", "user.locked"]
    assert len(told) == 5


async def test_the_oldest_go_where_too_many_wait_and_those_that_nobody_sends(here: Process) -> None:
    logins = [await here.silently() for _ in range(5)]
    for number, each in enumerate(logins):
        here.now += 1000
        await here.deny(each, f"{number}")
    assert await here.webhooks.drop_oldest(5) == 0
    assert await here.webhooks.drop_oldest(3) == 2
    assert await here.webhooks.backlog() == (3, here.now - 2000)
    assert await here.webhooks.drop_before(here.now) == 2
    assert [data["pairingId"] for _, data in await here.told()] == ["4"]
