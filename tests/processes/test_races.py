"""Races over two processes: of many callers one wins, the losers are told so, and both processes agree."""

import asyncio
from collections import Counter

import httpx2
import pytest

from tests.processes.conftest import ON_EACH_DATABASE, ON_POSTGRESQL, Pair, at, refusal
from tests.processes.races import approved, claims_at_once, decisions_at_once, logins_at_once
from tests.support.client import Phone
from tests.support.servers import RedisServer


@pytest.mark.security(3)
@pytest.mark.mitigation("6.1.3")
async def test_of_sixty_accounts_that_claim_one_code_one_wins_and_only_it_can_approve(pair: Pair) -> None:
    await claims_at_once(pair, accounts=60, rounds=4)


@pytest.mark.security(4)
async def test_approve_deny_and_cancel_at_once_end_in_one_state_that_both_processes_see(pair: Pair) -> None:
    await decisions_at_once(pair, rounds=12)


@pytest.mark.security(4)
@ON_EACH_DATABASE
@pytest.mark.parametrize("round_", range(3))
async def test_login_against_deny_ends_in_a_session_or_a_denial_never_in_both(pair: Pair, round_: int) -> None:
    phone = await pair.phone()
    device = await approved(pair, phone)
    apis = (pair.one, pair.two)
    logins = [at(apis[index % 2], device).log_in() for index in range(30)]
    denials = [at(apis[index % 2], phone).deny(device.id) for index in range(30)]
    calls = [each for both in zip(logins, denials, strict=True) for each in (both if round_ else both[::-1])]
    answers = await asyncio.gather(*calls)
    status = (await device.poll()).json()["status"]
    won = [answer for answer in answers if answer.is_success and "authKey" in answer.text]
    assert status in ("denied", "consumed")
    assert bool(won) is (status == "consumed")
    assert len({answer.json()["refreshKey"] for answer in won}) == (status == "consumed")
    assert await pair.sessions_and_devices(phone) == ((2, 2) if status == "consumed" else (1, 1))


@pytest.mark.security(5)
@pytest.mark.mitigation("6.1.3")
@ON_EACH_DATABASE
async def test_a_hundred_logins_at_once_over_two_processes_are_one_session_one_device_one_key(pair: Pair) -> None:
    await logins_at_once(pair, callers=100)


@pytest.mark.security(5)
@ON_EACH_DATABASE
async def test_the_same_holds_when_redis_is_wiped_between_the_tries(pair: Pair, redis_server: RedisServer) -> None:
    phone = await pair.phone()
    device = await approved(pair, phone)

    async def try_all(count: int) -> list[httpx2.Response]:
        return await asyncio.gather(*(at((pair.one, pair.two)[index % 2], device).log_in() for index in range(count)))

    first = asyncio.create_task(try_all(50))
    await asyncio.sleep(0.03)
    redis_server.command("FLUSHALL")
    answers = [*await first, *await try_all(50)]
    won = [answer for answer in answers if answer.status_code == 200]
    assert len({answer.json()["refreshKey"] for answer in won}) <= 1
    assert {refusal(answer)[0] for answer in answers if answer.status_code != 200} <= {404, 409, 503}
    sessions, devices = await pair.sessions_and_devices(phone)
    assert (sessions, devices) == ((2, 2) if won else (sessions, sessions))
    assert sessions <= 2


@pytest.mark.security(5, 6)
@pytest.mark.mitigation("6.1.3")
@ON_EACH_DATABASE
async def test_a_pairing_brought_back_by_a_lost_write_gives_no_second_session(
    pair: Pair, redis_server: RedisServer
) -> None:
    """What a failover does: Redis forgets the swap to consumed, and the pairing is approved once more."""
    phone = await pair.phone()
    device = await approved(pair, phone)
    name = f"pairing:{{{device.id}}}"
    with redis_server.client() as redis:
        before = redis.dump(name)
        keys = (await device.log_in()).json()
        redis.restore(name, 0, before, replace=True)
    again = await asyncio.gather(*(at((pair.one, pair.two)[index % 2], device).log_in() for index in range(60)))
    # Within the grace and unused, the holder of the secret is given the same pair; never another one.
    assert {answer.json()["refreshKey"] for answer in again if answer.is_success} <= {keys["refreshKey"]}
    assert await pair.sessions_and_devices(phone) == (2, 2)
    assert (await pair.one.http.get("/me", headers={"Auth-Key": keys["authKey"]})).status_code == 200
    with redis_server.client() as redis:
        redis.restore(name, 0, before, replace=True)
    assert refusal(await device.log_in()) == (409, "pairing_consumed")
    assert await pair.sessions_and_devices(phone) == (2, 2)


