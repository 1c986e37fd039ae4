"""A picture that rotates, over HTTP and sockets with a clock that the test moves: both directions, keeping, silence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import Api, Phone, code_after, code_of, device_headers, socket, told, with_api
from tests.support.clock import FakeClock
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.web.conftest import refusal

SECRET = {"Pairing-Secret": "a-secret-of-its-own-0123456789"}
UNKNOWN = (404, "not_found")


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    """It stands still: nothing here depends on how long anything takes."""
    return FakeClock()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clock: FakeClock) -> Iterator[Embedded]:
    folder = tmp_path_factory.mktemp("rotating")
    with embedded(folder, clock=clock, demo=True, qr_rotate_seconds=5, **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture
async def phone(api: Api, server: Embedded, clock: FakeClock) -> Phone:
    return await fresh_phone(api, server.folder, clock=clock)


async def scan(api: Api, pairing: dict[str, Any], code: str, headers: dict[str, str]) -> httpx2.Response:
    return await api.http.post(f"/pairings/{pairing['id']}/claim", json={"code": code}, headers=headers)


async def reserve(api: Api, pairing: dict[str, Any], code: str, headers: dict[str, str]) -> httpx2.Response:
    return await api.http.post(f"/pairings/{pairing['id']}/keep", json={"code": code}, headers=headers)


async def test_the_device_that_shows_the_picture_gets_what_it_needs_once(api: Api, phone: Phone) -> None:
    for shown, proof in [
        ((device := await api.new_pairing()).pairing, device.headers),
        (await phone.show_code(), phone.headers),
    ]:
        assert shown["qr"].keys() == {"text", "rotate"}
        assert shown["qr"]["rotate"].keys() == {"seed", "seconds"}
        assert (shown["qr"]["rotate"]["seconds"], shown["elapsedMs"]) == (5, 0)
        assert code_of(shown) == code_after(shown, 0)
        later = (await api.http.get(f"/pairings/{shown['id']}", headers=proof)).json()
        assert shown["qr"]["rotate"]["seed"] not in json.dumps(later)
        assert later.keys() == shown.keys() - {"qr", "userCode", "secret"}


async def test_no_two_pairings_share_a_seed(api: Api) -> None:
    seeds = {(await api.new_pairing()).pairing["qr"]["rotate"]["seed"] for _ in range(20)}
    assert len(seeds) == 20


@pytest.mark.security(1)
async def test_a_seed_opens_nothing(api: Api) -> None:
    device = await api.new_pairing()
    seed = {"Pairing-Secret": device.pairing["qr"]["rotate"]["seed"]}
    assert refusal(await api.http.get(f"/pairings/{device.id}", headers=seed)) == UNKNOWN
    assert refusal(await api.http.post(f"/pairings/{device.id}/login", json={}, headers=seed)) == UNKNOWN


@pytest.mark.mitigation("6.1.2")
async def test_a_new_device_logs_in_with_a_later_picture_and_an_earlier_one_is_a_wrong_code(
    api: Api, phone: Phone, clock: FakeClock
) -> None:
    device = await api.new_pairing()
    clock.forward(seconds=62)
    assert (await device.poll()).json()["elapsedMs"] == 62_000
    wrong = await scan(api, device.pairing, "~" + "A" * 22, phone.headers)
    for seconds in (0, 30, 49.999, 65, 100):
        stale = await scan(api, device.pairing, code_after(device.pairing, seconds), phone.headers)
        assert refusal(stale) == UNKNOWN
        assert stale.content == wrong.content
    claimed = await scan(api, device.pairing, code_after(device.pairing, 62), phone.headers)
    assert claimed.status_code == 200
    assert "elapsedMs" not in claimed.json()
    assert "elapsedMs" not in (await device.poll()).json()
    assert (await phone.approve(device.id)).status_code == 200
    assert (await device.log_in()).status_code == 200


@pytest.mark.mitigation("6.1.2")
async def test_a_phones_picture_rotates_likewise(api: Api, phone: Phone, clock: FakeClock) -> None:
    shown = await phone.show_code()
    clock.forward(seconds=41)
    assert refusal(await scan(api, shown, code_of(shown), device_headers())) == UNKNOWN
    assert refusal(await scan(api, shown, code_after(shown, 46), device_headers())) == UNKNOWN
    assert (await scan(api, shown, code_after(shown, 41), device_headers())).status_code == 200


async def test_a_slow_scanner_has_ten_seconds_and_a_fast_clock_one(api: Api, phone: Phone, clock: FakeClock) -> None:
    for seconds, taken in ((14.999, True), (15, False)):
        device = await api.new_pairing()
        clock.forward(seconds=seconds)
        answer = await scan(api, device.pairing, code_after(device.pairing, 0), phone.headers)
        assert (answer.status_code == 200) is taken
    for seconds, taken in ((3.999, False), (4, True)):
        device = await api.new_pairing()
        clock.forward(seconds=seconds)
        answer = await scan(api, device.pairing, code_after(device.pairing, 5), phone.headers)
        assert (answer.status_code == 200) is taken


async def test_who_claimed_may_ask_again_for_a_lost_answer_and_nobody_else_with_the_same_code(
    api: Api, phone: Phone, clock: FakeClock, server: Embedded
) -> None:
    other = await fresh_phone(api, server.folder, clock=clock)
    device, shown = await api.new_pairing(), await phone.show_code()
    joining = device_headers() | SECRET
    assert (await scan(api, device.pairing, code_of(device.pairing), phone.headers)).status_code == 200
    assert (await scan(api, shown, code_of(shown), joining)).status_code == 200
    assert refusal(await scan(api, device.pairing, code_of(device.pairing), other.headers)) == (409, "already_claimed")
    clock.forward(seconds=25)
    assert (await scan(api, device.pairing, code_of(device.pairing), phone.headers)).status_code == 200
    assert (await scan(api, shown, code_of(shown), joining)).status_code == 200
    assert refusal(await scan(api, device.pairing, code_after(device.pairing, 25), phone.headers)) == UNKNOWN
    assert refusal(await scan(api, device.pairing, code_of(device.pairing), other.headers)) == UNKNOWN
    assert refusal(await scan(api, shown, code_of(shown), device_headers())) == UNKNOWN


async def test_the_typed_code_stays_and_asks_for_the_number(api: Api, phone: Phone, clock: FakeClock) -> None:
    device = await api.new_pairing()
    clock.forward(seconds=100)
    claimed = await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    assert (claimed.status_code, claimed.json()["verification"]) == (200, "number")


async def test_a_socket_says_what_time_it_is_and_nothing_more_while_the_picture_rotates(
    api: Api, phone: Phone, clock: FakeClock
) -> None:
    device = await api.new_pairing()
    clock.forward(seconds=17)
    async with device.socket() as waiting:
        assert (await told(waiting))["elapsedMs"] == 17_000
        clock.forward(seconds=60)
        assert (await scan(api, device.pairing, code_after(device.pairing, 77), phone.headers)).status_code == 200
        # The very next message: there was none for the twelve steps before.
        news = await told(waiting)
        assert (news["status"], news["version"]) == ("scanned", 2)
        assert "elapsedMs" not in news


# For who wants to think before the claim


async def test_a_kept_code_claims_a_minute_later_in_both_directions(api: Api, phone: Phone, clock: FakeClock) -> None:
    device, shown = await api.new_pairing(), await phone.show_code()
    for pairing, proof, claimant in [
        (device.pairing, phone.headers, phone.headers),
        (shown, SECRET, device_headers() | SECRET),
    ]:
        answer = await reserve(api, pairing, code_after(pairing, 0), proof)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"code", "expiresIn"}
        assert answer.json()["expiresIn"] == 60
        clock.forward(seconds=59.999)
        claimed = await scan(api, pairing, answer.json()["code"], claimant)
        assert (claimed.status_code, claimed.json()["status"]) == (200, "scanned")
        clock.forward(seconds=-59.999)


@pytest.mark.security(19, 23)
async def test_keeping_changes_nothing_and_tells_nobody(api: Api, phone: Phone) -> None:
    shown = await phone.show_code()
    before = (await phone.get(f"/pairings/{shown['id']}")).json()
    async with socket(api.url.replace("http", "ws"), shown["id"], authKey=phone.keys["authKey"]) as waiting:
        await told(waiting)
        for _ in range(3):
            assert (await reserve(api, shown, code_of(shown), SECRET)).status_code == 200
        assert (await phone.get(f"/pairings/{shown['id']}")).json() == before
        await phone.deny(shown["id"])
        assert (await told(waiting))["version"] == 2


@pytest.mark.security(8)
async def test_a_kept_code_is_worth_nothing_to_another_on_another_pairing_or_later(
    api: Api, phone: Phone, clock: FakeClock, server: Embedded
) -> None:
    other = await fresh_phone(api, server.folder, clock=clock)
    device, second, shown = await api.new_pairing(), await api.new_pairing(), await phone.show_code()
    mine = (await reserve(api, device.pairing, code_of(device.pairing), phone.headers)).json()["code"]
    joining = (await reserve(api, shown, code_of(shown), SECRET)).json()["code"]
    clock.forward(seconds=16)
    assert refusal(await scan(api, device.pairing, mine, other.headers)) == UNKNOWN
    assert refusal(await scan(api, second.pairing, mine, phone.headers)) == UNKNOWN
    for headers in (device_headers(), device_headers() | {"Pairing-Secret": "b" * 22}):
        assert refusal(await scan(api, shown, joining, headers)) == UNKNOWN
    assert refusal(await reserve(api, device.pairing, mine, phone.headers)) == UNKNOWN
    clock.forward(seconds=44)
    assert refusal(await scan(api, device.pairing, mine, phone.headers)) == UNKNOWN
    assert refusal(await scan(api, shown, joining, device_headers() | SECRET)) == UNKNOWN


async def test_what_is_not_in_the_picture_any_more_is_not_kept(api: Api, phone: Phone, clock: FakeClock) -> None:
    device = await api.new_pairing()
    clock.forward(seconds=15)
    wrong = await reserve(api, device.pairing, "~" + "A" * 22, phone.headers)
    for code in (code_of(device.pairing), code_after(device.pairing, 20)):
        answer = await reserve(api, device.pairing, code, phone.headers)
        assert refusal(answer) == UNKNOWN
        assert answer.content == wrong.content
    unknown = await reserve(api, {"id": "x" * 22}, code_after(device.pairing, 15), phone.headers)
    assert unknown.content == wrong.content


async def test_who_keeps_has_to_prove_something_that_nobody_else_has(api: Api, phone: Phone) -> None:
    shown = await phone.show_code()
    assert refusal(await reserve(api, shown, code_of(shown), device_headers())) == (401, "unauthenticated")
    for weak in ("", "short"):
        assert refusal(await reserve(api, shown, code_of(shown), {"Pairing-Secret": weak})) == (400, "bad_request")
    both = phone.headers | SECRET
    assert refusal(await reserve(api, shown, code_of(shown), both)) == (400, "bad_request")


async def test_keeping_counts_as_a_claim(tmp_path: Path) -> None:
    limits = NO_LIMITS_INSIDE | {"limit_claim": "2/minute"}
    async with with_api(embedded(tmp_path, demo=True, qr_rotate_seconds=5, **limits)) as (server, api):
        phone, device = await fresh_phone(api, server.folder, clock=server.clock), await api.new_pairing()
        for _ in range(2):
            assert (await reserve(api, device.pairing, "~" + "A" * 22, phone.headers)).status_code == 404
        assert refusal(await reserve(api, device.pairing, code_of(device.pairing), phone.headers))[0] == 429
