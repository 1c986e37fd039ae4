"""What a thief of logs, metrics, problem documents, pushes, of Redis's memory or of the database finds after whole
flows: nothing he can use."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.tables import metadata
from tests.processes.conftest import Pair, at
from tests.support.app_server import app_server
from tests.support.client import Api, Phone, code_of, device_headers, socket, told
from tests.support.embedded import fresh_phone
from tests.support.google import Google, credentials, new_key, standing_in
from tests.support.limits import NO_LIMITS
from tests.support.postgres import Postgres
from tests.support.servers import RedisServer, eventually, running

ADDRESS = "push-address-of-the-new-device"


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    async with standing_in(new_key()) as google:
        yield google


async def whole_flows(pair: Pair) -> dict[str, str]:
    """Both flows, a typed code, refreshes and failures; every secret that appeared in them, by name."""
    found: dict[str, str] = {}
    phone = await pair.phone("at-rest")
    found |= {"invited authKey": phone.keys["authKey"], "invited refreshKey": phone.keys["refreshKey"]}

    device = await pair.two.new_pairing(device_headers(name="log%0Ainjection%1b[31m") | {"X-Device-Token": ADDRESS})
    found |= _of_pairing("flow 2", device.pairing)
    async with device.socket() as connection:
        await told(connection)
        await phone.claim(device.pairing)
        await phone.approve(device.id)
    found |= _of_keys("flow 2", (await device.log_in()).json())

    shown = await phone.show_code()
    found |= _of_pairing("flow 1", shown)
    async with socket(pair.servers[0].ws_url, shown["id"], authKey=phone.keys["authKey"]) as connection:
        await told(connection)
        joined = await pair.two.join(shown)
        found["flow 1 secret"] = joined.pairing["secret"]
        await phone.approve(joined.id)
    keys = (await joined.log_in()).json()
    found |= _of_keys("flow 1", keys)

    typed = await pair.one.new_pairing()
    found |= _of_pairing("typed", typed.pairing)
    await phone.post("/pairings/claim", {"userCode": typed.pairing["userCode"]})
    number = (await phone.approve(typed.id)).json()["number"]
    await typed.log_in({"number": f"{(int(number) + 1) % 1000:03}"})
    found |= _of_keys("typed", (await typed.log_in({"number": number})).json())

    refreshed = await pair.two.http.post("/sessions/refresh", json={"refreshKey": keys["refreshKey"]})
    found |= _of_keys("refreshed", refreshed.json())

    waiting = await pair.one.new_pairing()
    found |= _of_pairing("left open", waiting.pairing)
    await phone.claim(waiting.pairing)
    found |= await _of_application(pair, phone)
    await _failures(pair, found)
    return found


async def _of_application(pair: Pair, phone: Phone) -> dict[str, str]:
    """All that an application sees, and the wrong places for it."""
    url, folder = pair.servers[0].url, pair.servers[0].folder
    async with await app_server(url, folder, pair.database_url) as app:
        code = await app.code(phone)
        first = (await app.redeem(code)).json()
        second = (await app.refresh(first["refresh_token"])).json()
        unused = await app.code(phone)
        for secret in (unused, second["refresh_token"], second["access_token"]):
            await app.http.get(f"/oauth/userinfo?access_token={secret}")
            await app.http.post(f"/oauth/token?code={secret}", content=f"refresh_token={secret}&refresh_token={secret}")
            await app.introspect(f"{secret}x")
        assert app.secret
        found = {"client secret": app.secret, "code": code, "unused code": unused, "verifier": app.app.verifier}
    for name, answer in (("first", first), ("second", second)):
        found |= {f"{name} {kind}": answer[kind] for kind in ("access_token", "refresh_token", "id_token")}
    return found


def _of_pairing(name: str, pairing: dict[str, Any]) -> dict[str, str]:
    found = {f"{name} code": code_of(pairing), f"{name} userCode": pairing["userCode"]}
    if "rotate" in pairing["qr"]:
        found[f"{name} seed"] = pairing["qr"]["rotate"]["seed"]
    return found | ({f"{name} secret": pairing["secret"]} if "secret" in pairing else {})


def _of_keys(name: str, keys: dict[str, Any]) -> dict[str, str]:
    return {f"{name} authKey": keys["authKey"], f"{name} refreshKey": keys["refreshKey"]}


async def _failures(pair: Pair, found: dict[str, str]) -> None:
    """Secrets in all the wrong places: what is refused must not be written down either."""
    secret, refresh_key = found["left open secret"], found["refreshed refreshKey"]
    for api in (pair.one, pair.two):
        await api.http.get(f"/pairings/{secret}?secret={secret}&code={refresh_key}", headers={"Pairing-Secret": secret})
        await api.http.get("/me", headers={"Auth-Key": refresh_key})
        broken = json.dumps({"refreshKey": refresh_key})[:-1]
        await api.http.post("/sessions/refresh", content=broken, headers={"Content-Type": "application/json"})
        await api.http.get("/me", headers={"Auth-Key": found["flow 2 authKey"] + "x"})


@pytest.fixture
async def secrets_(pair: Pair) -> dict[str, str]:
    return await whole_flows(pair)


def spellings(value: str) -> set[bytes]:
    """The value as text, as the bytes it stands for, and what is left of it without dash or case."""
    found = {value.encode(), value.replace("-", "").encode(), value.lower().encode(), json.dumps(value)[1:-1].encode()}
    if "-" in value and len(value) == 9:
        return found
    for part in value.split("."):
        found.add(part.encode())
        try:
            raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except ValueError:
            continue
        found |= {raw, raw.hex().encode()}
    # The JWT's header is the same for all and no secret.
    return {each for each in found if len(each) >= 8 and b'"alg"' not in each and not each.startswith(b"eyJhbGci")}


def assert_in_none(found: dict[str, str], places: dict[str, bytes]) -> None:
    for name, value in found.items():
        for spelling in spellings(value):
            for where, content in places.items():
                assert spelling not in content, f"{name} is in {where}"


@pytest.mark.security(17, 21)
async def test_no_secret_is_in_a_log_in_redis_or_in_the_database(
    pair: Pair, secrets_: dict[str, str], redis_server: RedisServer
) -> None:
    places = {
        **_logs(pair),
        **{path.name: path.read_bytes() for path in pair.servers[0].folder.glob("pairing.db*")},
        "Redis": _dump(redis_server),
    }
    assert b"at-rest" in b"".join(content for name, content in places.items() if name.startswith("pairing.db"))
    assert b"Test device" in places["Redis"]
    assert_in_none(secrets_, places)


@pytest.mark.security(17, 21)
async def test_no_secret_is_in_metrics_problems_pushes_or_postgresql(
    tmp_path: Path,
    google: Google,
    redis_server: RedisServer,
    postgres_server: Postgres,
) -> None:
    shared = {
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": postgres_server.database(),
        "PAIRING_FCM_CREDENTIALS_FILE": str(credentials(tmp_path, google)),
        "PAIRING_FCM_URL": google.url,
        "PAIRING_QUARANTINE_SECONDS": "0",
        "PAIRING_QR_ROTATE_SECONDS": "60",
        **NO_LIMITS,
    }
    with running(tmp_path, **shared) as one, running(tmp_path, **shared, PAIRING_PUBLIC_URL=one.public_url) as two:
        async with Api(one.url) as first, Api(two.url) as second:
            pair, problems = Pair(first, second, (one, two)), Problems()
            for api in (first, second):
                api.http.event_hooks = {"response": [problems.note]}
            found = await whole_flows(pair)
            await eventually(lambda: google.messages, "the push message")
            places = {
                **_logs(pair),
                **{
                    f"metrics of {api.url}": (await api.http.get(f"{api.url}/metrics")).content
                    for api in (first, second)
                },
                "problems": b"\n".join(problems.seen),
                "pushes": json.dumps(google.messages).encode(),
                "PostgreSQL": await _rows(pair.database_url),
                "Redis": _dump(redis_server),
            }
    assert len(problems.seen) >= 8
    assert "flow 2 seed" in found
    assert ADDRESS.encode() in places["pushes"]
    assert b"at-rest" in places["PostgreSQL"]
    assert all(b"pairing_events_total" in content for name, content in places.items() if name.startswith("metrics"))
    # The address is nobody's secret to PostgreSQL, which has to know it, but to all others.
    others = {name: content for name, content in places.items() if name not in ("pushes", "PostgreSQL", "Redis")}
    assert_in_none({"push address": ADDRESS}, others)
    assert_in_none(found, places)


class Problems:
    """Every problem document that a client was given."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def note(self, answer: httpx2.Response) -> None:
        if answer.headers.get("content-type") == "application/problem+json":
            # Its headers too: whatever leaves with it.
            self.seen.append(await answer.aread() + str(answer.headers.multi_items()).encode())


