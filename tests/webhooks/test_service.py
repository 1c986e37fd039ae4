"""When events are sent, when again, and when no more: the story of webhooks, with a receiver that says a test wants."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from pairing_ws.accounts.ports import Activity
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.adapters.sql.webhook_rows import EventWriter
from pairing_ws.adapters.sql.webhook_store import SqlWebhooks
from pairing_ws.core.clock import iso
from pairing_ws.core.deliveries import LEASE_MS, OWED_MS, RETRY_SECONDS
from pairing_ws.webhooks import service
from pairing_ws.webhooks.ports import Reply
from pairing_ws.webhooks.service import LATE_MS, LONGEST_PAUSE_MS, MOST_AT_ONCE, Webhooks
from tests.support.clock import FakeClock
from tests.support.oauth_stores import Login, Stores

TAKEN = Reply(204)
SILENCE = Reply(0, "no answer within 15 s")


class Process(Stores):
    """One process's webhooks, to a receiver that answers with `replies` in turn, the last one for ever."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        super().__init__(database)
        writer = EventWriter(secrets.token_bytes)
        self.accounts, self.users = SqlAccounts(database, writer), SqlUsers(database, writer)
        self.clock, self.now = clock, clock()
        self.replies = [TAKEN]
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.audited: list[tuple[str, dict[str, Any]]] = []
        self.webhooks = Webhooks(SqlWebhooks(database), self.send, clock, secrets.token_bytes, self.audit)

    def audit(self, event: str, /, **facts: str | int | None) -> None:
        self.audited.append((event, facts))

    async def send(self, webhook_id: str, body: bytes) -> Reply:
        self.sent.append((webhook_id, msgspec.json.decode(body)))
        await asyncio.sleep(0)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def account(self, name: str) -> Login:
        """One of which nothing waits."""
        login = await self.login(name)
        await self.webhooks.deliver_due()
        self.sent, self.audited = [], []
        return login

    async def deny(self, login: Login, pairing_id: str) -> None:
        line = Activity(user_id=login.user_id, at=self.clock(), event="pairing.denied", device_id=login.device_id)
        await self.accounts.note(line, pairing_id)

    @property
    def told(self) -> list[str]:
        return [body["data"]["pairingId"] for _, body in self.sent]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.audited if name == event]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def here(database: str, clock: FakeClock) -> AsyncIterator[Process]:
    opened = open_database(database)
    yield Process(opened, clock)
    await opened.close()


@pytest.fixture
async def there(database: str, clock: FakeClock) -> AsyncIterator[Process]:
    opened = open_database(database)
    yield Process(opened, clock)
    await opened.close()


async def test_an_event_is_sent_once_with_its_type_its_time_and_what_it_tells(here: Process) -> None:
    login = await here.account("alice")
    await here.deny(login, "one")
    at = here.clock.now
    here.clock.forward(seconds=9)
    await here.webhooks.deliver_due()
    await here.webhooks.deliver_due()
    [(webhook_id, body)] = here.sent
    assert webhook_id.startswith("msg_")
    assert "." not in webhook_id
    data = {"userId": login.user_id, "pairingId": "one", "byDeviceId": login.device_id}
    assert body == {"type": "pairing.denied", "timestamp": iso(at), "data": data}
    [facts] = here.said("webhook.delivered")
    assert facts == {
        "webhook": webhook_id, "type": "pairing.denied", "account": login.user_id, "attempts": 1, "why": None,
    }  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 408, 429, 500, 502, 503])
async def test_every_answer_but_success_is_a_failure_and_the_event_comes_again(here: Process, status: int) -> None:
    login = await here.account("alice")
    await here.deny(login, "one")
    here.replies = [Reply(status), TAKEN]
    await here.webhooks.deliver_due()
    assert here.said("webhook.failed")[0]["why"] == f"it answered {status}"
    here.clock.forward(seconds=RETRY_SECONDS[0])
    await here.webhooks.deliver_due()
    first, second = here.sent
    assert first == second
    assert len(here.said("webhook.delivered")) == 1


