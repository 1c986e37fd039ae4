"""What the server knows for pages that are loaded again: open pairings, and whether the new device is still there."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest

from tests.support.client import Api, NewDevice, device_headers, socket, until, with_api
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.web.conftest import NewPhone, refusal


def listed(answer: httpx2.Response) -> list[str]:
    return [each["id"] for each in answer.json()["pairings"]]


async def present(device: NewDevice, here: bool) -> httpx2.Response:
    return await device.api.http.post(f"/pairings/{device.id}/presence", json={"here": here}, headers=device.headers)


async def test_a_session_gets_its_open_pairings_again_as_it_saw_them_the_newest_first(
    api: Api, new_phone: NewPhone
) -> None:
    phone, other = await new_phone(), await new_phone()
    assert (await phone.get("/pairings")).json() == {"pairings": []}
    scanned, approved, denied, foreign = [await api.new_pairing() for _ in range(4)]
    shown = await phone.show_code()
    for each in (scanned, denied):
        assert (await phone.claim(each.pairing)).status_code == 200
    typed = await phone.post("/pairings/claim", {"userCode": approved.pairing["userCode"]})
    assert typed.status_code == 200
    number = (await phone.approve(approved.id)).json()["number"]
    await phone.deny(denied.id)
    await other.claim(foreign.pairing)
    answer = await phone.get("/pairings")
    assert listed(answer) == [approved.id, scanned.id, shown["id"]]
    first, second, third = answer.json()["pairings"]
    assert (first["status"], first["number"]) == ("approved", number)
    assert (second["status"], second["newDevice"]["reported"]["name"]) == ("scanned", "Test device")
    assert third["status"] == "pending"
    assert {key: second[key] for key in second if key != "expiresIn"} == {
        key: value for key, value in (await phone.get(f"/pairings/{scanned.id}")).json().items() if key != "expiresIn"
    }


async def test_another_session_of_the_account_and_a_stranger_get_none_of_them(api: Api, new_phone: NewPhone) -> None:
    phone, second = [await new_phone("two-sessions") for _ in range(2)]
    device = await api.new_pairing()
    await phone.claim(device.pairing)
    assert listed(await phone.get("/pairings")) == [device.id]
    assert listed(await second.get("/pairings")) == []
    assert refusal(await api.http.get("/pairings")) == (401, "unauthenticated")
    assert refusal(await api.http.get("/pairings", headers=device.headers)) == (401, "unauthenticated")


async def test_the_list_is_bounded_and_the_newest_are_in_it(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    shown = [(await phone.show_code())["id"] for _ in range(25)]
    for each in shown[-3:]:
        assert (await api.http.delete(f"/pairings/{each}", headers=phone.headers)).status_code == 204
    assert listed(await phone.get("/pairings")) == shown[-4:-24:-1]


async def test_a_new_device_that_has_left_ends_its_pairing_soon_and_the_approver_is_told(
    clocked: Embedded, clocked_api: Api
) -> None:
    phone = await fresh_phone(clocked_api, clocked.folder, None, clocked.clock)
    device = await clocked_api.new_pairing()
    await phone.claim(device.pairing)
    async with socket(clocked.ws_url, device.id, authKey=phone.keys["authKey"]) as connection:
        assert "away" not in await until(connection, "scanned")
        assert (await present(device, False)).status_code == 200
        gone = await until(connection, "scanned")
        assert gone["away"] is True
        assert 0 < gone["expiresIn"] <= 15
        clocked.clock.advance(16)
        # Its timer was set by the clock of before; a read asks the store.
        assert (await phone.get(f"/pairings/{device.id}")).json()["status"] == "expired"
    assert refusal(await phone.approve(device.id)) == (410, "pairing_expired")


async def test_a_new_device_that_comes_back_in_time_has_lost_nothing(clocked: Embedded, clocked_api: Api) -> None:
    phone = await fresh_phone(clocked_api, clocked.folder, None, clocked.clock)
    device = await clocked_api.new_pairing()
    before = (await phone.claim(device.pairing)).json()
    for _ in range(3):
        await present(device, False)
        clocked.clock.advance(10)
        back = (await present(device, True)).json()
        assert "away" not in back
        assert back["expiresAt"] == before["expiresAt"]
    # Whatever it missed meanwhile has happened: an approval gives it the time that it would have had.
    await present(device, False)
    approved = (await phone.approve(device.id)).json()
    assert (approved["status"], approved["away"]) == ("approved", True)
    assert approved["expiresIn"] <= 15
    assert (await present(device, True)).json()["expiresIn"] > 50
    assert (await device.log_in()).status_code == 200


async def test_leaving_is_said_once_and_what_has_ended_stays_ended(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    answers = await asyncio.gather(*(present(device, False) for _ in range(50)))
    assert {answer.json()["version"] for answer in answers} == {3}
    answers = await asyncio.gather(*(present(device, True) for _ in range(50)))
    assert {answer.json()["version"] for answer in answers} == {4}
    await phone.deny(device.id)
    for here in (False, True):
        ended = (await present(device, here)).json()
        assert (ended["status"], ended["version"]) == ("denied", 5)


async def test_only_the_new_device_can_leave_and_says_so_plainly(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    path = f"/pairings/{device.id}/presence"
    assert refusal(await phone.post(path, {"here": False})) == (401, "unauthenticated")
    stranger = {"Pairing-Secret": "A" * 43}
    assert refusal(await api.http.post(path, json={"here": False}, headers=stranger)) == (404, "not_found")
    for body in ({}, {"here": "no"}, {"here": None}):
        answer = await api.http.post(path, json=body, headers=device.headers)
        assert refusal(answer) == (400, "bad_request"), json.dumps(body)


@pytest.mark.security(38)
async def test_nobody_can_make_an_approvers_page_flicker_by_leaving_and_coming_back(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, **NO_LIMITS_INSIDE)) as (_, api):
        device = await api.new_pairing(device_headers())
        answers = [await present(device, bool(number % 2)) for number in range(61)]
        assert [answer.status_code for answer in answers] == [200] * 60 + [429]
