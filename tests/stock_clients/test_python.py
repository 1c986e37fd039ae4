"""Clients of Python as PyPI has them: what each does by itself, against two processes."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import requests_oauth2client as stock
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

from tests.stock_clients.conftest import ADA, HERE, Register, printed, started
from tests.support.person import Person
from tests.support.servers import Server


async def test_requests_oauth2client_does_all_it_can(deployment: Server, register: Register, ada: Person) -> None:
    app = await register()

    def discover() -> stock.OAuth2Client:
        # `testing` allows http.
        return stock.OAuth2Client.from_discovery_endpoint(
            issuer=deployment.public_url,
            client_id=app.id,
            client_secret=app.secret,
            redirect_uri=app.app.redirect_uri,
            testing=True,
            # It reads all others from the metadata.
            device_authorization_endpoint=f"{deployment.public_url}/oauth/device_authorization",
        )

    client = await asyncio.to_thread(discover)
    asked = client.authorization_request(scope="openid email offline_access")
    answer = asked.validate_callback(await ada.allows(str(asked)))
    tokens = await asyncio.to_thread(client.authorization_code, answer)
    assert (await asyncio.to_thread(client.userinfo, tokens))["email"] == ADA.email
    renewed = await asyncio.to_thread(client.refresh_token, tokens)
    assert (await asyncio.to_thread(client.introspect_token, renewed.access_token))["active"]
    assert await asyncio.to_thread(client.revoke_refresh_token, renewed)
    assert await asyncio.to_thread(client.introspect_token, renewed.access_token) == {"active": False}

    # Without an id_token: in 1.8 it forgets the key of a token that came with one.
    bound = client.authorization_request(scope="email", dpop=True)
    answer = bound.validate_callback(await ada.allows(str(bound)))
    token = await asyncio.to_thread(client.authorization_code, answer)
    assert isinstance(token, stock.DPoPToken)
    assert (await asyncio.to_thread(client.introspect_token, token.access_token))["token_type"] == "DPoP"

    device = await asyncio.to_thread(client.authorize_device, scope="openid")
    await ada.lets_in(device.user_code)
    on_device = await asyncio.to_thread(client.device_code, device.device_code)
    assert isinstance(on_device.id_token, stock.IdToken)
    assert isinstance(tokens.id_token, stock.IdToken)
    assert on_device.id_token.sub == tokens.id_token.sub


async def test_authlibs_own_client_does_all_it_can(deployment: Server, register: Register, ada: Person) -> None:
    app = await register()
    async with httpx2.AsyncClient(base_url=deployment.public_url) as http:
        found = (await http.get("/.well-known/openid-configuration")).json()
    client = OAuth2Session(
        app.id, app.secret, scope="openid email offline_access", redirect_uri=app.app.redirect_uri,
        code_challenge_method="S256", token_endpoint=found["token_endpoint"],
    )  # fmt: skip
    verifier = generate_token(48)
    url, state = client.create_authorization_url(found["authorization_endpoint"], code_verifier=verifier)
    back = await ada.allows(url)

    def redeem_and_ask() -> str:
        client.fetch_token(authorization_response=back, state=state, code_verifier=verifier)
        client.refresh_token(found["token_endpoint"])
        return str(client.get(found["userinfo_endpoint"]).json()["email"])

    assert await asyncio.to_thread(redeem_and_ask) == ADA.email

    def active() -> bool:
        token = client.token["access_token"]
        return bool(client.introspect_token(found["introspection_endpoint"], token=token).json()["active"])

    assert await asyncio.to_thread(active)
    refresh_token = client.token["refresh_token"]
    await asyncio.to_thread(client.revoke_token, found["revocation_endpoint"], token=refresh_token)
    assert not await asyncio.to_thread(active)


async def test_mozilla_django_oidc_logs_a_person_in_and_keeps_a_session_of_its_own(
    tmp_path: Path, deployment: Server, register: Register, ada: Person
) -> None:
    app = await register("/oidc/callback/")
    (tmp_path / "pasted.py").write_text(printed("django", deployment.public_url, app))
    command = (sys.executable, str(HERE / "django_app.py"))
    async with started(command, tmp_path, deployment.public_url, app) as django:
        assert await django.hear() == {"ready": True}
        site = f"http://{urlsplit(app.app.redirect_uri).netloc}"
        async with httpx2.AsyncClient(base_url=site) as browser:
            asked = await browser.get("/oidc/authenticate/")
            callback = await browser.get(await ada.allows(asked.headers["Location"]))
            assert callback.headers["Location"] == "/"
            assert (await browser.get("/")).json() == {"email": ADA.email}
