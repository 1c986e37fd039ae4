"""Redis did what it was asked and its answer got lost: the caller is told 503, repeats, and finds it done. Once."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from tests.processes.conftest import Linked, at, ready, refusal
from tests.support.client import NewDevice, Phone, code_of, device_headers

UNAVAILABLE = (503, "unavailable")


def stored(status: str) -> bytes:
    """The swap to that state, as it goes over the line."""
    return b'"status":"%s"' % status.encode()


async def lost(linked: Linked, command: bytes, call: Callable[[], Awaitable[httpx2.Response]]) -> None:
    """Make the call, and lose the answer to that command of it."""
    linked.link.lose_answer_to(command)
    answer = await call()
    assert linked.link.caught.is_set()
    assert refusal(answer) == UNAVAILABLE
    assert int(answer.headers["retry-after"]) > 0


def without_time(answer: httpx2.Response) -> dict[str, object]:
    return {name: value for name, value in answer.json().items() if name != "expiresIn"}


async def scanned(linked: Linked, phone: Phone) -> NewDevice:
    device = await linked.one.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    return device


@pytest.mark.parametrize(("call", "status"), [("approve", "approved"), ("deny", "denied")])
async def test_a_decision_whose_answer_got_lost_stands_and_is_confirmed_when_repeated(
    linked: Linked, call: str, status: str
) -> None:
    phone = await linked.phone()
    device = await scanned(linked, phone)
    decide = getattr(phone, call)
    await lost(linked, stored(status), lambda: decide(device.id))
    assert (await at(linked.two, device).poll()).json()["status"] == status
    again = await decide(device.id)
    assert (again.status_code, again.json()["status"]) == (200, status)
    assert without_time(again) == without_time(await getattr(at(linked.two, phone), call)(device.id))


async def test_an_approval_whose_answer_never_comes_is_a_503_and_confirmed_when_repeated(linked: Linked) -> None:
    phone = await linked.phone()
    device = await scanned(linked, phone)
    linked.link.lose_answer_to(stored("approved"), silently=True)
    async with asyncio.timeout(7):
        assert refusal(await phone.approve(device.id)) == UNAVAILABLE
    assert linked.link.caught.is_set()
    assert (await phone.approve(device.id)).json()["version"] == 3


async def test_a_report_whose_denial_was_not_answered_counts_when_it_is_repeated(linked: Linked) -> None:
    phone = await linked.phone()
    device = await scanned(linked, phone)
    await lost(linked, stored("denied"), lambda: phone.deny(device.id, {"report": True}))
    assert (await phone.deny(device.id, {"report": True})).status_code == 200
    noted = (await phone.get("/activity")).json()["activity"]
    assert [each["event"] for each in noted].count("pairing.reported") == 1


async def test_a_cancellation_whose_answer_got_lost_stands_and_is_confirmed_when_repeated(linked: Linked) -> None:
    device = await linked.one.new_pairing()

    async def cancel() -> httpx2.Response:
        return await linked.one.http.delete(f"/pairings/{device.id}", headers=device.headers)

    await lost(linked, stored("cancelled"), cancel)
    assert (await at(linked.two, device).poll()).json()["status"] == "cancelled"
    assert (await cancel()).status_code == 204


async def test_a_scan_whose_answer_got_lost_is_still_that_scanners_and_nobody_elses(linked: Linked) -> None:
    phone, other = await linked.phone(), await linked.phone()
    device = await linked.one.new_pairing()
    await lost(linked, stored("scanned"), lambda: phone.claim(device.pairing))
    assert refusal(await other.claim(device.pairing)) == (409, "already_claimed")
    again = await phone.claim(device.pairing)
    assert (again.status_code, again.json()["status"], again.json()["version"]) == (200, "scanned", 2)
    assert (await phone.approve(device.id)).status_code == 200


async def test_a_new_device_that_chose_its_secret_can_repeat_a_scan_whose_answer_got_lost(linked: Linked) -> None:
    phone = await linked.phone()
    shown = await phone.show_code()
    own = device_headers() | {"Pairing-Secret": "c2VjcmV0LW9mLW15LW93bi1jaG9pY2U_LW5vLW9uZS1lbHNl"}

    async def claim(headers: dict[str, str]) -> httpx2.Response:
        body = {"code": code_of(shown)}
        return await linked.one.http.post(f"/pairings/{shown['id']}/claim", json=body, headers=headers)

    await lost(linked, stored("scanned"), lambda: claim(own))
    assert refusal(await claim(device_headers())) == (409, "already_claimed")
    assert (await claim(own)).status_code == 200
    assert (await phone.approve(shown["id"])).status_code == 200
    device = NewDevice(linked.two, shown | {"secret": own["Pairing-Secret"]}, own)
    assert (await device.log_in()).status_code == 200


async def test_a_login_whose_swap_was_not_answered_is_finished_by_the_same_secret_and_once(linked: Linked) -> None:
    phone = await linked.phone()
    device = await scanned(linked, phone)
    assert (await phone.approve(device.id)).status_code == 200
    await lost(linked, stored("consumed"), device.log_in)
    assert (await at(linked.two, device).poll()).json()["status"] == "consumed"
    # Consumed, and nobody has keys yet.
    assert await linked.sessions_and_devices(phone) == (1, 1)
    stranger = NewDevice(linked.two, device.pairing | {"secret": "x" * 43}, device.device)
    assert refusal(await stranger.log_in()) == (404, "not_found")
    answers = await asyncio.gather(*(at((linked.one, linked.two)[index % 2], device).log_in() for index in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshKey"] for answer in answers}) == 1
    assert await linked.sessions_and_devices(phone) == (2, 2)


async def test_a_wrong_number_whose_answer_got_lost_has_still_been_one_of_three(linked: Linked) -> None:
    phone, device = await linked.phone(), await linked.one.new_pairing()
    await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    number = (await phone.approve(device.id)).json()["number"]
    wrong = {"number": f"{(int(number) + 1) % 1000:03}"}
    await lost(linked, b'"misses":1', lambda: device.log_in(wrong))
    answer = await device.log_in(wrong)
    assert (refusal(answer)[1], answer.json()["attemptsLeft"]) == ("number_mismatch", 2)
    assert (await device.log_in({"number": number})).status_code == 200


async def test_a_pairing_whose_creation_was_not_answered_is_shown_to_nobody_and_harms_nobody(linked: Linked) -> None:
    headers = device_headers()
    await lost(linked, b'"code_hash"', lambda: linked.one.http.post("/pairings", headers=headers))
    again = await linked.one.new_pairing(headers)
    assert (await (await linked.phone()).claim(again.pairing)).status_code == 200


async def test_an_approval_that_arrives_after_it_was_given_up_and_withdrawn_approves_nothing(linked: Linked) -> None:
    """The line holds the command back, and delivers it when everybody has gone on."""
    phone = await linked.phone()
    device = await scanned(linked, phone)
    linked.link.hold_back(stored("approved"))
    assert refusal(await phone.approve(device.id)) == UNAVAILABLE
    assert linked.link.caught.is_set()
    assert (await at(linked.two, device).poll()).json()["status"] == "scanned"
    assert (await at(linked.two, phone).deny(device.id)).status_code == 200
    linked.link.heal()
    await ready(linked.one)
    for api in (linked.one, linked.two):
        seen = (await at(api, device).poll()).json()
        assert (seen["status"], seen["version"]) == ("denied", 3)
        assert refusal(await at(api, device).log_in()) == (403, "pairing_denied")
