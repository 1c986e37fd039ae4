"""What the approver is told before it decides: places, warnings, and the policy for other networks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support import geoip
from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.embedded import fresh_phone
from tests.support.servers import Server, running
from tests.web.conftest import refusal

HOME = "9.9.9.9"
# Both in the database's Zürich, as HOME is.
NEARBY = "9.9.9.77"
FAR = geoip.SAO_PAULO
FLOWS = ("new_device", "logged_in_device")


def seen_from(ip: str) -> dict[str, str]:
    return {"X-Forwarded-For": ip}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Behind a proxy, with a database of places, and the limits of its defaults."""
    folder = tmp_path_factory.mktemp("placed")
    file = str(geoip.write(folder / "places.mmdb"))
    with running(folder, PAIRING_TRUSTED_PROXIES="127.0.0.1", PAIRING_GEOIP_FILE=file) as server:
        yield server


async def ask(
    api: Api, phone: Phone, flow: str, ip: str, *, at: str = HOME, pairing: dict[str, Any] | None = None
) -> tuple[httpx2.Response, NewDevice | dict[str, Any]]:
    """A device at `ip` asks a phone at `at`; the answer to the claim, and who or what holds the pairing then."""
    if flow == "new_device":
        device = await api.new_pairing(device_headers() | seen_from(ip))
        body = {"code": device.pairing["qr"]["text"].split("#")[1]}
        headers = phone.headers | seen_from(at)
        return await api.http.post(f"/pairings/{device.id}/claim", json=body, headers=headers), device
    shown = (
        pairing or (await api.http.post("/pairings", json={"qr": "none"}, headers=phone.headers | seen_from(at))).json()
    )
    body = {"code": shown["qr"]["text"].split("#")[1]}
    headers = device_headers() | seen_from(ip)
    return await api.http.post(f"/pairings/{shown['id']}/claim", json=body, headers=headers), shown


async def approvers_view(api: Api, phone: Phone, flow: str, ip: str, *, at: str = HOME) -> dict[str, Any]:
    answer, _ = await ask(api, phone, flow, ip, at=at)
    assert answer.status_code == 200, answer.text
    return dict((await phone.get(f"/pairings/{answer.json()['id']}")).json())


# Places


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.1", "6.1.6")
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("ip", "at", "place", "differs"),
    [
        (FAR, HOME, {"countryCode": "BR", "country": "Brazil", "city": "São Paulo"}, True),
        (geoip.BRAZIL, HOME, {"countryCode": "BR", "country": "Brazil"}, True),
        (NEARBY, HOME, {"countryCode": "CH", "country": "Switzerland", "city": "Zürich"}, False),
        (FAR, geoip.BRAZIL, {"countryCode": "BR", "country": "Brazil", "city": "São Paulo"}, False),
        # What is not known differs from nothing.
        (geoip.NOWHERE, HOME, None, False),
        (FAR, "127.0.0.1", {"countryCode": "BR", "country": "Brazil", "city": "São Paulo"}, False),
    ],
)
async def test_the_approver_sees_the_place_of_the_new_device_and_is_warned_of_another_country(
    api: Api, server: Server, flow: str, ip: str, at: str, place: dict[str, str] | None, differs: bool
) -> None:
    phone = await fresh_phone(api, server.folder)
    seen = await approvers_view(api, phone, flow, ip, at=at)
    assert seen["newDevice"]["observed"].get("place") == place
    assert ("place_differs" in seen.get("warnings", [])) is differs


@pytest.mark.security(1, 10)
@pytest.mark.parametrize("flow", FLOWS)
async def test_the_new_device_is_told_nothing_of_places_and_warnings(api: Api, server: Server, flow: str) -> None:
    phone = await fresh_phone(api, server.folder)
    answer, holder = await ask(api, phone, flow, FAR)
    device = holder if isinstance(holder, NewDevice) else NewDevice(api, answer.json(), {})
    for each in (device.pairing, (await device.poll()).json()):
        assert not {"warnings", "newDevice", "place"} & each.keys()


async def test_without_a_database_no_place_is_told(server: Server) -> None:
    async with Api(server.url) as api:
        phone, device = await fresh_phone(api, server.folder), await api.new_pairing()
        seen = (await phone.claim(device.pairing)).json()
        assert seen["newDevice"]["observed"].keys() == {"ip", "userAgent", "network"}
        assert "warnings" not in seen


# Many requests


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6", "6.1.11")
@pytest.mark.parametrize("flow", FLOWS)
async def test_the_sixth_request_of_an_hour_comes_with_a_warning_and_no_other_account_has_it(
    api: Api, server: Server, flow: str
) -> None:
    phone, other = await fresh_phone(api, server.folder), await fresh_phone(api, server.folder)
    warned = [(await approvers_view(api, phone, flow, HOME)).get("warnings", []) for _ in range(6)]
    assert warned == [[]] * 5 + [["many_requests"]]
    assert (await approvers_view(api, other, flow, HOME)).get("warnings", []) == []


