"""Signing keys over two processes: one that is removed is dead in both, and servers that do not share theirs say so."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from pairing_ws.adapters.key_file import read_key_file, without_made
from tests.adapters.test_tokens import parts
from tests.client import Api
from tests.conftest import NO_LIMITS
from tests.servers import RedisServer, Server, running


@pytest.fixture
def servers(tmp_path: Path, redis_server: RedisServer) -> Iterator[tuple[Server, Server]]:
    shared = {"REDIS_URL": redis_server.url, **NO_LIMITS}
    with running(tmp_path, **shared) as one, running(tmp_path, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other


@pytest.mark.security(35)
async def test_a_stolen_key_that_is_removed_opens_nothing_at_any_process_within_five_seconds(
    servers: tuple[Server, Server],
) -> None:
    one, other = servers
    async with Api(one.url) as here, Api(other.url) as there:
        phone = await here.log_in_by_invite(one.invite())
        cached = phone.keys["authKey"]
        assert one.cli("keys", "rotate").returncode == 0
        stolen = read_key_file(one.folder / "pairing-keys.json").keys[1]
        thief = ECKey.import_key(without_made(stolen))

        async def is_taken(api: Api, auth_key: str) -> bool:
            return (await api.http.get("/me", headers={"Auth-Key": auth_key})).status_code == 200

        def forged() -> str:
            header, claims = parts(cached)
            return jwt.encode(header, claims | {"jti": str(time.monotonic_ns())}, thief, algorithms=["ES256"])

        # Both have the old key's tokens in their caches, and take what a thief signs with it.
        for api in (here, there):
            assert await is_taken(api, cached)
            assert await is_taken(api, forged())
        removed = one.cli("keys", "remove", stolen["kid"])
        assert removed.returncode == 0, removed.stderr
        end = time.monotonic() + 5
        for api in (here, there):
            # This one has no other reason to look at the file: it only verifies.
            while await is_taken(api, cached) or await is_taken(api, forged()):
                assert time.monotonic() < end, "the removed key still opens a session"
                await asyncio.sleep(0.05)
            shown = (await api.http.get(f"{api.url}/.well-known/jwks.json")).json()["keys"]
            assert stolen["kid"] not in [key["kid"] for key in shown]
        # Who has the session goes on.
        renewed = await there.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]})
        assert await is_taken(here, renewed.json()["authKey"])
        assert await is_taken(there, renewed.json()["authKey"])
