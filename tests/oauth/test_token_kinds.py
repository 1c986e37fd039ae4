"""One kind of token is never taken for another: what an application has opens no call of ours, and what a device has
opens no endpoint of applications."""

import json

import pytest
import websockets

from pairing_ws.oauth.ports import Algorithm
from pairing_ws.web.call import KEY
from pairing_ws.web.calls import CALLS
from pairing_ws.web.sockets.sockets import PATHS
from tests.oauth.conftest import NewApplication
from tests.support.app_server import AppServer
from tests.support.client import Phone
from tests.support.embedded import Embedded
from tests.support.keys import DeviceKey, payload

ID = "A" * 22
WITH_KEY = {f"{call.method} {call.path}": call for call in CALLS if KEY in call.proofs}
# Whatever some call can't do without.
BODY = {
    "code": "x",
    "userCode": "x",
    "name": "x",
    "credential": {"id": "x", "rawId": "x", "type": "public-key", "response": {}},
    "here": True,
    "query": "x",
}


async def every_token(new_application: NewApplication, site: Embedded, phone: Phone) -> dict[str, str]:
    """All that applications hold, of each kind and algorithm; also of one whose audience is this very server."""
    found: dict[str, str] = {}
    for alg in Algorithm:
        settings = {"access_token_alg": alg, "id_token_alg": alg, "audience": site.settings.public_url}
        for name, app in ((f"{alg}", await new_application(**settings)), (f"{alg} own", await new_application())):
            given = await app.tokens(phone)
            found |= {f"{name} {kind}": given[kind] for kind in ("access_token", "refresh_token", "id_token")}
    return found


@pytest.mark.security(46)
@pytest.mark.parametrize("name", WITH_KEY)
async def test_no_call_of_ours_takes_an_applications_token(
    new_application: NewApplication, site: Embedded, phone: Phone, name: str
) -> None:
    call = WITH_KEY[name]
    path = call.path.removeprefix("/api/v1").replace("{id}", ID)
    content = json.dumps(BODY) if call.body else None
    kind = {"Content-Type": "application/json"} if content else {}
    for which, token in (await every_token(new_application, site, phone)).items():
        for credential in (
            {"Auth-Key": token},
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"DPoP {token}"},
        ):
            answer = await phone.api.http.request(call.method, path, content=content, headers=kind | credential)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), which


@pytest.mark.security(46)
@pytest.mark.parametrize("path", PATHS)
async def test_no_socket_takes_an_applications_token(
    new_application: NewApplication, site: Embedded, phone: Phone, path: str
) -> None:
    for which, token in (await every_token(new_application, site, phone)).items():
        uri = site.ws_url + path.replace("{id}", ID)
        async with websockets.connect(uri, subprotocols=[websockets.Subprotocol("pairing.v1")]) as connection:
            await connection.send(json.dumps({"type": "auth", "authKey": token}))
            await connection.wait_closed()
            assert connection.close_code == 4401, which


@pytest.mark.security(46)
async def test_no_refresh_of_ours_takes_an_applications_token(
    new_application: NewApplication, site: Embedded, phone: Phone
) -> None:
    for which, token in (await every_token(new_application, site, phone)).items():
        answer = await phone.api.http.post("/sessions/refresh", json={"refreshKey": token})
        # The others are too long to be a refreshKey.
        expected = (401, "unauthenticated") if "refresh" in which else (400, "bad_request")
        assert (answer.status_code, answer.json()["code"]) == expected, which


@pytest.mark.security(46)
async def test_a_devices_keys_are_no_tokens_of_an_application(app: AppServer, phone: Phone) -> None:
    keys = phone.keys
    for key in (keys["authKey"], keys["refreshKey"]):
        assert (await app.user_info(key)).status_code == 401
        assert (await app.http.post("/oauth/userinfo", data={"access_token": key})).status_code == 401
        refused = await app.refresh(key)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        refused = await app.redeem(key)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        assert (await app.introspect(key)).json() == {"active": False}
        assert (await app.revoke(key)).status_code == 200
    assert (await phone.get("/me")).status_code == 200


@pytest.mark.security(46)
async def test_a_key_bound_devices_proof_opens_no_user_info(app: AppServer, phone: Phone, site: Embedded) -> None:
    key = DeviceKey()
    proof = key.proof("GET", f"{site.settings.public_url}/oauth/userinfo", "x", phone.keys["authKey"])
    headers = {"Authorization": f"DPoP {phone.keys['authKey']}", "DPoP": proof}
    answer = await app.http.get("/oauth/userinfo", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


async def test_the_tokens_tell_which_kind_they_are(
    new_application: NewApplication, site: Embedded, phone: Phone
) -> None:
    tokens = await every_token(new_application, site, phone)
    assert len(tokens) == 12
    assert payload(tokens["RS256 access_token"])["aud"] == site.settings.public_url
    assert "did" not in payload(tokens["RS256 access_token"])
