"""Reading a pairing: plain polling with ETags, and the long poll. Waiting on sockets is in test_socket."""

import asyncio

import pytest

from tests.support.client import Api
from tests.support.embedded import Embedded
from tests.web.conftest import NewPhone, refusal


async def test_a_poll_carries_its_version_as_an_etag_and_answers_304_while_it_is_current(
    api: Api, new_phone: NewPhone
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    answer = await device.poll()
    assert answer.headers["etag"] == '"1"'
    for known in ('"1"', 'W/"1"', '"7", "1"'):
        unchanged = await device.poll(**{"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", '"1"')
    await phone.claim(device.pairing)
    changed = await device.poll(**{"If-None-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["status"]) == (200, '"2"', "scanned")
    assert (await phone.get(f"/pairings/{device.id}")).headers["etag"] == '"2"'


async def test_each_transition_is_one_version(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    assert (await phone.claim(device.pairing)).json()["version"] == 2
    assert (await phone.approve(device.id)).json()["version"] == 3
    await device.log_in()
    assert (await device.poll()).json()["version"] == 4
    assert (await device.poll()).json()["version"] == 4


async def test_a_long_poll_answers_when_the_version_grows(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    waiting = asyncio.create_task(device.poll("?since=1&wait=30"))
    await asyncio.sleep(0.05)  # most likely it waits by now; the answer must be the same if not
    await phone.claim(device.pairing)
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.json()["status"], answer.json()["version"]) == ("scanned", 2)


async def test_the_approver_can_long_poll_too(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    shown = await phone.show_code()
    waiting = asyncio.create_task(phone.get(f"/pairings/{shown['id']}?since=1&wait=30"))
    await asyncio.sleep(0.05)
    await api.join(shown)
    assert (await asyncio.wait_for(waiting, 10)).json()["newDevice"]["reported"]["name"] == "Test device"


async def test_fifty_long_polls_of_one_pairing_all_hear_of_the_change(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    waiting = [asyncio.create_task(device.poll("?since=1&wait=30")) for _ in range(50)]
    await asyncio.sleep(0.2)
    await phone.claim(device.pairing)
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 15)
    assert {answer.json()["status"] for answer in answers} == {"scanned"}


async def test_a_long_poll_answers_at_once_when_there_is_something_newer(api: Api, new_phone: NewPhone) -> None:
    device = await api.new_pairing()
    assert (await asyncio.wait_for(device.poll("?since=0&wait=30"), 10)).json()["version"] == 1
    await (await new_phone()).claim(device.pairing)
    assert (await asyncio.wait_for(device.poll("?since=1&wait=30"), 10)).json()["version"] == 2


async def test_a_long_poll_answers_at_once_when_the_pairing_has_ended(api: Api) -> None:
    device = await api.new_pairing()
    await api.http.delete(f"/pairings/{device.id}", headers=device.headers)
    assert (await asyncio.wait_for(device.poll("?since=99&wait=30"), 10)).json()["status"] == "cancelled"


async def test_a_long_poll_answers_unchanged_at_the_end_of_its_wait(api: Api) -> None:
    device = await api.new_pairing()
    answer = await device.poll("?since=1&wait=1")
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    answer = await device.poll("?since=1&wait=1", **{"If-None-Match": '"1"'})
    assert answer.status_code == 304


async def test_a_long_poll_hears_of_expiry_from_the_server(clocked: Embedded, clocked_api: Api) -> None:
    device = await clocked_api.new_pairing()
    clocked.clock.advance(119.5)
    answer = await asyncio.wait_for(device.poll("?since=1&wait=30"), 10)
    assert (answer.json()["status"], answer.json()["version"]) == ("expired", 2)


@pytest.mark.parametrize(
    "query",
    ["since=x", "since=-1", "since=1.0", "since=", "since=1&since=2", "wait=31&since=0", "wait=-1", "wait=1e1",
     "since=%D9%A1", "since=99999999999999999999", "wait=x", "wait="],
)  # fmt: skip
async def test_a_bad_since_or_wait_is_refused(api: Api, query: str) -> None:
    device = await api.new_pairing()
    assert refusal(await device.poll(f"?{query}")) == (400, "bad_request")


@pytest.mark.security(6)
@pytest.mark.mitigation("6.1.2")
async def test_polling_keeps_nothing_alive(clocked: Embedded, clocked_api: Api) -> None:
    device = await clocked_api.new_pairing()
    for _ in range(4):
        clocked.clock.advance(29)
        assert (await device.poll()).json()["status"] == "pending"
    clocked.clock.advance(29)
    assert (await device.poll()).json()["status"] == "expired"
