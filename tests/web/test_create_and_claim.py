"""Creating and claiming: who may, what each side is shown, and who is turned away. States are in test_states."""

import asyncio
import re
import secrets
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.client import Api, code_of, device_headers, socket
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal

PARTY_NEUTRAL = {
    "id", "initiator", "status", "version", "createdAt", "expiresAt", "expiresIn", "verification", "pollInterval",
}  # fmt: skip
TOKEN = re.compile(r"[A-Za-z0-9_-]{22,}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.mark.security(1)
async def test_a_new_device_gets_an_id_a_code_and_a_secret_that_have_nothing_in_common(
    api: Api, server: Server
) -> None:
    answer = await api.http.post("/pairings", headers=device_headers())
    assert answer.status_code == 201
    made = answer.json()
    assert made.keys() == PARTY_NEUTRAL | {"userCode", "qr", "secret"}
    assert answer.headers["location"] == f"/api/v1/pairings/{made['id']}"
    assert (made["initiator"], made["status"], made["version"]) == ("new_device", "pending", 1)
    assert (made["verification"], made["pollInterval"]) == ("undecided", 3)
    assert made["qr"]["text"] == f"{server.public_url}/pair/{made['id']}#{code_of(made)}"
    assert made["qr"]["svg"].startswith("<svg") or "<svg" in made["qr"]["svg"]
    values = {made["id"], code_of(made), made["secret"]}
    assert len(values) == 3
    assert all(TOKEN.fullmatch(value) for value in values)
    assert TIME.fullmatch(made["createdAt"])
    assert TIME.fullmatch(made["expiresAt"])
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", made["userCode"])


@pytest.mark.mitigation("6.1.15")
async def test_a_logged_in_device_gets_a_join_address_and_no_secret(
    api: Api, server: Server, new_phone: NewPhone
) -> None:
    made = await (await new_phone()).show_code()
    assert made["initiator"] == "logged_in_device"
    assert "secret" not in made
    assert made["qr"]["text"].startswith(f"{server.public_url}/join/{made['id']}#")


@pytest.mark.parametrize(("wanted", "kinds"), [("svg", {"text", "svg"}), ("png", {"text", "png"}), ("none", {"text"})])
async def test_the_picture_comes_in_the_kind_that_was_asked_for(api: Api, wanted: str, kinds: set[str]) -> None:
    made = (await api.http.post("/pairings", json={"qr": wanted}, headers=device_headers())).json()
    assert made["qr"].keys() == kinds
    if wanted == "png":
        assert made["qr"]["png"].startswith("data:image/png;base64,")


@pytest.mark.security(1)
@pytest.mark.mitigation("6.1.4")
async def test_ids_codes_and_secrets_never_come_twice(api: Api) -> None:
    made = [(await api.new_pairing()).pairing for _ in range(50)]
    for values in (
        {each["id"] for each in made},
        {code_of(each) for each in made},
        {each["secret"] for each in made},
        {each["userCode"] for each in made},
    ):
        assert len(values) == 50


async def test_a_device_may_bring_a_secret_of_its_own(api: Api) -> None:
    own = secrets.token_urlsafe(16)
    made = await api.new_pairing(device_headers() | {"Pairing-Secret": own})
    assert made.pairing["secret"] == own
    assert (await made.poll()).status_code == 200


@pytest.mark.security(1)
@pytest.mark.parametrize("bad", ["short", "x" * 21, "x" * 129, "has a space in it, and commas", "ümläut" * 5])
async def test_a_secret_too_weak_or_too_odd_is_refused_where_it_is_chosen(
    api: Api, new_phone: NewPhone, server: Server, bad: str
) -> None:
    raw = {name.encode(): value.encode() for name, value in (device_headers() | {"Pairing-Secret": bad}).items()}
    shown = await (await new_phone()).show_code()
    for path, body in [
        ("/pairings", {}),
        (f"/pairings/{shown['id']}/claim", {"code": code_of(shown)}),
        ("/invites/accept", {"code": "x" * 32}),
    ]:
        assert refusal(await api.http.post(path, json=body, headers=raw)) == (400, "bad_request")


@pytest.mark.parametrize("missing", ["X-Device-Code", "X-Device-Name"])
async def test_code_and_name_are_needed_wherever_a_new_device_introduces_itself(
    api: Api, new_phone: NewPhone, missing: str
) -> None:
    shown = await (await new_phone()).show_code()
    for path, body in [
        ("/pairings", {}),
        (f"/pairings/{shown['id']}/claim", {"code": code_of(shown)}),
        ("/pairings/claim", {"userCode": shown["userCode"]}),
        ("/invites/accept", {"code": "x" * 32}),
    ]:
        headers = device_headers()
        del headers[missing]
        for given in (headers, headers | {missing: ""}, headers | {missing: "%20"}):
            answer = await api.http.post(path, json=body, headers=given)
            assert refusal(answer) == (400, "device_headers_required"), path


async def test_each_side_of_flow_2_sees_its_own_part(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    claimed = (await phone.claim(device.pairing)).json()
    assert claimed.keys() == PARTY_NEUTRAL | {"scannedAt", "newDevice"}
    assert (await device.poll()).json().keys() == PARTY_NEUTRAL | {"scannedAt"}
    approved = (await phone.approve(device.id)).json()
    assert approved.keys() == PARTY_NEUTRAL | {"scannedAt", "approvedAt", "newDevice"}
    assert (await device.poll()).json().keys() == PARTY_NEUTRAL | {"scannedAt", "approvedAt"}
    keys = (await device.log_in()).json()
    done = (await phone.get(f"/pairings/{device.id}")).json()
    assert done["newDevice"]["deviceId"] == keys["device"]["id"]
    assert (await device.poll()).json().keys() == PARTY_NEUTRAL | {"scannedAt", "approvedAt"}


async def test_each_side_of_flow_1_sees_its_own_part(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    shown = await phone.show_code()
    device = await api.join(shown)
    assert device.pairing.keys() == PARTY_NEUTRAL | {"scannedAt", "secret"}
    seen = (await phone.get(f"/pairings/{shown['id']}")).json()
    assert seen.keys() == PARTY_NEUTRAL | {"scannedAt", "newDevice"}


@pytest.mark.security(10)
async def test_the_approver_sees_what_the_device_says_apart_from_what_the_server_saw(
    api: Api, new_phone: NewPhone
) -> None:
    own = device_headers(
        name="Kitchen", **{"X-Os-Device": "Linux 6", "X-App-Version-Number": "1.2.3", "User-Agent": "Fridge/1"}
    )
    device = await api.new_pairing(own)
    seen = (await (await new_phone()).claim(device.pairing)).json()["newDevice"]
    assert seen["reported"] == {"name": "Kitchen", "os": "Linux 6", "appVersion": "1.2.3"}
    assert seen["observed"] == {"ip": "127.0.0.1", "userAgent": "Fridge/1", "network": "same"}


@pytest.mark.security(2)
async def test_a_scan_is_never_consent(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    assert refusal(await device.log_in()) == (409, "not_approved")
    await phone.claim(device.pairing)
    for _ in range(3):
        assert refusal(await device.log_in()) == (409, "not_approved")


async def test_a_code_for_the_other_kind_of_device_is_turned_away_with_its_direction(
    api: Api, new_phone: NewPhone
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    answer = await api.http.post(
        f"/pairings/{device.id}/claim", json={"code": code_of(device.pairing)}, headers=device_headers()
    )
    assert refusal(answer) == (409, "wrong_direction")
    assert answer.json()["initiator"] == "new_device"
    shown = await (await new_phone()).show_code()
    answer = await phone.claim(shown)
    assert refusal(answer) == (409, "wrong_direction")
    assert answer.json()["initiator"] == "logged_in_device"
    # Nobody's pairing was claimed by it.
    assert (await device.poll()).json()["status"] == "pending"


async def test_nobody_cancels_what_the_other_made(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    answer = await api.http.delete(f"/pairings/{device.id}", headers=phone.headers)
    assert refusal(answer) == (409, "wrong_direction")
    shown = await phone.show_code()
    joined = await api.join(shown)
    assert refusal(await api.http.delete(f"/pairings/{joined.id}", headers=joined.headers)) == (409, "wrong_direction")


@pytest.mark.security(8)
async def test_nobody_approves_their_own_pairing(api: Api, new_phone: NewPhone) -> None:
    code = "same-installation"
    phone = await new_phone(**{"X-Device-Code": code})
    device = await api.new_pairing(device_headers(code))
    assert refusal(await phone.claim(device.pairing)) == (409, "same_device")
    shown = await phone.show_code()
    answer = await api.http.post(
        f"/pairings/{shown['id']}/claim", json={"code": code_of(shown)}, headers=device_headers(code)
    )
    assert refusal(answer) == (409, "same_device")
    # B holds the secret only: no credential of its own lets it decide.
    for call in ("approve", "deny"):
        answer = await api.http.post(f"/pairings/{device.id}/{call}", headers=device.headers)
        assert refusal(answer) == (401, "unauthenticated")


@pytest.mark.security(3)
@pytest.mark.mitigation("6.1.3")
async def test_the_same_claimant_again_is_told_the_same_and_another_is_turned_away(
    api: Api, new_phone: NewPhone
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    first = (await phone.claim(device.pairing)).json()
    again = (await phone.claim(device.pairing)).json()
    assert (again["version"], again["newDevice"]) == (first["version"], first["newDevice"])
    late = await (await new_phone()).claim(device.pairing)
    assert refusal(late) == (409, "already_claimed")
    assert "newDevice" not in late.json()


async def test_a_joining_device_with_its_own_secret_may_repeat_a_claim_whose_answer_it_lost(
    api: Api, new_phone: NewPhone
) -> None:
    shown = await (await new_phone()).show_code()
    own = device_headers() | {"Pairing-Secret": secrets.token_urlsafe(24)}
    first, again = (await api.join(shown, own)).pairing, (await api.join(shown, own)).pairing
    assert (first["secret"], first["version"]) == (again["secret"], again["version"])
    path, body = f"/pairings/{shown['id']}/claim", {"code": code_of(shown)}
    other = await api.http.post(path, json=body, headers=own | {"Pairing-Secret": secrets.token_urlsafe(24)})
    assert refusal(other) == (409, "already_claimed")
    without = await api.http.post(path, json=body, headers=device_headers())
    assert refusal(without) == (409, "already_claimed")


@pytest.mark.security(8)
async def test_wrong_code_unknown_id_and_foreign_id_cannot_be_told_apart(api: Api, new_phone: NewPhone) -> None:
    phone, stranger = await new_phone(), await new_phone()
    device, other = await api.new_pairing(), await api.new_pairing()
    await phone.claim(device.pairing)
    unknown, code = secrets.token_urlsafe(16), code_of(device.pairing)
    claims = [
        await stranger.post(f"/pairings/{device.id}/claim", {"code": secrets.token_urlsafe(16)}),
        await stranger.post(f"/pairings/{unknown}/claim", {"code": code}),
        await stranger.post(f"/pairings/{other.id}/claim", {"code": code}),
        await stranger.post(f"/pairings/{device.id}/claim", {"code": ""}),
    ]
    key, secret = stranger.headers, other.headers
    others: list[Any] = []
    for pairing_id in (device.id, unknown):
        others += [
            await api.http.get(f"/pairings/{pairing_id}", headers=key),
            await api.http.get(f"/pairings/{pairing_id}?since=0&wait=1", headers=key),
            await api.http.get(f"/pairings/{pairing_id}", headers=secret),
            await api.http.get(f"/pairings/{pairing_id}", headers={"Pairing-Secret": "x"}),
            await api.http.post(f"/pairings/{pairing_id}/approve", headers=key),
            await api.http.post(f"/pairings/{pairing_id}/deny", headers=key),
            await api.http.delete(f"/pairings/{pairing_id}", headers=key),
            await api.http.delete(f"/pairings/{pairing_id}", headers=secret),
            await api.http.post(f"/pairings/{pairing_id}/login", json={}, headers=secret),
        ]
    for answer in (*claims, *others):
        assert refusal(answer) == (404, "not_found")
    assert len({answer.text for answer in (*claims, *others)}) == 1


@pytest.mark.security(1)
async def test_all_that_a_qr_code_says_opens_nothing(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    for approved in (False, True):
        if approved:
            await phone.approve(device.id)
        for value in (device.id, code_of(device.pairing), device.pairing["userCode"], device.pairing["qr"]["text"]):
            secret, key = {"Pairing-Secret": value}, {"Auth-Key": value}
            for credential in ("secret", "authKey"):
                async with socket(api.url.replace("http", "ws"), device.id, **{credential: value}) as connection:
                    with pytest.raises(ConnectionClosed):
                        await connection.recv()
                    assert connection.close_code in (4401, 4404)
            assert (await api.http.get(f"/pairings/{device.id}", headers=secret)).status_code == 404
            assert (await api.http.post(f"/pairings/{device.id}/login", json={}, headers=secret)).status_code == 404
            assert (await api.http.get(f"/pairings/{device.id}", headers=key)).status_code == 401
        assert (await api.http.get(f"/pairings/{device.id}")).status_code == 401


@pytest.mark.security(8)
async def test_a_secret_is_worth_nothing_on_another_pairing(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    mine, other = await api.new_pairing(), await api.new_pairing()
    for device in (mine, other):
        await phone.claim(device.pairing)
        await phone.approve(device.id)
    answer = await api.http.post(f"/pairings/{other.id}/login", json={}, headers=mine.headers)
    assert refusal(answer) == (404, "not_found")
    assert (await other.log_in()).status_code == 200


async def test_of_60_accounts_that_claim_one_code_at_once_one_wins_and_only_it_can_approve(
    api: Api, new_phone: NewPhone
) -> None:
    phones = [await new_phone() for _ in range(60)]
    device = await api.new_pairing()
    answers = await asyncio.gather(*(phone.claim(device.pairing) for phone in phones))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 59
    for phone, answer in zip(phones, answers, strict=True):
        if answer.status_code == 409:
            assert refusal(answer) == (409, "already_claimed")
            assert refusal(await phone.approve(device.id)) == (404, "not_found")
    winner = next(phone for phone, answer in zip(phones, answers, strict=True) if answer.status_code == 200)
    assert (await winner.approve(device.id)).status_code == 200


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6")
async def test_a_report_is_noted_in_the_reporters_activity(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing(device_headers(name="Phisher"))
    await phone.claim(device.pairing)
    assert (await phone.deny(device.id, {"report": True})).json()["status"] == "denied"
    lines = (await phone.get("/activity")).json()["activity"]
    assert any(line["event"] == "pairing.reported" and line["deviceName"] == "Phisher" for line in lines)