@pytest.mark.security(14)
@ON_EACH_DATABASE
@pytest.mark.parametrize("lost", [False, True], ids=["", "after a lost answer"])
async def test_fifty_refreshes_at_once_over_two_processes_leave_one_live_branch(pair: Pair, lost: bool) -> None:
    phone = await pair.phone()
    body = {"refreshKey": phone.keys["refreshKey"]}
    if lost:
        assert (await pair.two.http.post("/sessions/refresh", json=body)).is_success
    answers = await asyncio.gather(
        *((pair.one, pair.two)[index % 2].http.post("/sessions/refresh", json=body) for index in range(50))
    )
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert len({each["refreshKey"] for each in won}) == 1
    assert {refusal(answer) for answer in answers if not answer.is_success} <= {(409, "already_refreshed")}
    for api in (pair.one, pair.two):
        assert (await api.http.get("/me", headers={"Auth-Key": won[0]["authKey"]})).status_code == 200
    assert (await pair.two.http.post("/sessions/refresh", json={"refreshKey": won[0]["refreshKey"]})).is_success


@pytest.mark.security(18)
@ON_POSTGRESQL
async def test_of_many_devices_let_in_at_once_no_more_get_in_than_the_account_may_have(pair: Pair) -> None:
    phone = await pair.phone()
    devices = [await approved(pair, phone) for _ in range(20)]
    answers = await asyncio.gather(
        *(at((pair.one, pair.two)[index % 2], device).log_in() for index, device in enumerate(devices))
    )
    assert [answer.status_code for answer in answers].count(200) == 4
    assert {refusal(answer) for answer in answers if not answer.is_success} == {(409, "device_limit")}
    assert await pair.sessions_and_devices(phone) == (5, 5)


@pytest.mark.security(7, 19)
@pytest.mark.mitigation("6.1.6")
@ON_EACH_DATABASE
@pytest.mark.parametrize("round_", range(2))
async def test_nobody_survives_the_revocation_of_the_device_that_let_them_in(pair: Pair, round_: int) -> None:
    phone = await pair.phone()
    keys = (await (await approved(pair, phone)).log_in()).json()
    thief = Phone(pair.two, keys)
    devices = [await approved(pair, thief) for _ in range(3)]
    logins = [at((pair.one, pair.two)[index % 2], devices[index % 3]).log_in() for index in range(30)]
    path = f"/devices/{keys['device']['id']}?descendants=true"
    calls = [*logins[: 10 * round_], pair.one.http.delete(path, headers=phone.headers), *logins[10 * round_ :]]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} <= {200, 204, 403, 409}
    assert [each["current"] for each in (await phone.get("/devices")).json()["devices"]] == [True]
    for device in devices:
        assert not (await device.log_in()).is_success


@pytest.mark.security(11)
async def test_wrong_numbers_at_both_processes_are_three_attempts_together(pair: Pair) -> None:
    phone, device = await pair.phone(), await pair.one.new_pairing()
    await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    number = (await phone.approve(device.id)).json()["number"]
    wrong = [{"number": f"{(int(number) + index) % 1000:03}"} for index in range(1, 61)]
    apis = (pair.one, pair.two)
    answers = await asyncio.gather(*(at(apis[index % 2], device).log_in(wrong[index]) for index in range(60)))
    assert Counter(refusal(answer)[1] for answer in answers) == {"number_mismatch": 3, "pairing_denied": 57}
    assert refusal(await device.log_in({"number": number})) == (403, "pairing_denied")


@pytest.mark.security(11)
async def test_one_wrong_number_sent_sixty_times_to_both_processes_is_one_attempt(pair: Pair) -> None:
    phone, device = await pair.phone(), await pair.one.new_pairing()
    await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    number = (await phone.approve(device.id)).json()["number"]
    wrong, apis = {"number": f"{(int(number) + 1) % 1000:03}"}, (pair.one, pair.two)
    answers = await asyncio.gather(*(at(apis[index % 2], device).log_in(wrong) for index in range(60)))
    assert {(refusal(each)[1], each.json()["attemptsLeft"]) for each in answers} == {("number_mismatch", 2)}
    assert (await device.log_in({"number": number})).status_code == 200


@pytest.mark.security(30)
async def test_sixty_four_devices_log_in_at_once_on_sqlite_and_none_is_lost(pair: Pair) -> None:
    phones = [await pair.phone() for _ in range(4)]
    devices = [await approved(pair, phones[index % 4]) for index in range(64)]
    answers = await asyncio.gather(
        *(at((pair.one, pair.two)[index % 2], device).log_in() for index, device in enumerate(devices))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == 64
    for phone in phones:
        assert await pair.sessions_and_devices(phone) == (17, 17)
        assert len((await phone.get("/devices")).json()["devices"]) == 17
