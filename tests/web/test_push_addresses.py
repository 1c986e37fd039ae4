"""Push addresses as devices give them: which forms there are, what is refused and how, and that messages arrive."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from pairing_ws.adapters.jwt.vapid import VapidKey
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.push_service import PushServer, Subscriber, push_serving
from tests.support.servers import eventually
from tests.web.conftest import refusal

KEY = VapidKey.new()
SUBSCRIBER = Subscriber("https://push.example.com/push/AbC?a=b%2Fc")
FID = "fid:cJ3xBoNDRtKdQ0wSmQ5pTl"


@pytest.fixture(scope="module")
def pushing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server with Web Push, whose push services may be on this machine."""
    with embedded(
        tmp_path_factory.mktemp("pushing"),
        demo=True,
        vapid_private_key=KEY.text(),
        vapid_subject="mailto:ops@example.com",
        allow_private_targets=True,
        **NO_LIMITS_INSIDE,
    ) as started:
        yield started


@pytest.fixture
async def pushing_api(pushing: Embedded) -> AsyncIterator[Api]:
    async with Api(pushing.url) as client:
        yield client


@pytest.fixture
async def service() -> AsyncIterator[PushServer]:
    async with push_serving() as found:
        yield found


def without(*path: str) -> dict[str, Any]:
    """The subscription without that member."""
    changed: dict[str, Any] = json.loads(SUBSCRIBER.address)
    inner = changed
    for each in path[:-1]:
        inner = inner[each]
    del inner[path[-1]]
    return changed


def with_(value: object, *path: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(SUBSCRIBER.address)
    inner = changed
    for each in path[:-1]:
        inner = inner[each]
    inner[path[-1]] = value
    return changed


GOOD_P256DH = SUBSCRIBER.json["keys"]["p256dh"]
BAD: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "has to be JSON"),
    "no object": ("{]}", "has to be JSON"),
    "deep": ("{" + '"a":[' * 100 + "]" * 100 + "}", "has to be JSON"),
    "no endpoint": (without("endpoint"), "has to be JSON"),
    "no keys": (without("keys"), "has to be JSON"),
    "no p256dh": (without("keys", "p256dh"), "has to be JSON"),
    "no auth": (without("keys", "auth"), "has to be JSON"),
    "a number as endpoint": (with_(7, "endpoint"), "has to be JSON"),
    "plain http": (with_("http://push.example.com/1", "endpoint"), "https"),
    "another scheme": (with_("ftp://push.example.com/1", "endpoint"), "https"),
    "javascript": (with_("javascript:alert(1)", "endpoint"), "https"),
    "no host": (with_("https:///push", "endpoint"), "https"),
    "a user": (with_("https://user:password@push.example.com/", "endpoint"), "without user"),
    "a fragment": (with_("https://push.example.com/#a", "endpoint"), "fragment"),
    "a port beyond": (with_("https://push.example.com:99999/", "endpoint"), "https"),
    "letters": (with_("https://push.example.com/\u00e4", "endpoint"), "https"),
    "a broken host": (with_("https://[::1/", "endpoint"), "https"),
    "short p256dh": (with_(GOOD_P256DH[:-4], "keys", "p256dh"), "p256dh"),
    "compressed p256dh": (with_("A" * 44, "keys", "p256dh"), "p256dh"),
    "p256dh off the curve": (with_("B" + "A" * 86, "keys", "p256dh"), "p256dh"),
    "p256dh no base64url": (with_("+" * 87, "keys", "p256dh"), "p256dh"),
    "short auth": (with_("AAAA", "keys", "auth"), "auth"),
    "long auth": (with_("A" * 30, "keys", "auth"), "auth"),
    "auth no base64url": (with_("*" * 22, "keys", "auth"), "auth"),
    "a space in a token": ("any token", "printable ASCII characters, with spaces in the JSON"),
    "a space before a token": (" any:token", "printable ASCII characters, with spaces in the JSON"),
    "a newline after a fid": (FID + "\n", "printable ASCII characters, with spaces in the JSON"),
    "a space in an endpoint": (with_("https://push.example.com/a b", "endpoint"), "https"),
    "letters beyond ASCII": ('{"a":"\u00e4"}', "printable ASCII characters, with spaces in the JSON"),
    "fid without an id": ("fid:", "Firebase installation id"),
    "fid with a space's neighbour": ("fid:abc!abcdefghijklmnop", "Firebase installation id"),
    "a fid too long": ("fid:" + "a" * 65, "Firebase installation id"),
}


def text_of(address: object) -> str:
    # As JavaScript writes it.
    return address if isinstance(address, str) else json.dumps(address, separators=(",", ":"), ensure_ascii=True)


def stored(folder: Any, device_id: str) -> tuple[str | None, str | None]:
    with closing(sqlite3.connect(folder / "pairing.db")) as database:
        (row,) = database.execute("SELECT push_kind, push_address FROM devices WHERE id = ?", [device_id]).fetchall()
        return row[0], row[1]


async def patch(api: Api, phone: Phone, address: str) -> httpx2.Response:
    device_id = phone.keys["device"]["id"]
    return await api.http.patch(f"/devices/{device_id}", json={"pushToken": address}, headers=phone.headers)