@pytest.mark.security(52)
async def test_the_next_event_of_an_account_waits_for_the_one_before_and_no_other_account_does(
    here: Process, clock: FakeClock
) -> None:
    alice, bob = await here.account("alice"), await here.account("bob")
    for pairing_id in ("first", "second", "third"):
        await here.deny(alice, pairing_id)
    here.replies = [SILENCE]
    await here.webhooks.deliver_due()
    here.replies = [TAKEN]
    await here.deny(bob, "bob's")
    await here.deny(alice, "fourth")
    await here.webhooks.deliver_due()
    assert here.told == ["first", "bob's"]
    clock.forward(seconds=RETRY_SECONDS[0])
    await here.webhooks.deliver_due()
    assert here.told == ["first", "bob's", "first", "second", "third", "fourth"]


async def test_a_day_after_it_happened_an_event_is_given_up_and_the_next_has_its_turn(
    here: Process, clock: FakeClock
) -> None:
    login = await here.account("alice")
    await here.deny(login, "first")
    here.replies = [SILENCE]
    for _ in range(23):
        await here.webhooks.deliver_due()
        clock.forward(seconds=3600)
    await here.deny(login, "second")
    assert set(here.told) == {"first"}
    assert here.said("webhook.given_up") == []
    clock.forward(ms=OWED_MS)
    here.replies = [SILENCE, TAKEN]
    await here.webhooks.deliver_due()
    [given_up] = here.said("webhook.given_up")
    assert (given_up["type"], given_up["why"]) == ("pairing.denied", SILENCE.why)
    # However late, each is tried.
    assert here.told[-2:] == ["first", "second"]
    assert (await here.webhooks.backlog()).waiting == 0


async def test_a_receiver_that_wants_to_be_left_alone_is(here: Process, clock: FakeClock) -> None:
    alice, bob = await here.account("alice"), await here.account("bob")
    await here.deny(alice, "alice's")
    here.replies = [Reply(429, retry_after=90_000), TAKEN]
    await here.webhooks.deliver_due()
    await here.deny(bob, "bob's")
    clock.forward(ms=89_999)
    await here.webhooks.deliver_due()
    assert here.told == ["alice's"]
    clock.forward(ms=1)
    await here.webhooks.deliver_due()
    assert sorted(here.told) == ["alice's", "alice's", "bob's"]
    [paused] = here.said("webhook.paused")
    assert paused == {"why": "it answered 429", "until": iso(clock())}


async def test_a_receiver_that_is_gone_is_asked_once_an_hour_whether_it_still_is(
    here: Process, clock: FakeClock
) -> None:
    logins = [await here.account(name) for name in ("alice", "bob", "carol")]
    for each in logins:
        await here.deny(each, each.username)
    here.replies = [Reply(410)]
    for _ in range(60):
        await here.webhooks.deliver_due()
        clock.forward(seconds=59)
    # They were on their way together.
    assert sorted(here.told) == ["alice", "bob", "carol"]
    here.replies = [TAKEN]
    clock.forward(seconds=60)
    await here.webhooks.deliver_due()
    assert len(here.told) == 6
    assert len(here.said("webhook.paused")) == 1


async def test_no_receiver_is_left_alone_for_longer_than_an_hour(here: Process, clock: FakeClock) -> None:
    await here.deny(await here.account("alice"), "alice's")
    here.replies = [Reply(503, retry_after=10 * OWED_MS), TAKEN]
    await here.webhooks.deliver_due()
    clock.forward(ms=LONGEST_PAUSE_MS)
    await here.webhooks.deliver_due()
    assert len(here.told) == 2


@pytest.mark.security(52)
async def test_accounts_whose_answer_is_slow_hold_up_no_others(here: Process) -> None:
    logins = [await here.account(f"person-{number}") for number in range(MOST_AT_ONCE + 10)]
    slow = {each.user_id for each in logins[: MOST_AT_ONCE - 1]}
    answer, others, most, now = asyncio.Event(), asyncio.Event(), 0, 0
    heard: list[str] = []

    async def send(_: str, body: bytes) -> Reply:
        nonlocal most, now
        user = msgspec.json.decode(body)["data"]["userId"]
        now += 1
        most = max(most, now)
        if user in slow:
            await answer.wait()
        heard.append(user)
        if len(heard) == len(logins) - len(slow):
            others.set()
        now -= 1
        return TAKEN

    for each in logins:
        await here.deny(each, "one")
    webhooks = Webhooks(SqlWebhooks(here.accounts.database), send, here.clock, secrets.token_bytes, here.audit)
    delivering = asyncio.create_task(webhooks.deliver_due())
    async with asyncio.timeout(20):
        await others.wait()
    assert slow.isdisjoint(heard)
    answer.set()
    await delivering
    assert sorted(heard) == sorted(each.user_id for each in logins)
    assert most == MOST_AT_ONCE


