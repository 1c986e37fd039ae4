"""Public keys of other issuers: which are taken, how often an issuer is asked, and how long its word lasts."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from pairing_ws.adapters.jwt.published_keys import ASK_MS, FRESH_MS, STALE_MS, FetchedKeys, FileKeys, usable_keys
from pairing_ws.core.errors import Unavailable
from tests.support.clock import FakeClock

pytestmark = pytest.mark.security(15, 54)

RSA, EC = RSAKey.generate_key(2048, private=True), ECKey.generate_key("P-256", private=True)
OKP = OKPKey.generate_key("Ed25519", private=True)


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


GOOD = {"keys": [public(RSA, kid="rsa"), public(EC, kid="ec"), public(OKP, kid="okp")]}


class Publisher:
    """What an issuer publishes, and how often it was asked. While it is `away` it is asked in vain."""

    def __init__(self) -> None:
        self.document: Any = GOOD
        self.away = False
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self) -> Any:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise OSError("it is away")
        return self.document


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_767_225_600_000)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def keys(publisher: Publisher, clock: FakeClock) -> FetchedKeys:
    return FetchedKeys(publisher, clock)


async def test_each_algorithm_has_keys_of_its_own_kind(keys: FetchedKeys, publisher: Publisher) -> None:
    assert await keys.find("rsa", "RS256") is not None
    assert await keys.find("rsa", "PS256") is not None
    assert await keys.find("ec", "ES256") is not None
    assert await keys.find("okp", "EdDSA") is not None
    # An id is no way around it.
    for kid, alg in (("rsa", "ES256"), ("ec", "RS256"), ("okp", "ES256"), ("none", "RS256")):
        assert await keys.find(kid, alg) is None
    assert publisher.asked == 1


async def test_a_token_that_names_no_key_is_checked_by_the_only_one_there_is(
    keys: FetchedKeys, publisher: Publisher, clock: FakeClock
) -> None:
    assert await keys.find(None, "RS256") is not None
    publisher.document = {"keys": [public(RSA), public(RSAKey.generate_key(2048, private=True))]}
    clock.forward(ms=FRESH_MS)
    assert await keys.find(None, "RS256") is None


async def test_fifty_callers_at_once_ask_once(keys: FetchedKeys, publisher: Publisher) -> None:
    publisher.answers.clear()
    callers = [asyncio.create_task(keys.find("rsa", "RS256")) for _ in range(50)]
    await asyncio.sleep(0)
    publisher.answers.set()
    assert all(await asyncio.gather(*callers))
    assert publisher.asked == 1


async def test_unknown_ids_make_it_ask_again_and_no_more_often_than_it_may(
    keys: FetchedKeys, publisher: Publisher, clock: FakeClock
) -> None:
    await keys.find("rsa", "RS256")
    publisher.document = {"keys": [public(RSA, kid="new")]}
    assert [await keys.find(f"made up {number}", "RS256") for number in range(50)] == [None] * 50
    assert publisher.asked == 1
    clock.forward(ms=ASK_MS)
    await asyncio.gather(*(keys.find(f"made up {number}", "RS256") for number in range(50)))
    assert publisher.asked == 2
    assert await keys.find("new", "RS256") is not None
    # What it no longer publishes is no longer believed.
    assert await keys.find("rsa", "RS256") is None


async def test_a_set_goes_on_for_a_while_where_no_newer_one_comes_and_then_no_longer(
    keys: FetchedKeys, publisher: Publisher, clock: FakeClock
) -> None:
    await keys.find("rsa", "RS256")
    publisher.away = True
    clock.forward(ms=STALE_MS - 1)
    assert await keys.find("rsa", "RS256") is not None
    clock.forward(ms=ASK_MS)
    with pytest.raises(Unavailable):
        await keys.find("rsa", "RS256")
    publisher.away = False
    clock.forward(ms=ASK_MS)
    assert await keys.find("rsa", "RS256") is not None


async def test_an_issuer_that_is_away_is_not_asked_by_every_caller(
    keys: FetchedKeys, publisher: Publisher, clock: FakeClock
) -> None:
    publisher.away = True
    for _ in range(50):
        with pytest.raises(Unavailable):
            await keys.find("rsa", "RS256")
    assert publisher.asked == 1


async def test_a_caller_that_leaves_takes_nobody_along(keys: FetchedKeys, publisher: Publisher) -> None:
    publisher.answers.clear()
    first, second = (asyncio.create_task(keys.find("rsa", "RS256")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    publisher.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is not None
    assert publisher.asked == 2


UNUSABLE: dict[str, Callable[[], Any]] = {
    "a private key": lambda: RSA.as_dict(private=True),
    "a shared secret": lambda: OctKey.generate_key(256).as_dict(private=True),
    "a key for encryption": lambda: public(RSA, use="enc"),
    "a short RSA key": lambda: public(RSAKey.generate_key(1024, private=True)),
    "an RSA key without end": lambda: public(RSA) | {"n": "A" * 100_000},
    "an RSA key that is a number": lambda: public(RSA) | {"n": 7},
    "another curve": lambda: public(ECKey.generate_key("P-384", private=True)),
    "a point beside the curve": lambda: public(EC) | {"x": public(EC)["y"]},
    "another kind": lambda: {"kty": "XYZ"},
    "nothing": dict,
    "a list": list,
    "a text": lambda: "key",
}


@pytest.mark.parametrize("made", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_key_that_can_not_be_used_is_passed_over(made: Callable[[], Any]) -> None:
    assert [each.kid for each in usable_keys({"keys": [made(), public(EC, kid="good")]})] == ["good"]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": "x"}], ids=str)
def test_what_is_no_key_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="no key set"):
        usable_keys(document)


def test_no_more_keys_are_read_than_an_issuer_can_need() -> None:
    assert len(usable_keys({"keys": [public(EC, kid=str(number)) for number in range(1000)]})) == 64


def test_a_key_that_is_for_one_algorithm_is_for_no_other() -> None:
    found = usable_keys({"keys": [public(RSA, kid="a", alg="PS256")]})
    assert [each.alg for each in found] == ["PS256"]


async def test_a_file_may_change_while_we_run(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(GOOD))
    keys = FileKeys(path, clock)
    assert await keys.find("rsa", "RS256") is not None
    path.write_text(json.dumps({"keys": [public(RSA, kid="new")]}))
    os.utime(path, ns=(1, 1))
    assert await keys.find("new", "RS256") is None
    clock.forward(ms=5000)
    assert await keys.find("new", "RS256") is not None
    assert await keys.find("rsa", "RS256") is None
    # One that can't be read changes nothing.
    path.write_text("{")
    clock.forward(ms=5000)
    assert await keys.find("new", "RS256") is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}'], ids=repr)
def test_a_file_without_a_usable_key_is_refused(tmp_path: Path, clock: FakeClock, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".*"):
        FileKeys(path, clock)
