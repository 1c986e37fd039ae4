"""Applications hear of a logout within 10 s, whichever process or command ended it."""

import time
from pathlib import Path

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.oauth.ports import Client, NewGrant
from tests.support.client import device_headers
from tests.support.client_tokens import header
from tests.support.listener import listening
from tests.support.servers import Server, eventually, running, said

LIVES_MS = 86_400_000


async def let_in(server: Server, uri: str) -> NewGrant:
    """Log a device in and an application with it, which wants to hear of logouts at `uri`."""
    async with httpx2.AsyncClient(base_url=f"{server.url}/api/v1", verify=False) as http:
        accepted = await http.post("/invites/accept", json={"code": server.invite()}, headers=device_headers())
        me = (await http.get("/me", headers={"Auth-Key": accepted.json()["authKey"]})).json()
    now = int(time.time() * 1000)
    grant = NewGrant(
        id="grant", user_id=me["user"]["id"], client_id="app", session_id=me["session"]["id"],
        device_id=me["device"]["id"], origin="code:1", scopes=("openid",), offline=True, created_at=now,
        idle_until=now + LIVES_MS, ends_at=now + LIVES_MS, auth_time=now // 1000, amr=("qr",), acr=None, ip="192.0.2.1",
        family_hash="family", refresh_hash="token", sealed=b"", sealed_until=now,
    )  # fmt: skip
    database = open_database(f"sqlite:///{server.folder / 'pairing.db'}")
    try:
        client = Client(id="app", name="The Shop", created_at=now, backchannel_logout_uri=uri)
        assert await SqlClients(database).add(client)
        assert await SqlGrants(database).begin(grant, 0)
    finally:
        await database.close()
    return grant


async def test_an_application_hears_of_a_lock_by_the_command_line_within_ten_seconds(tmp_path: Path) -> None:
    with running(tmp_path, PAIRING_ALLOW_PRIVATE_TARGETS="true") as server:
        async with listening() as listener:
            grant = await let_in(server, listener.uri)
            listener.statuses = [503, 200]
            locked = server.cli("user", "lock", "alice")
            assert locked.returncode == 0, locked.stderr
            await eventually(lambda: listener.heard, "the first attempt", 10)
            # It failed, and comes again.
            await eventually(lambda: len(listener.heard) == 2, "the second attempt", 15)
            await eventually(lambda: said(server, "logout.told"), "the word of it")
            async with httpx2.AsyncClient(verify=False) as http:
                public = (await http.get(f"{server.url}/.well-known/jwks.json")).json()
            token = jwt.decode(listener.tokens[-1], KeySet.import_key_set(public), algorithms=["RS256"])
            assert header(listener.tokens[-1])["typ"] == "logout+jwt"
            assert token.claims["iss"] == server.public_url
            assert (token.claims["sub"], token.claims["sid"]) == (grant.user_id, grant.id)
            assert "nonce" not in token.claims


@pytest.mark.security(41)
async def test_an_application_on_this_machine_hears_nothing_unless_the_setting_allows_it(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        async with listening() as listener:
            await let_in(server, listener.uri)
            assert server.cli("user", "lock", "alice").returncode == 0
            await eventually(lambda: said(server, "logout.failed"), "the word of it", 10)
            [line] = said(server, "logout.failed")
            assert "this machine" in line["why"]
            assert listener.heard == []