def _logs(pair: Pair) -> dict[str, bytes]:
    return {f"log of process {index}": server.process.log.read_bytes() for index, server in enumerate(pair.servers)}


async def _rows(database_url: str) -> bytes:
    """Every value of every table."""
    database = open_database(database_url)

    def values(connection: sa.Connection) -> list[bytes]:
        rows = [row for table in metadata.sorted_tables for row in connection.execute(sa.select(table))]
        return [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]

    found = await database.run(values)
    await database.close()
    return b"\n".join(found)


def _dump(server: RedisServer) -> bytes:
    """Every key with all it holds; of one whose time is over meanwhile, its name."""
    parts: list[bytes] = []
    with server.client() as own:
        for key in own.scan_iter():
            parts.append(key)
            kind = own.type(key).decode()
            content: Any = {
                "string": own.get, "hash": own.hgetall, "set": own.smembers,
                "zset": lambda name: own.zrange(name, 0, -1), "list": lambda name: own.lrange(name, 0, -1),
                "none": lambda _: b"",
            }[kind](key) or b""  # fmt: skip
            pieces = [each for pair in content.items() for each in pair] if isinstance(content, dict) else content
            parts += [pieces] if isinstance(pieces, bytes) else list(pieces)
    return b"\n".join(parts)


@pytest.mark.security(21)
async def test_control_characters_never_reach_a_log_raw(pair: Pair, secrets_: dict[str, str]) -> None:
    del secrets_
    for server in pair.servers:
        content = server.process.log.read_bytes()
        assert not [each for each in content if (each < 0x20 and each not in b"\n") or each == 0x7F]


