"""`/api/v1/admin`: what a backend can do with its key, that nobody else can, and that its key opens nothing else."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from pairing_ws.components import build
from pairing_ws.web.call import ADMIN, Call
from pairing_ws.web.calls import CALLS
from tests.support.admin import ADMIN_KEY, BEARER, OTHER_KEY, Backend
from tests.support.app_server import app_server
from tests.support.client import Api, Phone, account_socket, id_of, let_in
from tests.support.embedded import Embedded, embedded, settings_in
from tests.support.keys import DeviceKey
from tests.support.servers import Server, said
from tests.web.conftest import refusal

OURS = {f"{call.method} {call.path}": call for call in CALLS if ADMIN in call.proofs}
OTHERS = {f"{call.method} {call.path}": call for call in CALLS if call.proofs and ADMIN not in call.proofs}
ID = "A" * 22
DEVICE = {"X-Device-Code": "code", "X-Device-Name": "name"}
# Whatever some call can't do without.
BODY = {
    "code": "x", "userCode": "x", "name": "x", "here": True, "query": "x", "id": "x",
    "credential": {"id": "x", "rawId": "x", "type": "public-key", "response": {}},
}  # fmt: skip


@pytest.fixture
async def backend(api: Api) -> Backend:
    return Backend(api)


async def asked(api: Api, call: Call, query: str = "", **headers: str) -> httpx2.Response:
    path = call.path.removeprefix("/api/v1").replace("{id}", ID)
    body = BODY if call.method in ("POST", "PATCH") and call.body else None
    return await api.http.request(call.method, f"{path}{query}", json=body, headers=DEVICE | headers)


# Who


async def test_without_the_setting_there_is_no_such_call(clocked: Embedded, clocked_api: Api) -> None:
    for call in OURS.values():
        for method in (call.method, "OPTIONS", "PUT"):
            path = call.path.removeprefix("/api/v1").replace("{id}", ID)
            answer = await clocked_api.http.request(method, path, headers=BEARER)
            assert refusal(answer) == (404, "not_found"), (method, path)
    text = (await clocked_api.http.get(f"{clocked.url}/openapi.json")).text
    assert "/admin" not in text
    assert '"adminKey"' not in text
    assert '"admin"' not in text


async def test_with_the_setting_all_are_described(api: Api, server: Server) -> None:
    described = (await api.http.get(f"{server.url}/openapi.json")).json()
    assert described["components"]["securitySchemes"]["adminKey"]["scheme"] == "bearer"
    for call in OURS.values():
        assert described["paths"][call.path][call.method.lower()]["security"] == [{"adminKey": []}]


@pytest.mark.security(53)
@pytest.mark.parametrize("name", OURS)
async def test_no_other_credential_opens_a_call_of_the_backend(api: Api, phone: Phone, name: str) -> None:
    keys = phone.keys
    for value in (
        "x",
        ADMIN_KEY[:-1],
        ADMIN_KEY + "x",
        ADMIN_KEY.lower(),
        OTHER_KEY,
        keys["authKey"],
        keys["refreshKey"],
    ):
        answer = await asked(api, OURS[name], Authorization=f"Bearer {value}")
        assert refusal(answer) == (401, "unauthenticated"), value
        # RFC 6750, section 3.1. There is no DPoP here.
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    for headers in (
        {},
        phone.headers,
        {"Auth-Key": ADMIN_KEY},
        {"Pairing-Secret": ADMIN_KEY},
        {"Cookie": f"admin={ADMIN_KEY}; pairing_refresh={ADMIN_KEY}; Authorization=Bearer {ADMIN_KEY}"},
        {"Authorization": ADMIN_KEY},
        {"Authorization": "Bearer"},
        {"Authorization": f"DPoP {ADMIN_KEY}"},
        {"Authorization": f"Basic {ADMIN_KEY}"},
        {"Proxy-Authorization": f"Bearer {ADMIN_KEY}"},
    ):
        answer = await asked(api, OURS[name], **headers)
        assert refusal(answer) == (401, "unauthenticated"), headers
        assert answer.headers["www-authenticate"] == "Bearer"
    for query in ("access_token", "key", "adminKey", "Authorization"):
        assert refusal(await asked(api, OURS[name], f"?{query}={ADMIN_KEY}")) == (401, "unauthenticated")
    both = await api.http.request(
        OURS[name].method,
        OURS[name].path.removeprefix("/api/v1").replace("{id}", ID),
        headers=[("Authorization", f"Bearer {ADMIN_KEY}"), ("Authorization", f"Bearer {OTHER_KEY}")],
    )
    assert refusal(both) == (401, "unauthenticated")
    for other in ({"Auth-Key": phone.keys["authKey"]}, {"Pairing-Secret": "x" * 22}):
        assert refusal(await asked(api, OURS[name], **BEARER, **other)) == (400, "bad_request")


@pytest.mark.security(46, 53)
async def test_an_applications_tokens_open_no_call_of_the_backend(api: Api, server: Server, phone: Phone) -> None:
    async with await app_server(server.url, server.folder) as app:
        tokens = await app.tokens(phone)
    for call in OURS.values():
        for token in (tokens["access_token"], tokens["id_token"]):
            assert refusal(await asked(api, call, Authorization=f"Bearer {token}")) == (401, "unauthenticated")


@pytest.mark.security(53)
@pytest.mark.parametrize("name", OTHERS)
async def test_an_admin_key_opens_no_call_of_a_device(api: Api, name: str) -> None:
    for headers in (BEARER, {"Auth-Key": ADMIN_KEY}, {"Authorization": f"DPoP {ADMIN_KEY}"}):
        # The first takes no key at all; the second is closed without a provider.
        keyless = {"/invites/accept": (400, "bad_request"), "/upstream/login": (404, "not_found")}
        expected = keyless.get(OTHERS[name].path.removeprefix("/api/v1"), (401, "unauthenticated"))
        assert refusal(await asked(api, OTHERS[name], **headers)) == expected


async def test_an_admin_key_opens_neither_socket_nor_user_info(api: Api, server: Server) -> None:
    for path in ("/api/v1/socket", f"/api/v1/pairings/{ID}/socket"):
        async with websockets.connect(
            server.ws_url + path, subprotocols=[websockets.Subprotocol("pairing.v1")]
        ) as connection:
            await connection.send(json.dumps({"type": "auth", "authKey": ADMIN_KEY}))
            await connection.wait_closed()
            assert connection.close_code == 4401
    answer = await api.http.get(f"{server.url}/oauth/userinfo", headers=BEARER)
    assert answer.status_code == 401


@pytest.mark.security(20, 53)
@pytest.mark.parametrize("name", OURS)
async def test_no_page_reads_a_backends_answer(api: Api, server: Server, name: str) -> None:
    asks = {"Origin": server.public_url, "Access-Control-Request-Method": OURS[name].method}
    path = OURS[name].path.removeprefix("/api/v1").replace("{id}", ID)
    preflight = await api.http.request(
        "OPTIONS", path, headers=asks | {"Access-Control-Request-Headers": "authorization"}
    )
    answer = await asked(api, OURS[name], **BEARER, Origin=server.public_url)
    for each in (preflight, answer):
        assert not [header for header in each.headers if header.startswith("access-control")]


@pytest.mark.security(53)
async def test_wrong_keys_are_counted_by_address_and_never_lock_the_right_one_out(tmp_path: Path) -> None:
    two = f"{OTHER_KEY}\n{ADMIN_KEY}"
    settings: dict[str, Any] = {"admin_key": two, "limit_admin": "7/minute", "limit_admin_failure": "3/minute"}
    with embedded(tmp_path, **settings) as server:
        async with Api(server.url) as api:
            wrong = [refusal(await Backend(api, "x" * 43).ask("GET", "/users")) for _ in range(5)]
            assert wrong == [(401, "unauthenticated")] * 3 + [(429, "rate_limited")] * 2
            # While a key is exchanged both are open, each with a rate of its own.
            for key in (ADMIN_KEY, OTHER_KEY):
                answers = await asyncio.gather(*(Backend(api, key).ask("GET", "/users") for _ in range(60)))
                assert sorted(each.status_code for each in answers) == [200] * 7 + [429] * 53


@pytest.mark.security(21, 53)
async def test_every_call_is_in_the_audit_log_with_its_account_and_address_and_without_secrets(
    api: Api, server: Server, backend: Backend
) -> None:
    phone = await backend.phone("audited")
    for call in OURS.values():
        await asked(api, call, **BEARER, **{"Idempotency-Key": "not-for-the-log"})
    await asked(api, OURS["GET /api/v1/admin/users"], Authorization="Bearer wrong-and-not-for-the-log")
    lines = said(server, "admin.called")
    assert {line["call"] for line in lines} == {call.handler.__name__ for call in OURS.values()}
    assert {line["ip"] for line in lines} == {"127.0.0.1"}
    assert len({line["key"] for line in lines}) == 1
    enrolled = next(line for line in lines if line["call"] == "enrol_device" and line["status"] == 200)
    assert (enrolled["account"], enrolled["device"]) == ("audited", id_of(phone))
    assert 404 in {line["status"] for line in lines if line["call"] == "lock_user"}
    assert said(server, "admin.refused")[-1]["ip"] == "127.0.0.1"
    text = server.log_text()
    for secret in (ADMIN_KEY, "not-for-the-log", phone.keys["authKey"], phone.keys["refreshKey"]):
        assert secret not in text


# Accounts


async def test_a_user_has_the_backends_own_id_in_all_tokens(api: Api, server: Server, backend: Backend) -> None:
    made = await backend.ask("POST", "/users", {"id": "4711", "username": "Ada", "email": "ada@example.com"})
    assert made.status_code == 201
    again = await backend.ask("POST", "/users", {"id": "4711", "username": "ADA"})
    assert (again.status_code, again.json()) == (200, made.json())
    phone = await backend.phone("4712", name="Phone")
    assert phone.keys["user"] == {"id": "4712", "username": "4712", "displayName": "4712"}
    async with await app_server(server.url, server.folder) as app:
        assert (await app.user_info((await app.tokens(phone))["access_token"])).json()["sub"] == "4712"
    for body in (
        {"id": "4711", "username": "Bob"},
        {"id": "4713", "username": "aDa"},
        {"id": "4713", "username": "4712"},
    ):
        assert refusal(await backend.ask("POST", "/users", body)) == (409, "user_exists")


async def test_an_account_is_read_changed_found_and_listed(backend: Backend) -> None:
    made = await backend.create("u-1", username="Grace", groups=["admins"], name="Grace Hopper")
    assert made["groups"] == ["admins"]
    assert await backend.get("/users/u-1") == made
    changes = {"email": "grace@example.com", "emailVerified": True, "name": None, "groups": []}
    changed = await backend.ask("PATCH", "/users/u-1", changes)
    assert changed.json() == made | changes
    assert await backend.get("/users/u-1") == changed.json()
    assert (await backend.get("/users?username=GRACE"))["users"] == [changed.json()]
    listed: list[str] = []
    page = await backend.get("/users")
    while True:
        listed += [each["id"] for each in page["users"]]
        if "next" not in page:
            break
        page = await backend.get(f"/users?after={page['next']}")
    assert "u-1" in listed
    assert listed == sorted(set(listed))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/users", {"id": "a b"}), ("POST", "/users", {"id": ""}), ("POST", "/users", {"id": "x" * 65}),
        ("POST", "/users", {"id": "n", "username": ""}), ("POST", "/users", {"id": "n", "username": "x" * 65}),
        ("POST", "/users", {"id": "n", "email": "no address"}), ("POST", "/users", {"id": "n", "emailVerified": True}),
        ("POST", "/users", {"id": "n", "groups": ["x"] * 101}), ("PATCH", "/users/known", {"email": "a@b c"}),
        ("POST", "/users/known/devices", {"ip": "nowhere"}), ("POST", "/users/known/invites", {"qr": "jpeg"}),
        ("GET", "/users?after=%2F", None), ("GET", "/activity?after=x", None), ("GET", "/activity?after=-1", None),
        ("GET", f"/activity?after={'9' * 19}", None), ("GET", "/users/known/export?before=x", None),
        ("DELETE", "/devices/known?descendants=1", None),
        ("POST", "/clients", {"name": "x", "redirectUris": ["http://evil.example/"]}),
        ("POST", "/clients", {"name": "x", "public": True}), ("POST", "/clients", {"name": " "}),
        ("POST", "/clients", {"name": "x", "jwks": {"keys": []}}),
        ("POST", "/clients", {"name": "x", "jwks": {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}}),
        ("POST", "/clients", {"name": "x", "jwks": {"keys": [{"kty": ["EC"], "crv": {}}]}}),
        ("POST", "/clients", {"name": "x", "jwks": {"keys": [{"kty": "oct", "k": "AQAB"}]}}),
        ("POST", "/clients", {"name": "x", "scopes": ["everything"]}),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
async def test_what_can_not_be_is_a_bad_request(backend: Backend, method: str, path: str, body: Any) -> None:
    await backend.create("known")
    assert refusal(await backend.ask(method, path, body, **DEVICE)) == (400, "bad_request")
    assert (await backend.ask("GET", "/users/n")).status_code == 404


@pytest.mark.parametrize("key", ["", '"', "x" * 256, "\u00e9"], ids=["empty", "a quote", "long", "no ASCII"])
async def test_an_idempotency_key_is_short_and_ascii(backend: Backend, api: Api, key: str) -> None:
    await backend.create("known")
    headers = {name.encode(): value.encode() for name, value in (BEARER | DEVICE | {"Idempotency-Key": key}).items()}
    for call in ("invites", "devices"):
        answer = await api.http.post(f"/admin/users/known/{call}", headers=headers)
        assert (answer.status_code == 400) == (key != '"')


@pytest.mark.parametrize("user", ["nobody", ID])
async def test_nobodys_calls_are_not_found(backend: Backend, user: str) -> None:
    for name, call in OURS.items():
        if "{id}" in call.path:
            path = call.path.removeprefix("/api/v1/admin").replace("{id}", user)
            answer = await backend.ask(call.method, path, {} if call.body else None, **DEVICE)
            assert refusal(answer) == (404, "not_found"), name


@pytest.mark.security(16, 36)
async def test_a_lock_ends_sessions_sockets_and_apps_and_an_unlock_lets_the_devices_back_in(
    server: Server, backend: Backend
) -> None:
    phone = await backend.phone("to-lock")
    async with await app_server(server.url, server.folder) as app:
        tokens = await app.tokens(phone)
        async with account_socket(server.ws_url, phone) as socket:
            locked = await backend.ask("POST", "/users/to-lock/lock")
            assert locked.json()["lockedAt"]
            again = await backend.ask("POST", "/users/to-lock/lock")
            assert again.json() == locked.json()
            async with asyncio.timeout(10):
                await socket.wait_closed()
            assert socket.close_code == 4401
        assert (await phone.get("/me")).status_code in (401, 403)
        assert (await app.user_info(tokens["access_token"])).status_code == 401
    assert (await backend.get("/users/to-lock/devices"))["devices"] == []
    assert refusal(await backend.enrol("to-lock")) == (403, "account_locked")
    assert (await backend.ask("POST", "/users/to-lock/unlock")).json()["lockedAt"] is None
    assert (await phone.get("/me")).status_code == 200
    assert (await backend.get("/users/to-lock/apps"))["apps"] == []


@pytest.mark.security(16)
async def test_a_deletion_ends_all_and_leaves_nothing(server: Server, backend: Backend) -> None:
    phone = await backend.phone("to-delete")
    async with account_socket(server.ws_url, phone) as socket:
        assert (await backend.ask("DELETE", "/users/to-delete")).status_code == 204
        async with asyncio.timeout(10):
            await socket.wait_closed()
    assert refusal(await phone.get("/me")) == (401, "unauthenticated")
    assert refusal(await backend.ask("GET", "/users/to-delete/export")) == (404, "not_found")
    assert refusal(await backend.ask("DELETE", "/users/to-delete")) == (404, "not_found")
    # Its id is free, and whoever had a key of the account before gets into none of that id.
    await backend.create("to-delete")
    assert refusal(await phone.get("/me")) == (401, "unauthenticated")


async def test_an_export_has_all_that_is_kept_in_pages(api: Api, server: Server, backend: Backend) -> None:
    phone = await backend.phone("exported")
    other = await let_in(api, phone)
    async with await app_server(server.url, server.folder) as app:
        await app.tokens(phone)
    account = (await backend.get("/users/exported"))["username"]
    built = build(settings_in(server.folder))
    for subject in ("ada", "lovelace"):
        await built.services.people.link(account, "https://id.example.com", subject)
    await built.database.close()
    export = await backend.get("/users/exported/export")
    assert [(each["issuer"], each["subject"]) for each in export["links"]] == [
        ("https://id.example.com", "ada"),
        ("https://id.example.com", "lovelace"),
    ]
    assert all(each["createdAt"].endswith("Z") for each in export["links"])
    assert export["user"] == await backend.get("/users/exported")
    assert [each["id"] for each in export["devices"]] == [id_of(phone), id_of(other)]
    assert [each["id"] for each in export["apps"]] == [
        each["id"] for each in (await backend.get("/users/exported/apps"))["apps"]
    ]
    assert export["passkeys"] == []
    assert [each["event"] for each in export["activity"]["activity"]] == ["app.added", "device.added", "device.added"]
    assert "next" not in export["activity"]


# Devices


async def test_an_enrolled_device_is_logged_in_at_the_address_that_the_backend_saw(api: Api, backend: Backend) -> None:
    phone = await backend.phone("enrolled")
    key = {"Idempotency-Key": '"one call"', "X-Os-Device": "iOS 20"}
    device = {"X-Device-Code": "tablet-1", "X-Device-Name": "Tablet"}
    known = (await phone.get("/devices")).json()["version"]
    # Its other devices hear of it at once.
    waiting = asyncio.create_task(phone.get(f"/devices?known={known}&wait=20"))
    first = await backend.enrol("enrolled", {"ip": "203.0.113.7"}, **key, **device)
    again = await backend.enrol("enrolled", {"ip": "203.0.113.7"}, **key, **device)
    assert first.json()["authKey"] == again.json()["authKey"]
    assert [each["name"] for each in (await waiting).json()["devices"]] == ["Test device", "Tablet"]
    tablet = Phone(api, first.json())
    me = (await tablet.get("/me")).json()
    assert me["session"]["amr"] == ["host"]
    assert (me["device"]["lastIp"], me["device"]["os"]) == ("203.0.113.7", "iOS 20")
    refreshed = await api.http.post("/sessions/refresh", json={"refreshKey": tablet.keys["refreshKey"]})
    assert refreshed.status_code == 200
    assert "set-cookie" not in first.headers
    assert len((await phone.get("/devices")).json()["devices"]) == 2
    assert refusal(await backend.enrol("enrolled", **key)) == (409, "already_enrolled")
    without = await backend.ask("POST", "/users/enrolled/devices", {})
    assert refusal(without) == (400, "device_headers_required")


@pytest.mark.security(48)
async def test_an_enrolled_device_can_be_bound_to_its_key(api: Api, server: Server, backend: Backend) -> None:
    key = DeviceKey()
    await backend.create("bound")
    answer = await backend.enrol("bound", {"deviceKey": key.jwk})
    auth_key = answer.json()["authKey"]
    assert refusal(await api.http.get("/me", headers={"Auth-Key": auth_key})) == (401, "invalid_proof")
    nonce = answer.headers["dpop-nonce"]
    proof = key.proof("GET", f"{server.public_url}/api/v1/me", nonce, auth_key)
    me = await api.http.get("/me", headers={"Authorization": f"DPoP {auth_key}", "DPoP": proof})
    assert me.json()["session"]["jkt"] == key.jkt


async def test_an_invite_of_the_backend_logs_one_device_in(api: Api, server: Server, backend: Backend) -> None:
    await backend.create("invited")
    made = await backend.ask("POST", "/users/invited/invites", {}, **{"Idempotency-Key": "a"})
    invite = made.json()
    assert made.status_code == 201
    assert invite["url"] == invite["qr"]["text"] == f"{server.public_url}/join/invite#{invite['code']}"
    assert invite["qr"]["svg"].startswith("<svg")
    again = await backend.ask("POST", "/users/invited/invites", {"qr": "none"}, **{"Idempotency-Key": "a"})
    assert again.json()["code"] == invite["code"]
    assert "svg" not in again.json()["qr"]
    other = await backend.ask("POST", "/users/invited/invites", {"qr": "png"})
    assert other.json()["code"] != invite["code"]
    assert other.json()["qr"]["png"].startswith("data:image/png")
    phone = await api.log_in_by_invite(invite["code"])
    assert phone.keys["user"]["id"] == "invited"
    used = await backend.ask("POST", "/users/invited/invites", {}, **{"Idempotency-Key": "a"})
    assert refusal(used) == (409, "invite_used")


@pytest.mark.security(16)
async def test_a_device_is_revoked_with_what_it_let_in(api: Api, server: Server, backend: Backend) -> None:
    phone = await backend.phone("revoking")
    second = await let_in(api, phone)
    third = await let_in(api, second)
    async with account_socket(server.ws_url, second) as socket:
        gone = await backend.ask("DELETE", f"/devices/{id_of(second)}?descendants=true")
        assert gone.status_code == 204
        async with asyncio.timeout(10):
            await socket.wait_closed()
    for each in (second, third):
        assert refusal(await each.get("/me")) == (401, "unauthenticated")
    left = (await backend.get("/users/revoking/devices"))["devices"]
    assert [each["id"] for each in left] == [id_of(phone)]
    # Repeated, after a lost answer.
    assert (await backend.ask("DELETE", f"/devices/{id_of(second)}")).status_code == 204
    assert "device.revoked" in (await phone.get("/activity")).text


async def test_an_app_is_taken_away(server: Server, backend: Backend) -> None:
    phone = await backend.phone("with-app")
    async with await app_server(server.url, server.folder) as app:
        tokens = await app.tokens(phone)
        (listed,) = (await backend.get("/users/with-app/apps"))["apps"]
        assert (await backend.ask("DELETE", f"/apps/{listed['id']}")).status_code == 204
        assert (await app.user_info(tokens["access_token"])).status_code == 401
    assert (await backend.get("/users/with-app/apps"))["apps"] == []
    assert refusal(await backend.ask("DELETE", f"/apps/{listed['id']}")) == (404, "not_found")


# Applications


async def test_a_client_is_added_changed_rotated_and_removed_and_its_secret_shown_once(
    api: Api, server: Server, backend: Backend
) -> None:
    wanted = {"name": "Wiki", "redirectUris": ["https://wiki.example.com/cb"], "scopes": ["openid"], "trusted": True}
    made = await backend.ask("POST", "/clients", wanted)
    assert made.status_code == 201
    client = made.json()
    secret, path = client.pop("secret"), f"/clients/{client['id']}"
    assert wanted.items() <= client.items()
    assert await backend.get(path) == client
    assert client in (await backend.get("/clients"))["clients"]
    assert secret not in (await backend.ask("GET", "/clients")).text
    changed = await backend.ask("PATCH", path, {"name": "The Wiki", "redirectUris": [], "deviceGrant": "on"})
    assert changed.json() == client | {"name": "The Wiki", "redirectUris": [], "deviceGrant": "on"}
    rotated = (await backend.ask("POST", f"{path}/rotate")).json()["secret"]
    statuses = []
    for each in (secret, rotated):
        answer = await api.http.post(f"{server.url}/oauth/introspect", data={"token": "x"}, auth=(client["id"], each))
        statuses.append(answer.status_code)
    assert statuses == [401, 200]
    assert (await backend.ask("DELETE", path)).status_code == 204
    for method, each in (("GET", path), ("PATCH", path), ("DELETE", path), ("POST", f"{path}/rotate")):
        assert refusal(await backend.ask(method, each, {} if method == "PATCH" else None)) == (404, "not_found")
    public = await backend.ask("POST", "/clients", {"name": "TV", "public": True, "deviceGrant": "on"})
    assert public.json()["public"]
    assert "secret" not in public.json()
    assert refusal(await backend.ask("POST", f"/clients/{public.json()['id']}/rotate")) == (400, "bad_request")
    # By its id alone: a name may be anybody's.
    assert refusal(await backend.ask("GET", "/clients/TV")) == (404, "not_found")


async def test_a_removed_client_takes_its_apps_along(server: Server, backend: Backend) -> None:
    phone = await backend.phone("of-removed")
    async with await app_server(server.url, server.folder) as app:
        tokens = await app.tokens(phone)
        assert (await backend.ask("DELETE", f"/clients/{app.id}")).status_code == 204
        assert (await app.user_info(tokens["access_token"])).status_code == 401
    assert (await backend.get("/users/of-removed/apps"))["apps"] == []


# Activity


async def test_the_feed_goes_on_where_the_cursor_is(backend: Backend) -> None:
    _, cursor = await backend.feed()
    assert await backend.feed(cursor) == ([], cursor)
    one = await backend.phone("feed-1")
    two = await backend.phone("feed-2")
    lines, after = await backend.feed(cursor)
    assert [(line["userId"], line["event"], line["deviceId"]) for line in lines] == [
        ("feed-1", "device.added", id_of(one)),
        ("feed-2", "device.added", id_of(two)),
    ]
    assert await backend.feed(after) == ([], after)