@pytest.mark.security(52)
async def test_two_processes_send_each_event_once_and_those_of_an_account_in_their_order(
    here: Process, there: Process
) -> None:
    logins = [await here.account(f"person-{number}") for number in range(12)]
    expected = []
    for number in range(5):
        for each in logins:
            await here.deny(each, f"{each.user_id} {number}")
            expected.append(f"{each.user_id} {number}")
    order: list[str] = []

    async def send(_: str, body: bytes) -> Reply:
        await asyncio.sleep(0)
        order.append(msgspec.json.decode(body)["data"]["pairingId"])
        return TAKEN

    processes = [
        Webhooks(SqlWebhooks(each.accounts.database), send, here.clock, secrets.token_bytes, here.audit)
        for each in (here, there)
    ]
    await asyncio.gather(*(each.deliver_due() for each in processes))
    # One of them may have seen nothing due, while the other had an account's event on its way.
    assert sorted(order) == sorted(expected)
    for each in logins:
        of_account = [told for told in order if told.startswith(f"{each.user_id} ")]
        assert of_account == sorted(of_account)


async def test_what_a_process_had_taken_when_it_was_killed_is_sent_by_another_one(
    here: Process, there: Process, clock: FakeClock
) -> None:
    login = await here.account("alice")
    await here.deny(login, "first")
    await here.deny(login, "second")
    sending = asyncio.Event()

    async def send(_: str, __: bytes) -> Reply:
        sending.set()
        await asyncio.Event().wait()
        raise AssertionError

    killed = Webhooks(SqlWebhooks(here.accounts.database), send, clock, secrets.token_bytes, here.audit)
    delivering = asyncio.create_task(killed.deliver_due())
    await sending.wait()
    delivering.cancel()
    await asyncio.wait([delivering])
    await there.webhooks.deliver_due()
    assert there.told == []
    clock.forward(ms=LEASE_MS)
    await there.webhooks.deliver_due()
    assert there.told == ["first", "second"]


async def test_a_backlog_is_counted_and_said_once_when_it_is_late_and_once_when_it_is_over(
    here: Process, clock: FakeClock
) -> None:
    login = await here.account("alice")
    for number in range(3):
        await here.deny(login, f"{number}")
    clock.forward(ms=LATE_MS)
    await here.webhooks.look_at_backlog()
    assert here.audited == []
    clock.forward(ms=1)
    for _ in range(2):
        await here.webhooks.look_at_backlog()
    assert REGISTRY.get_sample_value("pairing_webhooks_waiting") == 3
    assert REGISTRY.get_sample_value("pairing_webhooks_oldest_seconds") == (LATE_MS + 1) / 1000
    await here.webhooks.deliver_due()
    for _ in range(2):
        await here.webhooks.look_at_backlog()
    assert REGISTRY.get_sample_value("pairing_webhooks_waiting") == 0
    assert here.said("webhook.late") == [{"waiting": 3, "seconds": LATE_MS // 1000}]
    assert here.said("webhook.in_time") == [{"waiting": 0, "seconds": 0}]


async def test_a_backlog_has_an_end(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_WAITING", 2)
    login = await here.account("alice")
    for number in range(5):
        await here.deny(login, f"{number}")
    await here.webhooks.look_at_backlog()
    assert here.said("webhook.dropped") == [{"events": 3, "why": "more than 2 wait"}]
    await here.webhooks.deliver_due()
    assert here.told == ["3", "4"]


async def test_a_test_is_an_event_of_its_own_that_is_not_kept(here: Process) -> None:
    here.replies = [Reply(500)]
    assert await here.webhooks.send_test() == Reply(500)
    [(webhook_id, body)] = here.sent
    assert webhook_id.startswith("msg_")
    assert body == {"type": "webhook.test", "timestamp": iso(here.clock.now), "data": {}}
    assert (await here.webhooks.backlog()).waiting == 0
