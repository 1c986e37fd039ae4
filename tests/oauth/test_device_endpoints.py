"""The device grant (RFC 8628) over the wire: what the device is told, what the approver sees, and what each may not."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, Phone, told, until
from tests.support.client import socket as pairing_socket
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.keys import DeviceKey, payload
from tests.support.limits import NO_LIMITS_INSIDE

NewTelevision = Callable[..., Awaitable[AppServer]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("device"), demo=True, **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture
async def new_television(site: Embedded) -> AsyncIterator[NewTelevision]:
    """Clients that may use the grant, public ones unless told otherwise."""
    made: list[AppServer] = []

    async def make(**settings: Any) -> AppServer:
        usual: dict[str, Any] = {
            "public": True,
            "device_grant": "on",
            "name": "Television",
            "redirect_uris": ("http://127.0.0.1/",),
        }
        made.append(await app_server(site.url, site.folder, **usual | settings))
        return made[-1]

    yield make
    for each in made:
        await each.http.aclose()


@pytest.fixture
async def tv(new_television: NewTelevision) -> AppServer:
    return await new_television()


@pytest.fixture
async def phone(site: Embedded) -> AsyncIterator[Phone]:
    async with Api(site.url) as api:
        yield await fresh_phone(api, site.folder, clock=site.clock)


def error(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert set(document) == {"error", "error_description"}
    return answer.status_code, document["error"]


async def asked(tv: AppServer, **form: str) -> dict[str, Any]:
    answer = await tv.ask_as_device(**form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def claimed(tv: AppServer, phone: Phone, **form: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the device was told, and the pairing as the approver sees it."""
    made = await asked(tv, **form)
    answer = await phone.post("/pairings/claim", {"userCode": made["user_code"]})
    assert answer.status_code == 200, answer.text
    return made, answer.json()


async def approved(tv: AppServer, phone: Phone, **form: str) -> dict[str, Any]:
    made, pairing = await claimed(tv, phone, **form)
    assert (await phone.approve(pairing["id"])).status_code == 200
    return made


async def test_a_television_is_let_in_from_a_phone(tv: AppServer, phone: Phone, site: Embedded) -> None:
    answer = await tv.ask_as_device(scope="openid profile")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    made = answer.json()
    link = f"{site.settings.public_url}/link"
    assert made == {
        "device_code": made["device_code"],
        "user_code": made["user_code"],
        "verification_uri": link,
        "verification_uri_complete": f"{link}?user_code={made['user_code']}",
        "expires_in": 600,
        "interval": 5,
    }
    assert error(await tv.poll(made["device_code"])) == (400, "authorization_pending")
    assert error(await tv.poll(made["device_code"])) == (400, "slow_down")
    claim = await phone.post("/pairings/claim", {"userCode": made["user_code"]})
    pairing = claim.json()
    assert pairing["client"] == {"id": tv.id, "name": "Television", "scopes": ["openid", "profile"]}
    assert pairing["newDevice"]["reported"]["name"] == "Television"
    assert pairing["verification"] == "none"
    approval = await phone.approve(pairing["id"])
    assert (approval.status_code, approval.json()["status"]) == (200, "approved")
    given = await tv.poll(made["device_code"])
    assert given.status_code == 200, given.text
    tokens = given.json()
    assert tokens["scope"] == "openid profile"
    assert payload(tokens["id_token"])["sub"] == phone.keys["user"]["id"]
    assert (await tv.user_info(tokens["access_token"])).json()["sub"] == phone.keys["user"]["id"]
    assert (await tv.refresh(tokens["refresh_token"])).status_code == 200
    assert (await phone.get(f"/pairings/{pairing['id']}")).json()["status"] == "consumed"
    # It is no device of the account's.
    assert len((await phone.get("/devices")).json()["devices"]) == 1


async def test_the_waiting_device_may_hold_a_socket(tv: AppServer, phone: Phone, site: Embedded) -> None:
    made = await asked(tv)
    pairing_id, _, secret = made["device_code"].partition(".")
    async with pairing_socket(site.ws_url, pairing_id, secret=secret) as connection:
        pairing = await told(connection)
        assert (pairing["status"], "client" in pairing) == ("pending", False)
        claim = await phone.post("/pairings/claim", {"userCode": made["user_code"]})
        assert claim.json()["id"] == pairing_id
        assert (await phone.approve(pairing_id)).status_code == 200
        pairing = await until(connection, "approved")
        # Whatever names the account is the approver's.
        assert {"client", "newDevice", "warnings", "number"}.isdisjoint(pairing)
        assert (await tv.poll(made["device_code"])).status_code == 200


async def test_its_device_may_take_it_back(tv: AppServer) -> None:
    made = await asked(tv)
    pairing_id, _, secret = made["device_code"].partition(".")
    gone = await tv.http.delete(f"/api/v1/pairings/{pairing_id}", headers={"Pairing-Secret": secret})
    assert gone.status_code == 204
    assert error(await tv.poll(made["device_code"])) == (400, "expired_token")


