"""An issuer's keys by their address: how often they are read, how long they are believed, and which are taken."""

import asyncio
import json
import threading
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from pairing_ws.adapters.jwt.issuer_keys import FLOOR_MS, FRESH_MS, KEPT_MS, IssuerKeys, imported
from pairing_ws.core.errors import Unavailable
from tests.support.clock import FakeClock

URL = "https://login.example.com/.well-known/jwks.json"


def jwk(kid: str) -> dict[str, Any]:
    return {**ECKey.generate_key("P-256").as_dict(private=False), "kid": kid, "use": "sig", "alg": "ES256"}


class Issuer:
    """What is at the address."""

    def __init__(self, *kids: str) -> None:
        self.keys = [jwk(kid) for kid in kids]
        self.asked = 0
        self.away = False
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        assert self.answers.wait(10)
        if self.away:
            raise OSError("away")
        return json.dumps({"keys": self.keys}).encode()


async def test_keys_are_read_when_first_needed_and_kept() -> None:
    issuer = Issuer("first")
    keys = IssuerKeys(URL, FakeClock(), issuer)
    assert issuer.asked == 0
    for _ in range(3):
        await keys.learn("ES256", "first")
    assert issuer.asked == 1
    assert keys.find("ES256", "first")
    assert not keys.find("RS256", "first")


async def test_an_unknown_key_is_looked_for_once_and_not_again_before_the_floor() -> None:
    issuer, clock = Issuer("first"), FakeClock()
    keys = IssuerKeys(URL, clock, issuer)
    await keys.learn("ES256", "first")
    issuer.keys.append(jwk("second"))
    for _ in range(3):
        await keys.learn("ES256", "second")
    assert (issuer.asked, keys.find("ES256", "second")) == (1, None)
    clock.forward(ms=FLOOR_MS)
    for _ in range(3):
        await keys.learn("ES256", "second")
    assert issuer.asked == 2
    assert keys.find("ES256", "second")
    for number in range(5):
        await keys.learn("ES256", f"made up {number}")
    assert issuer.asked == 2


async def test_many_callers_share_one_reading() -> None:
    issuer = Issuer("first")
    keys = IssuerKeys(URL, FakeClock(), issuer)
    issuer.answers.clear()
    callers = [asyncio.create_task(keys.learn("ES256", "first")) for _ in range(50)]
    await asyncio.sleep(0)
    # One that gives up takes nothing from the others.
    callers[0].cancel()
    issuer.answers.set()
    await asyncio.gather(*callers[1:])
    assert issuer.asked == 1


def test_callers_on_loops_of_their_own_share_what_was_read() -> None:
    issuer = Issuer("first")
    keys = IssuerKeys(URL, FakeClock(), issuer)
    for _ in range(3):
        asyncio.run(keys.learn("ES256", "first"))
    assert issuer.asked == 1


async def test_a_withdrawn_key_is_dead_once_the_keys_are_read_again() -> None:
    issuer, clock = Issuer("first", "withdrawn"), FakeClock()
    keys = IssuerKeys(URL, clock, issuer)
    await keys.learn("ES256", "withdrawn")
    version = keys.version
    del issuer.keys[1]
    clock.forward(ms=FRESH_MS)
    await keys.learn("ES256", "withdrawn")
    assert keys.find("ES256", "withdrawn") is None
    assert keys.version > version


async def test_while_the_issuer_is_away_its_keys_are_believed_for_an_hour() -> None:
    issuer, clock = Issuer("first"), FakeClock()
    keys = IssuerKeys(URL, clock, issuer)
    await keys.learn("ES256", "first")
    issuer.away = True
    clock.forward(ms=KEPT_MS - 1)
    await keys.learn("ES256", "first")
    assert keys.find("ES256", "first")
    clock.forward(ms=1)
    with pytest.raises(Unavailable):
        await keys.learn("ES256", "first")


async def test_without_keys_nobody_is_told_that_their_token_is_wrong() -> None:
    issuer, clock = Issuer("first"), FakeClock()
    issuer.away = True
    keys = IssuerKeys(URL, clock, issuer)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await keys.learn("ES256", "first")
    assert issuer.asked == 1
    issuer.away = False
    clock.forward(ms=FLOOR_MS)
    await keys.learn("ES256", "first")


@pytest.mark.parametrize(
    "url", ["http://login.example.com/jwks", "ftp://localhost/jwks", "http://10.0.0.1/jwks", "login.example.com"]
)
def test_keys_come_by_https_or_from_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="by https"):
        IssuerKeys(url, FakeClock())
    for good in (URL, "http://localhost:8000/jwks", "http://127.0.0.1/jwks", "http://[::1]:8000/jwks"):
        IssuerKeys(good, FakeClock())


@pytest.mark.filterwarnings("ignore:Key size")
def test_keys_that_are_of_no_use_are_passed_over() -> None:
    small = RSAKey.generate_key(1024, auto_kid=True).as_dict(private=False)
    large = {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "large"}
    nameless = {name: value for name, value in jwk("x").items() if name != "kid"}
    of_no_use = [small, nameless, {**jwk("enc"), "use": "enc"}, {"kty": "oct", "kid": "k", "k": "AAAA"}, {}, "word"]
    broken = {**jwk("broken"), "x": "AAAA"}
    found = imported(json.dumps({"keys": [*of_no_use, broken, jwk("good"), large]}).encode())
    assert {alg: list(keys) for alg, keys in found.items()} == {"ES256": ["good"], "RS256": ["large"]}
    for document in (b"", b"[]", b"{}", b'{"keys": {}}', b"<html>"):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            imported(document)
