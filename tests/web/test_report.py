"""Reports of pairings nobody started, and what a proxy forwards: whom `X-Forwarded-For` can convince of what."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client import Api, Phone, code_of, device_headers
from tests.embedded import fresh_phone
from tests.servers import Server, running
from tests.web.conftest import refusal

# Documentation addresses are not global; these are.
PHISHER = {"X-Forwarded-For": "8.8.4.4"}
STRANGER = {"X-Forwarded-For": "9.9.9.9"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that believes its local peer to be a proxy, with the limits of its defaults."""
    folder: Path = tmp_path_factory.mktemp("proxied")
    with running(folder, PAIRING_TRUSTED_PROXIES="127.0.0.1", PAIRING_LIMIT_DEVICES="0") as server:
        yield server


@pytest.fixture
async def api(proxied: Server) -> AsyncIterator[Api]:
    async with Api(proxied.url) as client:
        yield client


async def phone_of(api: Api, server: Server, username: str) -> Phone:
    return await api.log_in_by_invite(server.invite(username))


async def reported(api: Api, phone: Phone) -> None:
    device = await api.new_pairing(device_headers() | PHISHER)
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.deny(device.id, {"report": True})).status_code == 200


@pytest.mark.security(10, 24)
async def test_what_a_trusted_proxy_forwards_is_what_the_approver_sees(api: Api, proxied: Server) -> None:
    phone = await phone_of(api, proxied, "viewer")
    device = await api.new_pairing(device_headers() | {"X-Forwarded-For": "1.1.1.1, 9.9.9.9"})
    seen = (await phone.claim(device.pairing)).json()["newDevice"]["observed"]
    assert seen["ip"] == "9.9.9.9", "only the hop that the proxy itself saw counts"
    assert seen["network"] == "different"


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6")
async def test_a_report_hides_that_origin_from_the_reporter_and_from_nobody_else(api: Api, proxied: Server) -> None:
    victim, other = await phone_of(api, proxied, "victim"), await phone_of(api, proxied, "other")
    await reported(api, victim)
    again = await api.new_pairing(device_headers() | PHISHER)
    assert (await victim.claim(again.pairing)).json()["code"] == "not_found"
    elsewhere = await api.new_pairing(device_headers() | STRANGER)
    assert (await victim.claim(elsewhere.pairing)).status_code == 200
    assert (await other.claim(again.pairing)).status_code == 200
    events = [line["event"] for line in (await victim.get("/activity")).json()["activity"]]
    assert "pairing.reported" in events


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6")
async def test_an_origin_that_several_accounts_report_can_make_no_more_pairings(api: Api, proxied: Server) -> None:
    for username in ("first", "second", "third"):
        phone = await phone_of(api, proxied, username)
        device = await api.new_pairing(device_headers() | {"X-Forwarded-For": "8.8.8.8"})
        await phone.claim(device.pairing)
        await phone.deny(device.id, {"report": True})
    refused = await api.http.post("/pairings", headers=device_headers() | {"X-Forwarded-For": "8.8.8.8"})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    allowed = await api.http.post("/pairings", headers=device_headers() | {"X-Forwarded-For": "8.8.8.9"})
    assert allowed.status_code == 201


@pytest.mark.security(10)
@pytest.mark.mitigation("6.1.6")
async def test_an_origin_that_several_accounts_report_is_hidden_from_all_in_both_directions(
    api: Api, proxied: Server
) -> None:
    origin = {"X-Forwarded-For": "8.8.4.8"}
    waiting = await api.new_pairing(device_headers() | origin)
    reporters = [await fresh_phone(api, proxied.folder) for _ in range(3)]
    pairings = [await api.new_pairing(device_headers() | origin) for _ in range(5)]
    # One that has claimed three and reports them all is one account still.
    for phone, device in zip((reporters[0], *reporters), pairings, strict=False):
        assert (await phone.claim(device.pairing)).status_code == 200
    for phone, device in zip((reporters[0], *reporters[:2]), pairings, strict=False):
        assert (await phone.deny(device.id, {"report": True})).status_code == 200
    other = await fresh_phone(api, proxied.folder)
    assert (await other.claim(pairings[4].pairing)).status_code == 200
    assert (await reporters[2].deny(pairings[3].id, {"report": True})).status_code == 200
    assert refusal(await other.claim(waiting.pairing)) == (404, "not_found")
    shown = await other.show_code()
    body = {"code": code_of(shown)}
    joining = await api.http.post(f"/pairings/{shown['id']}/claim", json=body, headers=device_headers() | origin)
    assert refusal(joining) == (404, "not_found")
    elsewhere = await api.http.post(f"/pairings/{shown['id']}/claim", json=body, headers=device_headers() | STRANGER)
    assert elsewhere.status_code == 200


async def test_metrics_are_for_private_peers_and_never_for_whom_a_proxy_forwards(api: Api, proxied: Server) -> None:
    assert (await api.http.get(f"{proxied.url}/metrics")).status_code == 200
    forwarded = await api.http.get(f"{proxied.url}/metrics", headers=STRANGER)
    assert forwarded.json()["code"] == "not_found"