@pytest.mark.security(43)
async def test_an_applications_pairing_logs_no_device_in_and_a_devices_gives_no_tokens(
    tv: AppServer, phone: Phone
) -> None:
    made = await approved(tv, phone)
    pairing_id, _, secret = made["device_code"].partition(".")
    login = await tv.http.post(f"/api/v1/pairings/{pairing_id}/login", json={}, headers={"Pairing-Secret": secret})
    assert (login.status_code, login.json()["code"]) == (409, "client_pairing")
    assert (await tv.poll(made["device_code"])).status_code == 200
    device = await phone.api.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    answer = await tv.poll(f"{device.id}.{device.pairing['secret']}")
    assert error(answer) == (400, "invalid_grant")
    number = (await phone.get(f"/pairings/{device.id}")).json().get("number")
    assert (await device.log_in({"number": number})).status_code == 200


@pytest.mark.security(43)
async def test_the_code_of_one_client_is_unknown_to_another(
    tv: AppServer, phone: Phone, new_television: NewTelevision
) -> None:
    made = await approved(tv, phone)
    assert error(await (await new_television()).poll(made["device_code"])) == (400, "invalid_grant")
    assert (await tv.poll(made["device_code"])).status_code == 200


@pytest.mark.security(43)
async def test_a_confidential_client_authenticates_at_both_ends(new_television: NewTelevision, phone: Phone) -> None:
    tv = await new_television(public=False)
    unnamed = await tv.http.post("/oauth/device_authorization", data={"client_id": tv.id})
    assert error(unnamed) == (401, "invalid_client")
    made = await approved(tv, phone)
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": made["device_code"]}
    assert error(await tv.http.post("/oauth/token", data=poll | {"client_id": tv.id})) == (401, "invalid_client")
    assert (await tv.poll(made["device_code"])).status_code == 200


@pytest.mark.security(43)
async def test_a_client_without_the_grant_is_not_let_in(new_television: NewTelevision) -> None:
    other = await new_television(device_grant="off")
    assert error(await other.ask_as_device()) == (400, "unauthorized_client")
    assert error(await other.poll(f"{'a' * 22}.{'b' * 43}")) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"scope": '"'}, "invalid_scope"),
        ({"scope": "x" * 9000}, "invalid_scope"),
    ],
    ids=["unknown", "unfit", "huge"],
)
async def test_a_scope_that_it_can_not_have_is_refused(tv: AppServer, form: dict[str, str], word: str) -> None:
    assert error(await tv.ask_as_device(**form)) == (400, word)


@pytest.mark.parametrize("code", ["x", ".", f"{'a' * 22}.{'b' * 43}", "ä" * 400, f"{'a' * 22}.{'b' * 9000}"], ids=len)
async def test_what_is_no_device_code_is_refused(tv: AppServer, code: str) -> None:
    assert error(await tv.poll(code)) == (400, "invalid_grant")


async def test_a_denial_and_a_report_of_it_are_final(tv: AppServer, phone: Phone) -> None:
    made, pairing = await claimed(tv, phone)
    assert (await phone.deny(pairing["id"], {"report": True})).json()["status"] == "denied"
    assert error(await tv.poll(made["device_code"])) == (400, "access_denied")
    activity = (await phone.get("/activity")).json()["activity"]
    assert activity[0]["event"] == "pairing.reported"
    assert activity[0]["deviceName"] == "Television"


async def test_its_time_is_its_own(tv: AppServer, site: Embedded) -> None:
    made = await asked(tv)
    site.clock.advance(590)
    assert error(await tv.poll(made["device_code"])) == (400, "authorization_pending")
    site.clock.advance(11)
    assert error(await tv.poll(made["device_code"])) == (400, "expired_token")


async def test_a_client_that_shows_a_field_for_it_sends_the_number(tv: AppServer, phone: Phone) -> None:
    made, pairing = await claimed(tv, phone, number="supported")
    assert pairing["verification"] == "number"
    number = (await phone.approve(pairing["id"])).json()["number"]
    assert error(await tv.poll(made["device_code"])) == (400, "number_required")
    wrong = f"{(int(number) + 1) % 1000:03}"
    assert error(await tv.poll(made["device_code"], number=wrong)) == (400, "number_mismatch")
    assert (await tv.poll(made["device_code"], number=number)).status_code == 200


async def test_a_proved_key_binds_the_tokens(tv: AppServer, phone: Phone, site: Embedded) -> None:
    made, key, url = await approved(tv, phone), DeviceKey(), f"{site.settings.public_url}/oauth/token"
    first = await tv.poll(made["device_code"], {"DPoP": key.proof("POST", url, None)})
    assert error(first) == (400, "use_dpop_nonce")
    proof = {"DPoP": key.proof("POST", url, first.headers["dpop-nonce"])}
    given = await tv.poll(made["device_code"], proof)
    assert (given.status_code, given.json()["token_type"]) == (200, "DPoP")
    assert payload(given.json()["access_token"])["cnf"] == {"jkt": key.jkt}


@pytest.mark.security(43)
async def test_the_end_of_the_approvers_login_ends_what_it_could_still_begin(tv: AppServer, phone: Phone) -> None:
    made = await approved(tv, phone)
    assert (await phone.api.http.delete("/sessions/current", headers=phone.headers)).status_code == 204
    assert error(await tv.poll(made["device_code"])) == (400, "access_denied")