@pytest.mark.security(26)
async def test_every_key_in_redis_has_a_time_to_live(
    pair: Pair, secrets_: dict[str, str], redis_server: RedisServer
) -> None:
    del pair, secrets_
    with redis_server.client() as own:
        keys = list(own.scan_iter())
        assert keys
        for key in keys:
            # -2: it has just ended.
            assert own.pttl(key) != -1, key


@pytest.mark.security(17)
async def test_a_dump_of_redis_opens_nothing(pair: Pair, redis_server: RedisServer) -> None:
    phone, device = await pair.phone(), await pair.one.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    with redis_server.client() as own:
        record = json.loads(own.hget(f"pairing:{{{device.id}}}", "record"))
    stolen = [value for value in record.values() if isinstance(value, str)]
    assert len(stolen) > 4
    for value in stolen:
        answer = await pair.two.http.post(f"/pairings/{device.id}/login", json={}, headers={"Pairing-Secret": value})
        assert answer.status_code == 404
        claimed = await at(pair.two, phone).post(f"/pairings/{device.id}/claim", {"code": value[:200]})
        assert claimed.status_code == 404


@pytest.mark.security(17, 26)
async def test_limits_keep_no_secret_in_redis_either(tmp_path: Path) -> None:
    own_redis = RedisServer(tmp_path)
    try:
        with running(tmp_path, REDIS_URL=own_redis.url) as server:
            async with Api(server.url) as api:
                phone, device = await fresh_phone(api, tmp_path), await api.new_pairing()
                await phone.post("/pairings/claim", {"userCode": "0000-0000"})
                await phone.claim(device.pairing)
                await api.http.post("/sessions/refresh", json={"refreshKey": phone.keys["refreshKey"]})
            dump = _dump(own_redis)
            assert b"limits" in dump
            with own_redis.client() as own:
                assert all(own.pttl(key) != -1 for key in own.scan_iter())
        for value in (device.pairing["secret"], code_of(device.pairing), phone.keys["refreshKey"]):
            assert value.encode() not in dump
    finally:
        own_redis.stop()
