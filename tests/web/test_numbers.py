"""The verification number: when it is asked for, who sees it, and what a wrong one costs."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Api, NewDevice, Phone, device_headers, with_api
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.web.conftest import refusal

HERE, FAR = {"X-Forwarded-For": "203.0.113.6"}, {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture(scope="module")
def always(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("always"), demo=True, verify="always", **NO_LIMITS_INSIDE) as started:
        yield started


@asynccontextmanager
async def approved(server: Embedded) -> AsyncIterator[tuple[Phone, NewDevice, str]]:
    async with Api(server.url) as api:
        phone, device = await fresh_phone(api, server.folder), await api.new_pairing()
        assert "number" not in (await phone.claim(device.pairing)).json()
        number = (await phone.approve(device.id)).json()["number"]
        yield phone, device, number


def _wrong(number: str, off: int = 1) -> str:
    return f"{(int(number) + off) % 1000:03}"


@pytest.mark.security(11, 12)
@pytest.mark.mitigation("6.1.1", "6.1.16")
@pytest.mark.parametrize(
    ("policy", "far", "typed", "asked"),
    [
        ("never", False, False, False), ("never", True, False, False), ("never", False, True, False),
        ("remote", False, False, False), ("remote", True, False, True), ("remote", False, True, True),
        ("always", False, False, True), ("always", True, True, True),
    ],
)  # fmt: skip
async def test_the_policy_network_and_way_of_entry_decide_whether_a_number_is_asked_for(
    tmp_path: Path, policy: str, far: bool, typed: bool, asked: bool
) -> None:
    async with with_api(embedded(tmp_path, demo=True, verify=policy, trusted_proxies="127.0.0.1")) as (_, api):
        api.http.headers.update(HERE)
        phone = await fresh_phone(api, tmp_path)
        device = await api.new_pairing(device_headers() | (FAR if far else HERE))
        assert device.pairing["verification"] == "undecided"
        if typed:
            answer = await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
        else:
            answer = await phone.claim(device.pairing)
        seen = answer.json()
        assert seen["verification"] == ("number" if asked else "none")
        assert seen["newDevice"]["observed"]["network"] == ("different" if far else "same")
        assert seen["newDevice"]["observed"]["ip"] == ("203.0.113.7" if far else "203.0.113.6")
        seen = (await phone.approve(device.id)).json()
        assert ("number" in seen) is asked
        body = {"number": seen["number"]} if asked else {}
        if asked:
            assert refusal(await device.log_in()) == (403, "number_required")
        assert (await device.log_in(body)).status_code == 200


@pytest.mark.security(24)
@pytest.mark.mitigation("6.1.1")
async def test_an_address_in_a_forwarded_header_counts_from_declared_proxies_alone(always: Embedded) -> None:
    async with Api(always.url) as api:
        phone = await fresh_phone(api, always.folder)
        device = await api.new_pairing(
            device_headers() | FAR | {"Forwarded": "for=203.0.113.7", "X-Real-Ip": "1.1.1.1"}
        )
        observed = (await phone.claim(device.pairing)).json()["newDevice"]["observed"]
        assert (observed["ip"], observed["network"]) == ("127.0.0.1", "same")


@pytest.mark.security(24)
@pytest.mark.mitigation("6.1.1")
async def test_behind_an_undeclared_proxy_the_network_is_unknown_and_the_number_asked_for(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, public_url="https://login.example.com")) as (_, api):
        api.http.headers["Host"] = "login.example.com"
        phone, device = await fresh_phone(api, tmp_path), await api.new_pairing()
        seen = (await phone.claim(device.pairing)).json()
        assert (seen["newDevice"]["observed"]["network"], seen["verification"]) == ("unknown", "number")


@pytest.mark.security(11)
@pytest.mark.mitigation("6.1.16")
async def test_only_the_approver_sees_the_number_and_only_between_approval_and_login(always: Embedded) -> None:
    async with approved(always) as (phone, device, number):
        assert len(number) == 3
        assert number.isdigit()
        assert "number" not in (await device.poll()).json()
        assert (await phone.get(f"/pairings/{device.id}")).json()["number"] == number
        refused = await device.log_in({"number": _wrong(number)})
        # By chance it may be the status, or in the pairing's id.
        told = refused.json() | {"status": None}
        assert number not in json.dumps(told).replace(device.id, "")
        assert (await device.log_in({"number": number})).status_code == 200
        assert "number" not in (await phone.get(f"/pairings/{device.id}")).json()


@pytest.mark.security(11)
@pytest.mark.mitigation("6.1.16")
async def test_in_the_other_direction_too_the_number_goes_from_the_approver_to_the_new_device(always: Embedded) -> None:
    async with Api(always.url) as api:
        phone = await fresh_phone(api, always.folder)
        shown = await phone.show_code()
        device = await api.join(shown)
        assert refusal(await device.log_in()) == (409, "not_approved")
        number = (await phone.approve(device.id)).json()["number"]
        assert "number" not in (await device.poll()).json()
        assert refusal(await device.log_in()) == (403, "number_required")
        assert refusal(await device.log_in({"number": _wrong(number)})) == (403, "number_mismatch")
        assert (await device.log_in({"number": number})).status_code == 200


async def test_numbers_differ_between_pairings(always: Embedded) -> None:
    numbers = set()
    for _ in range(5):
        async with approved(always) as (_, _, number):
            numbers.add(number)
    assert len(numbers) > 1


@pytest.mark.parametrize("odd", ["", " ", "12", "1234", "abc", "½2", "1.5", "000000000000", "\ufdfa" * 256])
async def test_what_can_not_be_a_number_costs_no_attempt(always: Embedded, odd: str) -> None:
    async with approved(always) as (_, device, number):
        version = (await device.poll()).json()["version"]
        for _ in range(4):
            refused = await device.log_in({"number": odd})
            assert refusal(refused) == (403, "number_mismatch")
            assert refused.json()["attemptsLeft"] == 3
        assert (await device.poll()).json()["version"] == version
        assert (await device.log_in({"number": number})).status_code == 200


@pytest.mark.parametrize("zero", "\u0660\u06f0\u0966\uff10\U0001d7ce")
async def test_the_number_is_taken_in_the_digits_of_any_script(always: Embedded, zero: str) -> None:
    async with approved(always) as (_, device, number):
        typed = "".join(chr(ord(zero) + int(digit)) for digit in number)
        assert (await device.log_in({"number": f"\u200b{typed}\u2069 "})).status_code == 200


@pytest.mark.security(11)
@pytest.mark.mitigation("6.1.16")
async def test_a_wrong_number_counts_in_every_script(always: Embedded) -> None:
    async with approved(always) as (_, device, number):
        wrong = "".join(chr(0x660 + int(digit)) for digit in _wrong(number))
        refused = await device.log_in({"number": wrong})
        assert refusal(refused) == (403, "number_mismatch")
        assert refused.json()["attemptsLeft"] == 2


async def test_asking_without_a_number_costs_no_attempt(always: Embedded) -> None:
    async with approved(always) as (_, device, number):
        for _ in range(5):
            assert refusal(await device.log_in()) == (403, "number_required")
        assert (await device.log_in({"number": number})).status_code == 200


@pytest.mark.security(11)
@pytest.mark.mitigation("6.1.16")
async def test_the_third_wrong_number_denies_the_pairing(always: Embedded) -> None:
    async with approved(always) as (phone, device, number):
        left = []
        for off in range(1, 4):
            refused = await device.log_in({"number": _wrong(number, off)})
            assert refusal(refused) == (403, "number_mismatch")
            left.append(refused.json()["attemptsLeft"])
        assert left == [2, 1, 0]
        assert refusal(await device.log_in({"number": number})) == (403, "pairing_denied")
        assert (await phone.get(f"/pairings/{device.id}")).json()["status"] == "denied"


async def test_a_wrong_number_is_a_version_that_polls_can_see(always: Embedded) -> None:
    async with approved(always) as (_, device, number):
        before = (await device.poll()).json()["version"]
        await device.log_in({"number": _wrong(number)})
        assert (await device.poll()).json()["version"] == before + 1


async def test_sixty_wrong_numbers_at_once_are_three_attempts(always: Embedded) -> None:
    async with approved(always) as (phone, device, number):
        wrong = [_wrong(number, off) for off in range(1, 61)]
        answers = await asyncio.gather(*(device.log_in({"number": each}) for each in wrong))
        words = [refusal(answer)[1] for answer in answers]
        assert words.count("number_mismatch") == 3
        assert words.count("pairing_denied") == 57
        assert (await phone.get(f"/pairings/{device.id}")).json()["status"] == "denied"


@pytest.mark.security(11)
async def test_a_wrong_number_that_is_sent_again_counts_once_and_gets_the_same_answer(always: Embedded) -> None:
    async with approved(always) as (_, device, number):
        first = await device.log_in({"number": _wrong(number)})
        version = (await device.poll()).json()["version"]
        again = await asyncio.gather(*(device.log_in({"number": _wrong(number)}) for _ in range(50)))
        assert {each.content for each in again} == {first.content}
        assert (await device.poll()).json()["version"] == version
        assert (await device.log_in({"number": _wrong(number, 2)})).json()["attemptsLeft"] == 1
        # One that was late, and crossed with the next.
        assert (await device.log_in({"number": _wrong(number)})).json()["attemptsLeft"] == 1
        assert (await device.log_in({"number": number})).status_code == 200


@pytest.mark.security(11)
async def test_the_third_wrong_number_sent_again_gets_the_same_answer_and_no_other_does(always: Embedded) -> None:
    async with approved(always) as (_, device, number):
        last = [await device.log_in({"number": _wrong(number, off)}) for off in (1, 2, 3)][-1]
        again = await device.log_in({"number": _wrong(number, 3)})
        assert again.content == last.content
        assert again.json()["attemptsLeft"] == 0
        for other in (number, _wrong(number, 4)):
            assert refusal(await device.log_in({"number": other})) == (403, "pairing_denied")


async def test_what_was_wrong_once_says_nothing_about_a_pairing_that_was_denied(always: Embedded) -> None:
    async with approved(always) as (phone, device, number):
        await device.log_in({"number": _wrong(number)})
        await phone.deny(device.id)
        for each in (number, _wrong(number)):
            assert refusal(await device.log_in({"number": each})) == (403, "pairing_denied")


async def test_an_approval_with_a_number_leaves_twice_the_time(always: Embedded) -> None:
    async with Api(always.url) as api:
        phone, device = await fresh_phone(api, always.folder, None, always.clock), await api.new_pairing()
        always.clock.advance(100)
        await phone.claim(device.pairing)
        assert 119 <= (await phone.approve(device.id)).json()["expiresIn"] <= 120


@pytest.mark.security(11)
@pytest.mark.mitigation("6.1.11")
async def test_a_new_pairing_does_not_reset_the_accounts_count_of_wrong_numbers(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, verify="always", limit_number="4/hour")) as (_, api):
        phone = await fresh_phone(api, tmp_path)
        words = []
        for _ in range(3):
            device = await api.new_pairing()
            await phone.claim(device.pairing)
            number = (await phone.approve(device.id)).json()["number"]
            words += [refusal(await device.log_in({"number": _wrong(number, off)})) for off in (1, 2)]
        assert words == [(403, "number_mismatch")] * 4 + [(429, "rate_limited")] * 2
        limited = await device.log_in({"number": number})
        assert refusal(limited) == (429, "rate_limited")
        assert int(limited.headers["retry-after"]) > 0
