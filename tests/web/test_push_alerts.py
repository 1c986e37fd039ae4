"""Alerts by push: which devices of the account hear of a login or a revocation, and what they are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.authenticator import Authenticator
from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.embedded import fresh_phone
from tests.support.google import Google, credentials, new_key, standing_in
from tests.support.servers import eventually, running


def token(address: str) -> dict[str, Any]:
    return {"X-Device-Token": address}


@asynccontextmanager
async def pushing(folder: Path) -> AsyncIterator[tuple[Google, Api]]:
    """A server that sends its messages to a stand-in of Google's."""
    async with standing_in(new_key()) as google:
        settings: dict[str, Any] = {
            "PAIRING_FCM_CREDENTIALS_FILE": str(credentials(folder, google)),
            "PAIRING_FCM_URL": google.url,
        }
        with running(folder, **settings) as server:
            async with Api(server.url) as api:
                yield google, api
            # While it ends it may still be sending, to this very thread.
            await asyncio.to_thread(server.stop)


async def let_in(api: Api, phone: Phone, address: str) -> tuple[NewDevice, Phone]:
    device = await api.new_pairing(device_headers(**{"X-Device-Token": address} if address else {}))
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.approve(device.id)).status_code == 200
    answer = await device.log_in()
    assert answer.status_code == 200, answer.text
    return device, Phone(api, answer.json())


async def told(google: Google, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The next so many messages, approvals apart, each with its address; sorted, for they are sent at once."""
    news: list[tuple[str, dict[str, Any]]] = []

    def arrived() -> bool:
        news[:] = [(each["message"]["token"], each["message"]["data"]) for each in google.messages]
        news[:] = [each for each in news if each[1].get("status") != "Approved"]
        return len(news) >= count

    await eventually(arrived, f"{count} alerts")
    google.messages.clear()
    return sorted(news, key=lambda each: each[0])


@pytest.mark.security(16, 19, 21)
@pytest.mark.mitigation("6.1.6")
async def test_the_accounts_other_devices_hear_of_a_login_and_of_a_revocation_by_push(tmp_path: Path) -> None:
    async with pushing(tmp_path) as (google, api):
        first = await fresh_phone(api, tmp_path, "ada", **token("first"))
        stranger = await fresh_phone(api, tmp_path, "bob", **token("stranger"))
        _, second = await let_in(api, first, "second")
        assert [address for address, _ in await told(google, 1)] == ["first"]
        await let_in(api, first, "")
        assert [address for address, _ in await told(google, 2)] == ["first", "second"]

        device, newcomer = await let_in(api, first, "newcomer")
        news = await told(google, 2)
        assert [address for address, _ in news] == ["first", "second"], "all others, and never the newcomer"
        new_id = newcomer.keys["device"]["id"]
        for _, data in news:
            assert data.keys() == {"type", "deviceId", "at"}
            assert (data["type"], data["deviceId"]) == ("device.added", new_id)
            assert all(isinstance(value, str) for value in data.values())
        secrets = (newcomer.keys["authKey"], newcomer.keys["refreshKey"], device.pairing["secret"], device.id)
        assert not [each for each in secrets if each in json.dumps(news)]
        # The same answer again is no further login.
        assert (await device.log_in()).json()["refreshKey"] == newcomer.keys["refreshKey"]

        # Nobody lets himself in unseen: an invite is told, too.
        invited = await fresh_phone(api, tmp_path, "ada", **token("invited"))
        news = await told(google, 3)
        assert [address for address, _ in news] == ["first", "newcomer", "second"]
        assert {data["deviceId"] for _, data in news} == {invited.keys["device"]["id"]}

        gone = await api.http.delete(f"/devices/{new_id}?descendants=true", headers=second.headers)
        assert gone.status_code == 204
        news = await told(google, 2)
        assert [address for address, _ in news] == ["first", "invited"], "neither who did it nor who is gone"
        assert {(data["type"], data["deviceId"]) for _, data in news} == {("device.revoked", new_id)}

        # Who logs himself out alarms nobody, and what happens elsewhere is told elsewhere.
        assert (await api.http.delete("/sessions/current", headers=invited.headers)).status_code == 204
        assert (await stranger.get("/me")).status_code == 200
        await let_in(api, first, "last")
        assert [address for address, _ in await told(google, 2)] == ["first", "second"]

        # What the service makes of it is not the login's affair.
        google.answer, google.asked = (500, {}), 0
        _, unheard = await let_in(api, first, "")
        await eventually(lambda: google.asked >= 3, "messages that are refused")
        assert (await unheard.get("/me")).status_code == 200


@pytest.mark.security(19, 21)
@pytest.mark.mitigation("6.1.6")
async def test_the_accounts_other_devices_hear_of_a_passkey_that_comes_or_goes_by_push(tmp_path: Path) -> None:
    async with pushing(tmp_path) as (google, api):
        first = await fresh_phone(api, tmp_path, "ada", **token("first"))
        await let_in(api, first, "second")
        await told(google, 1)
        asked = (await first.post("/passkeys/options")).json()["publicKey"]
        key = Authenticator(f"http://localhost:{urlsplit(api.url).port}")
        added = await first.post("/passkeys", {"name": "Ada's key", "credential": key.create(asked)})
        assert added.status_code == 201, added.text
        removed = await api.http.delete(f"/passkeys/{added.json()['id']}", headers=first.headers)
        assert removed.status_code == 204, removed.text
        news = await told(google, 2)
        assert {address for address, _ in news} == {"second"}, "all others"
        assert {each["type"] for _, each in news} == {"passkey.added", "passkey.removed"}
        assert {each["deviceId"] for _, each in news} == {first.keys["device"]["id"]}
        assert not [each for each in (added.json()["id"], "Ada") if each in json.dumps(news)]
