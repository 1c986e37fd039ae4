"""What every answer carries, whatever it answers; that reading changes nothing; and which hosts are served."""

import json
from pathlib import Path

import pytest

from pairing_ws.web.calls import CALLS
from tests.support.answers import assert_safe
from tests.support.client import Api, code_of, device_headers, with_api
from tests.support.embedded import embedded
from tests.support.servers import Server
from tests.web.conftest import NewPhone, refusal

PATHS = [
    *sorted({call.path.replace("{id}", "x") for call in CALLS}),
    "/api/v1/nowhere", "/api", "/", "/phone", "/devices", "/pair/x", "/join/x", "/join/invite", "/nowhere",
    "/static/nowhere.js", "/static/", "/static/pairing.js", "/static/%2e%2e/pyproject.toml", "/healthz", "/readyz",
    "/metrics", "/openapi.json", "/asyncapi.json", "/.well-known/jwks.json", "/phone/",
    "/api/v1/devices/", "/api/v1/pairings/",
]  # fmt: skip


@pytest.mark.security(22)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"])
async def test_every_answer_has_the_safe_headers(api: Api, server: Server, method: str) -> None:
    for path in PATHS:
        answer = await api.http.request(method, server.url + path)
        assert answer.status_code < 500, (path, answer.text)
        assert_safe(answer.headers)
        if path.startswith("/api"):
            assert answer.headers["cache-control"] == "no-store", path
        camera = "camera=(self)" if path == "/phone" and answer.is_success else "camera=()"
        assert camera in answer.headers["permissions-policy"], path
        assert "server" not in answer.headers


async def test_successes_are_never_stored_either(api: Api, new_phone: NewPhone) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    await phone.claim(device.pairing)
    await phone.approve(device.id)
    for answer in [
        await device.poll(),
        await device.poll(**{"If-None-Match": '"3"'}),
        await device.log_in(),
        await phone.get("/me"),
        await phone.get("/devices"),
        await api.http.delete("/sessions/current", headers=phone.headers),
    ]:
        assert answer.headers["cache-control"] == "no-store"
        assert_safe(answer.headers)


@pytest.mark.security(24)
async def test_no_link_in_an_answer_comes_from_the_requests_host(api: Api, server: Server) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    for path in PATHS:
        answer = await api.http.get(server.url + path, headers=evil)
        assert "evil.example" not in answer.text
        assert "evil.example" not in str(answer.headers)
    made = await api.http.post("/pairings", headers=device_headers() | evil)
    assert "evil.example" not in made.text


@pytest.mark.security(22)
async def test_a_page_asked_for_by_another_name_of_this_machine_leads_to_the_public_one(
    api: Api, server: Server
) -> None:
    answer = await api.http.get(f"{server.url}/pair/some-id", headers={"Host": f"127.0.0.1:{server.port}"})
    assert answer.status_code == 307
    assert answer.headers["location"] == f"{server.public_url}/pair/some-id"
    assert_safe(answer.headers)


@pytest.mark.security(23)
async def test_opening_a_page_or_peeking_at_a_pairing_changes_nothing(
    api: Api, server: Server, new_phone: NewPhone
) -> None:
    phone, device = await new_phone(), await api.new_pairing()
    shown = await phone.show_code()
    for method in ("GET", "HEAD"):
        for pairing in (device.pairing, shown):
            for page in ("pair", "join"):
                for tail in ("", f"?code={code_of(pairing)}"):
                    for headers in ({}, phone.headers, device.headers, {"Purpose": "prefetch"}):
                        url = f"{server.public_url}/{page}/{pairing['id']}{tail}"
                        assert (await api.http.request(method, url, headers=headers)).status_code == 200
        for headers in (phone.headers, device.headers, {}):
            for call in ("", "/claim", "/approve", "/deny", "/login"):
                await api.http.request(method, f"/pairings/{device.id}{call}", headers=headers)
    assert (await device.poll()).json()["version"] == 1
    assert (await phone.get(f"/pairings/{shown['id']}")).json()["version"] == 1


@pytest.mark.security(24)
async def test_an_unknown_host_is_refused_where_the_public_address_is_public(tmp_path: Path) -> None:
    async with with_api(embedded(tmp_path, public_url="https://login.example.com")) as (server, api):
        for host in (
            "evil.example",
            "login.example.com.evil.example",
            f"127.0.0.1:{api.url[-5:]}",
            "localhost",
            "",
        ):
            answer = await api.http.get("/me", headers={"Host": host})
            assert refusal(answer) == (421, "misdirected_request")
            assert_safe(answer.headers)
            assert (await api.http.get(f"{server.url}/healthz", headers={"Host": host})).status_code == 200
        for host in (
            "login.example.com", "LOGIN.example.com", "login.example.com.", "login.example.com:443",
            "Login.Example.Com.:443",
        ):  # fmt: skip
            assert refusal(await api.http.get("/me", headers={"Host": host})) == (401, "unauthenticated")
        for host in ("login.example.com..", "login.example.com:8443", ".login.example.com", "."):
            assert refusal(await api.http.get("/me", headers={"Host": host})) == (421, "misdirected_request")
        # With the dot it has another origin, which neither cookie nor proof would fit.
        page = await api.http.get(f"{server.url}/phone", headers={"Host": "login.example.com."})
        assert (page.status_code, page.headers["location"]) == (307, "https://login.example.com/phone")
        person = {"Host": "evil.example", "Accept": "text/html"}
        page = await api.http.get(f"{server.url}/phone", headers=person)
        assert page.status_code == 421
        assert 'href="https://login.example.com/phone"' in page.text
        assert_safe(page.headers)


async def test_the_descriptions_of_the_api_name_every_call(api: Api, server: Server) -> None:
    described = (await api.http.get(f"{server.url}/openapi.json")).json()
    for call in CALLS:
        assert call.method.lower() in described["paths"][call.path]
    assert json.dumps((await api.http.get(f"{server.url}/asyncapi.json")).json()).count("pairing.v1")
