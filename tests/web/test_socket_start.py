"""How a socket begins: what is refused before the upgrade, and the first message."""

import asyncio
import json
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from tests.support.answers import assert_safe
from tests.support.client import Api, Phone, told, with_api
from tests.support.embedded import Embedded, embedded
from tests.support.servers import Server
from tests.support.sockets import PROTOCOL, auth, close_code, raw, refused
from tests.web.conftest import NewPhone

# Handshake


@pytest.mark.security(27)
async def test_the_subprotocol_is_chosen_and_nothing_is_compressed(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    path, first = f"/pairings/{device.id}/socket", auth(secret=device.pairing["secret"])
    async with raw(server, path, first, subprotocols=["other.v1", PROTOCOL], compression="deflate") as connection:
        assert connection.subprotocol == "pairing.v1"
        assert connection.response
        assert "sec-websocket-extensions" not in connection.response.headers
        assert (await told(connection))["status"] == "pending"


async def test_a_client_that_offers_no_subprotocol_is_served_without_one(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    first = auth(secret=device.pairing["secret"])
    async with raw(server, f"/pairings/{device.id}/socket", first, subprotocols=None) as connection:
        assert connection.subprotocol is None
        assert (await told(connection))["status"] == "pending"


@pytest.mark.security(20)
@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "{own}.evil.example", "{own}0", "https://localhost:{port}", "http://localhost",
     "http://127.0.0.1:{port}", "{own}/", "http://LOCALHOST:{port}", "http://evil.example/{own}", "{own}, {own}",
     "http://localhost:{port}@evil.example", "file://", "http://xlocalhost:{port}"],
)  # fmt: skip
async def test_a_foreign_origin_is_refused_before_the_upgrade(
    api: Api, server: Server, phone: Phone, origin: str
) -> None:
    device = await api.new_pairing()
    spelt = origin.format(own=server.public_url, port=server.port)
    for path, headers in ((f"/pairings/{device.id}/socket", device.headers), ("/socket", phone.headers)):
        status, problem, answered = await refused(server, path, additional_headers=headers | {"Origin": spelt})
        assert (status, problem["code"]) == (403, "foreign_origin")
        assert answered["content-type"] == "application/problem+json"
        assert answered["cache-control"] == "no-store"
        assert_safe(answered)
    # Nor does a stranger write lines into the log.
    assert "handshake" not in server.log_text()


async def test_our_own_origin_and_none_are_let_in(api: Api, server: Server) -> None:
    for origin in (None, server.public_url):
        device = await api.new_pairing()
        path = f"/pairings/{device.id}/socket"
        async with raw(server, path, auth(secret=device.pairing["secret"]), origin=origin) as connection:
            assert (await told(connection))["status"] == "pending"


