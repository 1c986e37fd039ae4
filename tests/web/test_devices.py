"""Devices of an account: list, rename, push address, revocation, quarantine, activity, and the events about them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.support.client import (
    Api,
    Phone,
    account_socket,
    device_headers,
    event,
    id_of,
    let_in,
    socket,
    until,
    with_api,
)
from tests.support.embedded import embedded, fresh_phone, invite_in
from tests.support.servers import Server, running
from tests.web.conftest import NewPhone, refusal


async def known(phone: Phone) -> list[dict[str, Any]]:
    return list((await phone.get("/devices")).json()["devices"])


async def closed(connection: websockets.ClientConnection) -> int | None:
    async with asyncio.timeout(10):
        await connection.wait_closed()
    return connection.close_code


# List and change


async def test_the_list_holds_the_accounts_own_devices_oldest_first(api: Api, new_phone: NewPhone) -> None:
    phone, _ = await new_phone(), await new_phone()
    second = await let_in(api, phone, name="Laptop", **{"X-Os-Device": "BSD", "X-App-Version-Number": "2"})
    listed = await known(second)
    assert [each["id"] for each in listed] == [id_of(phone), id_of(second)]
    assert [each["current"] for each in listed] == [False, True]
    assert listed[1].keys() == {
        "id", "name", "os", "appVersion", "createdAt", "lastSeenAt", "lastIp", "pairedBy", "current",
    }  # fmt: skip
    assert (listed[1]["name"], listed[1]["os"], listed[1]["appVersion"]) == ("Laptop", "BSD", "2")
    assert (listed[1]["lastIp"], listed[1]["pairedBy"]) == ("127.0.0.1", id_of(phone))


async def test_a_device_renames_itself_and_others_and_the_name_is_cleaned(api: Api, phone: Phone) -> None:
    second = await let_in(api, phone)
    for target in (second, phone):
        path = f"/devices/{id_of(target)}"
        answer = await api.http.patch(path, json={"name": " Cafe\u0301\u202e\n "}, headers=second.headers)
        assert answer.status_code == 200
        assert answer.json()["name"] == "Café"
    assert [each["name"] for each in await known(phone)] == ["Café", "Café"]
    empty = await api.http.patch(f"/devices/{id_of(phone)}", json={"name": "\u200b"}, headers=phone.headers)
    assert refusal(empty) == (400, "bad_request")


@pytest.mark.security(13, 16, 18)
async def test_a_push_address_is_ones_own_affair(api: Api, server: Server, phone: Phone) -> None:
    second = await let_in(api, phone)
    foreign = await api.http.patch(f"/devices/{id_of(second)}", json={"pushToken": "mine-now"}, headers=phone.headers)
    assert refusal(foreign) == (400, "bad_request")
    for device in (phone, second):
        own = await api.http.patch(f"/devices/{id_of(device)}", json={"pushToken": "address-1"}, headers=device.headers)
        assert own.status_code == 200
        assert "address-1" not in own.text
    # It belongs to one device per account: the last one that said so.
    assert _push_addresses(server) == {id_of(second): "address-1"}
    await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
    assert _push_addresses(server) == {}


@pytest.mark.security(13)
async def test_a_device_in_quarantine_takes_no_push_address_from_another_and_is_not_told_of_it(
    strict: Server, strict_api: Api
) -> None:
    owner = await fresh_phone(strict_api, strict.folder, "pushed", **dict[str, Any]({"X-Device-Token": "address-1"}))
    newcomer = await let_in(strict_api, owner, **dict[str, Any]({"X-Device-Token": "address-1"}))
    answers = [
        await strict_api.http.patch(
            f"/devices/{id_of(newcomer)}", json={"pushToken": address}, headers=newcomer.headers
        )
        for address in ("address-1", "address-2", "address-1")
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert _push_addresses(strict) == {id_of(owner): "address-1"}


def _push_addresses(server: Server) -> dict[str, str]:
    with closing(sqlite3.connect(server.folder / "pairing.db")) as database:
        rows = database.execute("SELECT id, push_address FROM devices WHERE push_address = 'address-1'")
        return dict(rows.fetchall())


@pytest.mark.security(8)
async def test_another_accounts_devices_are_unknown(api: Api, new_phone: NewPhone) -> None:
    phone, stranger = await new_phone(), await new_phone()
    for target in (id_of(stranger), "0" * 32, "x"):
        path = f"/devices/{target}"
        assert refusal(await api.http.patch(path, json={"name": "x"}, headers=phone.headers)) == (404, "not_found")
        assert refusal(await api.http.delete(path, headers=phone.headers)) == (404, "not_found")
    assert (await stranger.get("/me")).status_code == 200


# Revoke


@pytest.mark.security(16)
@pytest.mark.mitigation("6.1.6")
async def test_a_revoked_devices_keys_die_its_sockets_close_and_its_open_pairings_end(
    api: Api, server: Server, phone: Phone
) -> None:
    second = await let_in(api, phone)
    claimed, approved = await api.new_pairing(), await api.new_pairing()
    for device in (claimed, approved):
        await second.claim(device.pairing)
    await second.approve(approved.id)
    shown = await second.show_code()
    async with (
        account_socket(server.ws_url, second) as account,
        socket(server.ws_url, shown["id"], authKey=second.keys["authKey"]) as pairing,
        claimed.socket() as waiting,
    ):
        await pairing.recv()
        await waiting.recv()
        gone = await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
        assert gone.status_code == 204
        assert refusal(await second.get("/me")) == (401, "unauthenticated")
        body = {"refreshKey": second.keys["refreshKey"]}
        assert refusal(await api.http.post("/sessions/refresh", json=body)) == (401, "unauthenticated")
        assert await closed(account) == 4401
        assert await closed(pairing) == 4401
        assert (await event(waiting))["pairing"]["status"] == "denied"
        assert await closed(waiting) == 1000
    assert refusal(await approved.log_in()) == (403, "pairing_denied")
    late = await api.http.post(
        f"/pairings/{shown['id']}/claim", json={"code": shown["qr"]["text"].split("#")[1]}, headers=device_headers()
    )
    assert refusal(late) == (409, "invalid_state")
    assert [each["id"] for each in await known(phone)] == [id_of(phone)]
    again = await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
    assert again.status_code == 204


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.6")
async def test_revoking_with_descendants_ends_all_that_a_device_let_in(api: Api, phone: Phone) -> None:
    chain = [await let_in(api, phone)]
    for number in range(4):
        chain.append(await let_in(api, chain[-1], code=f"generation-{number}"))
    # One comes again, let in by the youngest, and lets one more in: the three have no link to the eldest but what was.
    chain[2] = await let_in(api, chain[4], code="generation-1")
    chain.append(await let_in(api, chain[2]))
    sibling = await let_in(api, phone)
    listed = {each["id"]: each for each in await known(phone)}
    assert set(listed[id_of(chain[0])]["descendants"]) == {id_of(each) for each in chain[1:]}
    assert "descendants" not in listed[id_of(sibling)]
    path = f"/devices/{id_of(chain[0])}"
    assert refusal(await api.http.delete(f"{path}?descendants=x", headers=phone.headers)) == (400, "bad_request")
    assert (await api.http.delete(f"{path}?descendants=true", headers=phone.headers)).status_code == 204
    assert [each["id"] for each in await known(phone)] == [id_of(phone), id_of(sibling)]
    for device in chain:
        assert refusal(await device.get("/me")) == (401, "unauthenticated")
        body = {"refreshKey": device.keys["refreshKey"]}
        assert refusal(await api.http.post("/sessions/refresh", json=body)) == (401, "unauthenticated")
    assert (await sibling.get("/me")).status_code == 200


async def test_revoking_without_descendants_leaves_them(api: Api, phone: Phone) -> None:
    child = await let_in(api, phone)
    grandchild = await let_in(api, child)
    await api.http.delete(f"/devices/{id_of(child)}", headers=phone.headers)
    assert [each["id"] for each in await known(grandchild)] == [id_of(phone), id_of(grandchild)]


@pytest.mark.security(19)
async def test_one_call_revokes_all_others(api: Api, server: Server, phone: Phone) -> None:
    others = [await let_in(api, phone) for _ in range(3)]
    async with account_socket(server.ws_url, others[0]) as account:
        assert (await phone.post("/devices/revoke-others")).json() == {"revoked": 3}
        assert await closed(account) == 4401
    for device in others:
        assert refusal(await device.get("/me")) == (401, "unauthenticated")
    assert [each["id"] for each in await known(phone)] == [id_of(phone)]
    assert (await phone.post("/devices/revoke-others")).json() == {"revoked": 0}


async def test_a_device_may_revoke_itself(api: Api, phone: Phone) -> None:
    second = await let_in(api, phone)
    assert (await api.http.delete(f"/devices/{id_of(second)}", headers=second.headers)).status_code == 204
    assert refusal(await second.get("/me")) == (401, "unauthenticated")


async def test_to_log_a_device_out_that_is_out_is_done_already(api: Api, phone: Phone, new_phone: NewPhone) -> None:
    second, path = await let_in(api, phone), "/devices/{}"
    own = path.format(id_of(second))
    for _ in range(3):
        # Its own, and the answer got lost.
        assert (await api.http.delete(own, headers=second.headers)).status_code == 204
        assert (await api.http.delete(own, headers=phone.headers)).status_code == 204
    # It is out, and for everything else it is nobody.
    assert refusal(await second.get("/me")) == (401, "unauthenticated")
    elsewhere = path.format(id_of(phone))
    assert refusal(await api.http.delete(elsewhere, headers=second.headers)) == (401, "unauthenticated")
    assert refusal(await api.http.delete(own, headers=(await new_phone()).headers)) == (404, "not_found")
    assert refusal(await api.http.delete(path.format("0" * 32), headers=phone.headers)) == (404, "not_found")
    lines = (await phone.get("/activity?only=other")).json()["activity"]
    assert [(line["event"], line.get("count", 1)) for line in lines] == [("device.revoked", 1)]


# Polls


async def test_where_sockets_are_blocked_a_poll_waits_for_the_devices_to_change(api: Api, phone: Phone) -> None:
    version = (await phone.get("/devices")).json()["version"]
    waiting = [asyncio.create_task(phone.get(f"/devices?known={version}&wait=30")) for _ in range(50)]
    second = await let_in(api, phone, name="Newcomer")
    for answer in await asyncio.gather(*waiting):
        assert [each["name"] for each in answer.json()["devices"]] == ["Test device", "Newcomer"]
    newer = answer.json()["version"]
    renaming = asyncio.create_task(phone.get(f"/devices?known={newer}&wait=30"))
    await api.http.patch(f"/devices/{id_of(second)}", json={"name": "Renamed"}, headers=phone.headers)
    renamed = (await renaming).json()
    assert [each["name"] for each in renamed["devices"]] == ["Test device", "Renamed"]
    leaving = asyncio.create_task(phone.get(f"/devices?known={renamed['version']}&wait=30"))
    await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
    assert (await leaving).json()["version"] == version


async def test_a_poll_for_devices_answers_at_once_where_they_have_changed_and_else_when_its_wait_is_over(
    api: Api, phone: Phone
) -> None:
    plain = await phone.get("/devices")
    version = plain.json()["version"]
    assert plain.headers["etag"] == f'W/"{version}"'
    assert (await phone.get(f"/devices?known={'x' * 22}&wait=30")).json()["version"] == version
    assert (await phone.get(f"/devices?known={version}&wait=1")).json()["version"] == version
    for known in (f'W/"{version}"', f'"{version}"', f'"other", "{version}"'):
        same = await api.http.get("/devices", headers=phone.headers | {"If-None-Match": known})
        assert (same.status_code, same.content) == (304, b"")
    # That a device was seen is no change.
    phone.keys = (await api.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]})).json()
    assert (await phone.get("/devices")).json()["version"] == version
    for query in ("known=", "known=1", f"known={'/' * 22}", f"known={version}&wait=31", f"known={version}&wait=x"):
        assert refusal(await phone.get(f"/devices?{query}")) == (400, "bad_request")


@pytest.mark.security(36)
async def test_a_poll_for_devices_ends_with_its_session(api: Api, phone: Phone) -> None:
    second = await let_in(api, phone)
    version = (await second.get("/devices")).json()["version"]
    waiting = [asyncio.create_task(second.get(f"/devices?known={version}&wait=30")) for _ in range(5)]
    await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
    assert [refusal(each) for each in await asyncio.gather(*waiting)] == [(401, "unauthenticated")] * 5


# Events and activity


@pytest.mark.security(19)
@pytest.mark.mitigation("6.1.6")
async def test_all_other_devices_hear_who_came_and_who_went(api: Api, server: Server, new_phone: NewPhone) -> None:
    phone = await new_phone("hearer")
    second = await let_in(api, phone)
    stranger = await new_phone()
    async with (
        account_socket(server.ws_url, phone) as one,
        account_socket(server.ws_url, second) as two,
        account_socket(server.ws_url, stranger) as none,
    ):
        await _listening(api, phone, one, two)
        third = await let_in(api, phone, name="Newcomer")
        for connection in (one, two):
            message = await event(connection)
            assert message["type"] == "device.added"
            assert message["device"]["id"] == id_of(third)
            assert message["device"]["name"] == "Newcomer"
        invited = await fresh_phone(api, server.folder, "hearer")
        assert [(await event(each))["device"]["id"] for each in (one, two)] == [id_of(invited)] * 2
        await api.http.delete(f"/devices/{id_of(third)}", headers=phone.headers)
        for connection in (one, two):
            message = await event(connection)
            assert (message["type"], message["device"]["id"]) == ("device.revoked", id_of(third))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await none.recv()


async def _listening(api: Api, phone: Phone, *connections: websockets.ClientConnection) -> None:
    """A fresh account socket says nothing, so devices come and go until all of them were told of one."""
    heard = [asyncio.create_task(connection.recv()) for connection in connections]
    for _ in range(100):
        probe = await let_in(api, phone)
        await asyncio.sleep(0.05)
        await api.http.delete(f"/devices/{id_of(probe)}", headers=phone.headers)
        if all(task.done() for task in heard):
            break
    await asyncio.gather(*heard)
    for connection in connections:
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await connection.recv()


async def test_the_activity_tells_what_happened_newest_first(api: Api, phone: Phone) -> None:
    second = await let_in(api, phone, name="Short visit")
    await api.http.patch(f"/devices/{id_of(second)}", json={"name": "Renamed"}, headers=phone.headers)
    await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
    lines = (await phone.get("/activity")).json()["activity"]
    assert [line["event"] for line in lines] == ["device.revoked", "device.renamed", "device.added", "device.added"]
    assert [line["deviceName"] for line in lines[:3]] == ["Renamed", "Renamed", "Short visit"]
    assert all(line["ip"] == "127.0.0.1" and line["at"].endswith("Z") for line in lines)


async def test_the_activity_has_pages_and_tells_how_often_a_line_was_repeated(
    api: Api, server: Server, phone: Phone
) -> None:
    account = phone.keys["user"]["id"]
    with closing(sqlite3.connect(server.folder / "pairing.db", timeout=10)) as database, database:
        lines = [(account, number // 7, f"event {number}") for number in range(120)]
        database.executemany("INSERT INTO activity (user_id, at, event) VALUES (?, ?, ?)", lines)
    first = (await phone.get("/activity")).json()
    assert [line["event"] for line in first["activity"]] == [
        "device.added",
        *(f"event {n}" for n in range(119, 20, -1)),
    ]
    rest = (await phone.get(f"/activity?before={first['next']}")).json()
    assert [line["event"] for line in rest["activity"]] == [f"event {n}" for n in range(20, -1, -1)]
    assert "next" not in rest
    assert not {"count", "firstAt"} & rest["activity"][0].keys()
    for _ in range(3):
        await api.http.patch(f"/devices/{id_of(phone)}", json={"name": "Renamed"}, headers=phone.headers)
    newest = (await phone.get("/activity?only=other")).json()["activity"][0]
    assert (newest["deviceName"], newest["count"]) == ("Renamed", 3)
    assert newest["firstAt"] <= newest["at"]
    logins = (await phone.get("/activity?only=logins")).json()["activity"]
    assert [line["event"] for line in logins] == ["device.added"]


async def test_a_renamed_device_keeps_its_name_and_what_it_calls_itself_stands_beside(
    api: Api, server: Server, phone: Phone
) -> None:
    second = await let_in(api, phone, code="kept", name="LG")
    await api.http.patch(f"/devices/{id_of(second)}", json={"name": "Kitchen"}, headers=phone.headers)
    async with account_socket(server.ws_url, phone) as account:
        await _listening(api, phone, account)
        again = await let_in(api, phone, code="kept", name="LG 2")
        told = (await event(account))["device"]
    ended = await second.get("/me")
    assert refusal(ended) == (401, "unauthenticated")
    assert ended.json()["reason"] == "replaced"
    for each in (again.keys["device"], told, (await again.get("/me")).json()["device"]):
        assert (each["name"], each["reportedName"]) == ("Kitchen", "LG 2")
    assert "reportedName" not in phone.keys["device"]


@pytest.mark.parametrize(
    "query", ["before=", "before=1", "before=x-y", "before=1-", "before=-1-1", f"before={'9' * 19}-1", "only=all"]
)
async def test_a_page_of_activity_that_nobody_offered_is_a_bad_request(phone: Phone, query: str) -> None:
    assert refusal(await phone.get(f"/activity?{query}")) == (400, "bad_request")


@pytest.mark.security(18)
async def test_the_cap_on_devices_refuses_the_login_and_evicts_nobody(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_devices=2)) as (_, api):
        phone = await fresh_phone(api, tmp_path, "small")
        second = await let_in(api, phone, code="second")
        device = await api.new_pairing()
        # Before anybody consents, and to whoever can mend it.
        assert (await phone.claim(device.pairing)).json()["obstacle"] == "device_limit"
        assert refusal(await phone.approve(device.id)) == (409, "device_limit")
        assert refusal(await device.log_in()) == (409, "not_approved")
        assert "obstacle" not in (await device.poll()).json()
        invite = await invite_in(tmp_path, "small")
        refused = await api.http.post("/invites/accept", json={"code": invite}, headers=device_headers())
        assert refusal(refused) == (409, "device_limit")
        assert [each["id"] for each in await known(phone)] == [id_of(phone), id_of(second)]
        # A known device is no further one, and after a logout there is room: the same pairing goes on.
        await let_in(api, phone, code="second")
        await api.http.delete(f"/devices/{id_of(second)}", headers=phone.headers)
        assert "obstacle" not in (await phone.get(f"/pairings/{device.id}")).json()
        assert (await phone.approve(device.id)).status_code == 200
        assert (await device.log_in()).status_code == 200


@pytest.mark.security(18)
async def test_in_either_direction_a_full_account_is_told_with_the_scan_and_a_known_device_is_no_further_one(
    tmp_path: Path,
) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_devices=2)) as (server, api):
        phone = await fresh_phone(api, tmp_path, "small")
        await let_in(api, phone, code="second")
        shown = await phone.show_code()
        async with socket(server.ws_url, shown["id"], authKey=phone.keys["authKey"]) as connection:
            await until(connection, "pending")
            await api.join(shown)
            assert (await until(connection, "scanned"))["obstacle"] == "device_limit"
        known = await api.new_pairing(device_headers("second"))
        assert "obstacle" not in (await phone.claim(known.pairing)).json()
        assert (await phone.approve(known.id)).status_code == 200


@pytest.mark.security(18)
async def test_of_two_that_are_approved_for_the_last_place_one_logs_in_and_the_other_can_once_there_is_room(
    tmp_path: Path,
) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_devices=2)) as (_, api):
        phone = await fresh_phone(api, tmp_path, "small")
        devices = [await api.new_pairing() for _ in range(2)]
        for each in devices:
            await phone.claim(each.pairing)
            assert (await phone.approve(each.id)).status_code == 200
        first = await devices[0].log_in()
        assert refusal(await devices[1].log_in()) == (409, "device_limit")
        await api.http.delete(f"/devices/{first.json()['device']['id']}", headers=phone.headers)
        assert (await devices[1].log_in()).status_code == 200


# Quarantine


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Without --demo: new devices are in quarantine for an hour."""
    with running(tmp_path_factory.mktemp("strict"), demo=False) as started:
        yield started


