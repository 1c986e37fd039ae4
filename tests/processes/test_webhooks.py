"""Webhooks from end to end: every event, written by whichever process, reaches the receiver, through the end of a
process and of the database."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from pairing_ws.core.deliveries import LEASE_MS
from tests.support.authenticator import Authenticator
from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.postgres import PostgresServer
from tests.support.receiver import receiving
from tests.support.servers import RedisServer, Server, eventually, running, said
from tests.support.skewed import SkewedServer


async def second_device(phone: Phone) -> Phone:
    device = await phone.api.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    assert (await phone.approve(device.id)).status_code == 200
    answer = await device.log_in()
    assert answer.status_code == 200, answer.text
    return Phone(phone.api, answer.json())


async def refuse(phone: Phone, *, report: bool) -> str:
    device = await phone.api.new_pairing()
    assert (await phone.claim(device.pairing)).status_code == 200
    answer = await phone.post(f"/pairings/{device.id}/deny", {"report": report})
    assert answer.status_code == 200, answer.text
    return device.id


async def passkey_that_came_and_went(phone: Phone, origin: str) -> str:
    asked = (await phone.post("/passkeys/options")).json()["publicKey"]
    added = await phone.post("/passkeys", {"name": "Key", "credential": Authenticator(origin).create(asked)})
    assert added.status_code == 201, added.text
    passkey_id: str = added.json()["id"]
    gone = await phone.api.http.delete(f"/passkeys/{passkey_id}", headers=phone.headers)
    assert gone.status_code == 204, gone.text
    return passkey_id


@pytest.mark.security(52)
async def test_every_event_reaches_the_receiver_in_its_order_and_tells_no_more_than_it_has_to(tmp_path: Path) -> None:
    async with receiving() as receiver:
        with running(tmp_path, **NO_LIMITS, **receiver.env) as server:
            async with Api(server.url) as api:
                phone = await api.log_in_by_invite(server.invite())
                television = await second_device(phone)
                denied, reported = await refuse(phone, report=False), await refuse(phone, report=True)
                passkey = await passkey_that_came_and_went(phone, server.public_url)
                ids = [each.keys["device"]["id"] for each in (phone, television)]
                revoked = await api.http.delete(f"/devices/{ids[1]}", headers=phone.headers)
                assert revoked.status_code == 204, revoked.text
                assert server.cli("user", "lock", "alice").returncode == 0
                assert server.cli("user", "delete", "alice", "--yes").returncode == 0
                user = phone.keys["user"]["id"]
                found = await receiver.types_of(
                    user, "device.added", "device.added", "pairing.denied", "pairing.reported", "passkey.added",
                    "passkey.removed", "device.revoked", "user.locked", "user.deleted",
                )  # fmt: skip
    own: list[dict[str, Any]] = [each.data for each in found]
    assert {each.pop("userId") for each in own} == {user}
    assert own[0].pop("sessionId")
    assert own[1].pop("sessionId")
    assert own == [
        {"deviceId": ids[0], "deviceName": "Test device", "amr": "invite", "approvedBy": None},
        {"deviceId": ids[1], "deviceName": "Test device", "amr": "qr", "approvedBy": ids[0]},
        {"pairingId": denied, "byDeviceId": ids[0]},
        {"pairingId": reported, "byDeviceId": ids[0]},
        {"passkeyId": passkey, "byDeviceId": ids[0]},
        {"passkeyId": passkey, "byDeviceId": ids[0]},
        {"deviceId": ids[1], "reason": "revoked"},
        {},
        {},
    ]


@pytest.mark.slow
@pytest.mark.security(52)
async def test_what_a_process_was_sending_when_it_was_killed_is_sent_by_the_next_one_in_its_order(
    tmp_path: Path,
) -> None:
    async with receiving() as receiver:
        receiver.statuses = [None]
        with running(tmp_path, **receiver.env) as server:
            async with Api(server.url) as api:
                phone = await api.log_in_by_invite(server.invite())
            user = phone.keys["user"]["id"]
            await eventually(lambda: receiver.heard, "the first attempt")
            assert server.cli("user", "lock", "alice").returncode == 0
            server.stop(signal.SIGKILL)
        receiver.statuses = [204]
        # After the lease, on its own clock.
        second = SkewedServer(tmp_path, LEASE_MS / 1000, **receiver.env)
        try:
            await receiver.types_of(user, "device.added", "user.locked")
            assert receiver.heard[0] == receiver.taken[0]
        finally:
            second.stop()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.security(52)
async def test_two_processes_lose_no_event_and_mix_none_up_while_receiver_and_database_fail(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    postgres = PostgresServer()
    try:
        url = postgres.database()
        async with receiving() as receiver:
            shared: dict[str, Any] = {"REDIS_URL": redis_server.url, "DATABASE_URL": url, **NO_LIMITS, **receiver.env}
            with (
                running(tmp_path, **shared) as one,
                running(tmp_path, PAIRING_PUBLIC_URL=one.public_url, **shared) as two,
            ):
                users = await through_failures(one, two, url, receiver.statuses, postgres)
                for each in users:
                    await receiver.types_of(each, "device.added", "device.added", "device.revoked")
                assert said(one, "webhooks.failed") + said(two, "webhooks.failed") == []
    finally:
        postgres.close()


async def through_failures(
    one: Server, two: Server, url: str, statuses: list[int | None], postgres: PostgresServer
) -> list[str]:
    """What happens to some accounts at both servers, with a receiver that fails now and then, and a database that
    crashes: the accounts."""
    statuses[:] = [503, 204, 500, 204]
    async with Api(one.url) as first, Api(two.url) as second:
        apis = [first, second] * 2
        phones = [await fresh_phone(each, one.folder, database_url=url) for each in apis]
        devices = await asyncio.gather(*map(second_device, phones))
        postgres.stop()
        postgres.start()
        for phone, device in zip(phones, devices, strict=True):
            device_id = device.keys["device"]["id"]
            # As a client does: again, until it is told something else than to come back.
            async with asyncio.timeout(30):
                while True:
                    gone = await phone.api.http.delete(f"/devices/{device_id}", headers=phone.headers)
                    if gone.status_code != 503:
                        break
                    await asyncio.sleep(0.05)
            assert gone.status_code == 204, gone.text
    return [phone.keys["user"]["id"] for phone in phones]