@pytest.mark.security(27)
@pytest.mark.mitigation("6.1.11")
async def test_sockets_are_limited_per_address_before_the_upgrade(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, demo=True, limit_sockets=3)) as (server, api), AsyncExitStack() as stack:
        device = await api.new_pairing()
        for _ in range(3):
            held = await stack.enter_async_context(raw(server, f"/pairings/{device.id}/socket"))
        status, problem, headers = await refused(server, "/socket")
        assert (status, problem["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) > 0
        await held.close()
        for _ in range(100):
            try:
                await stack.enter_async_context(raw(server, "/socket"))
                break
            except InvalidStatus:
                await asyncio.sleep(0.02)
        else:
            raise AssertionError("a closed socket left no room")


@pytest.mark.security(27)
async def test_sockets_are_limited_in_total_whatever_their_addresses(tmp_path: Path) -> None:
    options: dict[str, Any] = {"limit_sockets": 2, "limit_all_sockets": 3, "trusted_proxies": ("127.0.0.1",)}
    with embedded(tmp_path, demo=True, **options) as server:
        async with AsyncExitStack() as stack:
            for address in ("9.9.9.1", "9.9.9.1", "9.9.9.2"):
                headers = {"X-Forwarded-For": address}
                await stack.enter_async_context(raw(server, "/socket", additional_headers=headers))
            own = await refused(server, "/socket", additional_headers={"X-Forwarded-For": "9.9.9.1"})
            other = await refused(server, "/socket", additional_headers={"X-Forwarded-For": "9.9.9.3"})
            assert [(status, problem["code"]) for status, problem, _ in (own, other)] == [
                (429, "rate_limited"),
                (503, "unavailable"),
            ]
            assert int(other[2]["retry-after"]) > 0


# First message

BAD_FIRST: dict[str, str | bytes] = {
    "not JSON": "hello",
    "empty": "",
    "an array": "[]",
    "null": "null",
    "another type": '{"type": "hello"}',
    "no type": '{"secret": "x"}',
    "secret of a wrong type": '{"type": "auth", "secret": 1}',
    "both credentials": '{"type": "auth", "secret": "x", "authKey": "y"}',
    "binary": b'{"type": "auth", "secret": "x"}',
    "binary nonsense": b"\xff\x00",
    "deep": "[" * 4000,
    "lone surrogate": '{"type": "auth", "secret": "\\ud800"}',
    "long secret": json.dumps({"type": "auth", "secret": "x" * 3000}),
}


@pytest.mark.security(25)
@pytest.mark.parametrize("kind", BAD_FIRST)
async def test_a_malformed_first_message_closes_with_4400(api: Api, server: Server, kind: str) -> None:
    device = await api.new_pairing()
    for path in (f"/pairings/{device.id}/socket", "/socket"):
        async with raw(server, path, BAD_FIRST[kind]) as connection:
            assert await close_code(connection) == 4400


async def test_a_missing_or_invalid_credential_closes_with_4401(api: Api, server: Server, phone: Phone) -> None:
    device = await api.new_pairing()
    pairing, account = f"/pairings/{device.id}/socket", "/socket"
    secret = auth(secret=device.pairing["secret"])
    for path, first in [
        (pairing, auth()), (account, auth()), (pairing, auth(authKey="x")), (account, auth(authKey="a.b.c")),
        (account, auth(authKey=phone.keys["refreshKey"])), (account, secret),
    ]:  # fmt: skip
        async with raw(server, path, first) as connection:
            assert await close_code(connection) == 4401, (path, first)
    async with raw(server, account, additional_headers={"Auth-Key": "x"}) as connection:
        assert await close_code(connection) == 4401
    both = device.headers | phone.headers
    async with raw(server, pairing, additional_headers=both) as connection:
        assert await close_code(connection) == 4400


async def test_an_expired_key_closes_with_4401(clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone) -> None:
    phone = await clocked_phone()
    clocked.clock.advance(700)
    async with raw(clocked, "/socket", auth(authKey=phone.keys["authKey"])) as connection:
        assert await close_code(connection) == 4401


@pytest.mark.security(27)
async def test_silence_is_cut_off_with_4401_on_both_sockets(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    async with raw(server, f"/pairings/{device.id}/socket") as one, raw(server, "/socket") as two:
        codes = await asyncio.gather(close_code(one, 30), close_code(two, 30))
    assert list(codes) == [4401, 4401]


@pytest.mark.security(1, 8)
async def test_a_stranger_cannot_tell_a_foreign_pairing_from_none(api: Api, server: Server, phone: Phone) -> None:
    device, other = await api.new_pairing(), await api.new_pairing()
    reasons = set()
    for pairing_id, first in [
        (device.id, auth(secret=other.pairing["secret"])), (device.id, auth(secret="x")), (device.id, auth(secret="")),
        (secrets.token_urlsafe(16), auth(secret=device.pairing["secret"])),
        (device.id, auth(authKey=phone.keys["authKey"])), ("%00", auth(secret="x")), ("x" * 3000, auth(secret="x")),
    ]:  # fmt: skip
        async with raw(server, f"/pairings/{pairing_id}/socket", first) as connection:
            assert await close_code(connection) == 4404
            reasons.add(connection.close_reason)
    assert len(reasons) == 1


@pytest.mark.parametrize("path", ["/pairings%2F{id}/socket", "/pairings/{id}/socket%0a", "/pairings/{id}/%73ocket",
                                  "/socket%0a", "/s%6fcket", "/pairings//{id}/socket"])  # fmt: skip
async def test_a_socket_has_its_path_to_the_letter(api: Api, server: Server, path: str) -> None:
    device = await api.new_pairing()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await raw(server, path.replace("{id}", device.id), additional_headers=device.headers).__aenter__()
    assert refused.value.response.status_code == 404


async def test_a_first_message_may_begin_with_a_byte_order_mark(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    first = "\ufeff" + json.dumps({"type": "auth", "secret": device.pairing["secret"]})
    async with raw(server, f"/pairings/{device.id}/socket") as connection:
        await connection.send(first)
        assert (await told(connection))["status"] == "pending"


async def test_a_credential_in_a_header_needs_no_first_message(api: Api, server: Server, phone: Phone) -> None:
    device, shown = await api.new_pairing(), await phone.show_code()
    bearer = {"Authorization": f"Bearer {phone.keys['authKey']}"}
    for path, headers in [
        (f"/pairings/{device.id}/socket", device.headers),
        (f"/pairings/{shown['id']}/socket", phone.headers),
        (f"/pairings/{shown['id']}/socket", bearer),
    ]:
        async with raw(server, path, additional_headers=headers) as connection:
            assert (await told(connection))["status"] == "pending"


@pytest.mark.security(21)
async def test_a_cookie_or_query_string_is_no_credential(api: Api, server: Server) -> None:
    device = await api.new_pairing()
    secret = device.pairing["secret"]
    path = f"/pairings/{device.id}/socket?secret={secret}"
    async with raw(server, path, auth(), additional_headers={"Cookie": f"secret={secret}"}) as connection:
        assert await close_code(connection) == 4401
