"""Back-channel logout: what an application is told, when it is told again, and when it is given up."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pairing_ws.adapters.sql.database import open_database
from pairing_ws.core.deliveries import LEASE_MS, MOST_AT_ONCE, OWED_MS, Delivery, Outcome
from pairing_ws.oauth.backchannel import EVENT, BackchannelLogout
from pairing_ws.oauth.ports import Algorithm, Grant
from tests.support.client_tokens import PlainTokens, claims, header
from tests.support.clock import FakeClock
from tests.support.oauth_stores import Stores
from tests.support.servers import eventually

ISSUER = "https://login.example"
URI = "https://app.example/logout"
TOLD = Delivery(Outcome.TOLD)
FAILED = Delivery(Outcome.FAILED, "it answered 503")


class Process:
    """One process's deliveries, to an application that answers with `answers` in turn, the last one for ever."""

    def __init__(self, stores: Stores, clock: FakeClock, *answers: Delivery, tokens: Any = None) -> None:
        self.stores, self.clock, self.answers = stores, clock, list(answers or [TOLD])
        self.heard: list[tuple[str, str]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.story = BackchannelLogout(
            stores.grants,
            tokens or PlainTokens(),
            self.deliver,
            ISSUER,
            clock,
            secrets.token_bytes,
            self.note,
        )

    def note(self, event: str, /, **facts: str | int | None) -> None:
        self.events.append((event, facts))

    async def deliver(self, uri: str, logout_token: str) -> Delivery:
        self.heard.append((uri, logout_token))
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def told(self) -> list[dict[str, Any]]:
        return [claims(token) for _, token in self.heard]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def stores(database: str, clock: FakeClock) -> AsyncIterator[Stores]:
    opened = open_database(database)
    found = Stores(opened)
    found.now = clock()
    yield found
    await opened.close()


@pytest.fixture
async def elsewhere(database: str, clock: FakeClock) -> AsyncIterator[Stores]:
    opened = open_database(database)
    found = Stores(opened)
    found.now = clock()
    yield found
    await opened.close()


async def ended(stores: Stores, clock: FakeClock, name: str = "alice", **client: Any) -> Grant:
    login = await stores.login(name)
    if await stores.clients.get("app") is None:
        await stores.client("app", backchannel_logout_uri=URI, **client)
    grant = await stores.grant(login)
    assert await stores.grants.end(grant.id, "revoked", clock())
    return grant


@pytest.mark.parametrize("alg", list(Algorithm))
async def test_an_application_is_told_who_was_logged_out_in_the_words_of_the_specification(
    stores: Stores, clock: FakeClock, alg: Algorithm
) -> None:
    grant = await ended(stores, clock, id_token_alg=alg)
    process = Process(stores, clock)
    await process.story.deliver_due()
    [(uri, token)] = process.heard
    assert uri == URI
    assert header(token) == {"typ": "logout+jwt", "alg": alg}
    said = claims(token)
    assert len(said.pop("jti")) >= 20
    now = clock() // 1000
    assert said == {
        "iss": ISSUER,
        "aud": "app",
        "sub": grant.user.id,
        "sid": grant.id,
        "iat": now,
        "exp": now + 120,
        "events": {EVENT: {}},
    }
    assert process.events == [("logout.told", {"client": "app", "user": grant.user.id, "grant": grant.id})]
    await process.story.deliver_due()
    assert len(process.heard) == 1


async def test_what_failed_is_tried_again_later_and_later_with_a_fresh_token_until_it_is_heard(
    stores: Stores, clock: FakeClock
) -> None:
    await ended(stores, clock)
    process = Process(stores, clock, *[FAILED] * 8, TOLD)
    for wait in (5, 15, 60, 300, 900, 1800, 3600, 3600):
        await process.story.deliver_due()
        heard = len(process.heard)
        clock.forward(seconds=wait - 1)
        await process.story.deliver_due()
        assert len(process.heard) == heard
        clock.forward(seconds=1)
    await process.story.deliver_due()
    assert [event for event, _ in process.events] == ["logout.failed"] * 8 + ["logout.told"]
    assert [facts["attempts"] for event, facts in process.events if event == "logout.failed"] == list(range(1, 9))
    assert len({each["jti"] for each in process.told}) == 9
    assert process.told[-1]["iat"] == clock() // 1000


async def test_a_day_after_the_logout_it_is_given_up(stores: Stores, clock: FakeClock) -> None:
    await ended(stores, clock)
    process = Process(stores, clock, FAILED)
    for _ in range(OWED_MS // 600_000 + 12):
        await process.story.deliver_due()
        clock.forward(seconds=600)
    assert [event for event, _ in process.events].count("logout.given_up") == 1
    assert process.events[-1][0] == "logout.given_up"
    assert await stores.owed() == []


async def test_an_application_that_refuses_a_token_is_not_asked_again(stores: Stores, clock: FakeClock) -> None:
    await ended(stores, clock)
    process = Process(stores, clock, Delivery(Outcome.REFUSED, "it answered 400"))
    await process.story.deliver_due()
    assert [event for event, _ in process.events] == ["logout.given_up"]
    assert await stores.owed() == []


async def test_what_no_key_can_sign_is_kept_until_one_can(stores: Stores, clock: FakeClock) -> None:
    class WithoutRsa(PlainTokens):
        def sign(self, claims: Any, *, typ: str, alg: Algorithm) -> str:
            raise ValueError(f"there is no key for {alg}")

    await ended(stores, clock)
    process = Process(stores, clock, tokens=WithoutRsa())
    await process.story.deliver_due()
    assert process.heard == []
    clock.forward(seconds=5)
    later = Process(stores, clock)
    await later.story.deliver_due()
    assert len(later.heard) == 1


async def test_what_is_due_is_told_at_once_however_much_it_is(stores: Stores, clock: FakeClock) -> None:
    grants = [await ended(stores, clock, f"user-{number}") for number in range(MOST_AT_ONCE + 5)]
    process = Process(stores, clock)
    await process.story.deliver_due()
    assert sorted(each["sid"] for each in process.told) == sorted(grant.id for grant in grants)


async def test_of_two_processes_one_tells_each_logout(stores: Stores, elsewhere: Stores, clock: FakeClock) -> None:
    grants = [await ended(stores, clock, f"user-{number}") for number in range(MOST_AT_ONCE + 5)]
    one, other = Process(stores, clock), Process(elsewhere, clock)
    await asyncio.gather(one.story.deliver_due(), other.story.deliver_due())
    told = [each["sid"] for each in (*one.told, *other.told)]
    assert sorted(told) == sorted(grant.id for grant in grants)


async def test_what_a_process_had_taken_when_it_was_killed_is_told_by_another_one(
    stores: Stores, elsewhere: Stores, clock: FakeClock
) -> None:
    grant = await ended(stores, clock)
    silent = asyncio.Event()

    async def deliver(_: str, __: str) -> Delivery:
        silent.set()
        await asyncio.Event().wait()
        raise AssertionError

    killed = BackchannelLogout(stores.grants, PlainTokens(), deliver, ISSUER, clock, secrets.token_bytes)
    delivering = asyncio.create_task(killed.deliver_due())
    await silent.wait()
    delivering.cancel()
    await asyncio.wait([delivering])
    other = Process(elsewhere, clock)
    await other.story.deliver_due()
    assert other.heard == []
    clock.forward(ms=LEASE_MS)
    await other.story.deliver_due()
    assert [each["sid"] for each in other.told] == [grant.id]


async def test_what_gets_due_while_an_application_does_not_answer_is_told_before_it_does(
    stores: Stores, clock: FakeClock
) -> None:
    silent = await ended(stores, clock)
    other = await ended(stores, clock, "bob")
    clock.forward(seconds=1)
    told, first, answer = [], asyncio.Event(), asyncio.Event()

    async def deliver(_: str, token: str) -> Delivery:
        told.append(claims(token)["sid"])
        if len(told) == 1:
            first.set()
            await answer.wait()
        return TOLD

    story = BackchannelLogout(stores.grants, PlainTokens(), deliver, ISSUER, clock, secrets.token_bytes)
    delivering = asyncio.create_task(story.deliver_due())
    await first.wait()
    later = await ended(stores, clock, "carol")
    await eventually(lambda: len(told) == 3, "all of them")
    assert set(told) == {silent.id, other.id, later.id}
    answer.set()
    await delivering
    assert await stores.owed() == []


async def test_an_application_that_fails_keeps_no_other_waiting(stores: Stores, clock: FakeClock) -> None:
    await ended(stores, clock)
    other = await stores.client("other", backchannel_logout_uri="https://other.example/logout")
    login = await stores.login("bob")
    grant = await stores.grant(login, client_id=other.id)
    await stores.grants.end(grant.id, "revoked", clock())
    process = Process(stores, clock, FAILED, TOLD)
    await process.story.deliver_due()
    assert {uri for uri, _ in process.heard} == {URI, "https://other.example/logout"}
    assert sorted(event for event, _ in process.events) == ["logout.failed", "logout.told"]
