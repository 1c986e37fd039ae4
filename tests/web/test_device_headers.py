"""The five device headers: how they may be spelt, what is cleaned away, and that they never speak for anybody."""

import unicodedata
from urllib.parse import quote

import pytest

from tests.support.client import Api, NewDevice, device_headers
from tests.web.conftest import NewPhone, refusal

DIRTY = {
    "Café": "Cafe\u0301",
    "one line": "one\r\nline",
    "no bell": "no\x07bell",
    "tab stop": "tab\tstop",
    "evilexe": "evil\u202eexe",
    "isolated": "\u2066isolated\u2069",
    "joined": "joi\u200bn\u200ded\ufeff",
    "nul": "\x00nul",
    "trimmed": "   trimmed   ",
    "two words": "two \u00a0 \u2003 words",
    "next line": "next\u2028 line",
    "private": "pri\ue000vate",
    "日本語 ключ": "日本語 ключ",
    "<b>&amp;</b>": "<b>&amp;</b>",
    "50% off": "50% off",
    "filled": "\u3164f\u115fi\u1160l\uffa0l\u2800e\u034fd\ufe0f",
    "\u00e9 after a joiner": "e\u034f\u0301 after a joiner",
    "tower\u0300\u0300\u0300\u0300 of marks": "tower" + "\u0300" * 40 + " of marks",
    "no base": "\u0301 \u20ddno base",
    # Hebrew with points and an accent, Tibetan, Hindi.
    "שָּׁ རྒྱུ हिन्दी": "שָּׁ རྒྱུ हिन्दी",
}


@pytest.mark.security(22)
@pytest.mark.parametrize("clean", DIRTY, ids=lambda each: each.encode("ascii", "replace").decode())
async def test_the_approver_is_shown_a_cleaned_name(api: Api, new_phone: NewPhone, clean: str) -> None:
    device = await api.new_pairing(device_headers(name=quote(DIRTY[clean])))
    shown = (await (await new_phone()).claim(device.pairing)).json()["newDevice"]["reported"]["name"]
    assert shown == clean
    assert unicodedata.is_normalized("NFC", shown)


async def test_a_name_may_come_as_raw_utf_8(api: Api, new_phone: NewPhone) -> None:
    raw = {name.encode(): value.encode() for name, value in device_headers(name="Küche 日本").items()}
    answer = await api.http.post("/pairings", headers=raw)
    seen = (await (await new_phone()).claim(answer.json())).json()
    assert seen["newDevice"]["reported"]["name"] == "Küche 日本"


@pytest.mark.security(22)
async def test_every_label_is_cut_to_128_characters(api: Api, new_phone: NewPhone) -> None:
    long = quote("ü" * 500)
    device = await api.new_pairing(
        device_headers(name=long, **{"X-Os-Device": long, "X-App-Version-Number": long, "User-Agent": "u" * 500})
    )
    seen = (await (await new_phone()).claim(device.pairing)).json()["newDevice"]
    assert seen["reported"] == {"name": "ü" * 128, "os": "ü" * 128, "appVersion": "ü" * 128}
    assert seen["observed"]["userAgent"] == "u" * 128


@pytest.mark.security(22)
@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("X-Device-Name", "%ff%fe", "bad_request"),
        ("X-Os-Device", "%c3%28", "bad_request"),
        ("X-Device-Code", "two%20words", "bad_request"),
        ("X-Device-Code", "c" * 129, "bad_request"),
        ("X-Device-Code", "%00", "bad_request"),
        ("X-Device-Code", quote("ключ"), "bad_request"),
        ("X-Device-Token", "t" * 4097, "bad_request"),
        ("X-Device-Token", "a%0ab", "bad_request"),
        ("X-Device-Name", "%E2%80%8B%E2%80%AE", "device_headers_required"),
    ],
)
async def test_what_cannot_be_cleaned_is_refused(api: Api, header: str, value: str, code: str) -> None:
    answer = await api.http.post("/pairings", headers=device_headers() | {header: value})
    assert refusal(answer) == (400, code)


@pytest.mark.security(22)
async def test_raw_bytes_that_are_no_utf_8_are_refused(api: Api) -> None:
    raw = {name.encode(): value.encode() for name, value in device_headers().items()}
    answer = await api.http.post("/pairings", headers=raw | {b"X-Device-Name": b"\xff\xfe\x80"})
    assert refusal(answer) == (400, "bad_request")


@pytest.mark.security(10)
async def test_what_the_approver_saw_is_what_gets_registered(api: Api, new_phone: NewPhone) -> None:
    phone = await new_phone()
    own = device_headers(name="Seen", **{"X-Os-Device": "Plan 9", "X-App-Version-Number": "7"})
    device = await api.new_pairing(own)
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    other = {"X-Device-Name": "Swapped", "X-Os-Device": "Swapped", "X-Device-Code": own["X-Device-Code"]}
    registered = (await device.log_in(None, **other)).json()["device"]
    assert (registered["name"], registered["os"], registered["appVersion"]) == ("Seen", "Plan 9", "7")


async def test_another_device_code_at_login_is_refused_and_costs_nothing(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    changed = await device.log_in(None, **device_headers())
    assert refusal(changed) == (409, "device_changed")
    assert (await device.log_in(None, **device.device)).status_code == 200


@pytest.mark.security(18)
async def test_the_same_code_under_two_accounts_is_two_devices(api: Api, new_phone: NewPhone) -> None:
    own = device_headers("shared-tablet")
    ids = set()
    for _ in range(2):
        phone = await new_phone()
        device = await api.new_pairing(own)
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        ids.add((await device.log_in()).json()["device"]["id"])
        assert len((await phone.get("/devices")).json()["devices"]) == 2
    assert len(ids) == 2


@pytest.mark.security(18)
async def test_a_login_with_a_known_code_renews_that_record_and_ends_its_older_session(
    api: Api, new_phone: NewPhone
) -> None:
    phone, own = await new_phone(), device_headers("laptop", name="Old name")
    logins = []
    for name in ("Old name", "New name"):
        device: NewDevice = await api.new_pairing(own | {"X-Device-Name": name})
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        logins.append((await device.log_in()).json())
    assert logins[0]["device"]["id"] == logins[1]["device"]["id"]
    known = (await phone.get("/devices")).json()["devices"]
    assert [each["name"] for each in known] == ["Test device", "New name"]
    # It inherits no age.
    assert logins[1]["device"]["createdAt"] > logins[0]["device"]["createdAt"]
    old, new = ({"Auth-Key": each["authKey"]} for each in logins)
    assert refusal(await api.http.get("/me", headers=old)) == (401, "unauthenticated")
    assert (await api.http.get("/me", headers=new)).status_code == 200
    body = {"refreshKey": logins[0]["refreshKey"]}
    assert refusal(await api.http.post("/sessions/refresh", json=body)) == (401, "unauthenticated")
