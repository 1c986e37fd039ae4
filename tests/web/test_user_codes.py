"""Claiming by the typed code: how it may be typed, and that failures teach nothing and are counted."""

from pathlib import Path

import pytest

from tests.support.client import Api, device_headers, with_api
from tests.support.embedded import embedded, fresh_phone
from tests.web.conftest import NewPhone, refusal


def _unlucky(code: str) -> str:
    """Another well-formed code."""
    return "".join("7" if each != "7" else "8" for each in code if each != "-")


@pytest.mark.parametrize(
    "typed",
    [
        lambda code: code,
        lambda code: code.lower(),
        lambda code: code.replace("-", ""),
        lambda code: " ".join(code.replace("-", "")),
        lambda code: f"  {code}\n",
        lambda code: code.replace("1", "l").replace("0", "o"),
        lambda code: code.replace("1", "I").replace("0", "O"),
        lambda code: code.replace("-", "\u2013"),
        lambda code: f"\ufeff{code[:4]}\u200b{code[4:]}\u2069",
        lambda code: "".join(chr(ord(each) + 0xFEE0) for each in code),
        lambda code: "".join(chr(0x660 + int(each)) if each.isdigit() else each for each in code),
    ],
)
async def test_case_dashes_spaces_lookalikes_and_scripts_do_not_matter(
    api: Api, new_phone: NewPhone, typed: object
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    answer = await phone.post("/pairings/claim", {"userCode": typed(device.pairing["userCode"])})  # type: ignore[operator]
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == device.id
    assert (await device.poll()).json()["status"] == "scanned"


async def test_a_new_device_may_type_the_code_that_a_logged_in_one_shows(api: Api, new_phone: NewPhone) -> None:
    shown = await (await new_phone()).show_code()
    answer = await api.http.post("/pairings/claim", json={"userCode": shown["userCode"]}, headers=device_headers())
    assert answer.status_code == 200
    assert answer.json()["secret"]


@pytest.mark.security(12)
@pytest.mark.mitigation("6.1.16")
async def test_after_a_typed_code_the_number_is_asked_for_on_the_same_network_too(
    api: Api, new_phone: NewPhone
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    claimed = (await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})).json()
    assert claimed["newDevice"]["observed"]["network"] == "same"
    assert claimed["verification"] == "number"
    await phone.approve(device.id)
    assert refusal(await device.log_in()) == (403, "number_required")


@pytest.mark.security(12)
async def test_every_failure_looks_the_same(api: Api, new_phone: NewPhone) -> None:
    phone, late = await new_phone(), await new_phone()
    pending, claimed, cancelled = [await api.new_pairing() for _ in range(3)]
    await phone.claim(claimed.pairing)
    await api.http.delete(f"/pairings/{cancelled.id}", headers=cancelled.headers)
    shown = await phone.show_code()
    answers = [
        await late.post("/pairings/claim", {"userCode": code})
        for code in (
            _unlucky(pending.pairing["userCode"]),
            claimed.pairing["userCode"],
            cancelled.pairing["userCode"],
            shown["userCode"],
            "",
            "U" * 8,
            "1234-567",
            "\u0661" * 7,
            "\ufdfa" * 256,
        )
    ]
    answers.append(
        await api.http.post("/pairings/claim", json={"userCode": pending.pairing["userCode"]}, headers=device_headers())
    )
    assert {refusal(answer) for answer in answers} == {(404, "not_found")}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.security(12)
@pytest.mark.mitigation("6.1.11")
async def test_wrong_codes_are_limited_per_account_and_right_ones_are_not_counted(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_user_code="3/hour")) as (_, api):
        phone, other = await fresh_phone(api, tmp_path), await fresh_phone(api, tmp_path)
        device = await api.new_pairing()
        right = {"userCode": device.pairing["userCode"]}
        wrong = {"userCode": _unlucky(device.pairing["userCode"])}
        for _ in range(3):
            # The same claimant again: a success each time.
            assert (await phone.post("/pairings/claim", right)).status_code == 200
        for _ in range(3):
            assert refusal(await phone.post("/pairings/claim", wrong)) == (404, "not_found")
        for body in (wrong, right):
            refused = await phone.post("/pairings/claim", body)
            assert refusal(refused) == (429, "rate_limited")
            assert 0 < int(refused.headers["retry-after"]) <= 3600
        # Other accounts go on; strangers share their address's count, which is another.
        assert refusal(await other.post("/pairings/claim", wrong)) == (404, "not_found")
        answers = [await api.http.post("/pairings/claim", json=wrong, headers=device_headers()) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]


@pytest.mark.security(26)
@pytest.mark.mitigation("6.1.11")
async def test_creating_and_claiming_are_limited_with_the_seconds_to_wait(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_create="3/minute", limit_claim="4/minute")) as (_, api):
        phone = await fresh_phone(api, tmp_path)
        devices = [await api.new_pairing() for _ in range(3)]
        refused = await api.http.post("/pairings", headers=device_headers())
        assert refusal(refused) == (429, "rate_limited")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        answers = [await phone.claim(device.pairing) for device in (*devices, *devices)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]


@pytest.mark.security(26)
async def test_a_full_house_keeps_a_tenth_for_signed_in_devices(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_create="0", limit_pairings=10)) as (_, api):
        phone = await fresh_phone(api, tmp_path)
        first, *_ = [await api.new_pairing() for _ in range(9)]
        refused = await api.http.post("/pairings", headers=device_headers())
        assert refusal(refused) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        await phone.show_code()
        assert refusal(await phone.post("/pairings")) == (503, "unavailable")
        # Nobody's pairing was evicted, and an end makes room.
        assert (await first.poll()).json()["status"] == "pending"
        await api.http.delete(f"/pairings/{first.id}", headers=first.headers)
        await phone.show_code()
