"""Nonces and proofs without a server: what a clock, a key or a store that is away makes of them."""

from collections.abc import Awaitable
from typing import Any

import pytest

from pairing_ws.adapters.jwt.dpop import NONCE_SECONDS, SKEW_SECONDS, DpopProofs
from pairing_ws.adapters.memory import MemoryCounters
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.counters import RedisCounters
from pairing_ws.core.errors import Code, Refused
from tests.support.clock import FakeClock
from tests.support.keys import DeviceKey
from tests.support.servers import free_port

PUBLIC_URL = "https://login.example.com/app"
PEPPER = b"p" * 32
KEY = DeviceKey()


def proofs(clock: FakeClock, pepper: bytes = PEPPER) -> DpopProofs:
    """Their timer is the clock as it is now: unlike this it is never set."""
    return DpopProofs(PUBLIC_URL, pepper, clock, MemoryCounters(lambda: clock() / 1000))


def demand(
    verifier: DpopProofs, nonce: str, url: str = f"{PUBLIC_URL}/x", path: str = "/x", **changed: Any
) -> Awaitable[None]:
    proof = changed.pop("proof", None) or KEY.proof("GET", url, nonce, **changed)
    return verifier.verify([proof], "GET", path, KEY.jkt, None)


async def code_of(asked: Awaitable[None]) -> Code | None:
    try:
        await asked
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-SKEW_SECONDS - 1, Code.USE_DPOP_NONCE),
        (-SKEW_SECONDS, None),
        (0, None),
        (NONCE_SECONDS, None),
        (NONCE_SECONDS + 1, Code.USE_DPOP_NONCE),
    ],
)
async def test_a_nonce_is_good_for_a_while_at_processes_whose_clocks_are_not_far_apart(
    seconds: int, expected: Code | None
) -> None:
    here, there = FakeClock(), FakeClock()
    there.forward(seconds=1000)
    here.forward(seconds=1000 + seconds)
    assert await code_of(demand(proofs(here), proofs(there).nonce())) == expected


async def test_a_nonce_under_another_key_is_none() -> None:
    clock = FakeClock()
    assert await code_of(demand(proofs(clock), proofs(clock, b"q" * 32).nonce())) == Code.USE_DPOP_NONCE


async def test_a_proof_is_remembered_for_as_long_as_any_process_could_take_it() -> None:
    clock = FakeClock()
    verifier = proofs(clock)
    nonce = verifier.nonce()
    # Made by a process that is ahead, and used here at once.
    clock.forward(seconds=-SKEW_SECONDS)
    proof = KEY.proof("GET", f"{PUBLIC_URL}/x", nonce)
    assert await code_of(demand(verifier, nonce, proof=proof)) is None
    clock.forward(seconds=SKEW_SECONDS + NONCE_SECONDS)
    assert await code_of(demand(verifier, nonce, proof=proof)) == Code.INVALID_PROOF
    clock.forward(seconds=1)
    assert await code_of(demand(verifier, nonce, proof=proof)) == Code.USE_DPOP_NONCE


@pytest.mark.security(37)
async def test_a_proof_stays_used_though_the_clock_is_set_forward_and_back_again() -> None:
    clock = FakeClock()
    verifier = DpopProofs(PUBLIC_URL, PEPPER, clock, MemoryCounters())
    nonce = verifier.nonce()
    proof = KEY.proof("GET", f"{PUBLIC_URL}/x", nonce)
    assert await code_of(demand(verifier, nonce, proof=proof)) is None
    clock.forward(seconds=3600)
    assert await code_of(demand(verifier, verifier.nonce())) is None
    clock.forward(seconds=-3600)
    assert await code_of(demand(verifier, nonce, proof=proof)) == Code.INVALID_PROOF


async def test_the_same_jti_of_two_keys_is_two_proofs() -> None:
    verifier, other = proofs(FakeClock()), DeviceKey()
    assert await code_of(demand(verifier, verifier.nonce(), jti="same")) is None
    proof = other.proof("GET", f"{PUBLIC_URL}/x", verifier.nonce(), jti="same")
    await verifier.verify([proof], "GET", "/x", other.jkt, None)


@pytest.mark.parametrize(
    ("url", "path", "fits"),
    [
        ("https://login.example.com/app/x", "/x", True),
        ("https://login.example.com:443/app/x", "/x", True),
        ("HTTPS://LOGIN.example.com/app/x?query#fragment", "/x", True),
        ("https://login.example.com/app/%7Ex", "/~x", True),
        ("https://login.example.com/app/a%20b", "/a b", True),
        ("https://login.example.com/APP/x", "/x", False),
        ("https://login.example.com/x", "/x", False),
        ("https://login.example.com:80/app/x", "/x", False),
        ("http://login.example.com/app/x", "/x", False),
        ("https://login.example.com./app/x", "/x", False),
        ("https://login.example.com.evil.example/app/x", "/x", False),
        ("https://login.example.com@evil.example/app/x", "/x", False),
        ("wss://login.example.com/app/x", "/x", False),
        ("https://login.example.com:x/app/x", "/x", False),
        ("//login.example.com/app/x", "/x", False),
        ("", "/x", False),
    ],
)  # fmt: skip
async def test_an_address_is_compared_with_the_public_one(url: str, path: str, fits: bool) -> None:
    verifier = proofs(FakeClock())
    assert await code_of(demand(verifier, verifier.nonce(), url, path)) == (None if fits else Code.INVALID_PROOF)


@pytest.mark.security(26)
@pytest.mark.parametrize("method", ["POST", "PATCH", "GET", "HEAD", "DELETE"])
async def test_while_redis_is_away_a_proof_counts_only_for_reading_and_taking_away(method: str) -> None:
    topology = topology_at(f"redis://127.0.0.1:{free_port()}/0")
    client = RedisClient(topology)
    verifier = DpopProofs(PUBLIC_URL, PEPPER, FakeClock(), RedisCounters(client))
    proof = KEY.proof(method, f"{PUBLIC_URL}/x", verifier.nonce())
    told = [await code_of(verifier.verify([proof], method, "/x", KEY.jkt, None)) for _ in range(2)]
    assert told == ([Code.UNAVAILABLE] * 2 if method in ("POST", "PATCH") else [None, Code.INVALID_PROOF])
    await client.aclose()
    await topology.aclose()