@pytest.mark.security(10)
async def test_a_claim_that_is_refused_or_repeated_is_no_request(api: Api, server: Server) -> None:
    phone, winner = await fresh_phone(api, server.folder), await fresh_phone(api, server.folder)
    device = await api.new_pairing(device_headers() | seen_from("127.0.0.1"))
    assert (await winner.claim(device.pairing)).status_code == 200
    for _ in range(6):
        assert (await winner.claim(device.pairing)).status_code == 200
        assert refusal(await phone.claim(device.pairing)) == (409, "already_claimed")
    assert (await winner.get(f"/pairings/{device.id}")).json().get("warnings", []) == []
    for each in (phone, winner):
        assert (await approvers_view(api, each, "new_device", HOME)).get("warnings", []) == []


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6", "6.1.11")
async def test_an_origin_that_makes_or_claims_unusually_many_is_warned_of_but_not_in_its_own_network(
    api: Api, server: Server
) -> None:
    ip = "9.9.9.200"
    for _ in range(59):
        await api.new_pairing(device_headers() | seen_from(ip))
    phones = [await fresh_phone(api, server.folder) for _ in range(4)]
    warned = [await approvers_view(api, phone, flow, ip) for phone, flow in zip(phones, FLOWS * 2, strict=True)]
    # The first of these pairings is the sixtieth.
    assert ["many_requests" in seen.get("warnings", []) for seen in warned] == [True] * 4
    quiet = await approvers_view(api, await fresh_phone(api, server.folder), "new_device", NEARBY)
    assert quiet.get("warnings", []) == ["network_differs"]
    # An office behind one address shows many codes, and lets its own devices in.
    inside = await approvers_view(api, await fresh_phone(api, server.folder), "new_device", ip, at=ip)
    assert inside.get("warnings", []) == []


# The network


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.1", "6.1.8")
@pytest.mark.parametrize("flow", FLOWS)
async def test_another_network_is_warned_of_by_default_and_the_same_and_an_unknown_one_are_not(
    api: Api, server: Server, flow: str
) -> None:
    phone = await fresh_phone(api, server.folder)
    for ip, network, warned in (
        (NEARBY, "different", ["network_differs"]),
        (HOME, "same", []),
        ("2606:4700::1", "unknown", []),
    ):
        seen = await approvers_view(api, phone, flow, ip)
        assert (seen["newDevice"]["observed"]["network"], seen.get("warnings", [])) == (network, warned)


@pytest.mark.security(10)
async def test_the_policy_off_warns_of_no_network_and_still_tells_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"PAIRING_TRUSTED_PROXIES": "127.0.0.1", "PAIRING_NETWORK_POLICY": "off"}
    with running(tmp_path, **settings) as server:
        async with Api(server.url) as api:
            phone = await fresh_phone(api, server.folder)
            seen = await approvers_view(api, phone, "new_device", NEARBY)
        assert (seen["newDevice"]["observed"]["network"], seen.get("warnings", [])) == ("different", [])
        assert seen["verification"] == "number"


@pytest.fixture(scope="module")
def denying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("denying")
    with running(folder, PAIRING_TRUSTED_PROXIES="127.0.0.1", PAIRING_NETWORK_POLICY="deny") as server:
        yield server


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.1", "6.1.8")
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("ip", [NEARBY, "2606:4700::1"], ids=["different", "unknown"])
async def test_the_policy_deny_refuses_the_claim_and_leaves_the_pairing_to_who_is_in_the_network(
    denying: Server, flow: str, ip: str
) -> None:
    async with Api(denying.url) as api:
        phone = await fresh_phone(api, denying.folder)
        refused, holder = await ask(api, phone, flow, ip)
        assert refusal(refused) == (403, "network_refused")
        assert "number" not in refused.text
        if isinstance(holder, NewDevice):
            # Nobody has claimed it: the approver may come again from the device's own network.
            left = (await holder.poll()).json()
            body = {"code": holder.pairing["qr"]["text"].split("#")[1]}
            headers = phone.headers | seen_from(ip)
            again = await api.http.post(f"/pairings/{holder.id}/claim", json=body, headers=headers)
        else:
            left = (await phone.get(f"/pairings/{holder['id']}")).json()
            assert "newDevice" not in left
            again, _ = await ask(api, phone, flow, HOME, pairing=holder)
        assert (left["status"], left["version"]) == ("pending", 1)
        assert again.status_code == 200, again.text
        pairing_id = again.json()["id"]
        assert (await phone.approve(pairing_id)).json().get("warnings", []) == []


@pytest.mark.security(10, 12)
async def test_under_the_policy_deny_a_typed_code_from_elsewhere_looks_like_any_wrong_one(denying: Server) -> None:
    async with Api(denying.url) as api:
        phone = await fresh_phone(api, denying.folder)
        device = await api.new_pairing(device_headers() | seen_from(NEARBY))
        body, headers = {"userCode": device.pairing["userCode"]}, phone.headers | seen_from(HOME)
        refused = await api.http.post("/pairings/claim", json=body, headers=headers)
        assert refusal(refused) == (404, "not_found")
        assert (await device.poll()).json()["version"] == 1


@pytest.mark.security(10)
async def test_what_was_claimed_in_the_network_can_be_claimed_again_from_anywhere(denying: Server) -> None:
    async with Api(denying.url) as api:
        phone = await fresh_phone(api, denying.folder)
        answer, device = await ask(api, phone, "new_device", HOME)
        assert answer.status_code == 200
        assert isinstance(device, NewDevice)
        body = {"code": device.pairing["qr"]["text"].split("#")[1]}
        headers = phone.headers | seen_from(NEARBY)
        repeated = await api.http.post(f"/pairings/{device.id}/claim", json=body, headers=headers)
        assert repeated.json()["status"] == "scanned"
        assert (await phone.approve(device.id)).status_code == 200
        assert (await device.log_in()).status_code == 200