@pytest.fixture
async def strict_api(strict: Server) -> AsyncIterator[Api]:
    async with Api(strict.url) as client:
        yield client


@pytest.mark.security(13)
@pytest.mark.mitigation("6.1.9")
async def test_a_device_in_quarantine_can_neither_let_in_nor_lock_out(strict: Server, strict_api: Api) -> None:
    api = strict_api
    owner = await fresh_phone(api, strict.folder)
    assert "quarantineUntil" not in (await owner.get("/me")).json()
    child = await let_in(api, owner, name="Phisher")
    me = (await child.get("/me")).json()
    assert me["quarantineUntil"] == me["device"]["quarantineUntil"]
    device = await api.new_pairing()
    assert (await child.claim(device.pairing)).json()["obstacle"] == "device_quarantined"
    path = f"/devices/{id_of(owner)}"
    forbidden = [
        await child.approve(device.id),
        await child.post("/pairings"),
        await api.http.patch(path, json={"name": "Muted"}, headers=child.headers),
        await api.http.delete(path, headers=child.headers),
        # Its own log-out must not take along whom it let in before it had to come back by an invite.
        await api.http.delete(f"/devices/{id_of(child)}?descendants=true", headers=child.headers),
        await child.post("/devices/revoke-others"),
    ]
    for answer in forbidden:
        assert refusal(answer) == (403, "device_quarantined")
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert (await device.poll()).json()["status"] == "scanned"
    assert (await child.deny(device.id)).json()["status"] == "denied"
    own = f"/devices/{id_of(child)}"
    assert (await api.http.patch(own, json={"name": "Me"}, headers=child.headers)).status_code == 200
    assert [each["name"] for each in await known(owner)] == ["Test device", "Me"]
    assert (await api.http.delete(own, headers=child.headers)).status_code == 204
    assert len(await known(owner)) == 1


