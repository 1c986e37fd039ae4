"""Signing keys over two processes: one that is removed is dead in both, and servers that do not share theirs say so."""

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from joserfc import jwt
from joserfc.jwk import ECKey

from pairing_ws.adapters.jwt.key_file import read_key_file
from pairing_ws.adapters.jwt.key_set import without_made
from tests.support.client import Api, device_headers
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, running, said, wait_for
from tests.support.tokens import parts


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


@pytest.mark.security(35, 36)
async def test_what_a_removed_key_had_opened_and_waits_ends_within_five_seconds(
    servers: tuple[Server, Server],
) -> None:
    one, other = servers
    async with Api(one.url) as api:
        phone = await api.log_in_by_invite(one.invite())
        shown = await phone.show_code()
        paths = ("/api/v1/socket", f"/api/v1/pairings/{shown['id']}/socket")
        async with AsyncExitStack() as stack:
            sockets = []
            for server, path in itertools.product(servers, paths):
                socket = await stack.enter_async_context(websockets.connect(f"{server.ws_url}{path}"))
                await socket.send(json.dumps({"type": "auth", "authKey": phone.keys["authKey"]}))
                sockets.append(socket)
            # The pairing's snapshots have come, so the poll began after the sockets.
            versions = [json.loads(await socket.recv())["pairing"]["version"] for socket in sockets[1::2]]
            polling = asyncio.create_task(phone.get(f"/pairings/{shown['id']}?since={versions[0]}&wait=25"))
            [kid] = [key["kid"] for key in read_key_file(one.folder / "pairing-keys.json").keys]
            assert other.cli("keys", "remove", kid).returncode == 0
            async with asyncio.timeout(5):
                for socket in sockets:
                    await socket.wait_closed()
                assert (await polling).status_code == 401
            assert [socket.close_code for socket in sockets] == [4401] * 4


# Keys that are not shared


def test_servers_with_a_key_file_each_say_at_start_that_they_do_not_share_keys_and_so_does_a_doctor(
    tmp_path: Path,
) -> None:
    # The run's has seen the keys of other tests' servers.
    redis = RedisServer(tmp_path)
    shared: dict[str, Any] = {"REDIS_URL": redis.url, "DATABASE_URL": f"sqlite:///{tmp_path / 'pairing.db'}"}
    folders = [tmp_path / "one", tmp_path / "other"]
    for each in folders:
        each.mkdir()
    with running(folders[0], **shared) as one:
        assert not said(one, "keys.not_shared")
        assert "other signing keys" not in one.cli("doctor").stdout
        with running(folders[1], **shared) as other:
            wait_for(lambda: len(said(other, "keys.not_shared")) == 2, "the words of both stores")
            assert {line["store"] for line in said(other, "keys.not_shared")} == {"Redis", "database"}
            assert all("PAIRING_SIGNING_KEYS" in line["hint"] for line in said(other, "keys.not_shared"))
            found = other.cli("doctor").stdout
            assert "warning  database: a server was here" in found
            assert "warning  Redis: a server was here" in found
    redis.stop()


def test_a_key_file_that_is_made_anew_beside_sessions_is_warned_about(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with httpx2.Client(base_url=f"{server.url}/api/v1", verify=False) as http:
            accepted = http.post("/invites/accept", json={"code": server.invite()}, headers=device_headers())
            assert accepted.status_code == 200
        wait_for(lambda: rings(tmp_path) == 1, "its fingerprint")
        server.stop()
        server.start()
        assert not said(server, "keys.made_beside_sessions")
        server.stop()
        (tmp_path / "pairing-keys.json").unlink()
        server.start()
        wait_for(lambda: said(server, "keys.made_beside_sessions"), "the warning")
        assert said(server, "keys.made_beside_sessions")[0]["sessions"] == 1


def rings(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "pairing.db")) as db:
        return int(db.execute("SELECT count(*) FROM key_rings").fetchone()[0])
