"""What `oauth.ports.CodeStore` promises, in memory and on each kind of Redis, seen by two processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from pairing_ws.adapters.memory import MemoryCodes
from pairing_ws.adapters.redis.backend import topology_at
from pairing_ws.adapters.redis.client import RedisClient
from pairing_ws.adapters.redis.code_store import RedisCodes
from pairing_ws.core.errors import Unavailable
from pairing_ws.oauth.ports import AuthorizationCode, CodeStore
from tests.contract import token
from tests.support.clock import FakeClock
from tests.support.redis_kinds import KINDS
from tests.support.servers import RedisServer

CODE = AuthorizationCode(
    client_id="grafana",
    redirect_uri="https://grafana.example/login?next=/ä",
    code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    user_id="u",
    session_id="s",
    device_id="d",
    scopes=("openid", "groups"),
    auth_time=1_767_225_600,
    amr=("qr",),
)
MINUTE = 60_000


@dataclass
class Codes:
    """What one process has and what another one has; `forward` makes time pass in memory, where none passes alone."""

    here: CodeStore
    there: CodeStore
    forward: Callable[[int], None]


@asynccontextmanager
async def codes_on(url: str) -> AsyncIterator[RedisCodes]:
    topology = topology_at(url)
    client = RedisClient(topology)
    try:
        yield RedisCodes(client)
    finally:
        await client.aclose()
        await topology.aclose()


@pytest.fixture(params=["memory", "redis", *KINDS])
async def codes(request: pytest.FixtureRequest) -> AsyncIterator[Codes]:
    if request.param == "memory":
        clock = FakeClock()
        store = MemoryCodes(clock)
        yield Codes(store, store, lambda ms: clock.forward(ms=ms))
        return
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    else:
        url = request.getfixturevalue("redis_kinds")(request.param).url
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(codes_on(url)) for _ in range(2)]
        yield Codes(here, there, lambda ms: None)


async def test_a_code_is_read_by_every_process_as_often_as_it_is_asked_for(codes: Codes) -> None:
    digest = token()
    code = msgspec.structs.replace(CODE, nonce="n-0S6", acr="1", dpop_thumbprint="x" * 43)
    await codes.here.keep(digest, code, MINUTE)
    for store in (codes.here, codes.there, codes.there):
        assert await store.get(digest) == code


async def test_an_unknown_code_is_none(codes: Codes) -> None:
    await codes.here.keep(token(), CODE, MINUTE)
    assert await codes.there.get(token()) is None


async def test_a_code_whose_time_is_over_is_none_and_the_others_stay(codes: Codes) -> None:
    short, long = token(), token()
    await codes.here.keep(short, CODE, 1)
    await codes.here.keep(long, CODE, MINUTE)
    codes.forward(1)
    while await codes.there.get(short) is not None:  # noqa: ASYNC110 - a time to live rings no event
        await asyncio.sleep(0.01)
    assert await codes.there.get(long) == CODE


async def test_a_redis_that_is_away_is_unavailable(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with codes_on(server.url) as store:
        await store.keep("digest", CODE, MINUTE)
        server.stop()
        with pytest.raises(Unavailable):
            await store.get("digest")
        with pytest.raises(Unavailable):
            await store.keep("digest", CODE, MINUTE)


async def test_memory_keeps_no_code_whose_time_is_over() -> None:
    clock = FakeClock()
    store = MemoryCodes(clock)
    for number in range(100):
        await store.keep(str(number), CODE, MINUTE)
    clock.forward(ms=MINUTE)
    await store.keep("new", CODE, MINUTE)
    clock.now -= MINUTE
    assert [number for number in range(100) if await store.get(str(number))] == []