@pytest.mark.security(41)
@pytest.mark.parametrize("name", BAD)
async def test_an_address_that_is_none_is_refused_with_a_reason_in_a_body_and_in_a_header(
    api: Api, phone: Phone, name: str
) -> None:
    address, reason = BAD[name]
    answer = await patch(api, phone, text_of(address))
    assert refusal(answer) == (400, "bad_request")
    assert reason in answer.json()["detail"]
    header = await api.http.post("/pairings", headers=device_headers(**{"X-Device-Token": quote(text_of(address))}))
    assert refusal(header) == (400, "bad_request")
    assert header.json()["detail"] == answer.json()["detail"]
    # It repeats nothing of the address, and the next one is taken.
    assert "push.example.com" not in answer.text
    assert (await patch(api, phone, SUBSCRIBER.address)).status_code == 200


async def test_each_form_is_kept_by_its_kind_and_a_subscription_without_what_nobody_needs(
    pushing: Embedded, pushing_api: Api
) -> None:
    phone = await fresh_phone(pushing_api, pushing.folder)
    device_id = phone.keys["device"]["id"]
    padded = json.loads(SUBSCRIBER.address)
    padded["keys"]["auth"] += "=="
    padded |= {"more": {"of": ["this"]}, "expirationTime": 7}
    for given in (SUBSCRIBER.address, text_of(padded)):
        assert (await patch(pushing_api, phone, given)).status_code == 200
        kind, kept = stored(pushing.folder, device_id)
        assert kind == "web-push"
        assert kept
        assert json.loads(kept) == {"endpoint": SUBSCRIBER.endpoint, "keys": SUBSCRIBER.json["keys"]}
    for address, kind in ((FID, "fcm-fid"), ("any:token_of-FCM", "fcm-token")):
        assert (await patch(pushing_api, phone, address)).status_code == 200
        assert stored(pushing.folder, device_id) == (kind, address)
    assert (await patch(pushing_api, phone, "")).status_code == 200
    assert stored(pushing.folder, device_id) == (None, None)


@pytest.mark.parametrize(
    "written",
    [json.dumps(SUBSCRIBER.json), json.dumps(SUBSCRIBER.json, indent=1), " \r\n\t" + SUBSCRIBER.address + "\n"],
    ids=["spaces", "lines", "around"],
)
async def test_a_subscription_may_have_white_space_as_any_json(
    pushing: Embedded, pushing_api: Api, written: str
) -> None:
    phone = await fresh_phone(pushing_api, pushing.folder)
    kept = {"endpoint": SUBSCRIBER.endpoint, "keys": SUBSCRIBER.json["keys"]}
    assert (await patch(pushing_api, phone, written)).status_code == 200
    kind, address = stored(pushing.folder, phone.keys["device"]["id"])
    assert (kind, address) == ("web-push", json.dumps(json.loads(address or ""), separators=(",", ":")))
    assert json.loads(address or "") == kept
    device = await pushing_api.new_pairing(device_headers(**{"X-Device-Token": quote(written)}))
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    newcomer = (await device.log_in()).json()
    # An address is one device's: it is the newcomer's now.
    assert stored(pushing.folder, newcomer["device"]["id"]) == (kind, address)
    assert stored(pushing.folder, phone.keys["device"]["id"]) == (None, None)


async def test_browsers_learn_the_key_to_subscribe_with_or_that_there_is_none(api: Api, pushing_api: Api) -> None:
    assert (await pushing_api.http.get("/push")).json() == {"applicationServerKey": KEY.public}
    assert (await api.http.get("/push")).json() == {"applicationServerKey": None}


@pytest.mark.security(19, 21)
@pytest.mark.mitigation("6.1.6")
async def test_a_browser_hears_of_its_approval_and_of_what_happens_in_its_account(
    pushing: Embedded, pushing_api: Api, service: PushServer
) -> None:
    watching, asking = service.subscribe(), service.subscribe()
    phone = await fresh_phone(pushing_api, pushing.folder)
    assert (await patch(pushing_api, phone, watching.address)).status_code == 200
    device = await pushing_api.new_pairing(device_headers(**{"X-Device-Token": quote(asking.address)}))
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.approve(device.id)).status_code == 200
    await eventually(lambda: service.messages, "the approval")
    (endpoint, approved) = service.messages.pop()
    assert endpoint == asking.endpoint
    assert approved.keys() == {"id", "status", "approvedAt"}
    assert (approved["id"], approved["status"]) == (device.id, "Approved")
    # It is worth nothing once nobody can log in any more.
    assert 0 < int(service.headers.pop()["ttl"]) <= 120
    newcomer = (await device.log_in()).json()
    await eventually(lambda: service.messages, "the alarm")
    (endpoint, alarm) = service.messages.pop()
    assert endpoint == watching.endpoint
    assert (alarm["type"], alarm["deviceId"]) == ("device.added", newcomer["device"]["id"])
    assert service.headers.pop()["ttl"] == "86400"
    assert service.refused == []
    assert service.senders == {KEY.public}
    # A subscription that is gone is forgotten, and the login is not touched by it.
    del service.subscribers[watching.endpoint]
    second = await pushing_api.new_pairing(device_headers())
    await phone.claim(second.pairing)
    await phone.approve(second.id)
    assert (await second.log_in()).status_code == 200
    await eventually(
        lambda: stored(pushing.folder, phone.keys["device"]["id"]) == (None, None), "the address to be forgotten"
    )
