"""The device grant (RFC 8628) over two processes: a device asks either, and gets in once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest

from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.core.clock import system_clock
from tests.processes.conftest import ON_EACH_DATABASE, Linked, Pair, at, ready
from tests.support.app_server import AppServer, app_server, insist
from tests.support.client import Phone


@asynccontextmanager
async def asking_both(pair: Pair) -> AsyncIterator[list[AppServer]]:
    usual = {"device_grant": "on", "name": "Television"}
    one = await app_server(pair.one.url, pair.servers[0].folder, pair.database_url, public=True, **usual)
    async with one, one.at(pair.two.url) as two:
        yield [one, two]


@pytest.fixture
async def televisions(pair: Pair) -> AsyncIterator[list[AppServer]]:
    """One public client, asking the one process and the other."""
    async with asking_both(pair) as both:
        yield both


async def claimed(televisions: list[AppServer], phone: Phone) -> tuple[str, str]:
    """Device code and pairing."""
    made = (await televisions[0].ask_as_device(scope="openid")).json()
    answer = await phone.post("/pairings/claim", {"userCode": made["user_code"]})
    assert answer.status_code == 200, answer.text
    return made["device_code"], answer.json()["id"]


async def poll_both(televisions: list[AppServer], device_code: str, count: int) -> list[httpx2.Response]:
    polls = (partial(televisions[index % 2].poll, device_code) for index in range(count))
    return await asyncio.gather(*map(insist, polls))


async def live_grants(pair: Pair, phone: Phone) -> int:
    database = open_database(pair.database_url)
    try:
        return len(await SqlGrants(database).live_of_user(phone.keys["user"]["id"], system_clock()))
    finally:
        await database.close()


@pytest.mark.security(5, 43)
@ON_EACH_DATABASE
async def test_a_hundred_polls_at_once_over_two_processes_are_one_set_of_tokens(
    pair: Pair, televisions: list[AppServer]
) -> None:
    phone = await pair.phone()
    device_code, pairing_id = await claimed(televisions, phone)
    assert (await at(pair.two, phone).approve(pairing_id)).status_code == 200
    answers = await poll_both(televisions, device_code, 100)
    assert Counter(each.status_code for each in answers) == {200: 100}
    assert len({each.json()["refresh_token"] for each in answers}) == 1
    assert len({each.json()["access_token"] for each in answers}) == 1
    assert await live_grants(pair, phone) == 1


@ON_EACH_DATABASE
@pytest.mark.parametrize("round_", range(3))
async def test_polls_against_a_denial_end_in_tokens_or_in_the_denial_and_never_in_both(
    pair: Pair, televisions: list[AppServer], round_: int
) -> None:
    phone = await pair.phone()
    device_code, pairing_id = await claimed(televisions, phone)
    assert (await phone.approve(pairing_id)).status_code == 200
    polls = [televisions[index % 2].poll(device_code) for index in range(30)]
    denials = [at((pair.one, pair.two)[index % 2], phone).deny(pairing_id) for index in range(30)]
    calls = [each for both in zip(polls, denials, strict=True) for each in (both if round_ else both[::-1])]
    answers = await asyncio.gather(*calls)
    status = (await phone.get(f"/pairings/{pairing_id}")).json()["status"]
    given = {each.json()["refresh_token"] for each in answers if "refresh_token" in each.text}
    assert (status, len(given)) in (("denied", 0), ("consumed", 1))
    assert await live_grants(pair, phone) == len(given)
    refused = {each.json()["error"] for each in answers if "error" in each.json()}
    assert refused <= ({"access_denied"} if status == "denied" else set())


async def test_what_one_process_was_asked_too_early_the_other_was_too(televisions: list[AppServer]) -> None:
    made = (await televisions[0].ask_as_device()).json()
    words = [(await each.poll(made["device_code"])).json()["error"] for each in televisions]
    assert words == ["authorization_pending", "slow_down"]


@pytest.mark.security(43)
async def test_while_redis_is_away_a_device_is_told_to_come_back_and_never_that_it_is_over(linked: Linked) -> None:
    async with asking_both(linked) as televisions:
        phone = await linked.phone()
        device_code, pairing_id = await claimed(televisions, phone)
        linked.link.refuse()
        linked.link.cut()
        answers = [await televisions[0].poll(device_code), await televisions[0].ask_as_device()]
        assert [(each.status_code, each.json()["error"]) for each in answers] == [(503, "temporarily_unavailable")] * 2
        assert all(int(each.headers["retry-after"]) > 0 for each in answers)
        assert (await at(linked.two, phone).approve(pairing_id)).status_code == 200
        assert (await televisions[0].poll(device_code)).status_code == 503
        linked.link.accept()
        await ready(linked.one)
        assert (await televisions[0].poll(device_code)).status_code == 200
