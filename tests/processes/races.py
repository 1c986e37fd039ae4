"""Races that are run on one Redis and on every other kind: of many callers one wins, and both processes agree."""

import asyncio
import random
from collections import Counter

import httpx2

from tests.processes.conftest import Pair, at, refusal
from tests.support.client import Api, NewDevice, Phone


async def approved(pair: Pair, phone: Phone) -> NewDevice:
    device = await pair.one.new_pairing()
    await phone.claim(device.pairing)
    assert (await phone.approve(device.id)).status_code == 200
    return device


async def known(pair: Pair, phone: Phone) -> Phone:
    """Both processes have the session in mind, so that a race is run by the pairing alone."""
    for api in (pair.one, pair.two):
        assert (await at(api, phone).get("/me")).status_code == 200
    return phone


async def claims_at_once(pair: Pair, accounts: int, rounds: int) -> None:
    """Of so many accounts that claim one code one wins, and only it can approve."""
    phones = [at((pair.one, pair.two)[index % 2], await pair.phone()) for index in range(accounts)]
    await asyncio.gather(*(known(pair, phone) for phone in phones))
    for _ in range(rounds):
        device = await pair.one.new_pairing()
        answers = await asyncio.gather(*(phone.claim(device.pairing) for phone in phones))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: accounts - 1}
    losers = [phone for phone, answer in zip(phones, answers, strict=True) if answer.status_code == 409]
    winner = next(phone for phone, answer in zip(phones, answers, strict=True) if answer.status_code == 200)
    assert {refusal(answer) for answer in answers if answer.status_code == 409} == {(409, "already_claimed")}
    assert all("newDevice" not in answer.json() for answer in answers if answer.status_code == 409)
    tries = await asyncio.gather(*(call(phone, device.id) for phone in losers for call in (Phone.approve, Phone.deny)))
    assert {refusal(answer) for answer in tries} == {(404, "not_found")}
    assert (await winner.approve(device.id)).status_code == 200


async def decisions_at_once(pair: Pair, rounds: int) -> None:
    """Approve, deny and cancel end in one state that both processes see."""
    phone = await known(pair, await pair.phone())
    apis = (pair.one, pair.two)
    for round_ in range(rounds):
        device = await pair.one.new_pairing()
        await phone.claim(device.pairing)
        calls = [(api, call) for api in apis for call in ("approve", "deny", "cancel")] * 9
        random.Random(round_).shuffle(calls)
        answers = await asyncio.gather(*(_decide(api, call, phone, device) for api, call in calls))
        final = {(await at(api, device).poll()).json()["status"] for api in apis}
        assert len(final) == 1
        status = final.pop()
        # Approved may be overtaken by denied or cancelled, never the other way round.
        ender = {"denied": "deny", "cancelled": "cancel"}[status]
        winners = {call for (_, call), answer in zip(calls, answers, strict=True) if answer.is_success}
        assert ender in winners
        assert winners <= {ender, "approve"}
        told = {refusal(answer)[1] for answer in answers if not answer.is_success}
        assert told == {"invalid_state" if status == "denied" else "pairing_cancelled"}
        for api in apis:
            assert not (await at(api, phone).approve(device.id)).is_success
            assert not (await at(api, device).log_in()).is_success
            assert (await at(api, device).poll()).json()["status"] == status
    assert await pair.sessions_and_devices(phone) == (1, 1)


async def _decide(api: Api, call: str, phone: Phone, device: NewDevice) -> httpx2.Response:
    if call == "cancel":
        return await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
    return await api.http.post(f"/pairings/{device.id}/{call}", headers=phone.headers)


async def logins_at_once(pair: Pair, callers: int) -> None:
    """Over two processes they are one session, one device, one key."""
    phone = await pair.phone()
    device = await approved(pair, phone)
    answers = await asyncio.gather(*(at((pair.one, pair.two)[index % 2], device).log_in() for index in range(callers)))
    assert {answer.status_code for answer in answers} == {200}
    for field in ("refreshKey", "authKey"):
        assert len({answer.json()[field] for answer in answers}) == 1
    assert await pair.sessions_and_devices(phone) == (2, 2)
    key = answers[0].json()["refreshKey"]
    assert (await pair.two.http.post("/sessions/refresh", json={"refreshKey": key})).status_code == 200
