"""Discovery: what an application learns from the issuer's address alone, and that all of it is true."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2
import msgspec
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from authlib.oidc.rpinitiated import OpenIDProviderMetadata as LogoutMetadata
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from pairing_ws.adapters.jwt.key_set import KeySet
from pairing_ws.app import create_app
from pairing_ws.oauth.ports import Algorithm
from pairing_ws.web.oauth.endpoints import ENDPOINTS
from pairing_ws.web.oauth.metadata import ENDPOINTS as DESCRIBED
from pairing_ws.web.oauth.metadata import Offered, metadata, well_known_paths
from tests.support.clock import FakeClock
from tests.support.embedded import settings_in

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
EVERYTHING = Offered(list(Algorithm), ["authorization_code", "refresh_token"], ["RS256"], ["ES256"])


@contextlib.asynccontextmanager
async def asking(app: Any, issuer: str) -> AsyncIterator[httpx2.AsyncClient]:
    """As a proxy does that keeps the issuer's own path to itself."""
    origin = urlunsplit((*urlsplit(issuer)[:2], "", "", ""))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=origin) as http:
        yield http


def app_at(folder: Path, public_url: str, **settings: Any) -> Starlette:
    return create_app(settings_in(folder, public_url=public_url, **settings), clock=FakeClock())


async def document_of(app: Any, issuer: str, path: str) -> dict[str, Any]:
    async with asking(app, issuer) as http:
        answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return dict(answer.json())


async def test_every_endpoint_that_exists_is_named_and_none_that_does_not(tmp_path: Path) -> None:
    issuer = "https://login.example.com"
    found = await document_of(app_at(tmp_path, issuer), issuer, OPENID)
    named = {found[each.member].removeprefix(issuer) for each in DESCRIBED if each.member in found}
    assert {call.path for call in ENDPOINTS} == {path for path in named if path.startswith("/oauth/")}
    addresses = {name for name in found if name.endswith(("_endpoint", "_uri"))}
    assert addresses == {each.member for each in DESCRIBED if each.member in found}
    assert "/.well-known/jwks.json" in named


async def test_every_address_in_the_document_is_one_that_is_served(tmp_path: Path) -> None:
    issuer = "https://login.example.com"
    app = app_at(tmp_path, issuer)
    found = await document_of(app, issuer, OPENID)
    async with asking(app, issuer) as http:
        for name, value in found.items():
            if name.endswith(("_endpoint", "_uri")):
                assert (await http.options(value)).status_code == 204, name


def test_what_does_not_exist_is_not_named() -> None:
    found = metadata("https://login.example.com", {"/oauth/token"}, EVERYTHING._replace(assertions=[]))
    assert {name for name in found if name.endswith(("_endpoint", "_uri"))} == {"token_endpoint"}
    assert "response_types_supported" not in found
    assert "id_token_signing_alg_values_supported" not in found
    # An empty array is not to be sent (RFC 8414, section 3.2).
    assert "token_endpoint_auth_signing_alg_values_supported" not in found
    assert all(value != [] for value in found.values())


@pytest.mark.parametrize("issuer", ["https://login.example.com", "https://example.com/login"])
async def test_the_document_holds_by_authlibs_models_of_rfc_8414_and_discovery(tmp_path: Path, issuer: str) -> None:
    found = await document_of(app_at(tmp_path, issuer), issuer, OPENID)
    AuthorizationServerMetadata(found).validate()
    OpenIDProviderMetadata(found).validate(metadata_classes=[LogoutMetadata])


async def test_what_stock_clients_look_for_is_there(tmp_path: Path) -> None:
    issuer = "https://login.example.com"
    found = await document_of(app_at(tmp_path, issuer), issuer, OPENID)
    assert found["issuer"] == issuer
    assert found["response_types_supported"] == ["code"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["subject_types_supported"] == ["public"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["id_token_signing_alg_values_supported"] == ["RS256", "ES256"]
    assert {"openid", "profile", "email", "groups", "offline_access"} <= set(found["scopes_supported"])
    assert {"sub", "iss", "email", "groups", "sid"} <= set(found["claims_supported"])
    assert {"authorization_code", "refresh_token"} <= set(found["grant_types_supported"])
    assert {"client_secret_basic", "client_secret_post", "none", "private_key_jwt"} == set(
        found["token_endpoint_auth_methods_supported"]
    )
    assert "none" not in found["introspection_endpoint_auth_methods_supported"]
    assert found["dpop_signing_alg_values_supported"] == ["ES256"]
    assert found["request_parameter_supported"] is False
    assert found["request_uri_parameter_supported"] is False
    assert found["backchannel_logout_supported"] is True
    assert found["backchannel_logout_session_supported"] is True


@pytest.mark.parametrize(
    "public_url",
    ["https://login.example.com", "https://example.com/login", "http://localhost:8000", "https://a.b:8443/x/y"],
)
async def test_the_issuer_is_the_public_url_to_the_letter_and_both_documents_say_the_same(
    tmp_path: Path, public_url: str
) -> None:
    app = app_at(tmp_path, public_url)
    found = [await document_of(app, public_url, path) for path in (OPENID, OAUTH)]
    assert found[0] == found[1]
    assert found[0]["issuer"] == public_url


def test_an_issuer_with_a_path_has_its_document_where_each_specification_looks() -> None:
    assert well_known_paths("https://login.example.com") == (OPENID, OAUTH)
    assert well_known_paths("https://example.com/login") == (OPENID, OAUTH, f"{OPENID}/login", f"{OAUTH}/login")


async def test_an_app_that_mounts_this_one_answers_both_spellings(tmp_path: Path) -> None:
    issuer = "https://example.com/login"
    login = app_at(tmp_path, issuer)
    host = Starlette(routes=[Route(f"{OAUTH}/login", login), Mount("/login", login)])
    for path in (f"/login{OPENID}", f"/login{OAUTH}", f"{OAUTH}/login"):
        assert (await document_of(host, "https://example.com", path))["issuer"] == issuer
    async with asking(host, "https://example.com") as http:
        assert (await http.get(f"{OAUTH}/other")).status_code == 404


async def test_pages_of_any_origin_may_read_it_and_the_public_keys(tmp_path: Path) -> None:
    issuer = "https://login.example.com"
    app = app_at(tmp_path, issuer, allowed_origins=["https://known.example.com"])
    async with asking(app, issuer) as http:
        for path in (OPENID, OAUTH, "/.well-known/jwks.json"):
            for origin in ("https://app.example.net", "https://known.example.com", "null"):
                answer = await http.get(path, headers={"Origin": origin})
                assert answer.headers.get_list("access-control-allow-origin") == [origin]
                assert "access-control-allow-credentials" not in answer.headers
                asked = await http.options(
                    path, headers={"Origin": origin, "Access-Control-Request-Method": "GET",
                                   "Access-Control-Request-Headers": "x-anything"},
                )  # fmt: skip
                assert asked.status_code == 204
                assert asked.headers["access-control-allow-origin"] == origin


async def test_without_an_rsa_key_rs256_is_not_offered(tmp_path: Path) -> None:
    issuer = "https://login.example.com"
    keys = msgspec.structs.replace(KeySet.new(FakeClock()), rsa_keys=[])
    settings = settings_in(tmp_path, public_url=issuer).model_copy(update={"signing_keys": keys.text().decode()})
    found = await document_of(create_app(settings, clock=FakeClock()), issuer, OPENID)
    assert found["id_token_signing_alg_values_supported"] == ["ES256"]