@pytest.mark.security(13, 18)
async def test_quarantine_ends_by_no_login_refresh_or_invite(strict: Server, strict_api: Api) -> None:
    api = strict_api
    owner = await fresh_phone(api, strict.folder, "owner-2")
    await let_in(api, owner, code="phisher")
    # A known code brings no age along, nor does an invite into an account that has devices.
    again = await let_in(api, owner, code="phisher")
    assert refusal(await again.post("/pairings")) == (403, "device_quarantined")
    answer = await api.http.post("/sessions/refresh", json={"refreshKey": again.keys["refreshKey"]})
    assert refusal(await Phone(api, answer.json()).post("/pairings")) == (403, "device_quarantined")
    invited = await fresh_phone(api, strict.folder, "owner-2")
    assert refusal(await invited.post("/pairings")) == (403, "device_quarantined")


async def test_quarantine_passes_with_time(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, quarantine_seconds=300)) as (server, api):
        owner = await fresh_phone(api, tmp_path, None, server.clock)
        child = await let_in(api, owner)
        server.clock.advance(295)
        assert refusal(await child.post("/pairings")) == (403, "device_quarantined")
        server.clock.advance(6)
        assert (await child.post("/pairings")).status_code == 201
        assert "quarantineUntil" not in (await child.get("/me")).json()
