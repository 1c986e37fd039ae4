"""Reports of pairings nobody started, and what a proxy forwards: whom `X-Forwarded-For` can convince of what."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.client import Api, Phone, code_of, device_headers
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.servers import Server, running
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


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server whose proxy is not its local peer."""
    with embedded(tmp_path_factory.mktemp("elsewhere"), trusted_proxies="10.0.0.1") as server:
        yield server


@pytest.fixture
async def api(proxied: Server) -> AsyncIterator[Api]:
    async with Api(proxied.url) as client:
        yield client


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server that believes its local peer to be a proxy, and keeps new devices in quarantine."""
    with embedded(tmp_path_factory.mktemp("careful"), trusted_proxies="127.0.0.1", limit_user_code="3/hour") as server:
        yield server


async def phone_of(api: Api, server: Server, username: str) -> Phone:
    return await fresh_phone(api, server.folder, username)


async def reported(api: Api, phone: Phone) -> None:
    device = await api.new_pairing(device_headers() | PHISHER)
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.deny(device.id, {"report": True})).status_code == 200


@pytest.mark.security(10, 24)
async def test_what_a_trusted_proxy_forwards_is_what_the_approver_sees(api: Api, proxied: Server) -> None:
    phone = await phone_of(api, proxied, "viewer")
    api.http.headers["X-Forwarded-For"] = "1.1.1.2"
    device = await api.new_pairing(device_headers() | {"X-Forwarded-For": "1.1.1.1, 9.9.9.9"})
    seen = (await phone.claim(device.pairing)).json()["newDevice"]["observed"]
    assert seen["ip"] == "9.9.9.9", "only the hop that the proxy itself saw counts"
    assert seen["network"] == "different"


@pytest.mark.security(10, 11, 24)
@pytest.mark.mitigation("6.1.1")
@pytest.mark.parametrize(
    "said",
    [
        None, "", ",", "unknown", "localhost:80", "9.9.9.9, unknown", "9.9.9.9,", "9.9.9.9:", "9.9.9.9:x", "[9.9.9.9",
        "2606:4700::1:99999:1", "for=9.9.9.9", "_hidden", "127.0.0.1", "127.0.0.1:80, ::ffff:127.0.0.1",
    ],
)  # fmt: skip
async def test_where_a_trusted_proxy_names_no_client_the_network_is_unknown_and_the_number_asked_for(
    api: Api, proxied: Server, said: str | None
) -> None:
    api.http.headers.update({} if said is None else {"X-Forwarded-For": said})
    phone, device = await fresh_phone(api, proxied.folder), await api.new_pairing()
    seen = (await phone.claim(device.pairing)).json()
    assert (seen["newDevice"]["observed"]["ip"], seen["verification"]) == ("", "number")
    assert seen["newDevice"]["observed"]["network"] == "unknown"


@pytest.mark.security(24)
@pytest.mark.parametrize(
    ("said", "ip"),
    [
        ("9.9.9.9:40312", "9.9.9.9"), ("1.1.1.1:1, 9.9.9.9:40312", "9.9.9.9"), ("9.9.9.9:1, 127.0.0.1:80", "9.9.9.9"),
        ("[2606:4700::1]:443", "2606:4700::1"), ("[2606:4700::1]", "2606:4700::1"), ("2606:4700::1", "2606:4700::1"),
        ("[::ffff:9.9.9.9]:443", "9.9.9.9"),
    ],
)  # fmt: skip
async def test_a_trusted_proxy_may_write_the_port_too(api: Api, proxied: Server, said: str, ip: str) -> None:
    api.http.headers["X-Forwarded-For"] = said
    phone, device = await fresh_phone(api, proxied.folder), await api.new_pairing()
    observed = (await phone.claim(device.pairing)).json()["newDevice"]["observed"]
    assert (observed["ip"], observed["network"]) == (ip, "same")


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


@pytest.mark.security(10)
async def test_reports_behind_one_address_lock_nobody_out_of_it(api: Api, proxied: Server) -> None:
    api.http.headers["X-Forwarded-For"] = "9.9.9.10"
    *phones, other = [await fresh_phone(api, proxied.folder) for _ in range(4)]
    for phone in phones:
        device = await api.new_pairing()
        assert (await phone.claim(device.pairing)).json()["newDevice"]["observed"]["network"] == "same"
        assert (await phone.deny(device.id, {"report": True})).status_code == 200
    waiting = await api.new_pairing()
    assert (await other.claim(waiting.pairing)).status_code == 200
    assert (await other.post("/pairings")).status_code == 201


@pytest.mark.security(10, 38)
async def test_a_report_from_quarantine_hides_the_origin_from_that_device_alone(careful: Embedded) -> None:
    async with Api(careful.url) as api:
        owner, newcomer = [await fresh_phone(api, careful.folder, "owner") for _ in range(2)]
        device = await api.new_pairing(device_headers() | PHISHER)
        assert (await newcomer.claim(device.pairing)).status_code == 200
        denied = await newcomer.deny(device.id, {"report": True})
        assert (denied.status_code, denied.json()["status"]) == (200, "denied")
        again = await api.new_pairing(device_headers() | PHISHER)
        assert refusal(await newcomer.claim(again.pairing)) == (404, "not_found")
        assert (await owner.claim(again.pairing)).status_code == 200
        events = [line["event"] for line in (await owner.get("/activity")).json()["activity"]]
        assert "pairing.denied" in events
        assert "pairing.reported" not in events


@pytest.mark.security(10, 38)
async def test_reports_from_quarantine_close_no_address_however_many_accounts_they_come_from(careful: Embedded) -> None:
    origin = {"X-Forwarded-For": "8.8.4.20"}
    async with Api(careful.url) as api:
        for number in range(4):
            _, newcomer = [await fresh_phone(api, careful.folder, f"account-{number}") for _ in range(2)]
            device = await api.new_pairing(device_headers() | origin)
            assert (await newcomer.claim(device.pairing)).status_code == 200
            assert (await newcomer.deny(device.id, {"report": True})).status_code == 200
        assert (await api.http.post("/pairings", headers=device_headers() | origin)).status_code == 201


@pytest.mark.security(12, 38)
async def test_wrong_codes_that_a_device_in_quarantine_types_use_up_none_of_its_owners(careful: Embedded) -> None:
    async with Api(careful.url) as api:
        owner, newcomer = [await fresh_phone(api, careful.folder, "typist") for _ in range(2)]
        wrong = {"userCode": "0000-0000"}
        answers = [(await newcomer.post("/pairings/claim", wrong)).status_code for _ in range(4)]
        assert answers == [404, 404, 404, 429]
        device = await api.new_pairing()
        assert (await owner.post("/pairings/claim", {"userCode": device.pairing["userCode"]})).status_code == 200


@pytest.mark.security(10, 38)
@pytest.mark.mitigation("6.1.6")
async def test_accounts_behind_one_address_have_one_vote_about_closing_another(api: Api, proxied: Server) -> None:
    origin = {"X-Forwarded-For": "8.8.4.30"}

    async def report(address: str) -> int:
        api.http.headers["X-Forwarded-For"] = address
        phone = await fresh_phone(api, proxied.folder)
        device = await api.new_pairing(device_headers() | origin)
        assert (await phone.claim(device.pairing)).status_code == 200
        assert (await phone.deny(device.id, {"report": True})).status_code == 200
        return (await api.http.post("/pairings", headers=device_headers() | origin)).status_code

    assert [await report("9.9.9.30") for _ in range(4)] == [201] * 4
    assert [await report(f"9.9.9.{number}") for number in (31, 32)] == [201, 429]


async def test_metrics_are_for_private_peers_and_never_for_whom_a_proxy_forwards(api: Api, proxied: Server) -> None:
    assert (await api.http.get(f"{proxied.url}/metrics")).status_code == 200
    forwarded = await api.http.get(f"{proxied.url}/metrics", headers=STRANGER)
    assert forwarded.json()["code"] == "not_found"


SIGNS = ("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")


@pytest.mark.security(24)
@pytest.mark.parametrize("sign", SIGNS)
async def test_metrics_are_hidden_where_anything_says_that_an_undeclared_proxy_asks(
    server: Server, proxied: Server, elsewhere: Embedded, sign: str
) -> None:
    value = {"Forwarded": "for=192.168.0.7", "Via": "1.1 proxy"}.get(sign, "192.168.0.7")
    # That one's local peer is no proxy, or none that it has declared. A declared one has to name who asks.
    for asked in (server, elsewhere) if sign == "X-Forwarded-For" else (server, elsewhere, proxied):
        async with Api(asked.url) as api:
            hidden = await api.http.get(f"{asked.url}/metrics", headers={sign: value})
        assert refusal(hidden) == (404, "not_found")
